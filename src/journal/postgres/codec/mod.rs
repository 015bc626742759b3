//! How our types are stored in columns, and read back.
//!
//! Knows no statement: only values, and the rows that hold them.

pub(super) mod body;
pub(super) mod row;
pub(super) mod text;
