//! The durable, totally ordered log of transactions, with the catalog and the progress of every instance.
//!
//! The only room that knows SQL. It decides what is durable and in which order; it does not decide what is
//! executed where (`order/`), nor by whom (`replication/`). A [`Store`] commits batches; [`Journal`] is the
//! group commit in front of any store: many writers, one flush.

mod audit;
mod bodies;
#[cfg(test)]
pub(crate) mod contract;
mod events;
mod group;
mod leadership;
mod names;
pub mod postgres;
mod progress;
pub mod retention;
mod schema;
pub mod sqlite;
mod status;
mod types;

pub use audit::*;
pub use bodies::Compression;
pub use events::*;
pub use group::{AppendError, Appended, DurableSink, Ended, Journal, JournalOptions, JournalStats, JournalTask, Watch};
pub use leadership::*;
use types::ack_policy;
pub use types::*;
