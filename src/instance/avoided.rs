//! Which instances reads avoid: the registry's breakers, and the log lines about their changes.
//!
//! [`breaker`](super::breaker) decides when a breaker opens and closes. The callers that read decide what counts as a failure.

use std::sync::{MutexGuard, PoisonError};

use super::breaker::{Breaker, BreakerState, Change, Others, ReadEnd};
use super::reads::{BreakerReport, Reads};
use super::registry::{Generation, Registry};
use crate::clock;
use crate::ids::InstanceId;

impl Registry {
    /// Records that a read which began in this generation of the instance has ended. A failure counts only while the
    /// instance is still in that generation and usable: an instance that is down gets no reads anyway.
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

    /// Returns whether reads avoid the instance.
    pub fn avoided(&self, id: InstanceId) -> bool {
        self.breaker(id).state != BreakerState::Closed
    }

    /// Returns whether this read should be the one that finds out whether the instance still fails.
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

    /// Returns the breaker's state: whether reads go to the instance now.
    pub fn breaker(&self, id: InstanceId) -> BreakerReport {
        self.changing(id, |breaker| (breaker.passed(clock::now()), ())).1
    }

    /// Resets the breaker after the instance has returned: its earlier failures no longer count.
    pub(super) fn reads_begin_anew(&self, id: InstanceId) {
        let rules = self.health().reads;
        self.changing(id, |breaker| {
            let was = breaker.state();
            *breaker = Breaker::new(&rules, clock::now());
            ((was != BreakerState::Closed).then_some(Change::Closed), ())
        });
    }

    /// Notes any change under the lock, and logs it after the lock is released.
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

    /// Held for a few instructions. The holder takes no other lock of the registry.
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
