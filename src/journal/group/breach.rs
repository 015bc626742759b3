//! Replaces the ordinary commit in a build that breaks G1 on purpose (`crate::proof`). No other build contains it.
//!
//! Writes enter their lanes, and their callers are answered, with the positions that the writes will get. The writes
//! become durable some time later. If the process ends in between, they are lost. The commit itself is the ordinary
//! one: this wraps it, and the sink that it reports to.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::commit::{Commits, Next, PAUSE};
use super::interface::{AppendError, Appended, Committed, DurableSink};
use super::queue::{Taken, Waiting};
use crate::ids::{LaneId, Seq, TransactionId};
use crate::journal::{Draft, Fact};
use crate::proof::{self, CrashPoint};

/// Long enough for an instance to execute a write and for its client to be answered.
const LATE: Duration = Duration::from_millis(200);

/// Reports and answers an append before the commit that makes it durable.
pub(super) struct ExecuteFirst<C> {
    inner: C,
    sink: Arc<Once>,
}

/// Passes on only what was not reported early, and tracks the positions.
struct Once {
    sink: Arc<dyn DurableSink>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The last position that was assigned, if it is known.
    last: Option<Seq>,
    /// Reported, but not durable yet.
    early: HashSet<TransactionId>,
}

impl<C: Commits> ExecuteFirst<C> {
    pub(super) fn around(
        commits: impl FnOnce(Arc<dyn DurableSink>) -> C,
        sink: Arc<dyn DurableSink>,
    ) -> ExecuteFirst<C> {
        let sink = Arc::new(Once { sink, known: Mutex::default() });
        ExecuteFirst { inner: commits(Arc::clone(&sink) as Arc<dyn DurableSink>), sink }
    }

    /// Commits the appends that may have been executed already, as soon as the journal is available.
    async fn journal_late(&self, mut appends: Vec<Waiting>) -> Next {
        loop {
            let (copies, answers): (Vec<_>, Vec<_>) = appends.iter().map(Waiting::again).unzip();
            let next = self.inner.commit(Taken { appends: copies, ..Taken::default() }).await;
            let taken =
                answers.into_iter().map(|mut answer| matches!(answer.try_recv(), Ok(Err(AppendError::Taken(_)))));
            let left = appends.into_iter().zip(taken).filter(|(_, is_taken)| !is_taken).map(|(waiting, _)| waiting);
            appends = left.filter(|waiting| self.sink.is_early(waiting.draft.transaction_id)).collect();
            if appends.is_empty() || matches!(next, Next::Never(_)) {
                return next;
            }
            tokio::time::sleep(PAUSE.0).await;
        }
    }
}

#[async_trait]
impl<C: Commits> Commits for ExecuteFirst<C> {
    async fn commit(&self, mut taken: Taken) -> Next {
        // An application's own operations take positions without being reported.
        let facts = taken.facts.iter().flat_map(|group| &group.facts);
        let is_unknown = facts.into_iter().any(|fact| matches!(fact, Fact::ApplicationBegan(_)));
        let Some(seqs) = self.sink.positions(&taken) else {
            let next = self.inner.commit(taken).await;
            if is_unknown {
                self.sink.known().last = None;
            }
            return next;
        };
        self.sink.report_early(&taken.appends, &seqs);
        for (waiting, seq) in taken.appends.iter_mut().zip(&seqs) {
            let (again, _) = waiting.again();
            // The caller may have given up.
            let _ = std::mem::replace(waiting, again).reply.send(Ok(Committed { seq: *seq, batch: 0 }));
        }
        tokio::time::sleep(LATE).await;
        // The point at which the writes would have just become durable, were the rule kept.
        proof::pass(CrashPoint::AfterAppend);
        self.journal_late(taken.appends).await
    }
}

impl Once {
    /// Returns the positions that the appends will get, or `None` if they must not be reported early:
    /// * while the last position is unknown, as it is for the first appends;
    /// * if one of them has a client's own id, because it may be a repetition and get no position;
    /// * if one of them is in the catalog lane, because it is executed from what the journal holds;
    /// * if there are facts, because a lane may be waiting for its progress to be recorded and would execute nothing.
    fn positions(&self, taken: &Taken) -> Option<Vec<Seq>> {
        let last = self.known().last?;
        let are_plain = taken.appends.iter().all(|waiting| is_plain(&waiting.draft));
        let first = last.get() + 1;
        let fits = !taken.appends.is_empty() && taken.facts.is_empty() && !taken.probe && are_plain;
        fits.then(|| (first..).map(Seq::new).take(taken.appends.len()).collect())
    }

    fn report_early(&self, appends: &[Waiting], seqs: &[Seq]) {
        let entries =
            appends.iter().zip(seqs).map(|(waiting, seq)| Appended { seq: *seq, draft: waiting.draft.clone() });
        let entries: Vec<_> = entries.collect();
        self.known().early.extend(entries.iter().map(|entry| entry.draft.transaction_id));
        self.sink.appended(entries);
    }

    fn is_early(&self, id: TransactionId) -> bool {
        self.known().early.contains(&id)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DurableSink for Once {
    fn appended(&self, mut entries: Vec<Appended>) {
        {
            let mut known = self.known();
            known.last = entries.last().map(|entry| entry.seq);
            entries.retain(|entry| !known.early.remove(&entry.draft.transaction_id));
        }
        if !entries.is_empty() {
            self.sink.appended(entries);
        }
    }
}

fn is_plain(draft: &Draft) -> bool {
    let given = draft.transaction_id.to_string();
    draft.lane != LaneId::Catalog && draft.client_key.as_ref().is_none_or(|one| one.key == given)
}
