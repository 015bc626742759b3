//! A transaction as it is read back: to be shown, replayed to a client, or executed.

use bytes::Bytes;

use super::{ClientKey, Status, TimingGap};
use crate::clock::Timestamp;
use crate::ids::{InstanceName, LaneId, Seq, TraceContext, TransactionId};
use crate::order::{Conditions, Kind, Profile, Verdict};

/// An instance's own answer, with ids already rewritten: what the client gets, now or on a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAnswer {
    pub status: u16,
    pub body: Bytes,
}

/// An entry with what an executor needs.
#[derive(Clone, Debug)]
pub struct Request {
    pub seq: Seq,
    pub lane: LaneId,
    pub profile: Profile,
    pub method: String,
    pub path: String,
    pub content_type: Option<String>,
    /// The resolved body if there is one, otherwise the body as received.
    pub body: Bytes,
    /// Whether `body` is the resolution of a limited delete.
    pub resolved: Resolution,
    pub answer: Option<StoredAnswer>,
    /// The span of the client's request.
    pub trace_context: Option<TraceContext>,
}

/// A part of what the journal keeps of a lane.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// At or below this, retention has removed everything. Zero if the whole lane is kept.
    pub floor: Seq,
    /// In the lane's order, each with its verdict.
    pub entries: Vec<(Request, Option<Verdict>)>,
}

/// Whether a limited delete's ids are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    AsReceived,
    Resolved,
}

/// The columns of a [`TransactionRow`] in both stores; `$answer_body` is the expression for the answer's body.
macro_rules! transaction_columns {
    ($answer_body:literal) => {
        concat!(
            "seq, transaction_id, client_tenant, client_key, fingerprint, lane, kind, method, path, status, verdict, ",
            "answer_status, ",
            $answer_body,
            ", response_status, failure_reason, timing_gap, executed_on, retry_count, next_retry_at, created_at, ",
            "completed_at, client_session, client_ip, client, user_identifier"
        )
    };
}
pub(super) use transaction_columns;

/// One transaction, for operators and for replays.
#[derive(Clone, Debug)]
pub struct TransactionRow {
    pub seq: Seq,
    pub transaction_id: TransactionId,
    pub client_key: Option<ClientKey>,
    pub operation: OperationType,
    /// `None` for an application's own operation.
    pub lane: Option<LaneId>,
    pub method: String,
    pub path: String,
    pub status: Status,
    pub verdict: Option<Verdict>,
    pub answer: Option<StoredAnswer>,
    pub response_status: Option<u16>,
    pub failure_reason: Option<String>,
    pub timing_gap: TimingGap,
    pub executed_on: Option<InstanceName>,
    /// Attempts that failed on instances that were believed healthy, and were repeated. Attempts on unreachable
    /// instances never count.
    pub retry_count: u32,
    /// When the write is tried again, if a time is set. There is none while it waits for an instance to return.
    pub next_retry_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub completed_at: Option<Timestamp>,
    pub client_session: Option<String>,
    pub client_ip: Option<String>,
    /// The client that an application's own operation counts for. `None` for a write.
    pub client: Option<String>,
    pub user_identifier: Option<String>,
}

/// A quarantined transaction that no operator has lifted (rule R13), without its answer's body.
#[derive(Clone, Debug)]
pub struct QuarantineRow {
    pub transaction: TransactionRow,
    pub conditions: Conditions,
}

/// A transaction's operation, as shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationType {
    Write(Kind),
    Application,
}

/// How a transaction is looked up.
#[derive(Clone, Debug)]
pub enum Lookup {
    Id(TransactionId),
    /// By its position in the journal.
    Position(Seq),
    ClientKey {
        tenant: String,
        key: String,
    },
    /// The newest transaction with this key in any scope. `of` restricts this to the scopes of that principal;
    /// `outside` excludes that scope.
    Key {
        key: String,
        of: Option<String>,
        outside: Option<String>,
    },
}
