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
    /// Applications' own operations take more than they may: no write goes, and none of a client whose operations take no
    /// more than `above`.
    Applications { above: u64 },
}

impl Trimming {
    /// How many of the configured instances must be in step in a lane that is trimmed. Where one alone is configured, the
    /// journal would never become smaller otherwise.
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

    /// Of clients whose operations take more than this, those go.
    pub(super) const fn above(self) -> u64 {
        match self {
            Trimming::Age | Trimming::Capacity => 0,
            Trimming::Applications { above } => above,
        }
    }
}

/// What a transaction takes besides its body and its answer, about: rows and indices.
pub(super) const ROW_BYTES: u64 = 600;
/// What an application's own operation counts besides its body and path: room for why it failed and for a short answer, so that
/// what could begin can end. It keeps their number small, too. The triggers of both stores say it as well.
pub const APPLICATION_BYTES: u64 = 8192;

/// What applications' own operations take, open ones and ended ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApplicationUse {
    pub bytes: u64,
    /// The client whose operations take most; `None` while there are none.
    pub largest: Option<ClientUse>,
}

/// What one client's own operations take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientUse {
    /// As limits count clients.
    pub client: String,
    pub bytes: u64,
}

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
