//! What a write's body says, learned in one pass without building its values.
//!
//! It decides what the rules of `order/` need to know of a body (rule R9), how large it is by every limit, and which
//! bodies must never reach an instance because Chroma would be harmed by them, or keep a side effect of a request it
//! refuses. It does not validate: what it has read whole and Chroma itself refuses without a trace is left to Chroma.
//! What cannot be read to its end is refused here: every field that Chroma knows has been checked, every other is
//! skipped by the same parser in the same manner.

mod catalog;
mod column;
mod condition;
mod definition;
mod metadata;
mod reads;
mod records;
mod refusal;
mod regex;
mod shown;
mod visit;

#[cfg(test)]
mod reference_tests;

pub use catalog::{
    CreateScan, Existing, HnswMetadata, Scanned, UpdateScan, scan_create_collection, scan_create_database,
    scan_create_tenant, scan_update_collection,
};
pub use reads::scan_read;
pub use records::{Dimension, Scan, scan_records};
pub use refusal::Refusal;
pub use shown::{ShownDefinition, shown_index};
