//! What a lane knows of an instance and of its collection. Plain data.

/// Whether an instance follows a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneState {
    InStep,
    /// Neither sent to nor served from (G9).
    Diverged,
    /// As diverged, and its copy is not read either: it died of a write to this collection (rule R13). It is made anew (rule
    /// R14), or compared when an operator says so.
    Quarantined,
    /// As diverged, and known to be wrong (rule R17): it is never compared, only made anew.
    Condemned,
}

/// Whether the collection is known to have a dimension (rule R4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    Unknown,
    Known,
}
