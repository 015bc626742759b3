//! What a lane knows of an instance, of its collection and of its clients. Plain data.

use super::entry::Entry;
use crate::ids::Seq;

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
    /// As condemned, and for its records alone: what differs may be repaired where it is, too (rule R14).
    Contradicted,
}

impl LaneState {
    /// Whether a divergence of this kind is the worse one: then it counts, whatever the copy was found to be before.
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

/// Clients that have just been answered, and are expected to write again at once (rule R19).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    /// The last entry that one of them was answered: it names this expectation.
    pub after: Seq,
    /// How many have not come again yet. Never none.
    pub writers: u32,
}

impl Expected {
    /// One of them has come; what is expected of the others.
    pub fn one_came(self) -> Option<Expected> {
        (self.writers > 1).then(|| Expected { writers: self.writers - 1, ..self })
    }
}

/// Whether what is replicated to an instance waits for more, to go along in one request (rule R19).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Trail {
    /// It gets what it missed; nothing is held.
    #[default]
    CatchingUp,
    /// It has everything that was applied, or is being sent that.
    Level,
    /// What it lacks from this entry on is held.
    Held(Seq),
    /// What it lacks goes at once: the time is over, or somebody needs it there.
    Due,
}

impl Trail {
    /// A request for what it lacks is sent.
    pub fn after_sending(self) -> Trail {
        if self == Trail::CatchingUp { Trail::CatchingUp } else { Trail::Level }
    }

    /// Nothing is held any more.
    pub fn released(self) -> Trail {
        if matches!(self, Trail::Held(_)) { Trail::Due } else { self }
    }
}

/// What an instance has yet to apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Of the requests' bodies.
    pub bytes: u64,
    /// The first of the entries.
    pub oldest: Option<Seq>,
}

impl Lag {
    /// This entry as well.
    pub(super) fn and(self, entry: &Entry) -> Lag {
        let oldest = self.oldest.map_or(entry.seq, |oldest| oldest.min(entry.seq));
        Lag { bytes: self.bytes + entry.profile.bytes, oldest: Some(oldest) }
    }
}
