//! A number that the configuration sets: its key, what it counts, its default and its highest value. What is counted and
//! compared with it is in `limit_table.rs` and `shape.rs`.

pub(super) const KIB: u64 = 1024;
pub(super) const MIB: u64 = 1024 * KIB;
pub(super) const GIB: u64 = 1024 * MIB;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    Count,
}

/// A number that the configuration sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    pub key: &'static str,
    pub unit: Unit,
    pub default: u64,
    /// The highest value that can be configured.
    pub most: u64,
}
