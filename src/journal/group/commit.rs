//! One commit: what it contains, and what its outcome means for the callers that wait.
//!
//! Refused: the appends fail, and the facts are kept and retried ahead of newer ones. In doubt: nothing else is
//! committed until the store reports whether the appends are durable, because the sink must receive entries in `seq`
//! order. Committing facts twice has no effect; appends are never committed twice. The task (`task.rs`) decides when to
//! commit.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::interface::{AppendError, Appended, Committed, DurableSink};
use super::queue::{Facts, Queue, Taken, Waiting};
use super::writability::{Content, Shows};
use crate::clock;
use crate::ids::{Seq, TransactionId};
use crate::journal::{Batch, CommitError, Draft, Fact, Lookup, ReadError, Store};

/// The first pause after a failure, and the longest. Appends wait during a pause too, so it grows to at most a quarter
/// of their timeout: the next attempt then still answers them in time.
pub(super) const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Returns the pause after another failure.
pub(super) fn longer(pause: Duration, timeout: Duration) -> Duration {
    (pause * 2).min(PAUSE.1).min(timeout / 4)
}

/// What the task does after a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Now,
    /// The store refused the commit. The facts are kept, and retried after a pause.
    Later,
    /// Commit what arrives next, or try a write after a pause.
    Probe,
    /// Do not commit again: another edge has the journal.
    Never(String),
}

/// Commits what the task takes from the queue.
#[async_trait]
pub(super) trait Commits: Send + Sync {
    /// Commits it, and answers all callers that wait for it.
    async fn commit(&self, taken: Taken) -> Next;
}

/// Commits to the store, and reports what became durable to the sink.
pub(super) struct Committer {
    store: Arc<dyn Store>,
    queue: Arc<Queue>,
    sink: Arc<dyn DurableSink>,
}

#[async_trait]
impl Commits for Committer {
    async fn commit(&self, mut taken: Taken) -> Next {
        loop {
            let batch = batch(&taken);
            let began = clock::now();
            let outcome = self.make_durable(batch, taken.probe).await;
            // A taken key means that a client repeated its request; the journal did not fail.
            if matches!(outcome, Err(CommitError::Refused(_) | CommitError::InDoubt(_) | CommitError::Superseded(_))) {
                self.queue.stats.failed();
            }
            match outcome {
                Ok(seqs) if seqs.len() == taken.appends.len() => {
                    self.queue.stats.committed(began.elapsed(), seqs.len());
                    return self.succeeded(taken, seqs);
                }
                Ok(seqs) => {
                    let text = format!("{} positions for {} appends", seqs.len(), taken.appends.len());
                    return self.in_doubt(taken, &text).await;
                }
                Err(CommitError::InDoubt(text)) => return self.in_doubt(taken, &text).await,
                Err(CommitError::Refused(text)) => return self.refused(taken, &text),
                Err(CommitError::Superseded(text)) => {
                    self.refused(taken, &text);
                    return Next::Never(text);
                }
                Err(CommitError::Taken(_)) => match self.answer_taken(&mut taken.appends).await {
                    // The other appends are committed without them.
                    Ok(0) => return self.refused(taken, "a transaction id is taken, and none is found to be"),
                    Ok(_) if taken.is_empty() => return Next::Now,
                    Ok(_) => {}
                    Err(error) => return self.refused(taken, &error.to_string()),
                },
            }
        }
    }
}

impl Committer {
    pub(super) fn new(store: Arc<dyn Store>, queue: Arc<Queue>, sink: Arc<dyn DurableSink>) -> Committer {
        Committer { store, queue, sink }
    }

    async fn make_durable(&self, batch: Batch, probe: bool) -> Result<Vec<Seq>, CommitError> {
        if probe && batch.appends.is_empty() && batch.facts.is_empty() {
            return self.store.probe().await.map(|()| Vec::new());
        }
        self.store.commit(batch).await
    }

    fn succeeded(&self, taken: Taken, seqs: Vec<Seq>) -> Next {
        let content = if seqs.is_empty() { Content::Facts } else { Content::Appends };
        let has_written = taken.probe || !seqs.is_empty() || taken.facts.iter().any(|group| !group.facts.is_empty());
        self.durable(taken.appends.into_iter().zip(seqs));
        self.queue.reported(taken.facts.iter().flat_map(|group| &group.facts));
        self.queue.watches.tell(taken.facts.iter().flat_map(|group| &group.facts));
        recorded(taken.facts);
        if !has_written {
            return Next::Now;
        }
        match self.queue.writability.succeeded(content, clock::runtime_now().into_std()) {
            Shows::Writable => Next::Now,
            Shows::WritableAgain(lasted) => {
                let seconds = lasted.time.as_secs();
                tracing::info!(seconds, times = lasted.times, "the journal takes commits again");
                Next::Now
            }
            Shows::NotYet => self.probe(),
        }
    }

    /// Makes the task probe the journal until it takes writes again, even if no client writes.
    fn probe(&self) -> Next {
        self.queue.probe();
        if self.queue.is_closed() { Next::Now } else { Next::Probe }
    }

    fn durable(&self, appends: impl Iterator<Item = (Waiting, Seq)>) {
        let mut entries = Vec::new();
        let mut replies = Vec::new();
        for (Waiting { draft, reply, .. }, seq) in appends {
            entries.push(Appended { seq, draft });
            replies.push((reply, seq));
        }
        if !entries.is_empty() {
            self.sink.appended(entries);
        }
        let batch = replies.len();
        for (reply, seq) in replies {
            // The caller may have given up; the entry is in its lane anyway.
            let _ = reply.send(Ok(Committed { seq, batch }));
        }
    }

    fn refused(&self, taken: Taken, text: &str) -> Next {
        if let Some(times) = self.queue.failed(text) {
            tracing::warn!(appends = taken.appends.len(), reason = text, times, "the journal refused a commit");
        }
        for waiting in taken.appends {
            let _ = waiting.reply.send(Err(AppendError::Unavailable(text.to_owned())));
        }
        self.keep(taken.facts)
    }

    fn keep(&self, facts: Vec<Facts>) -> Next {
        // Probe even if facts are retried: they may be withdrawn.
        let next = self.probe();
        if facts.is_empty() {
            return next;
        }
        self.queue.keep(facts);
        Next::Later
    }

    /// Answers the appends whose key belongs to an earlier transaction, and removes them from `appends`. Returns how
    /// many there were.
    async fn answer_taken(&self, appends: &mut Vec<Waiting>) -> Result<usize, ReadError> {
        let mut holders: Vec<Option<TransactionId>> = Vec::with_capacity(appends.len());
        for waiting in appends.iter() {
            let holder = match &waiting.draft.client_key {
                None => None,
                Some(key) => {
                    let lookup = Lookup::ClientKey { tenant: key.tenant.clone(), key: key.key.clone() };
                    self.store.transaction(&lookup).await?
                }
            };
            holders.push(holder.map(|row| row.transaction_id));
        }
        let before = appends.len();
        let asked = std::mem::take(appends);
        for (waiting, holder) in asked.into_iter().zip(holders) {
            match holder {
                None => appends.push(waiting),
                Some(id) => drop(waiting.reply.send(Err(AppendError::Taken(id)))),
            }
        }
        Ok(before - appends.len())
    }

    /// Asks the store which appends are durable until it answers. After the first lookup that fails, callers get "in
    /// doubt"; the sink receives what is found, however late.
    ///
    /// A crash in this function leaves the question to the next start, which reads what is durable.
    async fn in_doubt(&self, taken: Taken, text: &str) -> Next {
        if let Some(times) = self.queue.failed(text) {
            tracing::warn!(appends = taken.appends.len(), reason = text, times, "a commit of the journal is in doubt");
        }
        let Taken { appends, facts, .. } = taken;
        facts.iter().for_each(super::queue::Facts::doubt);
        // Queue them first: no other fact is committed before the lookup has ended.
        let next = self.keep(facts);
        let (mut appends, mut replies): (Vec<_>, Vec<_>) =
            appends.into_iter().map(|waiting| (waiting.draft, Some(waiting.reply))).unzip();
        let mut pause = PAUSE.0;
        let found = loop {
            match self.look_up(&appends).await {
                Ok(found) => break found,
                Err(error) => {
                    if let Some(times) = self.queue.failed(&error.to_string()) {
                        tracing::warn!(%error, times, "cannot look up appends in doubt");
                    }
                    for reply in replies.iter_mut().filter_map(Option::take) {
                        let _ = reply.send(Err(AppendError::InDoubt(text.to_owned())));
                    }
                    tokio::time::sleep(pause).await;
                    pause = longer(pause, self.queue.options.timeout);
                }
            }
        };
        let durable = appends.drain(..).zip(&found);
        let mut entries: Vec<_> = durable.filter_map(|(draft, seq)| seq.map(|seq| Appended { seq, draft })).collect();
        entries.sort_by_key(|entry| entry.seq);
        if !entries.is_empty() {
            self.sink.appended(entries);
        }
        let batch = found.iter().flatten().count();
        for (reply, seq) in replies.into_iter().zip(found) {
            let committed = seq.map(|seq| Committed { seq, batch });
            let answer = committed.ok_or_else(|| AppendError::Unavailable(text.to_owned()));
            let _ = reply.map(|reply| reply.send(answer));
        }
        next
    }

    async fn look_up(&self, drafts: &[Draft]) -> Result<Vec<Option<Seq>>, ReadError> {
        let mut found = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let row = self.store.transaction(&Lookup::Id(draft.transaction_id)).await?;
            found.push(row.map(|row| row.seq));
        }
        Ok(found)
    }
}

/// Returns the batch to commit. Its facts also lift the entries that the appends replace.
fn batch(taken: &Taken) -> Batch {
    let appends: Vec<Draft> = taken.appends.iter().map(|waiting| waiting.draft.clone()).collect();
    let lifted = appends.iter().filter_map(|draft| Some(Fact::Lifted { seq: draft.instead_of? }));
    let facts = taken.facts.iter().flat_map(|group| group.facts.iter().cloned());
    Batch { facts: facts.chain(lifted).collect(), appends }
}

fn recorded(groups: Vec<Facts>) {
    for reply in groups.into_iter().filter_map(|group| group.reply) {
        // The caller may have gone; the facts are durable.
        let _ = reply.send(());
    }
}
