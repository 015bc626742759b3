//! Which collections have been read on which instance since its last possible restart.
//!
//! The probes may miss a restart, because a supervisor is faster than they are. So an instance counts as restarted
//! whenever it returned, lost a connection, or gave no answer for longer than a restart takes.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::ids::{CollectionId, InstanceId};
use crate::instance::Generation;

/// The shortest time in which a Chroma server can end and start again (the start alone takes 0.05 s, measured).
const SHORTEST_RESTART: Duration = Duration::from_millis(100);
/// Above this many collections all are forgotten; an unneeded read does no harm.
const MOST: usize = 100_000;

/// A period in which the instance cannot have restarted, as far as we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Life {
    number: u64,
    generation: Generation,
    last_answer: Instant,
}

#[derive(Default)]
pub(super) struct Warmed(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    lives: HashMap<InstanceId, Life>,
    read_in: HashMap<(InstanceId, CollectionId), u64>,
}

impl Warmed {
    /// Returns whether the collection has been read on the instance in its present life.
    pub fn is(&self, instance: InstanceId, collection: CollectionId, generation: Generation, now: Instant) -> bool {
        let mut inner = self.inner();
        let life = inner.life(instance, generation, now);
        inner.read_in.get(&(instance, collection)) == Some(&life)
    }

    /// Notes that the collection has been read on the instance.
    pub fn note(&self, instance: InstanceId, collection: CollectionId, generation: Generation, now: Instant) {
        let mut inner = self.inner();
        let life = inner.life(instance, generation, now);
        if inner.read_in.len() >= MOST {
            inner.read_in.clear();
        }
        inner.read_in.insert((instance, collection), life);
    }

    /// Notes that the instance has answered a request.
    pub fn answered(&self, instance: InstanceId, now: Instant) {
        if let Some(life) = self.inner().lives.get_mut(&instance) {
            life.last_answer = now;
        }
    }

    /// Notes that a request to the instance ended without an answer.
    pub fn lost(&self, instance: InstanceId) {
        if let Some(life) = self.inner().lives.get_mut(&instance) {
            life.number += 1;
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn life(&mut self, instance: InstanceId, generation: Generation, now: Instant) -> u64 {
        let life = self.lives.entry(instance).or_insert(Life { number: 0, generation, last_answer: now });
        let silent = now.saturating_duration_since(life.last_answer) > SHORTEST_RESTART;
        if silent || life.generation != generation {
            *life = Life { number: life.number + 1, generation, last_answer: now };
        }
        life.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_read_counts_for_one_life_only() {
        let (warmed, instance) = (Warmed::default(), InstanceId(0));
        let collection = CollectionId::new(uuid::Uuid::nil());
        let (first, start) = (Generation(1), clock::now());
        let is = |generation, now| warmed.is(instance, collection, generation, now);
        assert!(!is(first, start), "never read");
        warmed.note(instance, collection, first, start);
        assert!(is(first, start));
        let soon = start + SHORTEST_RESTART;
        warmed.answered(instance, soon);
        assert!(is(first, soon + SHORTEST_RESTART), "answers in between: no restart fits");
        assert!(!is(first, soon + SHORTEST_RESTART * 2 + Duration::from_millis(1)), "long enough for a restart");
        let later = soon + SHORTEST_RESTART * 3;
        warmed.note(instance, collection, first, later);
        assert!(!is(Generation(2), later), "it returned");
        warmed.note(instance, collection, Generation(2), later);
        warmed.lost(instance);
        assert!(!is(Generation(2), later), "a lost connection may have been a restart");
    }
}
