//! The hold on a journal, before a store that answers as it is told.

use std::collections::VecDeque;
use std::sync::Mutex as Locked;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::*;
use crate::ids::{InstanceName, LaneId};
use crate::instance::{HealthOptions, InstanceOptions, InstanceUrl, Registry, Timeouts};
use crate::journal::ReadError;
use crate::journal::sqlite::SqliteStore;
use crate::order::{Board, MergeLimits};
use crate::replication::{CoreOptions, WorkQueue};

const TERM: Duration = Duration::from_millis(600);
const SETTLE: Duration = Duration::from_secs(60);

/// Answers in this order; the last one for ever.
#[derive(Default)]
struct Script {
    claims: Locked<VecDeque<Result<Claim, TenureError>>>,
    renewals: Locked<VecDeque<Result<Term, TenureError>>>,
    listed: Locked<Vec<(SuspicionId, Suspicion)>>,
    told: Locked<Vec<Suspicion>>,
    /// What is said, in the order in which it is said.
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
impl Tenure for Script {
    async fn claim(&self) -> Result<Claim, TenureError> {
        self.call("claim");
        next(&self.claims)
    }

    async fn renew(&self) -> Result<Term, TenureError> {
        let answer = next(&self.renewals);
        self.call("renew");
        answer
    }

    async fn suspect(&self, suspicions: &[Suspicion]) -> Result<(), ReadError> {
        self.call("suspect");
        if self.calls.lock().unwrap().iter().filter(|call| **call == "suspect").count() == 1 {
            return Err(ReadError("connection lost".to_owned()));
        }
        self.told.lock().unwrap().extend_from_slice(suspicions);
        Ok(())
    }

    async fn suspicions(&self) -> Result<Vec<(SuspicionId, Suspicion)>, ReadError> {
        let listed = self.listed.lock().unwrap().clone();
        self.call("suspicions");
        Ok(listed)
    }

    async fn release(&self) {
        self.call("release");
    }
}

struct House {
    script: Arc<Script>,
    lease: Arc<Lease>,
    standing: Arc<Standing>,
    tenancy: Arc<Tenancy>,
}

fn house() -> House {
    let (script, lease, standing) = (Arc::new(Script::default()), Arc::new(Lease::none()), Arc::default());
    let tenancy = Tenancy::new(Arc::clone(&script) as _, Arc::clone(&lease), Arc::clone(&standing), SETTLE);
    House { script, lease, standing, tenancy }
}

impl House {
    fn claims(&self, answers: impl IntoIterator<Item = Result<Claim, TenureError>>) {
        self.script.claims.lock().unwrap().extend(answers);
    }

    fn renewals(&self, answers: impl IntoIterator<Item = Result<Term, TenureError>>) {
        self.script.renewals.lock().unwrap().extend(answers);
    }

    /// A core over one instance named `a`, so that there is something to suspect.
    fn core(&self) -> (Arc<Core>, WorkQueue, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("journal.db")).unwrap());
        let name = InstanceName::new("a");
        let url = InstanceUrl::parse("http://127.0.0.1:1").unwrap();
        let options = InstanceOptions { name: name.clone(), url, ca_file: None };
        let registry = Registry::new(vec![options], Timeouts::default(), HealthOptions::default()).unwrap();
        let board = Board::new(vec![name], MergeLimits { documents: 1, bytes: 1 });
        let options = CoreOptions { cached_bytes: 0, concurrent_attempts: 8 };
        let (core, work) = Core::new(board, Vec::new(), registry, store, Arc::clone(&self.lease), &options);
        self.tenancy.loaded(Arc::clone(&core));
        (core, work, folder)
    }
}

fn granted(predecessor: Predecessor) -> Result<Claim, TenureError> {
    Ok(Claim::Granted { term: Term::For(TERM), predecessor })
}

fn unavailable() -> TenureError {
    TenureError::Unavailable("refused".to_owned())
}

fn superseded() -> TenureError {
    TenureError::Superseded { by: "edge-2".to_owned() }
}

#[tokio::test(start_paused = true)]
async fn it_stands_by_until_the_journal_is_granted_and_may_send_for_less_than_the_term() {
    let house = house();
    let held = Ok(Claim::Held { by: "edge-2".to_owned() });
    house.claims([held, Err(unavailable()), granted(Predecessor::Gone)]);
    let mut standings = Vec::new();
    let term = house.tenancy.claim(|| standings.push(house.standing.get())).await;
    assert_eq!(term, Ok(Term::For(TERM)));
    let unreachable = Waiting::Unreachable { why: "refused".to_owned() };
    assert_eq!(standings, [Waiting::Held { by: "edge-2".to_owned() }, unreachable]);
    assert_eq!((house.standing.get(), house.lease.check()), (Waiting::Starting, Ok(())));
    assert!(safe(TERM) < TERM);
}

#[tokio::test(start_paused = true)]
async fn after_a_predecessor_that_may_linger_nothing_is_sent_for_the_settle_time() {
    let house = house();
    house.claims([granted(Predecessor::MayLinger)]);
    house.tenancy.claim(|| panic!("granted at once")).await.unwrap();
    assert!(house.lease.check().is_err());
    house.lease.begin_at(clock::awake());
    assert_eq!(house.lease.check(), Ok(()), "but for that it is held");
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_cannot_be_used_is_not_asked_for_again() {
    let house = house();
    let unusable = TenureError::Unusable("its schema is newer".to_owned());
    house.claims([Err(unusable.clone())]);
    assert_eq!(house.tenancy.claim(|| ()).await, Err(unusable));
    assert_eq!(*house.script.calls.lock().unwrap(), ["claim"]);
}

#[tokio::test(start_paused = true)]
async fn it_is_renewed_while_it_can_be_and_goes_on_after_the_store_was_away() {
    let house = house();
    let (_losses, mut lost) = mpsc::channel(1);
    house.renewals([Ok(Term::For(TERM)), Err(unavailable()), Ok(Term::For(TERM)), Err(superseded())]);
    let began = tokio::time::Instant::now();
    let over = house.tenancy.keep(Term::For(TERM), &mut lost).await;
    assert_eq!(over, superseded());
    assert_eq!(house.lease.check(), Ok(()), "ended by giving up, not by the clock of this test");
    assert!(began.elapsed() >= TERM, "{:?}", began.elapsed());
    assert_eq!(house.script.calls.lock().unwrap().iter().filter(|call| **call == "renew").count(), 4);
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_it_asks_as_often_as_a_standby() {
    let house = house();
    let (_losses, mut lost) = mpsc::channel(1);
    let term = Duration::from_secs(6);
    house.renewals([Err(unavailable()), Err(unavailable()), Err(unavailable()), Err(superseded())]);
    let began = tokio::time::Instant::now();
    assert_eq!(house.tenancy.keep(Term::For(term), &mut lost).await, superseded());
    // The timer is exact to a millisecond.
    let (asked_after, slack) = (began.elapsed(), Duration::from_millis(10));
    assert!(asked_after < term / 3 + POLL * 3 + slack, "a standby would have been first: {asked_after:?}");
    assert!(asked_after >= term / 3 + POLL * 3, "not in a loop without a pause: {asked_after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_was_superseded_ends_it_at_once() {
    let house = house();
    let (losses, mut lost) = mpsc::channel(1);
    losses.send("edge-2".to_owned()).await.unwrap();
    assert_eq!(house.tenancy.keep(Term::ForLife, &mut lost).await, superseded());
    assert!(house.script.calls.lock().unwrap().is_empty());
}

#[tokio::test]
async fn late_writes_are_told_of_when_another_has_taken_over_and_forgotten_when_none_has() {
    let house = house();
    let (core, _work, _folder) = house.core();
    let places = [LaneId::Catalog];
    core.overruns().note(&places, crate::ids::InstanceId(0));
    house.renewals([Ok(Term::For(TERM))]);
    house.tenancy.renew().await.unwrap();
    assert!(core.overruns().all().is_empty(), "nobody else has sent anything meanwhile");

    core.overruns().note(&places, crate::ids::InstanceId(0));
    let sending = house.lease.sending();
    let noted = async {
        // Still on its way out: giving up waits for it.
        tokio::task::yield_now().await;
        assert!(house.script.told.lock().unwrap().is_empty());
        drop(sending);
    };
    let why = superseded();
    tokio::join!(biased; house.tenancy.give_up(&why), noted);
    assert!(house.lease.check().is_err());
    let told = house.script.told.lock().unwrap().clone();
    assert_eq!(told, [Suspicion { lane: LaneId::Catalog, instance: InstanceName::new("a") }], "and it was tried again");
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_edge_feared_reaches_the_board_once() {
    let house = house();
    let (_core, mut work, _folder) = house.core();
    let suspicion = Suspicion { lane: LaneId::Catalog, instance: InstanceName::new("a") };
    let gone = Suspicion { lane: LaneId::Catalog, instance: InstanceName::new("gone") };
    house.script.listed.lock().unwrap().extend([(SuspicionId(7), suspicion), (SuspicionId(8), gone)]);
    house.renewals([Ok(Term::For(TERM))]);
    let (_losses, mut lost) = mpsc::channel(1);
    tokio::select! {
        _ = house.tenancy.keep(Term::For(TERM), &mut lost) => panic!("it is renewed"),
        () = house.script.calls("suspicions", 3) => {}
    }
    let rest = "AwaitCalm { lane: Catalog, instance: InstanceId(0), rest: 1, why: Doubt { in_a_row: 0 } }";
    assert_eq!(work.describe(), ["Inspect { instance: InstanceId(0) }", rest, "handled 7", "handled 8"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_given_back_is_never_asked_for_again() {
    let house = house();
    house.claims([granted(Predecessor::Gone)]);
    house.renewals([Ok(Term::For(TERM))]);
    house.tenancy.claim(|| ()).await.unwrap();
    house.tenancy.stop_sending().await;
    assert!(house.lease.check().is_err());
    house.tenancy.release().await;
    let (_losses, mut lost) = mpsc::channel(1);
    let kept = timeout(TERM * 10, house.tenancy.keep(Term::For(TERM), &mut lost)).await;
    assert!(kept.is_err(), "neither renewed nor taken for lost");
    assert_eq!(*house.script.calls.lock().unwrap(), ["claim", "release"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_never_granted_is_not_given_back() {
    let house = house();
    house.claims([granted(Predecessor::Gone)]);
    house.tenancy.stop_sending().await;
    house.tenancy.release().await;
    assert!(timeout(TERM * 10, house.tenancy.claim(|| ())).await.is_err(), "nor is it asked for any more");
    assert!(house.script.calls.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_an_earlier_edge_is_not_cut_short_by_giving_back() {
    let house = house();
    house.claims([granted(Predecessor::MayLinger)]);
    house.tenancy.claim(|| ()).await.unwrap();
    house.tenancy.stop_sending().await;
    house.tenancy.release().await;
    assert_eq!(*house.script.calls.lock().unwrap(), ["claim"], "the next edge would send at once");
}
