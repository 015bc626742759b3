//! What operators have asked for: another primary and drained instances, since when and until when.
//!
//! It decides nothing; `placing.rs` acts on it. Nothing here is durable: a restart of the edge, or another edge that
//! takes over, begins with the configured order and without drains. A restart in place keeps them (`handed_on.rs`).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::Timestamp;
use crate::ids::InstanceId;
use crate::order::Duty;

/// A span of time that an operator has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub since: Timestamp,
    /// `None`: until an operator ends it.
    pub until: Option<Timestamp>,
    due: Option<Instant>,
}

impl Span {
    pub(super) fn new(length: Option<Duration>, now: Instant) -> Span {
        let since = Timestamp::now();
        Span { since, until: length.map(|length| since.after(length)), due: length.map(|length| now + length) }
    }

    /// A span that began earlier, in the program that this one replaced.
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

/// Whether an instance is kept in sync while it is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// It is kept in sync.
    Keep,
    /// Nothing is sent to it.
    Stop,
}

impl Sync {
    /// Returns the spelling in requests and on pages.
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

/// How far a drain has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainStage {
    /// Not all requests that were in flight when it began have ended.
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

/// Whether an operator insists on a drain that would be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insistence {
    Confirmed,
    None,
}

/// Everything that operators have asked for.
#[derive(Debug, Default)]
pub(super) struct Placed {
    /// The span during which an instance other than the configured one is the primary.
    pub switched: Option<Span>,
    /// Writes wait for the new primary until then.
    pub handover_ends: Option<Instant>,
    pub drains: BTreeMap<InstanceId, Drain>,
    /// When to notify the board next that writes have waited long enough for an instance that is not drained.
    pub deferred_until: Option<Instant>,
}

/// What operators have asked for.
#[derive(Debug, Default)]
pub struct Placements(Mutex<Placed>);

impl Placements {
    /// Held across a check of the board and the step that follows, so that the requests of two operators do not
    /// interleave.
    pub(super) fn lock(&self) -> MutexGuard<'_, Placed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
