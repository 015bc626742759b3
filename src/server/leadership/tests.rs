//! Holding a journal, tested with a store that gives scripted answers.

mod giving_back;

use std::collections::VecDeque;
use std::sync::Mutex as Locked;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::*;
use crate::coordinator::{CoreParts, Markers, Restored, WorkQueue};
use crate::current::Current;
use crate::executor::{Holds, RecordWrites, ResourceLimits, Resources};
use crate::ids::{InstanceName, LaneId};
use crate::instance::{HealthOptions, InstanceOptions, InstanceUrl, Registry, Timeouts, Trust, UpstreamHeaders};
use crate::journal::retention::{ApplicationQuota, RetentionOptions};
use crate::journal::sqlite::SqliteStore;
use crate::journal::{Journal, JournalOptions, ReadError};
use crate::order::{Board, MergeLimits};

const TERM: Duration = Duration::from_millis(600);
const SETTLE: Duration = Duration::from_secs(60);

/// Answers in this order, and repeats the last one forever.
#[derive(Default)]
struct Script {
    claims: Locked<VecDeque<Result<Claim, LeadershipError>>>,
    renewals: Locked<VecDeque<Result<LeaseTerm, LeadershipError>>>,
    listed: Locked<Vec<(LateWriteId, LateWrite)>>,
    told: Locked<Vec<LateWrite>>,
    /// The calls, in order.
    calls: Locked<Vec<&'static str>>,
    called: Notify,
}

impl Script {
    fn call(&self, name: &'static str) {
        self.calls.lock().unwrap().push(name);
        self.called.notify_waiters();
    }

    async fn calls(&self, name: &str, count: usize) {
        loop {
            let called = self.called.notified();
            if self.calls.lock().unwrap().iter().filter(|call| **call == name).count() >= count {
                return;
            }
            called.await;
        }
    }
}

fn next<T: Clone>(answers: &Locked<VecDeque<T>>) -> T {
    let mut answers = answers.lock().unwrap();
    if answers.len() > 1 { answers.pop_front().unwrap() } else { answers.front().unwrap().clone() }
}

#[async_trait]
impl Leadership for Script {
    async fn claim(&self) -> Result<Claim, LeadershipError> {
        self.call("claim");
        next(&self.claims)
    }

    async fn renew(&self) -> Result<LeaseTerm, LeadershipError> {
        let answer = next(&self.renewals);
        self.call("renew");
        answer
    }

    async fn report_late_writes(&self, late_writes: &[LateWrite]) -> Result<(), ReadError> {
        self.call("report_late_writes");
        if self.calls.lock().unwrap().iter().filter(|call| **call == "report_late_writes").count() == 1 {
            return Err(ReadError::new("connection lost"));
        }
        self.told.lock().unwrap().extend_from_slice(late_writes);
        Ok(())
    }

    async fn late_writes(&self) -> Result<Vec<(LateWriteId, LateWrite)>, ReadError> {
        let listed = self.listed.lock().unwrap().clone();
        self.call("late_writes");
        Ok(listed)
    }

    async fn release(&self) {
        self.call("release");
    }
}

struct Fixture {
    script: Arc<Script>,
    lease: Arc<Lease>,
    late_writes: Arc<LateWrites>,
    standby: Arc<StandbyState>,
    holder: Arc<LeaseHolder>,
}

fn fixture() -> Fixture {
    let (script, lease, standby) = (Arc::new(Script::default()), Arc::new(Lease::none()), Arc::default());
    let holder =
        LeaseHolder::new(Arc::clone(&script) as _, Arc::clone(&lease), Arc::clone(&standby), Current::new(SETTLE));
    let late_writes = Arc::clone(holder.late_writes());
    Fixture { script, lease, late_writes, standby, holder }
}

impl Fixture {
    fn claims(&self, answers: impl IntoIterator<Item = Result<Claim, LeadershipError>>) {
        self.script.claims.lock().unwrap().extend(answers);
    }

    fn renewals(&self, answers: impl IntoIterator<Item = Result<LeaseTerm, LeadershipError>>) {
        self.script.renewals.lock().unwrap().extend(answers);
    }

    /// A core over one instance named `a`, so that there can be late writes.
    fn core(&self) -> (Arc<Core>, WorkQueue, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("journal.db")).unwrap());
        let name = InstanceName::new("a");
        let url = InstanceUrl::parse("http://127.0.0.1:1").unwrap();
        let options =
            InstanceOptions { name: name.clone(), url, trust: Trust::default(), headers: UpstreamHeaders::default() };
        let registry = Registry::new(vec![options], Timeouts::default(), HealthOptions::default()).unwrap();
        let board = Board::new(vec![name], MergeLimits { documents: 1, bytes: 1 });
        let limits = ResourceLimits {
            cached_bytes: 0,
            holds: Holds { writers: Duration::ZERO, replicas: Duration::ZERO },
            concurrent_attempts: 8,
            record_writes: RecordWrites::SideBySide,
        };
        let requests = Resources::new(Arc::clone(&store) as _, 1, Arc::clone(&self.late_writes), &limits);
        let (journal, _never_run) = Journal::open(Arc::clone(&store) as _, JournalOptions::default());
        let applications = ApplicationQuota::new(Current::new(RetentionOptions::default()));
        let lease = Arc::clone(&self.lease);
        let parts = CoreParts { registry, store, lease, journal, applications, requests };
        let (core, work) = Core::new(
            Restored {
                board,
                effects: Vec::new(),
                halted: Vec::new(),
                markers: Markers::new(uuid::Uuid::nil(), vec![None]),
            },
            parts,
        );
        self.holder.loaded(Arc::clone(&core));
        (core, work, folder)
    }
}

fn granted(predecessor: Predecessor) -> Result<Claim, LeadershipError> {
    Ok(Claim::Granted { term: LeaseTerm::For(TERM), predecessor })
}

fn unavailable() -> LeadershipError {
    LeadershipError::Unavailable("refused".to_owned())
}

fn superseded() -> LeadershipError {
    LeadershipError::Superseded { by: "edge-2".to_owned() }
}

#[tokio::test(start_paused = true)]
async fn it_stands_by_until_the_journal_is_granted_and_may_send_for_less_than_the_term() {
    let fixture = fixture();
    let held = Ok(Claim::Held { by: "edge-2".to_owned() });
    fixture.claims([held, Err(unavailable()), granted(Predecessor::Gone)]);
    let mut standings = Vec::new();
    let term = fixture.holder.claim(|| standings.push(fixture.standby.get())).await;
    assert_eq!(term, Ok(LeaseTerm::For(TERM)));
    let unreachable = StandbyReason::Unreachable { why: "refused".to_owned() };
    assert_eq!(standings, [StandbyReason::Held { by: "edge-2".to_owned() }, unreachable]);
    assert_eq!((fixture.standby.get(), fixture.lease.check()), (StandbyReason::Starting, Ok(())));
    assert!(safe(TERM) < TERM);
}

#[tokio::test(start_paused = true)]
async fn after_a_predecessor_that_may_linger_nothing_is_sent_for_the_settle_time() {
    let fixture = fixture();
    fixture.claims([granted(Predecessor::MayLinger)]);
    fixture.holder.claim(|| panic!("granted at once")).await.unwrap();
    assert!(fixture.lease.check().is_err());
    fixture.lease.begin_at(clock::awake());
    assert_eq!(fixture.lease.check(), Ok(()), "but for that it is held");
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_cannot_be_used_is_not_asked_for_again() {
    let fixture = fixture();
    let unusable = LeadershipError::Unusable("its schema is newer".to_owned());
    fixture.claims([Err(unusable.clone())]);
    assert_eq!(fixture.holder.claim(|| ()).await, Err(unusable));
    assert_eq!(*fixture.script.calls.lock().unwrap(), ["claim"]);
}

#[tokio::test(start_paused = true)]
async fn it_is_renewed_while_it_can_be_and_goes_on_after_the_store_was_away() {
    let fixture = fixture();
    let (_losses, mut lost) = mpsc::channel(1);
    fixture.renewals([Ok(LeaseTerm::For(TERM)), Err(unavailable()), Ok(LeaseTerm::For(TERM)), Err(superseded())]);
    let began = tokio::time::Instant::now();
    let over = fixture.holder.keep(LeaseTerm::For(TERM), &mut lost).await;
    assert_eq!(over, superseded());
    assert_eq!(fixture.lease.check(), Ok(()), "ended by giving up, not by the clock of this test");
    assert!(began.elapsed() >= TERM, "{:?}", began.elapsed());
    assert_eq!(fixture.script.calls.lock().unwrap().iter().filter(|call| **call == "renew").count(), 4);
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_it_asks_as_often_as_a_standby() {
    let fixture = fixture();
    let (_losses, mut lost) = mpsc::channel(1);
    let term = Duration::from_secs(6);
    fixture.renewals([Err(unavailable()), Err(unavailable()), Err(unavailable()), Err(superseded())]);
    let began = tokio::time::Instant::now();
    assert_eq!(fixture.holder.keep(LeaseTerm::For(term), &mut lost).await, superseded());
    // The timer is exact to a millisecond.
    let (asked_after, slack) = (began.elapsed(), Duration::from_millis(10));
    assert!(asked_after < term / 3 + POLL * 3 + slack, "a standby would have been first: {asked_after:?}");
    assert!(asked_after >= term / 3 + POLL * 3, "not in a loop without a pause: {asked_after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_was_superseded_ends_it_at_once() {
    let fixture = fixture();
    let (losses, mut lost) = mpsc::channel(1);
    losses.send("edge-2".to_owned()).await.unwrap();
    assert_eq!(fixture.holder.keep(LeaseTerm::ForLife, &mut lost).await, superseded());
    assert!(fixture.script.calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn late_writes_are_told_of_when_another_has_taken_over_and_forgotten_when_none_has() {
    let fixture = fixture();
    let (_core, _work, _folder) = fixture.core();
    let places = [LaneId::Catalog];
    fixture.late_writes.note(&places, crate::ids::InstanceId(0));
    fixture.renewals([Ok(LeaseTerm::For(TERM))]);
    fixture.holder.renew().await.unwrap();
    assert!(fixture.late_writes.all().is_empty(), "nobody else has sent anything meanwhile");

    fixture.late_writes.note(&places, crate::ids::InstanceId(0));
    let sending = fixture.lease.sending();
    let noted = async {
        // Still being sent: giving up waits for it.
        tokio::task::yield_now().await;
        assert!(fixture.script.told.lock().unwrap().is_empty());
        drop(sending);
    };
    let why = superseded();
    tokio::join!(biased; fixture.holder.give_up(&why), noted);
    assert!(fixture.lease.check().is_err());
    let told = fixture.script.told.lock().unwrap().clone();
    assert_eq!(told, [LateWrite { lane: LaneId::Catalog, instance: InstanceName::new("a") }], "and it was tried again");
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_edge_feared_reaches_the_board_once() {
    let fixture = fixture();
    let (_core, mut work, _folder) = fixture.core();
    let late_write = LateWrite { lane: LaneId::Catalog, instance: InstanceName::new("a") };
    let gone = LateWrite { lane: LaneId::Catalog, instance: InstanceName::new("gone") };
    fixture.script.listed.lock().unwrap().extend([(LateWriteId(7), late_write), (LateWriteId(8), gone)]);
    fixture.renewals([Ok(LeaseTerm::For(TERM))]);
    let (_losses, mut lost) = mpsc::channel(1);
    tokio::select! {
        _ = fixture.holder.keep(LeaseTerm::For(TERM), &mut lost) => panic!("it is renewed"),
        () = fixture.script.calls("late_writes", 3) => {}
    }
    let wait =
        "AwaitQuiescence { lane: Catalog, instance: InstanceId(0), wait: WaitId(1), why: Settle { in_a_row: 0 } }";
    assert_eq!(work.describe(), ["Inspect { instance: InstanceId(0) }", wait, "handled 7", "handled 8"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_given_back_is_never_asked_for_again() {
    let fixture = fixture();
    fixture.claims([granted(Predecessor::Gone)]);
    fixture.renewals([Ok(LeaseTerm::For(TERM))]);
    fixture.holder.claim(|| ()).await.unwrap();
    fixture.holder.stop_sending().await;
    assert!(fixture.lease.check().is_err());
    fixture.holder.release().await;
    let (_losses, mut lost) = mpsc::channel(1);
    let kept = timeout(TERM * 10, fixture.holder.keep(LeaseTerm::For(TERM), &mut lost)).await;
    assert!(kept.is_err(), "neither renewed nor taken for lost");
    assert_eq!(*fixture.script.calls.lock().unwrap(), ["claim", "release"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_never_granted_is_not_given_back() {
    let fixture = fixture();
    fixture.claims([granted(Predecessor::Gone)]);
    fixture.holder.stop_sending().await;
    fixture.holder.release().await;
    assert!(timeout(TERM * 10, fixture.holder.claim(|| ())).await.is_err(), "nor is it asked for any more");
    assert!(fixture.script.calls.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_an_earlier_edge_is_not_cut_short_by_giving_back() {
    let fixture = fixture();
    fixture.claims([granted(Predecessor::MayLinger)]);
    fixture.holder.claim(|| ()).await.unwrap();
    fixture.holder.stop_sending().await;
    fixture.holder.release().await;
    assert_eq!(*fixture.script.calls.lock().unwrap(), ["claim"], "the next edge would send at once");
}
