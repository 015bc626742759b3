//! How `validate` communicates with a deployment: over HTTP, as any client does.
//!
//! Decides what can be requested at all. Everything can be read. Writing needs a name or a collection of this run's own
//! ([`own`]); the only exceptions are an operator's requests ([`operator`]) and the removal of collections left by
//! tests ([`collections`]). The checks decide what is requested, and what an answer should be.

mod collections;
mod database_path;
mod deployment;
mod error;
mod ledger;
mod live;
mod mapped;
mod operator;
mod own;
mod tally;
mod tls;
mod url;
mod view;
mod wire;

pub use self::collections::{Collections, Prefixes, TestName};
pub use self::database_path::DatabasePath;
pub use self::deployment::{By, Deployment, Question, Verb, Written};
pub use self::error::CallError;
pub use self::ledger::Ledger;
pub use self::live::Live;
pub use self::operator::Operator;
pub use self::own::{OwnCollection, OwnName, RunId, check_in};
pub use self::url::BaseUrl;
pub use self::view::View;
pub use self::wire::{Wire, WireOptions};
