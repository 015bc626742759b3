//! The durable, totally ordered log of transactions, with the catalog and the progress of every instance.
//!
//! The only room that knows SQL. It decides what is durable and in which order; it does not decide what is
//! executed where (`order/`), nor how (`executor/`). A [`Store`] commits batches; [`Journal`] is the
//! group commit in front of any store: many writers, one flush.

mod audit;
mod bodies;
#[cfg(test)]
pub(crate) mod contract;
mod draft;
mod events;
mod fact;
mod fault;
mod group;
mod leadership;
mod names;
pub mod postgres;
mod progress;
mod read_error;
mod removal;
pub mod retention;
mod schema;
mod snapshot;
pub mod sqlite;
mod status;
mod status_facts;
mod store;
mod stored_profile;
mod transaction;

pub use audit::*;
pub use bodies::Compression;
pub use draft::{ApplicationDraft, ClientKey, Draft, ack_policy, is_given};
pub use events::*;
pub use fact::{ApplicationReport, Fact};
pub use fault::Fault;
pub use group::{
    AppendError, Appended, Committed, DurableSink, Ended, Journal, JournalOptions, JournalStats, JournalTask, Judge,
    Judgement, Unconnected, Watch,
};
pub use leadership::*;
pub use read_error::ReadError;
pub use removal::{APPLICATION_BYTES, ApplicationUse, ClientUse, HeldLane, HeldProgress, Trimmed, Trimming};
pub use snapshot::{CollectionRow, CollectionTimes, EntryRow, ProgressRow, Snapshot};
pub use status::{Status, TimingGap};
pub use store::{Batch, CommitError, Store, Totals};
pub use transaction::{
    History, Lookup, OperationType, QuarantineRow, Request, Resolution, StoredAnswer, TransactionRow,
};
use {removal::ROW_BYTES, status::with_statuses, status_facts::with_reasons};
