//! Watches of single transactions: each is notified after a commit that records the outcome of its transaction, never
//! before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::ids::Seq;
use crate::journal::Fact;

/// All watches. The code that creates them limits their number.
#[derive(Default)]
pub(super) struct Watches {
    waiting: Mutex<HashMap<Seq, watch::Sender<()>>>,
}

/// Notified when facts about one transaction become durable after the watch was created.
#[must_use = "it notifies only while it is awaited"]
pub struct Watch {
    watches: Arc<Watches>,
    seq: Seq,
    changed: watch::Receiver<()>,
}

impl Watches {
    pub(super) fn watch(self: &Arc<Self>, seq: Seq) -> Watch {
        let changed = self.waiting().entry(seq).or_insert_with(|| watch::Sender::new(())).subscribe();
        Watch { watches: Arc::clone(self), seq, changed }
    }

    /// Notifies the watches of the transactions in these facts, which are durable.
    pub(super) fn tell<'a>(&self, facts: impl Iterator<Item = &'a Fact>) {
        let waiting = self.waiting();
        if waiting.is_empty() {
            return;
        }
        for fact in facts {
            if let Fact::Verdict { seq, .. } | Fact::Status { seq, .. } | Fact::ApplicationReported { seq, .. } = fact
                && let Some(waiting) = waiting.get(seq)
            {
                waiting.send_replace(());
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Seq, watch::Sender<()>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// Waits until something about the transaction has become durable since the last call, or since the watch was
    /// created.
    pub async fn changed(&mut self) {
        if self.changed.changed().await.is_err() {
            // The sender lives as long as a watch does.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut waiting = self.watches.waiting();
        // This receiver is still counted.
        if waiting.get(&self.seq).is_some_and(|sender| sender.receiver_count() <= 1) {
            waiting.remove(&self.seq);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::contract::{finished, status};
    use crate::journal::{Fact, Status};

    #[tokio::test]
    async fn a_watch_is_notified_of_what_is_reported_since() {
        let watches = Arc::new(Watches::default());
        let (mut one, mut same) = (watches.watch(Seq::new(1)), watches.watch(Seq::new(1)));
        let mut other = watches.watch(Seq::new(2));
        watches.tell(finished(&[Seq::new(1)]).iter());
        one.changed().await;
        same.changed().await;
        let still = tokio::time::timeout(std::time::Duration::from_millis(20), other.changed()).await;
        assert!(still.is_err(), "nothing was reported of it");
        watches.tell([status(Seq::new(2), Status::Failed)].iter());
        other.changed().await;
        let retried = Fact::Retried { seq: Seq::new(1), reason: String::new(), next_retry_at: None };
        watches.tell([retried].iter());
        assert!(!one.changed.has_changed().unwrap(), "one attempt is no outcome");
        drop((one, other));
        assert_eq!(watches.waiting().len(), 1);
        drop(same);
        assert!(watches.waiting().is_empty());
    }
}
