//! Whether the journal takes writes: one answer for every page that shows it.
//!
//! Decides what counts: the lease, the outcome of the last commits, and whether the journal can be read. Also provides
//! the journal's numbers for metrics.

use std::time::Duration;

use super::Admin;
use crate::metrics::Number;

/// How long reading the journal may take: clients of a page have time limits of their own.
const PATIENCE: Duration = Duration::from_millis(1500);

impl Admin {
    /// Returns why a write would be refused now; `None` if the journal would take it.
    pub(super) async fn journal_refusal(&self) -> Option<String> {
        if let Some(why) = self.known_refusal() {
            return Some(why);
        }
        match tokio::time::timeout(PATIENCE, self.core.store().faults()).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("it cannot be read within {PATIENCE:?}")),
        }
    }

    /// Returns why a write would be refused, as far as known without reading the journal.
    fn known_refusal(&self) -> Option<String> {
        // After a takeover, writes are journaled before they may be sent.
        if !self.may_send() && self.core.lease().has_begun() {
            return Some("this edge may not write: its lease has ended".to_owned());
        }
        self.core.journal().refusal()
    }

    /// `readable`: whether the journal could just be read.
    pub(super) fn journal_numbers(&self, readable: bool) -> [(Number, i64); 7] {
        let (stats, capacity) = (self.core.journal().stats(), self.core.capacity());
        let count = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let writable = readable && self.known_refusal().is_none();
        [
            (Number::JournalReadable, i64::from(readable)),
            (Number::JournalWritable, i64::from(writable)),
            (Number::JournalUsedBytes, count(capacity.used)),
            (Number::JournalBytesLimit, count(capacity.limit)),
            (Number::JournalQueue, i64::try_from(stats.appends_waiting()).unwrap_or(i64::MAX)),
            (Number::JournalCommits, count(stats.commits())),
            (Number::JournalFailedCommits, count(stats.commits_failed())),
        ]
    }
}
