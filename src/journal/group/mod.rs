//! The group commit in front of any store: many writers, one flush.
//!
//! It decides what goes into which commit, and what the outcome means for each caller. It takes everything that waits,
//! commits it, and repeats. Only facts that no caller waits for are held back, for a moment, so that they share the
//! next commit. It does not interpret entries: a [`DurableSink`] receives them in order once they are durable, and puts
//! them into the lanes.

mod breach;
mod commit;
mod hold;
mod interface;
mod queue;
mod stats;
mod task;
#[cfg(test)]
mod tests;
mod watches;
mod writability;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

pub use self::interface::{AppendError, Appended, Committed, DurableSink, JournalOptions, Judge, Judgement};
use self::queue::Queue;
pub use self::stats::JournalStats;
pub use self::task::{Ended, JournalTask};
pub use self::watches::Watch;
use super::{Draft, Fact, Store};
use crate::clock;
use crate::ids::Seq;
use crate::metrics;
use crate::order::Urgency;

/// The reason for a withdrawn append or fact: no commit contained it.
const TOO_LATE: &str = "no commit was possible in time";
/// The reason if it could not be withdrawn: a commit may contain it.
const TOO_LONG: &str = "the commit takes too long";

/// A journal without a sink for durable entries.
#[must_use = "nothing is committed until it is connected"]
pub struct Unconnected {
    store: Arc<dyn Store>,
    queue: Arc<Queue>,
}

impl Unconnected {
    /// Returns the task that does the work and reports to `sink`.
    pub fn connect(self, sink: Arc<dyn DurableSink>) -> JournalTask {
        JournalTask::new(self.store, self.queue, sink)
    }
}

/// A handle on the journal: cheap to clone.
#[derive(Clone)]
pub struct Journal {
    queue: Arc<Queue>,
}

impl Journal {
    /// Returns the handle, which building the sink may require. Nothing is committed before [`Unconnected::connect`].
    pub fn open(store: Arc<dyn Store>, options: JournalOptions) -> (Journal, Unconnected) {
        let queue = Queue::new(options);
        (Journal { queue: Arc::clone(&queue) }, Unconnected { store, queue })
    }

    /// Returns the handle, and the task that does the work. The caller must run the task.
    pub fn start(store: Arc<dyn Store>, options: JournalOptions, sink: Arc<dyn DurableSink>) -> (Journal, JournalTask) {
        let (journal, unconnected) = Journal::open(store, options);
        (journal, unconnected.connect(sink))
    }

    /// Makes the write durable and returns its position. By then, the sink has received the write.
    ///
    /// After the options' timeout, an append that is in no commit is withdrawn and is guaranteed to have no effect
    /// ([`AppendError::Unavailable`]). One whose commit is under way is [`AppendError::InDoubt`]. Dropping the future
    /// withdraws nothing.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append(&self, draft: Draft) -> Result<Seq, AppendError> {
        self.append_judged(draft, None).await.map(|committed| committed.seq)
    }

    /// Like [`Journal::append`], if the judge agrees once everything before the write is in its lane. Also returns how
    /// many appends became durable with it.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append_judged(&self, draft: Draft, judge: Option<Judge>) -> Result<Committed, AppendError> {
        let began = clock::now();
        let (ticket, mut answer) = self.queue.append(draft, judge)?;
        let ended = |_| Err(AppendError::InDoubt("the edge stopped during the commit".to_owned()));
        if let Ok(answer) = tokio::time::timeout(self.queue.options.timeout, &mut answer).await {
            return answer.unwrap_or_else(ended).inspect(|_| metrics::appended(began.elapsed()));
        }
        if self.queue.withdraw(ticket) {
            self.queue.unanswered(TOO_LATE);
            return Err(AppendError::Unavailable(TOO_LATE.to_owned()));
        }
        match answer.try_recv() {
            Ok(answer) => answer,
            Err(_) => {
                self.queue.unanswered(TOO_LONG);
                Err(AppendError::InDoubt(TOO_LONG.to_owned()))
            }
        }
    }

    /// Makes the facts durable, in one commit, after all facts passed in before. The order is that of the calls, not of
    /// the awaits. Never fails: it waits as long as the journal is unavailable, and forever once the task has ended.
    pub fn record(&self, facts: Vec<Fact>) -> impl Future<Output = ()> + Send + 'static {
        self.record_with(facts, Urgency::Now)
    }

    /// Like [`Journal::record`]. Facts that are not urgent go along with the next append, or are committed a moment
    /// later.
    pub fn record_with(&self, facts: Vec<Fact>, urgency: Urgency) -> impl Future<Output = ()> + Send + 'static {
        let recorded = self.queue.record(facts, urgency);
        async move {
            if recorded.await.is_err() {
                // The facts may not be durable; the caller is about to be stopped as well.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Makes the facts durable like [`Journal::record`], but waits no longer than the options' timeout. Then the facts
    /// are withdrawn and are guaranteed to have no effect ([`AppendError::Unavailable`]), or, if a commit may contain
    /// them, the result is [`AppendError::InDoubt`].
    ///
    /// # Errors
    /// As for [`Journal::append`].
    pub async fn record_in_time(&self, facts: Vec<Fact>) -> Result<(), AppendError> {
        self.record_within(facts, self.queue.options.timeout).await
    }

    /// Waits until everything passed in before is durable, for at most `patience`.
    pub async fn settle_within(&self, patience: Duration) {
        // Either way, the caller then reads from the store what is durable.
        let _ = self.record_within(Vec::new(), patience).await;
    }

    async fn record_within(&self, facts: Vec<Fact>, patience: Duration) -> Result<(), AppendError> {
        let (mut answer, hold) = self.queue.record_held(facts)?;
        let doubt = || AppendError::InDoubt(TOO_LONG.to_owned());
        match tokio::time::timeout(patience, &mut answer).await {
            Ok(Ok(())) => return Ok(()),
            // The task is gone, along with everything that it had not committed.
            Ok(Err(_)) => {}
            Err(_) if hold.withdraw() => {
                return Err(AppendError::Unavailable(TOO_LATE.to_owned()));
            }
            Err(_) => {}
        }
        answer.try_recv().map_err(|_| doubt())
    }

    /// Returns a watch of the transaction. Read the transaction after this call, and again after each change.
    pub fn watch(&self, seq: Seq) -> Watch {
        self.queue.watches.watch(seq)
    }

    /// Puts the facts into the next commit, after all facts passed in before. Meant for statuses, which no caller waits
    /// for: they do not cause a commit of their own at once.
    ///
    /// While more facts wait than [`JournalOptions::queue_entries`], [`Fact::Retried`] is dropped and counted. All
    /// others are kept.
    pub fn record_later(&self, facts: Vec<Fact>) {
        self.queue.record_later(facts);
    }

    /// Returns a counter that changes after each commit that may have made an event. Read [`Store::events`] when it
    /// changes.
    pub fn reports(&self) -> tokio::sync::watch::Receiver<u64> {
        self.queue.reports.subscribe()
    }

    /// Returns why a write would not be accepted now, judged by the last ones, or `None` if no reason is known. The
    /// state ends by itself: while it lasts, the task tries to write about once a second.
    pub fn refusal(&self) -> Option<String> {
        self.queue.writability.refusal()
    }

    /// Returns the group commit's counters.
    pub fn stats(&self) -> Arc<JournalStats> {
        Arc::clone(&self.queue.stats)
    }
}
