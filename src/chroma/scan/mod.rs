//! What a write's body says, learned in one pass without building its values.
//!
//! It decides what the rules of `order/` need to know of a body (rule R9), and how large the body is by every limit. It
//! refuses bodies that would harm Chroma, or leave a side effect of a request that Chroma refuses. It does not validate:
//! a body that it has read whole, and that Chroma refuses without a trace, is left to Chroma. It refuses what it cannot
//! read to the end. It checks every field that Chroma knows, and skips every other with the same parser.

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
