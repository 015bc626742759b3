//! What applications' own operations may take of the journal, and for how long one may stay open (decision 0048).
//!
//! An application that never ends its operations must not push everybody's finished writes, and with them their ids, out of
//! the journal. Who is refused when it is too much is decided where an operation begins.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{CapacityError, RetentionOptions, capacity};
use crate::clock::Timestamp;
use crate::journal::{
    APPLICATION_BYTES, ApplicationReport, AuditQuery, Fact, Filter, Journal, OperationType, ReadError, Status, Store,
    TimingGap, Trimming,
};

/// Operations that one commit ends.
const BATCH: u32 = 500;

/// An answer that needs no room.
const ANSWER_BYTES: u64 = APPLICATION_BYTES;

/// What they take, and may take. It is measured now and then, and counted in between.
#[derive(Debug)]
pub struct ApplicationQuota {
    used: AtomicU64,
    limit: AtomicU64,
    refused: AtomicU64,
}

impl Default for ApplicationQuota {
    /// Before it is known, everybody may begin.
    fn default() -> Self {
        ApplicationQuota { used: AtomicU64::new(0), limit: AtomicU64::new(u64::MAX), refused: AtomicU64::new(0) }
    }
}

impl ApplicationQuota {
    /// Whether so many bytes more may be journaled. They count from now on.
    pub fn claim(&self, bytes: u64) -> bool {
        let limit = self.limit();
        let more = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= limit);
        let claimed = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok();
        if !claimed {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        claimed
    }

    /// Whether an operation may end with an answer of so many bytes. A short one always may, so that an operation that could
    /// begin can end: each does once, and took more than that when it began.
    pub fn claim_answer(&self, bytes: u64) -> bool {
        if bytes > ANSWER_BYTES {
            return self.claim(bytes);
        }
        self.used.fetch_add(bytes, Ordering::AcqRel);
        true
    }

    /// They were not journaled.
    pub fn give_back(&self, bytes: u64) {
        let less = |used: u64| Some(used.saturating_sub(bytes));
        let _ = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }

    /// They take so much, of so much.
    pub fn measured(&self, used: u64, limit: u64) {
        self.used.store(used, Ordering::Release);
        self.limit.store(limit, Ordering::Release);
    }

    /// What they take.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    /// What they may take.
    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Acquire)
    }

    /// Operations that were refused since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Whether it is time to make room for the next ones.
    pub(super) fn is_tight(&self) -> bool {
        self.used() > self.limit() / 2
    }
}

/// Ends those that nobody has ended in their time: how many. The journal makes it durable as it does every other outcome, so
/// that event streams, and whoever waits for the operation, hear of it. A crash amid them: the next round ends the rest.
pub(in crate::journal) async fn give_up(
    store: &dyn Store,
    journal: &Journal,
    options: &RetentionOptions,
    now: Timestamp,
) -> Result<u64, CapacityError> {
    let mut ended = 0;
    loop {
        let facts = overdue(store, options, now).await?;
        if facts.is_empty() {
            return Ok(ended);
        }
        ended += facts.len() as u64;
        journal.record_in_time(facts).await?;
    }
}

/// What ends the oldest of those that nobody has ended in their time, as many as one commit takes.
pub(in crate::journal) async fn overdue(
    store: &dyn Store,
    options: &RetentionOptions,
    now: Timestamp,
) -> Result<Vec<Fact>, ReadError> {
    let filter = Filter {
        statuses: vec![Status::Attempting, Status::Failed],
        operations: vec![OperationType::Application],
        until: Some(now.before(options.application_age)),
        ..Filter::default()
    };
    let reason = "its end was not reported in its time (journal.application_age)";
    let given_up = || ApplicationReport::GivenUp { reason: reason.to_owned(), timing_gap: TimingGap::No };
    let page = store.audit(&AuditQuery { filter, after: None, limit: BATCH }).await?;
    let seqs = page.transactions.iter().map(|row| row.seq);
    Ok(seqs.map(|seq| Fact::ApplicationReported { seq, report: given_up(), at: now }).collect())
}

/// What they take now. While that is more than half of what they may, those that have ended go before their time, the oldest
/// first, but none whose id may still be repeated.
pub(in crate::journal) async fn make_room(store: &dyn Store, options: &RetentionOptions) -> Result<u64, CapacityError> {
    let mut used = store.application_bytes().await?;
    let ages = capacity::ages(options.keep).take_while(|age| *age > options.keep_ids);
    for age in ages.chain([options.keep_ids]) {
        loop {
            if used <= options.application_bytes / 2 {
                return Ok(used);
            }
            let before = Timestamp::now().before(age);
            let trimmed = store.trim(before, &[], Trimming::Applications, options.batch).await?;
            if trimmed.transactions == 0 {
                break;
            }
            used = store.application_bytes().await?;
        }
    }
    Ok(used)
}

/// A tenth of the journal: what is not said otherwise.
pub const fn share_of(max_bytes: u64) -> u64 {
    max_bytes / 10
}

/// How long an operation may stay open, where nothing else is said.
pub const AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::journal::contract::application::{begin, operation};
    use crate::journal::sqlite::SqliteStore;
    use crate::journal::{Appended, DurableSink, JournalOptions};

    struct Nowhere;

    impl DurableSink for Nowhere {
        fn appended(&self, _: Vec<Appended>) {}
    }

    #[tokio::test]
    async fn what_is_given_up_is_told_to_streams_and_to_who_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("journal.db")).unwrap());
        let (journal, task) = Journal::start(Arc::clone(&store) as _, JournalOptions::default(), Arc::new(Nowhere));
        let seq = begin(&*store, &operation("import")).await;
        let (mut reports, mut watch) = (journal.reports(), journal.watch(seq));
        let options = RetentionOptions { application_age: Duration::ZERO, ..RetentionOptions::default() };
        let told = async {
            reports.changed().await.unwrap();
            watch.changed().await;
            let page = store.audit(&AuditQuery { filter: Filter::default(), after: None, limit: 2 }).await.unwrap();
            assert_eq!(page.transactions[0].status, Status::Abandoned, "durable before anybody is told");
        };
        let work = async {
            assert_eq!(give_up(&*store, &journal, &options, Timestamp::now()).await.unwrap(), 1);
            std::future::pending::<()>().await;
        };
        let limit = tokio::time::sleep(Duration::from_secs(10));
        tokio::select! {
            () = told => {}
            () = work => unreachable!(),
            _ = task.run(std::future::pending()) => panic!("the journal's task goes on"),
            () = limit => panic!("nobody was told"),
        }
    }

    #[test]
    fn no_more_is_claimed_than_there_may_be() {
        let quota = ApplicationQuota::default();
        assert!(quota.claim(u64::MAX) && !quota.claim(1), "nothing is measured yet");
        quota.measured(40, 100);
        assert!(!quota.is_tight() && quota.claim(60) && quota.is_tight());
        assert!(!quota.claim(1));
        quota.give_back(10);
        assert!(quota.claim(10) && !quota.claim(u64::MAX));
        assert_eq!((quota.used(), quota.refused()), (100, 3));
        quota.measured(100, 50);
        assert!(!quota.claim(0), "the limit is lower since a reload");
    }

    #[test]
    fn what_could_begin_can_end() {
        let quota = ApplicationQuota::default();
        quota.measured(100, 50);
        assert!(quota.claim_answer(0) && quota.claim_answer(ANSWER_BYTES));
        assert!(!quota.claim_answer(ANSWER_BYTES + 1), "a long answer needs room");
        assert_eq!((quota.used(), quota.refused()), (100 + ANSWER_BYTES, 1));
    }
}
