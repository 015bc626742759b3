//! What applications' own operations may take of the journal, and how long one may stay open (decisions 0048 and 0055).
//!
//! An application that never ends its operations must not push other clients' finished writes, and with them their ids,
//! out of the journal. The code that begins an operation decides which one is refused when the quota is reached.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{CapacityError, RetentionOptions, capacity};
use crate::clock::Timestamp;
use crate::current::Current;
use crate::journal::{
    APPLICATION_BYTES, ApplicationReport, ApplicationUse, AuditQuery, Fact, Filter, Journal, OperationType, ReadError,
    Status, Store, TimingGap, Trimming,
};

/// The most operations that one commit ends.
const BATCH: u32 = 500;

/// How many bytes applications' own operations take and may take, in total and per client. The total is measured from
/// time to time, and counted in between. What a client takes is read from the journal each time one of its operations
/// begins, so it is right after a restart, and whichever edge wrote to the journal. Only bytes that are not durable yet
/// are counted here.
#[derive(Debug)]
pub struct ApplicationQuota {
    options: Current<RetentionOptions>,
    used: AtomicU64,
    refused: AtomicU64,
    /// Bytes that are not durable yet, by client.
    coming: Mutex<HashMap<String, u64>>,
    /// The bytes of the client that takes most, as measured.
    largest: AtomicU64,
    clients_refused: AtomicU64,
    /// Whether a client has used more than half of its share.
    crowded: AtomicBool,
}

/// The bytes that a client is about to take, together with its other bytes that are not durable yet. They count until
/// this is dropped, which happens when they are durable or never will be.
#[must_use]
pub struct Coming<'a> {
    quota: &'a ApplicationQuota,
    client: String,
    bytes: u64,
    all: u64,
}

impl Coming<'_> {
    /// Returns whether the client may take these bytes when it takes `taken` already. Read `taken` from the journal
    /// after creating this value: then, of two operations that begin at the same time, the later one counts the other,
    /// either there or here.
    pub fn fits(&self, taken: u64) -> bool {
        let share = self.quota.client_limit();
        let sum = taken.saturating_add(self.all);
        if sum > share / 2 {
            self.quota.crowded.store(true, Ordering::Release);
        }
        let fits = sum <= share;
        if !fits {
            self.quota.clients_refused.fetch_add(1, Ordering::Relaxed);
        }
        fits
    }
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        let mut coming = self.quota.coming();
        let Entry::Occupied(mut entry) = coming.entry(std::mem::take(&mut self.client)) else { return };
        *entry.get_mut() = entry.get().saturating_sub(self.bytes);
        if *entry.get() == 0 {
            entry.remove();
        }
    }
}

impl ApplicationQuota {
    pub fn new(options: Current<RetentionOptions>) -> ApplicationQuota {
        ApplicationQuota {
            options,
            used: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            coming: Mutex::default(),
            largest: AtomicU64::new(0),
            clients_refused: AtomicU64::new(0),
            crowded: AtomicBool::new(false),
        }
    }

    /// Returns whether this many more bytes may be journaled. If so, they count from now on.
    pub fn claim(&self, bytes: u64) -> bool {
        let limit = self.limit();
        let more = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= limit);
        let claimed = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok();
        if !claimed {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        claimed
    }

    /// Returns bytes to the quota that were not journaled.
    pub fn give_back(&self, bytes: u64) {
        let less = |used: u64| Some(used.saturating_sub(bytes));
        let _ = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }

    /// Counts bytes of this client as on their way to the journal.
    pub fn comes(&self, client: String, bytes: u64) -> Coming<'_> {
        let mut coming = self.coming();
        let all = coming.entry(client.clone()).or_default();
        *all = all.saturating_add(bytes);
        let all = *all;
        drop(coming);
        Coming { quota: self, client, bytes, all }
    }

    /// Records how much the operations take, as measured.
    pub fn measured(&self, used: &ApplicationUse) {
        self.used.store(used.bytes, Ordering::Release);
        let largest = used.largest.as_ref().map_or(0, |client| client.bytes);
        self.largest.store(largest, Ordering::Release);
        self.crowded.store(largest > self.client_limit() / 2, Ordering::Release);
    }

    /// Returns how many bytes the operations take.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    /// Returns how many bytes they may take.
    pub fn limit(&self) -> u64 {
        self.options.get().application_bytes
    }

    /// Returns how many operations were refused since the start because all of them together take too much.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Returns the bytes of the client that takes most, as measured.
    pub fn largest(&self) -> u64 {
        self.largest.load(Ordering::Acquire)
    }

    /// Returns how many bytes one client's operations may take.
    pub fn client_limit(&self) -> u64 {
        self.options.get().application_client_bytes
    }

    /// Returns how many operations were refused since the start because those of their client take too much.
    pub fn clients_refused(&self) -> u64 {
        self.clients_refused.load(Ordering::Relaxed)
    }

    /// Returns whether room should be made for the next operations.
    pub(super) fn is_tight(&self) -> bool {
        self.used() > self.limit() / 2 || self.crowded.load(Ordering::Acquire)
    }

    fn coming(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        // Held for a few instructions, never across an await.
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns how many bytes an operation counts for its failure reason and its answer, given the bytes of both together.
pub fn counted(reason_and_answer: u64) -> u64 {
    reason_and_answer.max(APPLICATION_BYTES)
}

/// Ends the operations whose end was not reported in time, and returns how many there were. Their end is recorded like
/// every other outcome, so that event streams and callers waiting for an operation are notified. After a crash in
/// between, the next round ends the rest.
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

/// Returns the facts that end the oldest operations whose end was not reported in time, as many as one commit takes.
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

/// Makes room, and returns what the operations take now. While one client's operations take more than half of its
/// share, its ended operations are removed early, the oldest first. Then the same is done with those of all clients,
/// while all operations take more than half of what they may. Operations whose id may still be repeated are kept.
pub(in crate::journal) async fn make_room(
    store: &dyn Store,
    options: &RetentionOptions,
) -> Result<ApplicationUse, CapacityError> {
    let enough = options.application_client_bytes / 2;
    let crowds = |used: &ApplicationUse| used.largest.as_ref().is_some_and(|client| client.bytes > enough);
    trim_while(store, options, enough, crowds).await?;
    trim_while(store, options, 0, |used| used.bytes > options.application_bytes / 2).await
}

async fn trim_while(
    store: &dyn Store,
    options: &RetentionOptions,
    above: u64,
    is_tight: impl Fn(&ApplicationUse) -> bool,
) -> Result<ApplicationUse, CapacityError> {
    let mut used = store.application_use().await?;
    let ages = capacity::ages(options.keep).take_while(|age| *age > options.keep_ids);
    for age in ages.chain([options.keep_ids]) {
        loop {
            if !is_tight(&used) {
                return Ok(used);
            }
            let before = Timestamp::now().before(age);
            let trimmed = store.trim(before, &[], Trimming::Applications { above }, options.batch).await?;
            if trimmed.transactions == 0 {
                break;
            }
            used = store.application_use().await?;
        }
    }
    Ok(used)
}

/// The default quota of all operations: a tenth of the journal.
pub const fn share_of(max_bytes: u64) -> u64 {
    max_bytes / 10
}

/// The default share of one client: half of what all may take.
pub const fn client_share_of(application_bytes: u64) -> u64 {
    application_bytes / 2
}

/// The default time that an operation may stay open.
pub const AGE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::journal::contract::application::{begin, operation};
    use crate::journal::sqlite::SqliteStore;
    use crate::journal::{Appended, ClientUse, DurableSink, JournalOptions};

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

    fn quota(application_bytes: u64, application_client_bytes: u64) -> (ApplicationQuota, Current<RetentionOptions>) {
        let options = RetentionOptions { application_bytes, application_client_bytes, ..RetentionOptions::default() };
        let options = Current::new(options);
        (ApplicationQuota::new(options.clone()), options)
    }

    fn used(bytes: u64) -> ApplicationUse {
        ApplicationUse { bytes, largest: Some(ClientUse { client: "token a".to_owned(), bytes }) }
    }

    #[test]
    fn no_more_is_claimed_than_there_may_be() {
        let (quota, options) = quota(100, 100);
        quota.measured(&used(40));
        assert!(!quota.is_tight() && quota.claim(60) && quota.is_tight());
        assert!(!quota.claim(1));
        quota.give_back(10);
        assert!(quota.claim(10) && !quota.claim(u64::MAX));
        assert_eq!((quota.used(), quota.refused()), (100, 2));
        options.set(RetentionOptions { application_bytes: 50, ..RetentionOptions::clone(&options.get()) });
        assert!(!quota.claim(0), "the limit is lower since a reload");
    }

    #[test]
    fn a_client_takes_no_more_than_its_share_and_nothing_of_anothers() {
        let (quota, options) = quota(1000, 100);
        let comes = |client: &str, bytes| quota.comes(client.to_owned(), bytes);
        let first = comes("token a", 60);
        assert!(first.fits(40) && !first.fits(41));
        let second = comes("token a", 10);
        assert!(second.fits(30) && !second.fits(31), "what is on its way counts");
        assert!(first.fits(40), "and what came later does not");
        assert!(comes("token b", 100).fits(0), "another one has its own");
        drop(first);
        assert!(comes("token a", 20).fits(70), "what has arrived is in the journal's count");
        assert_eq!((quota.clients_refused(), quota.refused()), (2, 0));
        drop(second);
        assert!(quota.coming().is_empty(), "who has nothing on its way takes no memory");
        options.set(RetentionOptions { application_client_bytes: 50, ..RetentionOptions::clone(&options.get()) });
        assert!(!comes("token b", 51).fits(0), "the share is smaller since a reload");
    }

    #[test]
    fn room_is_made_for_a_client_that_has_half_of_its_share() {
        let (quota, _) = quota(1000, 100);
        assert!(quota.comes("token a".to_owned(), 10).fits(40) && !quota.is_tight());
        assert!(quota.comes("token a".to_owned(), 10).fits(41) && quota.is_tight());
        quota.measured(&used(50));
        assert!(!quota.is_tight());
        quota.measured(&used(51));
        assert!(quota.is_tight());
        assert_eq!(quota.largest(), 51);
    }
}
