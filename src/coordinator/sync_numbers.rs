//! Counts what replication has done since the edge started, for operators.
//!
//! It decides nothing. The executor and the rounds of recovery report here, and the pages read it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::ids::LaneId;
use crate::order::{Outcome, Purpose};

/// The counters.
#[derive(Debug, Default)]
pub struct SyncNumbers {
    applied: AtomicU64,
    requests: AtomicU64,
    failed: AtomicU64,
    micros: AtomicU64,
    rounds: AtomicU64,
    side_by_side: AtomicU64,
    catalog_failures: AtomicU64,
    memory_short: AtomicU64,
    batches_reduced: AtomicU64,
}

/// The numbers at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncCounts {
    /// Writes that an instance has applied after another one had executed them.
    pub applied: u64,
    /// Requests that replicated, each with one write or several.
    pub requests: u64,
    /// Of these, those that failed or whose outcome is unknown.
    pub failed: u64,
    /// The total duration of the requests that replicated writes successfully, in microseconds.
    pub micros: u64,
    /// Rounds in which recovery looked at every lane.
    pub rounds: u64,
    /// Requests that began while one of another lane was in flight on the same instance.
    pub side_by_side: u64,
    /// Requests about tenants, databases and collections that an instance did not execute.
    pub catalog_failures: u64,
    /// How often memory became short.
    pub memory_short: u64,
    /// How often requests were made to hold fewer writes because of that.
    pub batches_reduced: u64,
}

impl SyncNumbers {
    /// The numbers now.
    pub fn counts(&self) -> SyncCounts {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        SyncCounts {
            applied: of(&self.applied),
            requests: of(&self.requests),
            failed: of(&self.failed),
            micros: of(&self.micros),
            rounds: of(&self.rounds),
            side_by_side: of(&self.side_by_side),
            catalog_failures: of(&self.catalog_failures),
            memory_short: of(&self.memory_short),
            batches_reduced: of(&self.batches_reduced),
        }
    }

    /// Counts an attempt that has ended: this many writes of the lane, in one request that took this long. A request
    /// that was not sent does not count.
    pub fn attempted(&self, lane: LaneId, purpose: Purpose, writes: usize, outcome: &Outcome, took: Duration) {
        let add = |number: &AtomicU64, more: u64| number.fetch_add(more, Ordering::Relaxed);
        let (executed, sent) = match outcome {
            Outcome::Applied(_) | Outcome::Void | Outcome::Rejected { .. } => (true, true),
            Outcome::NotSent { .. } => (false, false),
            Outcome::Failed { .. } | Outcome::InDoubt { .. } | Outcome::Died { .. } | Outcome::Unfit => (false, true),
        };
        if lane == LaneId::Catalog && sent && !executed {
            add(&self.catalog_failures, 1);
        }
        if purpose != Purpose::Replicate || !sent {
            return;
        }
        add(&self.requests, 1);
        if matches!(outcome, Outcome::Applied(_) | Outcome::Void) {
            add(&self.applied, writes as u64);
            add(&self.micros, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        } else if !executed {
            add(&self.failed, 1);
        }
    }

    /// Counts a round in which recovery looked at every lane.
    pub fn round(&self) {
        self.rounds.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts that memory became short.
    pub fn memory_became_short(&self) {
        self.memory_short.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts that requests were made to hold fewer writes.
    pub fn batches_reduced(&self) {
        self.batches_reduced.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that began beside one of another lane.
    pub fn began_beside_another(&self) {
        self.side_by_side.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::CollectionId;
    use crate::order::{Consequences, Health, Retry};

    #[test]
    fn only_what_is_replicated_counts_as_such() {
        let numbers = SyncNumbers::default();
        let applied = || Outcome::Applied(Consequences::default());
        let second = Duration::from_secs(1);
        let things = LaneId::Records(CollectionId::new(uuid::Uuid::from_u128(1)));
        numbers.attempted(things, Purpose::Execute, 5, &applied(), second);
        assert_eq!(numbers.counts(), SyncCounts::default());
        numbers.attempted(things, Purpose::Replicate, 5, &applied(), second);
        numbers.attempted(things, Purpose::Replicate, 1, &Outcome::InDoubt { instance_was: Health::Healthy }, second);
        let not_sent = Outcome::NotSent { retry: Retry::AfterBackoff };
        numbers.attempted(LaneId::Catalog, Purpose::Replicate, 1, &not_sent, second);
        numbers.attempted(LaneId::Catalog, Purpose::Execute, 1, &Outcome::Unfit, second);
        let expected = SyncCounts {
            applied: 5,
            requests: 2,
            failed: 1,
            micros: 1_000_000,
            catalog_failures: 1,
            ..SyncCounts::default()
        };
        assert_eq!(numbers.counts(), expected);
    }
}
