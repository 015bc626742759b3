//! A number set in the configuration: its key, its unit, its default and its highest value. `limit_table.rs` and
//! `shape.rs` define what is counted and compared with it.

pub(super) const KIB: u64 = 1024;
pub(super) const MIB: u64 = 1024 * KIB;
pub(super) const GIB: u64 = 1024 * MIB;

/// The unit of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    Count,
}

/// A number set in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    pub key: &'static str,
    pub unit: Unit,
    pub default: u64,
    /// The highest value that can be configured.
    pub most: u64,
}
