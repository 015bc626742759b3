//! Names of the edge's own collections on instances: copies being made. No client sees or creates them.

use uuid::Uuid;

/// The prefix of the name of every collection of the edge's own.
pub const RESERVED_PREFIX: &str = "chroma-edge.";

/// Returns a new name that no client is shown.
pub fn hidden_name(what: &str) -> String {
    format!("{RESERVED_PREFIX}{what}.{}", Uuid::new_v4().simple())
}

/// Returns whether a collection with this name is the edge's own.
pub fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED_PREFIX)
}
