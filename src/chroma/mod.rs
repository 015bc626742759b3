//! Everything the edge knows of Chroma's HTTP API (measured on Chroma 1.5.9; `capabilities.rs` has the differences of
//! earlier versions).
//!
//! Pure: no I/O, no clock, no tokio. It decides what a request is ([`route`]), what its body contains ([`scan_records`]
//! and its siblings), how bodies, paths and ids are rewritten, and what an answer means ([`classify`]). It does not
//! decide where a request goes, when, or whether it is sent at all: `order/`, `executor/` and `proxy/` do. Every input
//! here is untrusted; nothing panics on it.

mod answer;
mod body_ids;
mod capabilities;
mod classify;
mod copy;
mod delete;
mod difference;
mod envelope;
mod error;
mod feature;
mod limit_table;
mod limits;
mod lookup;
mod marker;
mod merge;
mod reserved;
mod rewrite;
mod route;
mod scan;
mod scratch;
mod setting;
mod shape;
mod sizes;

/// The header that identifies a request. Chroma's clients show it with an error.
pub const TRACE_ID: http::HeaderName = http::HeaderName::from_static("chroma-trace-id");

pub use answer::EdgeAnswer;
pub use body_ids::ids_in;
pub use capabilities::{
    ByIdRoute, Capabilities, Described, DocumentError, MetadataArrays, TRIAL_NAMES, Trial, describe,
};
pub use classify::{
    Call, Class, ReadAdvice, classify, classify_header, failed_while_reading, is_write_path_dead, signature,
};
pub use copy::{CopiedBy, CopyPlan, copy_requests, same_definition};
pub use delete::{deleted_unknown, deletes_by_condition};
pub use difference::{blank_definition_difference, definition_difference, name_difference};
pub use envelope::{Envelope, Likeness};
pub use error::{ErrorBody, ErrorName, Overload, Recovery};
pub use feature::Feature;
pub use limit_table::{Exceeded, IndexFault, Limit};
pub use limits::{Measured, RequestLimits};
pub use lookup::{Looked, Lookup, is_not_found};
pub use marker::{
    MARKER_NAME, WIPE_NAME, Wiper, is_wiped_by, marker_change, marker_creation, read_marker, wipe_creation,
};
pub use merge::merge;
pub use reserved::{RESERVED_PREFIX, hidden_name, is_reserved};
pub use rewrite::{
    by_id_path, collection_list, collection_path, collection_response, collections_path, database_list, database_path,
    database_response, databases_path, error_text, instance_path, is_collection, listed_collections, strip_page,
    tenant_path, tenants_path,
};
pub use route::{
    CatalogRead, CatalogWrite, CollectionRef, Operation, Page, RecordReadKind, UnknownWrite, Unsupported, Window, route,
};
pub use scan::{
    CreateScan, Dimension, Existing, HnswMetadata, Refusal, Scan, Scanned, ShownDefinition, UpdateScan,
    scan_create_collection, scan_create_database, scan_create_tenant, scan_read, scan_records, scan_update_collection,
    shown_index,
};
pub use scratch::{hidden, is_reserved_database, is_scratch, marker_scope, reserved_database, scratch_scope};
pub use setting::{Setting, Unit};
pub use shape::{Number, Numbers, Shape, Verb};
pub use sizes::IndexShape;
