//! What the runner waits for between two requests of a lane to an instance: pauses after failures, and quiescence.

use std::hash::BuildHasher;
use std::time::Duration;

use super::Runner;
use crate::clock;
use crate::executor::backoff;
use crate::ids::{InstanceId, LaneId};
use crate::order::WaitReason;

impl Runner {
    /// Returns how long the replica waits. The same failure always gives the same span, so operators see the actual
    /// one.
    pub(super) fn span(&self, place: (LaneId, InstanceId), why: WaitReason) -> Duration {
        let longest = backoff::longest_pause(self.core.registry.typical_outage(place.1));
        let pause = |in_a_row| {
            let chance = self.chance.hash_one((place, in_a_row)) as f64 / u64::MAX as f64;
            backoff::pause(in_a_row, longest, chance)
        };
        match why {
            // The settle time itself is the first pause.
            WaitReason::Settle { in_a_row } => self.options.get().settle_time + pause(in_a_row.saturating_sub(1)),
            WaitReason::Backoff { in_a_row } => pause(in_a_row),
            WaitReason::Deaths { in_a_row } => self.options.get().settle_time + backoff::pause_after_deaths(in_a_row),
        }
    }

    pub(super) async fn await_quiescence(&self, place: (LaneId, InstanceId), why: WaitReason) {
        let span = self.span(place, why);
        match why {
            WaitReason::Settle { .. } | WaitReason::Deaths { .. } => self.settle(place.1, span).await,
            WaitReason::Backoff { .. } => {
                // Without a lease nothing can be sent, so the pause starts only once the lease is held.
                self.core.lease.held().await;
                self.pause(place.1, span).await;
            }
        }
    }

    /// Waits until the pause is over and the instance is usable. If it went down and returned meanwhile, the pause ends
    /// at once: earlier failures say nothing about the returned instance.
    async fn pause(&self, instance: InstanceId, span: Duration) {
        let registry = &self.core.registry;
        let (mut changes, mut hurried) = (registry.changes(), self.core.hurried());
        let begun = registry.generation(instance);
        let over = clock::now() + span;
        loop {
            let usable = registry.usable(instance);
            if usable && (clock::now() >= over || registry.generation(instance) != begun) {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(over.into()), if usable => {}
                _ = hurried.changed(), if usable => return,
                changed = changes.changed() => if changed.is_err() {
                    return;
                },
            }
        }
    }

    /// Waits until the instance has been usable for the whole settle time without interruption. A request that was
    /// given up has been executed by then, or never will be.
    async fn settle(&self, instance: InstanceId, span: Duration) {
        let registry = &self.core.registry;
        let mut changes = registry.changes();
        loop {
            let before = registry.generation(instance);
            if registry.usable(instance) {
                tokio::time::sleep(span).await;
                if registry.usable(instance) && registry.generation(instance) == before {
                    return;
                }
            } else if changes.changed().await.is_err() {
                return;
            }
        }
    }
}
