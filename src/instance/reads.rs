//! One instance's breaker, and what is shown of it. The rules are in [`Breaker`].

use super::breaker::{Breaker, BreakerRules, BreakerState, Change};
use crate::clock::{self, Timestamp};

/// An instance's breaker, with the numbers that are shown.
#[derive(Debug)]
pub(super) struct Reads {
    pub breaker: Breaker,
    since: Timestamp,
    opened: u64,
}

impl Reads {
    pub fn new(rules: &BreakerRules) -> Reads {
        Reads { breaker: Breaker::new(rules, clock::now()), since: Timestamp::now(), opened: 0 }
    }

    /// Returns what is shown.
    pub const fn report(&self) -> BreakerReport {
        BreakerReport { state: self.breaker.state(), since: self.since, opened: self.opened }
    }

    pub fn note(&mut self, change: Option<Change>) {
        if change.is_some() {
            self.since = Timestamp::now();
        }
        self.opened += u64::from(matches!(change, Some(Change::Opened { .. })));
    }
}

/// Whether reads go to an instance, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerReport {
    pub state: BreakerState,
    pub since: Timestamp,
    /// How often it has opened since the edge started. Opening again after a failed trial does not count.
    pub opened: u64,
}
