//! Which instances reads avoid: the registry's breakers, and what is told of their changes.
//!
//! When one opens and closes is decided in [`breaker`](super::breaker). What counts as a failure is said by those who read.

use std::sync::{MutexGuard, PoisonError};

use super::breaker::{Breaker, BreakerState, Change, Others, ReadEnd};
use super::reads::{BreakerReport, Reads};
use super::registry::{Generation, Registry};
use crate::clock;
use crate::ids::InstanceId;

impl Registry {
    /// A read that began when the instance was of this generation has ended there. A failure counts only while the instance is
    /// the same one, and believed to be well: what is down is not asked anyway.
    pub fn read_ended(&self, id: InstanceId, since: Generation, end: ReadEnd) {
        if end == ReadEnd::Failed && (!self.usable(id) || self.generation(id) != since) {
            return;
        }
        let others = if end == ReadEnd::Failed && self.ids().any(|other| other != id && self.serves_reads(other)) {
            Others::Serve
        } else {
            Others::None
        };
        let rules = self.health().reads;
        self.changing(id, |breaker| (breaker.ended(end, others, &rules, clock::now()), ()));
    }

    /// Whether reads avoid the instance.
    pub fn avoided(&self, id: InstanceId) -> bool {
        self.breaker(id).state != BreakerState::Closed
    }

    /// Whether this read is the one that finds out whether the instance still fails.
    pub fn take_turn(&self, id: InstanceId) -> bool {
        let rules = self.health().reads;
        self.changing(id, |breaker| {
            if breaker.state() == BreakerState::Closed {
                return (None, false);
            }
            let now = clock::now();
            (breaker.passed(now), breaker.take_turn(&rules, now))
        })
        .0
    }

    /// Whether reads go to the instance now.
    pub fn breaker(&self, id: InstanceId) -> BreakerReport {
        self.changing(id, |breaker| (breaker.passed(clock::now()), ())).1
    }

    /// The instance has returned: what it failed before says nothing.
    pub(super) fn reads_begin_anew(&self, id: InstanceId) {
        let rules = self.health().reads;
        self.changing(id, |breaker| {
            let was = breaker.state();
            *breaker = Breaker::new(&rules, clock::now());
            ((was != BreakerState::Closed).then_some(Change::Closed), ())
        });
    }

    /// What this changes is noted, and told of when nothing is held any more.
    fn changing<T>(&self, id: InstanceId, act: impl FnOnce(&mut Breaker) -> (Option<Change>, T)) -> (T, BreakerReport) {
        let mut reads = self.reads(id);
        let (change, found) = act(&mut reads.breaker);
        reads.note(change);
        let report = reads.report();
        drop(reads);
        self.tell_of_reads(id, change);
        (found, report)
    }

    fn serves_reads(&self, id: InstanceId) -> bool {
        self.usable(id) && self.reads(id).breaker.state() == BreakerState::Closed
    }

    /// Held for a few instructions. Whoever holds it asks for no other lock of the registry's.
    fn reads(&self, id: InstanceId) -> MutexGuard<'_, Reads> {
        self.instance(id).reads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell_of_reads(&self, id: InstanceId, change: Option<Change>) {
        let instance = self.name(id);
        match change {
            None => {}
            Some(Change::Opened { failed, reads }) => tracing::warn!(
                %instance, failed, reads,
                "this instance fails reads that others answer: reads avoid it while another one can serve them"
            ),
            Some(Change::HalfOpened) => {
                tracing::info!(%instance, "single reads find out whether this instance answers again");
            }
            Some(Change::OpenedAgain { pause }) => {
                let seconds = pause.as_secs_f64();
                tracing::info!(%instance, seconds, "this instance still fails reads: it is avoided for longer");
            }
            Some(Change::Closed) => tracing::info!(%instance, "reads no longer avoid this instance"),
        }
    }
}
