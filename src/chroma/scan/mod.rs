//! The contents of a write's body, found in one pass without building its values.
//!
//! It decides what the rules of `order/` need to know of a body (rule R9), and how large the body is by every limit. It
//! refuses bodies that would harm Chroma, or that Chroma refuses but with a side effect. It also refuses a body that it
//! cannot read to the end. It does not validate: a body that was read whole, and that Chroma refuses without a trace,
//! is left to Chroma. It checks every field that Chroma knows, and skips all others with the same parser.

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
