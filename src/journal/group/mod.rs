//! The group commit in front of any store: many writers, one flush.
//!
//! Decides what goes into which commit and what its outcome means for each caller. It takes everything that waits,
//! commits, and repeats. Only what nobody waits for is delayed, for a moment, so that it goes along with what comes. It
//! does not know what an entry means; a [`DurableSink`] receives what became durable, in order, and puts it into the lanes.

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

/// What is withdrawn was in no commit.
const TOO_LATE: &str = "no commit was possible in time";
/// What is not withdrawn may be in one.
const TOO_LONG: &str = "the commit takes too long";

/// A journal that does not know yet where durable entries go.
#[must_use = "nothing is committed until it is connected"]
pub struct Unconnected {
    store: Arc<dyn Store>,
    queue: Arc<Queue>,
}

impl Unconnected {
    /// The task that does the work, and reports it to `sink`.
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
    /// The handle, for those who are needed to build the sink; nothing is committed before [`Unconnected::connect`].
    pub fn open(store: Arc<dyn Store>, options: JournalOptions) -> (Journal, Unconnected) {
        let queue = Queue::new(options);
        (Journal { queue: Arc::clone(&queue) }, Unconnected { store, queue })
    }

    /// The handle, and the task that does the work, which the caller runs.
    pub fn start(store: Arc<dyn Store>, options: JournalOptions, sink: Arc<dyn DurableSink>) -> (Journal, JournalTask) {
        let (journal, unconnected) = Journal::open(store, options);
        (journal, unconnected.connect(sink))
    }

    /// Makes the write durable and returns its position; the sink has received it by then.
    ///
    /// After the options' timeout, an append that no commit has taken is withdrawn and has no effect, guaranteed
    /// ([`AppendError::Unavailable`]); one whose commit is under way is [`AppendError::InDoubt`]. Dropping the
    /// future withdraws nothing.
    ///
    /// # Errors
    /// What the [`AppendError`] says.
    pub async fn append(&self, draft: Draft) -> Result<Seq, AppendError> {
        self.append_judged(draft, None).await.map(|committed| committed.seq)
    }

    /// As [`Journal::append`], if the judge agrees when everything before the write is in its lane; and says what became
    /// durable with it.
    ///
    /// # Errors
    /// What the [`AppendError`] says.
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

    /// Makes the facts durable, in one commit, after all facts handed over before. The order is that of the calls,
    /// not of the awaiting. Never fails: it waits as long as the journal is away, and for ever once the task ended.
    pub fn record(&self, facts: Vec<Fact>) -> impl Future<Output = ()> + Send + 'static {
        self.record_with(facts, Urgency::Now)
    }

    /// As [`Journal::record`]; what is not urgent goes along with the next append, or is committed a moment later.
    pub fn record_with(&self, facts: Vec<Fact>, urgency: Urgency) -> impl Future<Output = ()> + Send + 'static {
        let recorded = self.queue.record(facts, urgency);
        async move {
            if recorded.await.is_err() {
                // They may not be durable; the caller is about to be stopped as well.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Makes the facts durable, as [`Journal::record`] does, but waits no longer than the options' timeout: then they
    /// are withdrawn and have no effect, guaranteed ([`AppendError::Unavailable`]), or, if a commit may contain them,
    /// [`AppendError::InDoubt`].
    ///
    /// # Errors
    /// As for [`Journal::append`].
    pub async fn record_in_time(&self, facts: Vec<Fact>) -> Result<(), AppendError> {
        self.record_within(facts, self.queue.options.timeout).await
    }

    /// Waits until everything that was handed over before is durable, at most for so long.
    pub async fn settle_within(&self, patience: Duration) {
        // The caller then reads the store, and sees what is durable.
        let _ = self.record_within(Vec::new(), patience).await;
    }

    async fn record_within(&self, facts: Vec<Fact>, patience: Duration) -> Result<(), AppendError> {
        let (mut answer, hold) = self.queue.record_held(facts)?;
        let doubt = || AppendError::InDoubt(TOO_LONG.to_owned());
        match tokio::time::timeout(patience, &mut answer).await {
            Ok(Ok(())) => return Ok(()),
            // The task is gone, with all that it had not committed.
            Ok(Err(_)) => {}
            Err(_) if hold.withdraw() => {
                return Err(AppendError::Unavailable(TOO_LATE.to_owned()));
            }
            Err(_) => {}
        }
        answer.try_recv().map_err(|_| doubt())
    }

    /// A watch of the transaction: read it after this, and again after each change.
    pub fn watch(&self, seq: Seq) -> Watch {
        self.queue.watches.watch(seq)
    }

    /// Puts the facts into the next commit, after all facts handed over before. For statuses, for which no caller waits:
    /// they make no commit of their own at once.
    /// While more facts wait than [`JournalOptions::queue_entries`], [`Fact::Retried`] is dropped and counted; all
    /// others are kept.
    pub fn record_later(&self, facts: Vec<Fact>) {
        self.queue.record_later(facts);
    }

    /// Changes after each commit that may have made an event: then read [`Store::events`].
    pub fn reports(&self) -> tokio::sync::watch::Receiver<u64> {
        self.queue.reports.subscribe()
    }

    /// Why a write would not be taken now, as the last ones have shown. `None`: nothing is known against it. It ends by
    /// itself: while it lasts, the task tries what a write needs, about once a second.
    pub fn refusal(&self) -> Option<String> {
        self.queue.writability.refusal()
    }

    /// The journal's numbers.
    pub fn stats(&self) -> Arc<JournalStats> {
        Arc::clone(&self.queue.stats)
    }
}
