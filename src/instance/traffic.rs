//! How the requests to one instance have ended since the edge started, and when it was last probed: numbers for operators.
//!
//! It decides nothing. Probes are not counted as requests.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::clock::Timestamp;

/// Stands for no moment at all.
const NEVER: i64 = i64::MIN;

/// How a request to an instance ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With an answer that does not blame the instance: any status below 500.
    Answered,
    /// Without an answer, or with one of 500 and above.
    Failed,
}

impl Ended {
    /// The end of a request whose answer has this status.
    pub const fn with(status: u16) -> Ended {
        if status < 500 { Ended::Answered } else { Ended::Failed }
    }
}

/// Whether a request went over a connection that had served an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooled {
    Hit,
    Miss,
}

/// The numbers of one instance.
#[derive(Debug)]
pub struct Traffic {
    requests: AtomicU64,
    answered: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    probed: AtomicI64,
    failed_probes: AtomicU64,
}

/// The numbers at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficNumbers {
    /// Requests that have ended, other than probes.
    pub requests: u64,
    /// Those of them that were answered with a status below 500.
    pub answered: u64,
    /// Connections taken from the pool.
    pub hits: u64,
    /// Connections opened.
    pub misses: u64,
}

impl Default for Traffic {
    fn default() -> Self {
        let none = || AtomicU64::new(0);
        Traffic {
            requests: none(),
            answered: none(),
            hits: none(),
            misses: none(),
            probed: AtomicI64::new(NEVER),
            failed_probes: none(),
        }
    }
}

impl Traffic {
    /// Returns the current numbers. `answered` is never more than `requests`.
    pub fn numbers(&self) -> TrafficNumbers {
        let answered = self.answered.load(Ordering::Acquire);
        TrafficNumbers {
            requests: self.requests.load(Ordering::Acquire),
            answered,
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
    }

    /// Returns when it was last probed; `None` before the first probe.
    pub fn last_probe(&self) -> Option<Timestamp> {
        let millis = self.probed.load(Ordering::Relaxed);
        (millis != NEVER).then(|| Timestamp::from_millis(millis))
    }

    /// Returns how many probes have failed since the last successful one.
    pub fn failed_probes(&self) -> u64 {
        self.failed_probes.load(Ordering::Relaxed)
    }

    /// Records that a request has a connection.
    pub fn connected(&self, pooled: Pooled) {
        match pooled {
            Pooled::Hit => self.hits.fetch_add(1, Ordering::Relaxed),
            Pooled::Miss => self.misses.fetch_add(1, Ordering::Relaxed),
        };
    }

    /// Records that a request has ended.
    pub fn ended(&self, how: Ended) {
        self.requests.fetch_add(1, Ordering::Release);
        if how == Ended::Answered {
            self.answered.fetch_add(1, Ordering::Release);
        }
    }

    pub(super) fn probed(&self, how: Ended, at: Timestamp) {
        self.probed.store(at.millis(), Ordering::Relaxed);
        match how {
            Ended::Answered => self.failed_probes.store(0, Ordering::Relaxed),
            Ended::Failed => {
                self.failed_probes.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_is_counted_by_how() {
        let traffic = Traffic::default();
        [200, 404, 500].into_iter().for_each(|status| traffic.ended(Ended::with(status)));
        [Pooled::Hit, Pooled::Miss, Pooled::Miss].into_iter().for_each(|pooled| traffic.connected(pooled));
        assert_eq!(traffic.numbers(), TrafficNumbers { requests: 3, answered: 2, hits: 1, misses: 2 });
    }

    #[test]
    fn failed_probes_are_those_in_a_row() {
        let traffic = Traffic::default();
        assert_eq!((traffic.last_probe(), traffic.failed_probes()), (None, 0));
        for (how, in_a_row) in [(Ended::Failed, 1), (Ended::Failed, 2), (Ended::Answered, 0), (Ended::Failed, 1)] {
            traffic.probed(how, Timestamp::from_millis(7));
            assert_eq!((traffic.last_probe(), traffic.failed_probes()), (Some(Timestamp::from_millis(7)), in_a_row));
        }
    }
}
