//! What operators have asked for: another primary, drained instances; since when and until when.
//!
//! It decides nothing; what is done about it is in `placing.rs`. Nothing here is durable: a restart of the edge, or another
//! edge that takes over, begins with the configured order and without drains; a restart in place goes on with them
//! (`handed_on.rs`).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::Timestamp;
use crate::ids::InstanceId;
use crate::order::Duty;

/// A span that an operator has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub since: Timestamp,
    /// `None`: until somebody ends it.
    pub until: Option<Timestamp>,
    due: Option<Instant>,
}

impl Span {
    pub(super) fn new(length: Option<Duration>, now: Instant) -> Span {
        let since = Timestamp::now();
        Span { since, until: length.map(|length| since.after(length)), due: length.map(|length| now + length) }
    }

    /// One that has begun before.
    pub(super) fn resumed(since: Timestamp, until: Option<Timestamp>, (wall, now): (Timestamp, Instant)) -> Span {
        let left = |until: Timestamp| {
            Duration::from_millis(u64::try_from(until.millis().saturating_sub(wall.millis())).unwrap_or(0))
        };
        Span { since, until, due: until.map(|until| now + left(until)) }
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }
}

/// What goes on while an instance is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// It is kept in sync.
    Keep,
    /// Nothing is sent there.
    Stop,
}

impl Sync {
    /// As it is asked for and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Sync::Keep => "keep",
            Sync::Stop => "stop",
        }
    }

    pub(super) const fn duty(self) -> Duty {
        match self {
            Sync::Keep => Duty::SyncOnly,
            Sync::Stop => Duty::Stopped,
        }
    }
}

/// How far a drain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainStage {
    /// Requests that were under way when it began have not ended.
    Draining,
    Drained,
}

/// One drained instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    pub sync: Sync,
    pub span: Span,
    pub stage: DrainStage,
}

/// Whether an operator insists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insistence {
    Confirmed,
    None,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Placed {
    /// Since when another instance than the configured one is the primary.
    pub switched: Option<Span>,
    /// Until then writes wait for the new primary.
    pub handover_ends: Option<Instant>,
    pub drains: BTreeMap<InstanceId, Drain>,
    /// When the board is told next that writes have waited for another instance than the drained one.
    pub deferred_until: Option<Instant>,
}

/// What operators have asked for.
#[derive(Debug, Default)]
pub struct Placements(Mutex<Placed>);

impl Placements {
    /// Held while the board is asked and told, so that of two operators one comes after the other.
    pub(super) fn lock(&self) -> MutexGuard<'_, Placed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
