//! What retention may remove, and for which instances transactions are kept (rule R11).

use crate::ids::{InstanceName, LaneId, Seq};
use crate::order::LaneState;

/// What retention removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    pub transactions: u64,
    /// Approximately how many bytes they took.
    pub bytes: u64,
}

/// Why transactions are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trimming {
    /// They have been kept long enough. A lane is trimmed if at least one instance is in step.
    Age,
    /// The journal is over its byte limit. A lane is trimmed if at least two configured instances are in step, or the
    /// only one.
    Capacity,
    /// Applications' own operations take more than they may. No write is removed, and no operation of a client whose
    /// operations take no more than `above`.
    Applications { above: u64 },
}

impl Trimming {
    /// Returns how many of the configured instances must be in step in a lane for it to be trimmed. If only one is
    /// configured, it is enough: otherwise the journal could never shrink.
    pub(super) fn least_in_step(self, configured: usize) -> usize {
        match self {
            Trimming::Age => 1,
            Trimming::Capacity => configured.clamp(1, 2),
            Trimming::Applications { .. } => usize::MAX,
        }
    }

    pub(super) const fn is_of_applications(self) -> bool {
        matches!(self, Trimming::Applications { .. })
    }

    /// Operations are removed only from clients whose operations take more than this.
    pub(super) const fn above(self) -> u64 {
        match self {
            Trimming::Age | Trimming::Capacity => 0,
            Trimming::Applications { above } => above,
        }
    }
}

/// Approximately what a transaction takes besides its body and its answer: rows and indices.
pub(super) const ROW_BYTES: u64 = 600;
/// What an application's own operation counts besides its body and path: room for its failure reason and a short
/// answer, so that every operation that could begin can also end. It also limits how many there can be. The triggers of
/// both stores repeat this number.
pub const APPLICATION_BYTES: u64 = 8192;

/// How many bytes applications' own operations take, open and ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApplicationUse {
    pub bytes: u64,
    /// The client whose operations take most, or `None` if there are no operations.
    pub largest: Option<ClientUse>,
}

/// How many bytes one client's own operations take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientUse {
    /// The client, as limits count clients.
    pub client: String,
    pub bytes: u64,
}

/// A search looks first at this many of the oldest transactions, in addition to as many as may be removed.
pub(super) const OLDEST_FIRST: u32 = 500;

/// A lane that takes new entries, with the progress of its configured instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLane {
    pub lane: LaneId,
    pub places: Vec<HeldProgress>,
}

/// How far an instance is in a lane, and how many stored bytes of the lane it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldProgress {
    pub instance: InstanceName,
    pub through: Seq,
    /// Approximately how many bytes the transactions at or below `through` take.
    pub bytes_through: u64,
    pub state: LaneState,
}
