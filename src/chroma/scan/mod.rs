//! What a write's body says, learned in one pass without building its values.
//!
//! It decides what the rules of `order/` need to know of a body (rule R9), and which bodies must never reach an
//! instance because Chroma would be harmed by them, or keep a side effect of a request it refuses. It does not
//! validate: whatever Chroma itself refuses without a trace is left to Chroma. Everything that Chroma's parser
//! could accept has been looked at; what is called malformed here, Chroma refuses too.

mod catalog;
mod column;
mod metadata;
mod records;
mod refusal;
mod visit;

pub use catalog::{
    CreateScan, Existing, HnswMetadata, Scanned, UpdateScan, scan_create_collection, scan_create_database,
    scan_create_tenant, scan_update_collection,
};
pub use records::{Dimension, Scan, scan_records};
pub use refusal::Refusal;
