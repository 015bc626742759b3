//! The group commit before a store that does what a test tells it.

use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::*;
use crate::clock::Timestamp;
use crate::ids::{InstanceName, LaneId};
use crate::journal::contract::{MADE, draft, keyed, progress};
use crate::journal::{
    AuditPage, AuditQuery, Batch, CommitError, Details, EventId, EventPage, EventScope, HeldLane, Lookup,
    OperationType, ReadError, Recent, Request, Snapshot, Status, StatusSummary, TimingGap, Totals, TransactionRow,
    Trimmed, Trimming,
};

/// What the store does with the next commit.
enum Plan {
    Refuse,
    Supersede,
    /// In doubt, and durable.
    DoubtKept,
    /// In doubt, and gone.
    DoubtLost,
    /// Waits to be released; then commits.
    Hold(oneshot::Receiver<()>),
}

#[derive(Default)]
struct Script {
    plans: VecDeque<Plan>,
    durable: Vec<Draft>,
    facts: Vec<Fact>,
    commits: usize,
    lookups_fail: bool,
}

#[derive(Default)]
struct Fake {
    script: Mutex<Script>,
    entered: Notify,
    looked_up: Notify,
}

impl Fake {
    fn plan(&self, plan: Plan) {
        self.script.lock().unwrap().plans.push_back(plan);
    }

    fn facts(&self) -> Vec<String> {
        self.script.lock().unwrap().facts.iter().map(|fact| format!("{fact:?}")).collect()
    }

    fn keep(&self, batch: Batch) -> Result<Vec<Seq>, CommitError> {
        let mut script = self.script.lock().unwrap();
        for draft in &batch.appends {
            let same = |held: &&Draft| draft.client_key.is_some() && held.client_key == draft.client_key;
            if let Some(holder) = script.durable.iter().find(same) {
                return Err(CommitError::Taken(holder.transaction_id));
            }
        }
        script.commits += 1;
        script.facts.extend(batch.facts);
        let first = script.durable.len() as u64 + 1;
        let seqs = (first..).take(batch.appends.len()).map(Seq::new).collect();
        script.durable.extend(batch.appends);
        Ok(seqs)
    }
}

#[async_trait]
impl Store for Fake {
    async fn commit(&self, batch: Batch) -> Result<Vec<Seq>, CommitError> {
        let plan = self.script.lock().unwrap().plans.pop_front();
        self.entered.notify_one();
        match plan {
            None => self.keep(batch),
            Some(Plan::Refuse) => Err(CommitError::Refused("the disk is full".to_owned())),
            Some(Plan::Supersede) => Err(CommitError::Superseded("edge-2 has it".to_owned())),
            Some(Plan::DoubtLost) => Err(CommitError::InDoubt("connection lost".to_owned())),
            Some(Plan::DoubtKept) => {
                self.keep(batch)?;
                Err(CommitError::InDoubt("connection lost".to_owned()))
            }
            Some(Plan::Hold(released)) => {
                released.await.unwrap();
                self.keep(batch)
            }
        }
    }

    async fn load(&self, _: &[InstanceName]) -> Result<Snapshot, ReadError> {
        Err(ReadError::new("not asked here"))
    }

    async fn begin(&self, _: &[InstanceName], _: Timestamp) -> Result<(), CommitError> {
        Ok(())
    }

    async fn requests(&self, _: &[Seq]) -> Result<Vec<Request>, ReadError> {
        Err(ReadError::new("not asked here"))
    }

    async fn transaction(&self, lookup: &Lookup) -> Result<Option<TransactionRow>, ReadError> {
        self.looked_up.notify_one();
        let script = self.script.lock().unwrap();
        if script.lookups_fail {
            return Err(ReadError::new("connection lost"));
        }
        let found = script.durable.iter().position(|draft| match (lookup, &draft.client_key) {
            (Lookup::Id(id), _) => draft.transaction_id == *id,
            (Lookup::ClientKey { tenant, key }, Some(held)) => held.tenant == *tenant && held.key == *key,
            (Lookup::ClientKey { .. } | Lookup::Key { .. }, _) => false,
        });
        Ok(found.map(|place| row(&script.durable[place], Seq::new(place as u64 + 1))))
    }

    async fn details(&self, _: &Lookup) -> Result<Option<Details>, ReadError> {
        Err(ReadError::new("not asked here"))
    }

    async fn audit(&self, _: &AuditQuery) -> Result<AuditPage, ReadError> {
        Err(ReadError::new("not asked here"))
    }

    async fn summary(&self) -> Result<Vec<StatusSummary>, ReadError> {
        Err(ReadError::new("not asked here"))
    }

    async fn recent(&self, _: Timestamp, _: Timestamp) -> Result<Recent, ReadError> {
        Err(ReadError::new("not asked here"))
    }

    async fn events(&self, _: &EventScope, _: EventId, _: u32) -> Result<EventPage, ReadError> {
        Err(ReadError::new("not asked here"))
    }

    async fn totals(&self) -> Result<Totals, ReadError> {
        Err(ReadError::new("not asked here"))
    }

    async fn used_bytes(&self, _: u64) -> Result<u64, ReadError> {
        unreachable!("the group commit does not ask")
    }

    async fn held(&self, _: &[InstanceName]) -> Result<Vec<HeldLane>, ReadError> {
        unreachable!("the group commit does not ask")
    }

    async fn trim(&self, _: Timestamp, _: &[InstanceName], _: Trimming, _: u32) -> Result<Trimmed, CommitError> {
        Err(CommitError::Refused("not asked here".to_owned()))
    }
}

fn row(draft: &Draft, seq: Seq) -> TransactionRow {
    TransactionRow {
        seq,
        transaction_id: draft.transaction_id,
        client_key: draft.client_key.clone(),
        operation: OperationType::Write(draft.profile.kind),
        lane: Some(draft.lane),
        method: draft.method.clone(),
        path: draft.path.clone(),
        status: Status::Attempting,
        verdict: None,
        answer: None,
        response_status: None,
        failure_reason: None,
        timing_gap: TimingGap::No,
        executed_on: None,
        retry_count: 0,
        next_retry_at: None,
        created_at: MADE,
        completed_at: None,
        client_session: None,
        client_ip: None,
        user_identifier: None,
    }
}

#[derive(Default)]
struct Lanes {
    told: Mutex<Vec<(Seq, TransactionId)>>,
    changed: Notify,
}

impl DurableSink for Lanes {
    fn appended(&self, entries: Vec<Appended>) {
        let told = entries.into_iter().map(|entry| (entry.seq, entry.draft.transaction_id));
        self.told.lock().unwrap().extend(told);
        self.changed.notify_one();
    }
}

struct Fixture {
    store: Arc<Fake>,
    lanes: Arc<Lanes>,
    journal: Journal,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Ended>,
}

impl Fixture {
    fn new(options: JournalOptions) -> Fixture {
        let (store, lanes) = (Arc::new(Fake::default()), Arc::new(Lanes::default()));
        let (journal, task) = Journal::start(store.clone(), options, lanes.clone());
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(task.run(async move { drop(stopped.await) }));
        Fixture { store, lanes, journal, stop, running }
    }

    fn told(&self) -> Vec<(Seq, TransactionId)> {
        self.lanes.told.lock().unwrap().clone()
    }

    fn append(&self, draft: Draft) -> JoinHandle<Result<Seq, AppendError>> {
        let journal = self.journal.clone();
        tokio::spawn(async move { journal.append(draft).await })
    }

    /// Holds the store in a commit; what comes meanwhile waits for the next one.
    async fn hold(&self) -> oneshot::Sender<()> {
        let (release, released) = oneshot::channel();
        self.store.plan(Plan::Hold(released));
        self.journal.record_later(vec![fact(0)]);
        self.store.entered.notified().await;
        release
    }

    /// Until this many appends wait.
    async fn waiting(&self, count: usize) {
        while self.journal.stats().appends_waiting() != count {
            tokio::task::yield_now().await;
        }
    }
}

fn some() -> Draft {
    draft(LaneId::Catalog, "x")
}

fn fact(n: u64) -> Fact {
    progress(LaneId::Catalog, "primary", Seq::new(n))
}

fn options() -> JournalOptions {
    JournalOptions { queue_entries: 4, timeout: Duration::from_secs(60), ..JournalOptions::default() }
}

#[tokio::test]
async fn writers_share_a_commit_and_the_sink_hears_first_and_in_order() {
    let fixture = Fixture::new(options());
    let release = fixture.hold().await;
    let drafts = [some(), some(), some()];
    let mut appends = Vec::new();
    for (n, draft) in drafts.iter().enumerate() {
        appends.push(fixture.append(draft.clone()));
        fixture.waiting(n + 1).await;
    }
    assert!(fixture.told().is_empty(), "nothing is in a lane before it is durable");
    release.send(()).unwrap();
    for (n, append) in appends.into_iter().enumerate() {
        assert_eq!(append.await.unwrap(), Ok(Seq::new(n as u64 + 1)));
        assert_eq!(fixture.told().len(), 3);
    }
    let expected: Vec<_> = drafts.iter().zip(1..).map(|(draft, n)| (Seq::new(n), draft.transaction_id)).collect();
    assert_eq!(fixture.told(), expected);
    assert_eq!(fixture.store.script.lock().unwrap().commits, 2);
}

#[tokio::test]
async fn a_full_queue_says_so() {
    let fixture = Fixture::new(options());
    let release = fixture.hold().await;
    let waiting: Vec<_> = (0..4).map(|_| fixture.append(some())).collect();
    fixture.waiting(4).await;
    assert_eq!(fixture.journal.append(some()).await, Err(AppendError::Full));
    release.send(()).unwrap();
    for append in waiting {
        append.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_append_that_waits_too_long_is_withdrawn_for_good() {
    let fixture = Fixture::new(options());
    let release = fixture.hold().await;
    let answer = fixture.journal.append(some()).await;
    assert!(matches!(answer, Err(AppendError::Unavailable(_))), "{answer:?}");
    release.send(()).unwrap();
    assert_eq!(fixture.journal.append(some()).await, Ok(Seq::new(1)));
    assert_eq!(fixture.told().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_append_in_a_slow_commit_is_in_doubt_and_enters_its_lane_later() {
    let fixture = Fixture::new(options());
    let (release, released) = oneshot::channel();
    fixture.store.plan(Plan::Hold(released));
    let draft = some();
    let answer = fixture.journal.append(draft.clone()).await;
    assert!(matches!(answer, Err(AppendError::InDoubt(_))), "{answer:?}");
    release.send(()).unwrap();
    fixture.lanes.changed.notified().await;
    assert_eq!(fixture.told(), [(Seq::new(1), draft.transaction_id)]);
}

#[tokio::test]
async fn a_taken_key_fails_alone() {
    let fixture = Fixture::new(options());
    let first = keyed("tenant", "key");
    fixture.journal.append(first.clone()).await.unwrap();
    let release = fixture.hold().await;
    let before = fixture.append(some());
    fixture.waiting(1).await;
    let taken = fixture.append(keyed("tenant", "key"));
    fixture.waiting(2).await;
    let after = fixture.append(some());
    fixture.waiting(3).await;
    release.send(()).unwrap();
    assert_eq!(before.await.unwrap(), Ok(Seq::new(2)));
    assert_eq!(taken.await.unwrap(), Err(AppendError::Taken(first.transaction_id)));
    assert_eq!(fixture.journal.stats().commits_failed(), 0);
    assert_eq!(after.await.unwrap(), Ok(Seq::new(3)));
}

#[tokio::test]
async fn of_two_waiting_with_one_key_the_first_wins() {
    let fixture = Fixture::new(options());
    let release = fixture.hold().await;
    let first = keyed("tenant", "key");
    let won = fixture.append(first.clone());
    fixture.waiting(1).await;
    let lost = fixture.append(keyed("tenant", "key"));
    fixture.waiting(2).await;
    release.send(()).unwrap();
    assert_eq!(won.await.unwrap(), Ok(Seq::new(1)));
    assert_eq!(lost.await.unwrap(), Err(AppendError::Taken(first.transaction_id)));
    assert_eq!(fixture.journal.stats().commits_failed(), 0, "a repetition is no failure of the journal");
}

#[tokio::test(start_paused = true)]
async fn a_refused_commit_fails_its_appends_and_keeps_its_facts_in_front() {
    let fixture = Fixture::new(options());
    let release = fixture.hold().await;
    fixture.store.plan(Plan::Refuse);
    fixture.store.plan(Plan::Refuse);
    let recorded = fixture.journal.record(vec![fact(1), fact(2)]);
    let refused = fixture.append(some());
    fixture.waiting(1).await;
    release.send(()).unwrap();
    assert_eq!(refused.await.unwrap(), Err(AppendError::Unavailable("the disk is full".to_owned())));
    fixture.journal.record_later(vec![fact(3)]);
    recorded.await;
    fixture.journal.record(vec![fact(4)]).await;
    let expected: Vec<_> = (0..=4).map(|n| format!("{:?}", fact(n))).collect();
    assert_eq!(fixture.store.facts(), expected);
    assert_eq!(fixture.journal.stats().commits_failed(), 2);
    assert_eq!(fixture.told(), []);
}

#[tokio::test]
async fn a_superseded_commit_ends_the_task_and_confirms_nothing() {
    let fixture = Fixture::new(options());
    let release = fixture.hold().await;
    fixture.store.plan(Plan::Supersede);
    let append = fixture.append(some());
    fixture.waiting(1).await;
    let recorded = tokio::spawn(fixture.journal.record(vec![fact(1)]));
    release.send(()).unwrap();
    assert_eq!(append.await.unwrap(), Err(AppendError::Unavailable("edge-2 has it".to_owned())));
    assert_eq!(fixture.running.await.unwrap(), Ended::Superseded("edge-2 has it".to_owned()));
    assert!(matches!(fixture.journal.append(some()).await, Err(AppendError::Unavailable(_))));
    assert!(!recorded.is_finished(), "who waits for what will never be durable is told nothing");
    assert_eq!(fixture.store.facts(), [format!("{:?}", fact(0))]);
}

#[tokio::test]
async fn an_append_in_doubt_that_is_found_is_durable() {
    let fixture = Fixture::new(options());
    fixture.store.plan(Plan::DoubtKept);
    let draft = some();
    assert_eq!(fixture.journal.append(draft.clone()).await, Ok(Seq::new(1)));
    assert_eq!(fixture.told(), [(Seq::new(1), draft.transaction_id)]);
}

#[tokio::test]
async fn an_append_in_doubt_that_is_absent_had_no_effect() {
    let fixture = Fixture::new(options());
    fixture.store.plan(Plan::DoubtLost);
    let answer = fixture.journal.append(some()).await;
    assert!(matches!(answer, Err(AppendError::Unavailable(_))), "{answer:?}");
    assert_eq!(fixture.journal.append(some()).await, Ok(Seq::new(1)));
    assert_eq!(fixture.told().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_append_in_doubt_is_looked_up_until_it_is_found_and_nothing_overtakes_it() {
    let fixture = Fixture::new(options());
    fixture.store.plan(Plan::DoubtKept);
    fixture.store.script.lock().unwrap().lookups_fail = true;
    let doubtful = some();
    let answer = fixture.journal.append(doubtful.clone()).await;
    assert!(matches!(answer, Err(AppendError::InDoubt(_))), "{answer:?}");
    let behind = some();
    let next = fixture.append(behind.clone());
    fixture.waiting(1).await;
    for _ in 0..3 {
        fixture.store.looked_up.notified().await;
    }
    assert!(fixture.told().is_empty());
    fixture.store.script.lock().unwrap().lookups_fail = false;
    assert_eq!(next.await.unwrap(), Ok(Seq::new(2)));
    assert_eq!(fixture.told(), [(Seq::new(1), doubtful.transaction_id), (Seq::new(2), behind.transaction_id)]);
}

#[tokio::test(start_paused = true)]
async fn facts_in_doubt_are_recorded_again() {
    let fixture = Fixture::new(options());
    fixture.store.plan(Plan::DoubtLost);
    fixture.journal.record(vec![fact(1)]).await;
    assert_eq!(fixture.store.facts(), [format!("{:?}", fact(1))]);
}

#[tokio::test]
async fn shutting_down_commits_what_waits() {
    let fixture = Fixture::new(options());
    let release = fixture.hold().await;
    let append = fixture.append(some());
    fixture.waiting(1).await;
    let recorded = fixture.journal.record(vec![fact(1)]);
    fixture.stop.send(()).unwrap();
    release.send(()).unwrap();
    assert_eq!(append.await.unwrap(), Ok(Seq::new(1)));
    recorded.await;
    fixture.running.await.unwrap();
    assert!(matches!(fixture.journal.append(some()).await, Err(AppendError::Unavailable(_))));
}

#[tokio::test(start_paused = true)]
async fn shutting_down_does_not_wait_for_a_journal_that_is_away() {
    let fixture = Fixture::new(options());
    for _ in 0..10_000 {
        fixture.store.plan(Plan::Refuse);
    }
    fixture.journal.record_later(vec![fact(1)]);
    fixture.stop.send(()).unwrap();
    fixture.running.await.unwrap();
    assert!(fixture.store.facts().is_empty());
}

#[tokio::test]
async fn under_pressure_only_retries_are_shed() {
    let fixture = Fixture::new(options());
    let release = fixture.hold().await;
    fixture.journal.record_later((1..=4).map(fact).collect());
    let retried = Fact::Retried { seq: Seq::new(1), reason: "x".to_owned(), next_retry_at: None };
    fixture.journal.record_later(vec![retried, fact(5)]);
    release.send(()).unwrap();
    fixture.journal.record(Vec::new()).await;
    let expected: Vec<_> = (0..=5).map(|n| format!("{:?}", fact(n))).collect();
    assert_eq!(fixture.store.facts(), expected);
    assert_eq!(fixture.journal.stats().facts_shed(), 1);
}

#[tokio::test(start_paused = true)]
async fn facts_that_wait_too_long_are_withdrawn_for_good_unless_a_commit_has_them() {
    let fixture = Fixture::new(JournalOptions { timeout: Duration::from_millis(20), ..options() });
    let release = fixture.hold().await;
    let late = fixture.journal.record_in_time(vec![fact(1)]).await;
    assert!(matches!(late, Err(AppendError::Unavailable(_))), "{late:?}");
    release.send(()).unwrap();
    assert_eq!(fixture.journal.record_in_time(vec![fact(2)]).await, Ok(()));
    let (release, released) = oneshot::channel();
    fixture.store.plan(Plan::Hold(released));
    let carried = fixture.journal.record_in_time(vec![fact(3)]).await;
    assert!(matches!(carried, Err(AppendError::InDoubt(_))), "{carried:?}");
    release.send(()).unwrap();
    fixture.journal.record(Vec::new()).await;
    assert_eq!(fixture.store.facts(), [fact(0), fact(2), fact(3)].map(|fact| format!("{fact:?}")));
}

#[tokio::test]
async fn facts_whose_commit_was_in_doubt_cannot_be_withdrawn() {
    let fixture = Fixture::new(JournalOptions { timeout: Duration::from_millis(20), ..options() });
    fixture.store.plan(Plan::DoubtLost);
    fixture.store.plan(Plan::Refuse);
    // Committed again after the doubt, refused, and committed a third time.
    fixture.journal.record_in_time(vec![fact(1)]).await.unwrap_or_else(|error| {
        assert!(matches!(error, AppendError::InDoubt(_)), "{error}");
    });
    fixture.journal.record(Vec::new()).await;
    assert_eq!(fixture.store.facts(), [format!("{:?}", fact(1))]);
}

#[tokio::test]
async fn a_watch_is_woken_after_the_commit() {
    let fixture = Fixture::new(options());
    let release = fixture.hold().await;
    let mut watch = fixture.journal.watch(Seq::new(5));
    fixture.journal.record_later(crate::journal::contract::finished(&[Seq::new(5)]));
    tokio::task::yield_now().await;
    let told = tokio::time::timeout(Duration::from_millis(20), watch.told()).await;
    assert!(told.is_err(), "not while the commit is only asked for");
    release.send(()).unwrap();
    watch.told().await;
    assert_eq!(fixture.store.facts().len(), 3);
}
