//! How `validate` speaks to a deployment: as any client does, over HTTP.
//!
//! Decides what may be asked at all. Everything may be read; what writes takes a name or a collection of this run's own
//! ([`own`]), and there is no other way to write, but for an operator's words ([`operator`]) and the removal of what tests
//! have left ([`collections`]). What is asked, and what an answer should be, is for the checks.

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
