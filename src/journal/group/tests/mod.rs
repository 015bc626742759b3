//! The group commit in front of a store that does what a test tells it.

mod appends;
mod breach;
mod facts;
mod failures;
mod fake;
mod shutdown;

use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use self::fake::{Fake, Plan};
use super::*;
use crate::clock::Timestamp;
use crate::ids::TransactionId;
use crate::ids::{InstanceName, LaneId};
use crate::journal::contract::{MADE, draft, keyed, progress};
use crate::journal::{
    AuditPage, AuditQuery, Batch, CollectionTimes, CommitError, Details, EventId, EventPage, EventScope, Fault,
    HeldLane, History, Lookup, OperationType, QuarantineRow, ReadError, Recent, Request, Snapshot, Status,
    StatusSummary, TimingGap, Totals, TransactionRow, Trimmed, Trimming,
};

#[derive(Default)]
struct Lanes {
    received: Mutex<Vec<(Seq, TransactionId)>>,
    changed: Notify,
}

impl DurableSink for Lanes {
    fn appended(&self, entries: Vec<Appended>) {
        let received = entries.into_iter().map(|entry| (entry.seq, entry.draft.transaction_id));
        self.received.lock().unwrap().extend(received);
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

    fn received(&self) -> Vec<(Seq, TransactionId)> {
        self.lanes.received.lock().unwrap().clone()
    }

    fn append(&self, draft: Draft) -> JoinHandle<Result<Seq, AppendError>> {
        let journal = self.journal.clone();
        tokio::spawn(async move { journal.append(draft).await })
    }

    /// Holds the store in a commit. Everything queued meanwhile waits for the next one.
    async fn hold(&self) -> oneshot::Sender<()> {
        let (release, released) = oneshot::channel();
        self.store.plan(Plan::Hold(released));
        drop(self.journal.record(vec![fact(0)]));
        self.store.entered.notified().await;
        release
    }

    /// Waits until this many appends wait.
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
