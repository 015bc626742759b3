//! What retention may remove, and for whom transactions are kept (rule R11).

use crate::ids::{InstanceName, LaneId, Seq};
use crate::order::LaneState;

/// What retention removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    pub transactions: u64,
    /// About how many bytes they took.
    pub bytes: u64,
}

/// Why transactions are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trimming {
    /// They have been kept long enough: one instance in step is enough for a lane to be trimmed.
    Age,
    /// The journal is over its byte limit: only where at least two configured instances are in step, or the only one.
    Capacity,
    /// Applications' own operations take more than they may: no write goes.
    Applications,
}

impl Trimming {
    /// How many of the configured instances must be in step in a lane that is trimmed. Where one alone is configured, the
    /// journal would never become smaller otherwise.
    pub(super) fn least_in_step(self, configured: usize) -> usize {
        match self {
            Trimming::Age => 1,
            Trimming::Capacity => configured.clamp(1, 2),
            Trimming::Applications => usize::MAX,
        }
    }
}

/// What a transaction takes besides its body and its answer, about: rows and indices.
pub(super) const ROW_BYTES: u64 = 600;
/// What an application's own operation counts besides its body and its answer: as much as keeps their number small, too.
pub const APPLICATION_BYTES: u64 = 4096;

/// The oldest transactions among which something is looked for first, besides as many as may be removed.
pub(super) const OLDEST_FIRST: u32 = 500;

/// A lane that takes new entries, and how far its configured instances are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLane {
    pub lane: LaneId,
    pub places: Vec<HeldProgress>,
}

/// How far an instance is in a lane, and what of the lane it has, in bytes of what is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldProgress {
    pub instance: InstanceName,
    pub through: Seq,
    /// About what the transactions at or below `through` take.
    pub bytes_through: u64,
    pub state: LaneState,
}
