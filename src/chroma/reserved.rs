//! Names of the edge's own collections on instances: copies in the making. No client sees or makes them.

use uuid::Uuid;

/// What the name of every collection of the edge's own begins with.
pub const RESERVED_PREFIX: &str = "chroma-edge.";

/// A new name that no client is shown.
pub fn hidden_name(what: &str) -> String {
    format!("{RESERVED_PREFIX}{what}.{}", Uuid::new_v4().simple())
}

/// Whether a collection of this name is the edge's own.
pub fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED_PREFIX)
}
