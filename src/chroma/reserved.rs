//! Names of the edge's own collections on instances: copies in the making. No client sees or makes them.

/// What the name of every collection of the edge's own begins with.
pub const RESERVED_PREFIX: &str = "chroma-edge.";

/// Whether a collection of this name is the edge's own.
pub fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED_PREFIX)
}
