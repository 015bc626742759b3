//! The durable, totally ordered log of transactions, with the catalog and the progress of every instance.
//!
//! The only room that knows SQL. It decides what is durable and in which order; it does not decide what is
//! executed where (`order/`), nor by whom (`replication/`). A [`Store`] commits batches; [`Journal`] is the
//! group commit in front of any store: many writers, one flush.

mod types;

pub use types::*;
