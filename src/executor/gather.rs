//! How long requests wait so that more writes can share them: the measurements of each lane, and the waits in progress.
//!
//! The board decides which writers to expect (`order/board/gather.rs`), and `order/pace.rs` how long waiting for them
//! pays. This file only counts the writers that arrive. A forgotten measurement costs a wait that would have paid, and
//! nothing else.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::remembered::Remembered;
use crate::ids::{InstanceId, LaneId, Seq};
use crate::order::{Pace, recent_mean};

/// The most pairs of a lane and an instance whose measurements are remembered.
const REMEMBERED: usize = 1024;

/// How many executed requests are remembered, to measure how long their replication takes.
const EXECUTED: usize = 4096;

/// The longest waits. Zero means no wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holds {
    /// For writers that may share a request.
    pub writers: Duration,
    /// For more writes to be replicated by the same request.
    pub replicas: Duration,
}

/// The measurements, and the waits in progress.
pub(super) struct Gathering {
    longest: Holds,
    state: Mutex<State>,
}

struct State {
    paces: Remembered<(LaneId, InstanceId), Pace>,
    waits: HashMap<LaneId, Wait>,
    /// How long a request's progress takes to become durable.
    recording: Duration,
    /// When the request that begins with this entry was first executed.
    executed: BTreeMap<Seq, Instant>,
}

struct Wait {
    after: Seq,
    instance: InstanceId,
    writers: u32,
    came: u32,
    begun: Instant,
    all_came: Arc<Notify>,
}

/// A wait in progress. It ends when the span is over or all writers have come.
pub(super) struct Begun {
    pub span: Duration,
    pub all_came: Arc<Notify>,
}

impl Gathering {
    pub fn new(longest: Holds) -> Gathering {
        let state = State {
            paces: Remembered::new(REMEMBERED),
            waits: HashMap::new(),
            recording: Duration::ZERO,
            executed: BTreeMap::new(),
        };
        Gathering { longest, state: Mutex::new(state) }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the instance executed a request of the lane from `began` to `now`.
    pub fn took(&self, place: (LaneId, InstanceId), began: Instant, now: Instant) {
        self.locked().paces.of(place).took(now.saturating_duration_since(began));
    }

    /// Notes how long a request's progress took to become durable.
    pub fn recorded(&self, took: Duration) {
        let mut state = self.locked();
        state.recording = recent_mean(state.recording, took);
    }

    /// Begins a wait for this many writers, if it pays.
    pub fn begin(&self, place: (LaneId, InstanceId), after: Seq, writers: u32, now: Instant) -> Option<Begun> {
        let mut state = self.locked();
        let recording = state.recording;
        let span = state.paces.get(&place)?.span(self.longest.writers, recording);
        if span == Duration::ZERO {
            return None;
        }
        let all_came = Arc::new(Notify::new());
        let wait = Wait { after, instance: place.1, writers, came: 0, begun: now, all_came: Arc::clone(&all_came) };
        state.waits.insert(place.0, wait);
        Some(Begun { span, all_came })
    }

    /// Returns how long to hold replication to another instance while this one executes more of the lane.
    pub fn trailing(&self, place: (LaneId, InstanceId)) -> Duration {
        let most = self.longest.replicas;
        self.locked().paces.get(&place).map_or(Duration::ZERO, |pace| pace.trailing(most))
    }

    /// Notes that the request that begins with this entry was executed for its clients.
    pub fn executed(&self, first: Seq, now: Instant) {
        let mut state = self.locked();
        state.executed.insert(first, now);
        if state.executed.len() > EXECUTED {
            state.executed.pop_first();
        }
    }

    /// Notes that the request that begins with this entry was replicated. Returns how long ago it was first executed,
    /// if that is remembered.
    pub fn replicated(&self, first: Seq, now: Instant) -> Option<Duration> {
        let state = self.locked();
        state.executed.get(&first).map(|executed| now.saturating_duration_since(*executed))
    }

    /// Counts a write that has entered the lane.
    pub fn came(&self, lane: LaneId) {
        if let Some(wait) = self.locked().waits.get_mut(&lane) {
            wait.came = wait.came.saturating_add(1);
            if wait.came == wait.writers {
                wait.all_came.notify_one();
            }
        }
    }

    /// Ends the wait. Returns how many of the writers came, as a label for the metric.
    pub fn end(&self, lane: LaneId, after: Seq, now: Instant) -> Option<&'static str> {
        let mut state = self.locked();
        // Another wait may have begun since; it has counted the writes that came later.
        state.waits.get(&lane).filter(|wait| wait.after == after)?;
        let wait = state.waits.remove(&lane)?;
        let Wait { writers, came, begun, instance, .. } = wait;
        state.paces.get(&(lane, instance))?.ended(writers, came, now.saturating_duration_since(begun));
        Some(match came {
            0 => "none",
            _ if came < writers => "some",
            _ => "all",
        })
    }
}
