//! The state that a lane keeps of an instance, of its collection and of its clients. Plain data.

use super::entry::Entry;
use crate::ids::Seq;

/// Whether an instance follows a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneState {
    InStep,
    /// Nothing is sent to it or served from it (G9).
    Diverged,
    /// Like `Diverged`, and its copy is not read either, because the instance died of a write to this collection (rule
    /// R13). The copy is replaced by a new one (rule R14), or compared if an operator decides so.
    Quarantined,
    /// Like `Diverged`, and known to be wrong (rule R17). It is never compared, only replaced by a new copy.
    Condemned,
    /// Like `Condemned`, but for its records alone: it may also be repaired where it is (rule R14).
    Contradicted,
}

impl LaneState {
    /// Returns whether a divergence of this kind is worse than the previous state, and therefore replaces it.
    pub(super) fn is_worse_than(self, before: LaneState) -> bool {
        match self {
            LaneState::Condemned => matches!(before, LaneState::Diverged | LaneState::Contradicted),
            LaneState::Contradicted => before == LaneState::Diverged,
            LaneState::InStep | LaneState::Diverged | LaneState::Quarantined => false,
        }
    }
}

/// Whether the collection is known to have a dimension (rule R4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    Unknown,
    Known,
}

/// Clients that were just answered and are expected to write again at once (rule R19).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    /// The last entry that was answered to one of them. It identifies this expectation.
    pub after: Seq,
    /// How many have not written again yet. Never zero.
    pub writers: u32,
}

impl Expected {
    /// Notes that one of them has written again. Returns what is expected of the others.
    pub fn one_came(self) -> Option<Expected> {
        (self.writers > 1).then(|| Expected { writers: self.writers - 1, ..self })
    }
}

/// Whether replication to an instance is held, so that more entries share a request (rule R19).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Trail {
    /// The instance is catching up on what it missed. Nothing is held.
    #[default]
    CatchingUp,
    /// The instance has everything that was applied, or is being sent it.
    Level,
    /// Everything that the instance lacks, from this entry on, is held.
    Held(Seq),
    /// Everything that the instance lacks is sent at once: the hold is over, or the entries are needed on the instance.
    Due,
}

impl Trail {
    /// Returns the state after a request for what the instance lacks was sent.
    pub fn after_sending(self) -> Trail {
        if self == Trail::CatchingUp { Trail::CatchingUp } else { Trail::Level }
    }

    /// Returns the state with nothing held.
    pub fn released(self) -> Trail {
        if matches!(self, Trail::Held(_)) { Trail::Due } else { self }
    }
}

/// What an instance has yet to apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// The size of the requests' bodies.
    pub bytes: u64,
    /// The first of the entries.
    pub oldest: Option<Seq>,
}

impl Lag {
    /// Adds this entry.
    pub(super) fn and(self, entry: &Entry) -> Lag {
        let oldest = self.oldest.map_or(entry.seq, |oldest| oldest.min(entry.seq));
        Lag { bytes: self.bytes + entry.profile.bytes, oldest: Some(oldest) }
    }
}
