//! Counters of the group commit, for metrics. The queue and the task write them, the pages read them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::metrics;

/// What the group commit has done and what waits for it.
#[derive(Debug, Default)]
pub struct JournalStats {
    pub(super) appends_waiting: AtomicUsize,
    pub(super) facts_waiting: AtomicUsize,
    pub(super) facts_shed: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) commits_failed: AtomicU64,
    pub(super) last_commit_micros: AtomicU64,
}

impl JournalStats {
    /// Returns the number of appends that wait for a commit.
    pub fn appends_waiting(&self) -> usize {
        self.appends_waiting.load(Ordering::Relaxed)
    }

    /// Returns the number of facts that wait for a commit, including those kept from failed commits.
    pub fn facts_waiting(&self) -> usize {
        self.facts_waiting.load(Ordering::Relaxed)
    }

    /// Returns the number of facts dropped under pressure since the start. These are retry counts for operators;
    /// ordering does not need them.
    pub fn facts_shed(&self) -> u64 {
        self.facts_shed.load(Ordering::Relaxed)
    }

    /// Returns the number of successful commits since the start.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Returns the number of commits since the start that were refused or in doubt.
    pub fn commits_failed(&self) -> u64 {
        self.commits_failed.load(Ordering::Relaxed)
    }

    /// Returns how long the last commit took, flush included.
    pub fn last_commit(&self) -> Duration {
        Duration::from_micros(self.last_commit_micros.load(Ordering::Relaxed))
    }

    pub(super) fn committed(&self, took: Duration, appends: usize) {
        metrics::committed(took, appends);
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.last_commit_micros.store(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.commits_failed.fetch_add(1, Ordering::Relaxed);
    }
}
