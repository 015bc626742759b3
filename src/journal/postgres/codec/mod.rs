//! How the edge's types are stored in columns, and read back.
//!
//! Contains no statements, only values and the rows that hold them.

pub(super) mod body;
pub(super) mod row;
pub(super) mod text;
