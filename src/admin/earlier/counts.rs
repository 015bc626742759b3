//! A snapshot of the counters behind `performance_stats`, and the difference between two snapshots.

use crate::coordinator::{Core, SyncCounts};
use crate::instance::TrafficNumbers;
use crate::metrics;
use crate::proxy::Admission;

/// The counters at one moment, or their increase between two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub sync: SyncCounts,
    /// The sum over all instances.
    pub traffic: TrafficNumbers,
    pub processed: u64,
    pub timed_out: u64,
    pub queue_full: u64,
}

impl Counts {
    pub(super) fn of(core: &Core, admission: &Admission) -> Counts {
        let registry = core.registry();
        let traffic =
            registry.ids().map(|id| registry.traffic(id).numbers()).fold(TrafficNumbers::default(), |a, b| {
                TrafficNumbers {
                    requests: a.requests + b.requests,
                    answered: a.answered + b.answered,
                    hits: a.hits + b.hits,
                    misses: a.misses + b.misses,
                }
            });
        Counts {
            sync: core.sync_numbers().counts(),
            traffic,
            processed: admission.processed(),
            timed_out: metrics::refused_for("queue_timeout") + metrics::refused_for("instance_timeout"),
            queue_full: metrics::refused_for("queue_full"),
        }
    }

    /// Returns the increase since `before`.
    pub(super) fn since(&self, before: &Counts) -> Counts {
        let more = |now: u64, before: u64| now.saturating_sub(before);
        let (sync, old) = (&self.sync, &before.sync);
        let (traffic, old_traffic) = (&self.traffic, &before.traffic);
        Counts {
            sync: SyncCounts {
                applied: more(sync.applied, old.applied),
                requests: more(sync.requests, old.requests),
                failed: more(sync.failed, old.failed),
                micros: more(sync.micros, old.micros),
                rounds: more(sync.rounds, old.rounds),
                side_by_side: more(sync.side_by_side, old.side_by_side),
                catalog_failures: more(sync.catalog_failures, old.catalog_failures),
                memory_short: more(sync.memory_short, old.memory_short),
                batches_reduced: more(sync.batches_reduced, old.batches_reduced),
            },
            traffic: TrafficNumbers {
                requests: more(traffic.requests, old_traffic.requests),
                answered: more(traffic.answered, old_traffic.answered),
                hits: more(traffic.hits, old_traffic.hits),
                misses: more(traffic.misses, old_traffic.misses),
            },
            processed: more(self.processed, before.processed),
            timed_out: more(self.timed_out, before.timed_out),
            queue_full: more(self.queue_full, before.queue_full),
        }
    }
}
