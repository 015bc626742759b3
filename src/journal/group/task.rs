//! The task behind the handles: one commit at a time, and a pause after one that the store refused.
//!
//! `commit.rs` decides what an outcome means for the callers. Once another edge has the journal, nothing can be
//! committed: the task ends, and drops its appends and facts.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout_at;

use super::breach;
use super::commit::{Commits, Committer, Next, PAUSE, longer};
use super::interface::{Appended, DurableSink};
use super::queue::Queue;
use crate::clock;
use crate::journal::Store;
use crate::proof::{self, CrashPoint, Rule};

/// How long facts that no caller waits for are held back to share a commit. Within this time, a client that was just
/// answered usually writes again, and a commit costs a flush however little it contains. After a crash in this time
/// entries are sent again, just as after a crash during the commit.
const LINGER: Duration = Duration::from_millis(2);

/// The task that commits what is queued. It works while [`JournalTask::run`] runs.
#[must_use = "nothing is committed until it runs"]
pub struct JournalTask {
    queue: Arc<Queue>,
    commits: Box<dyn Commits>,
}

/// Why the task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was shut down.
    Stopped,
    /// Another edge has taken over the journal; the text is the store's.
    Superseded(String),
}

/// Adds the crash point between a commit and the lanes.
struct AfterAppend(Arc<dyn DurableSink>);

impl DurableSink for AfterAppend {
    fn appended(&self, entries: Vec<Appended>) {
        proof::pass(CrashPoint::AfterAppend);
        self.0.appended(entries);
    }
}

impl JournalTask {
    pub(super) fn new(store: Arc<dyn Store>, queue: Arc<Queue>, sink: Arc<dyn DurableSink>) -> JournalTask {
        let committer = |sink| Committer::new(store, Arc::clone(&queue), sink);
        let commits: Box<dyn Commits> = if proof::broken(Rule::JournalFirst) {
            Box::new(breach::ExecuteFirst::around(committer, sink))
        } else {
            Box::new(committer(Arc::new(AfterAppend(sink))))
        };
        JournalTask { queue, commits }
    }

    /// Commits what is passed in until `shutdown`, then commits what still waits, and ends. If the journal is
    /// unavailable by then, the task gives up after the options' timeout: appends are refused, and lost progress only
    /// means that the next start sends those entries again.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Ended {
        // A commit under way is never cut short: the work continues while the shutdown is awaited.
        let work = self.work();
        let mut work = std::pin::pin!(work);
        tokio::select! {
            ended = &mut work => return ended,
            () = shutdown => self.queue.close(),
        }
        self.queue.arrived.notify_one();
        if let Ok(ended) = tokio::time::timeout(self.queue.options.timeout, work).await {
            return ended;
        }
        let facts = self.queue.stats.facts_waiting();
        tracing::warn!(facts, "stopping although the journal did not commit what was waiting");
        Ended::Stopped
    }

    /// Waits for more to commit, as long as nothing in the queue is urgent, and at most for `LINGER`.
    async fn linger(&self) {
        let end = clock::runtime_now() + LINGER;
        while self.queue.may_linger() {
            if timeout_at(end, self.queue.arrived.notified()).await.is_err() {
                return;
            }
        }
    }

    /// Works until the queue is closed and empty.
    async fn work(&self) -> Ended {
        let mut pause = PAUSE.0;
        loop {
            self.linger().await;
            // Check before `take`, so that everything queued before the close is taken.
            let closed = self.queue.is_closed();
            let taken = self.queue.take();
            if taken.is_empty() {
                if closed {
                    return Ended::Stopped;
                }
                self.queue.arrived.notified().await;
                continue;
            }
            let taken = taken.judged();
            if taken.is_empty() {
                continue;
            }
            let brings_entries = !taken.appends.is_empty();
            match self.commits.commit(taken).await {
                Next::Now => {
                    pause = PAUSE.0;
                    if brings_entries {
                        self.queue.hurry();
                    }
                }
                Next::Later => {
                    tokio::time::sleep(pause).await;
                    pause = longer(pause, self.queue.options.timeout);
                }
                Next::Probe => {
                    // A write that arrives meanwhile is committed at once, and shows what a probe would.
                    let _ = tokio::time::timeout(pause, self.queue.arrived.notified()).await;
                    pause = longer(pause, self.queue.options.timeout);
                }
                Next::Never(text) => return Ended::Superseded(text),
            }
        }
    }
}

impl Drop for JournalTask {
    /// Makes sure that no caller keeps waiting, however the task ends.
    fn drop(&mut self) {
        self.queue.abandon();
    }
}
