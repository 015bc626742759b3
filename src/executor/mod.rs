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
mod counters;
mod deaths;
mod gather;
mod holds;
mod limited;
mod limiter;
mod memory;
mod patience;
mod records;
mod remembered;
mod resources;
mod runner;
mod spans;
mod touched;
mod warmed;
mod writable;

pub use self::catalog::{Content, Creation, origin_of_found};
pub(crate) use self::collection_reader::{CollectionReader, PAGE, reader};
pub use self::gather::Holds;
pub use self::memory::{MemoryInUse, MemoryWatch};
pub use self::resources::{RecordWrites, ResourceLimits, Resources};
pub use self::runner::{Runner, RunnerOptions};
