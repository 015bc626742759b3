//! HTTP types that the proxy, the edge's own pages and the configuration share: whole answers, pages, the client's
//! idempotency key, and cross-origin headers.
//!
//! Defines these types and their rules. Opens no connection, and depends on neither the proxy nor the pages.

pub mod idempotency_key;
pub mod rfc3339;

mod cors;
mod guard;
mod hardening;
mod page;
mod reply;
mod trace;

pub use self::cors::Origins;
pub use self::guard::{Denied, Guard, HostPattern, Hosts, Transport};
pub use self::hardening::harden;
pub use self::idempotency_key::KeyHeaders;
pub use self::page::{CLIENT_SCRIPT, Live, OwnPages, PageAnswer, PageRequest};
pub use self::reply::{Connection, INSTANCE, REPLAYED, Reply, TRANSACTION_ID, no_such_page};
pub use self::trace::{RequestName, TRACE_ID, TraceId};

/// Whether `POST /api/v2/reset` may reach the instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetPolicy {
    Refused,
    Allowed,
}

/// Which writes are kept if no instance could take them before their clients had to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// All of them: each is executed when an instance returns.
    Always,
    /// Those with an id from their client, and those that may have been sent already. Others are withdrawn (rule R15):
    /// their clients send them again under new ids, and both would be executed.
    WithId,
}
