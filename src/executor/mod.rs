//! The executor: performs the board's effects. It builds requests, sends them to instances, classifies the answers with
//! `chroma/`, makes outcomes durable, and reports to the coordinator.
//!
//! It decides no order and no verdict. Start reading at [`runner`].

mod absence;
mod attempt;
mod backoff;
mod bodies;
mod catalog;
mod collection_reader;
mod deaths;
mod late_writes;
mod limited;
mod limiter;
mod patience;
mod records;
mod resources;
mod runner;
mod touched;
mod warmed;
mod writable;

pub use self::catalog::{Content, Creation, origin_of_found};
pub(crate) use self::collection_reader::{CollectionReader, PAGE, reader};
pub use self::late_writes::LateWrites;
pub use self::resources::{ResourceLimits, Resources};
pub use self::runner::{Runner, RunnerOptions};
