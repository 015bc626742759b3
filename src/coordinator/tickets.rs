//! Which client waits for which entry. A ticket is opened before the write is journaled, numbered when it is durable,
//! and settled once. Dropping it cancels nothing, since the lane owns the write.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use crate::ids::{InstanceId, Seq, TraceId, TransactionId};
use crate::instance::Answer;
use crate::journal::TimingGap;
use crate::order::{AckPolicy, Verdict};

/// How a write ended.
#[derive(Clone, Debug)]
pub struct Settlement {
    pub seq: Seq,
    pub verdict: Verdict,
    /// The instance that answered; `None`: the answer is the edge's own.
    pub from: Option<InstanceId>,
    pub answer: Option<Arc<Answer>>,
    pub timing_gap: TimingGap,
}

/// A claim on one write's answer.
#[must_use = "a write's answer goes to its ticket"]
pub struct Ticket {
    settlement: oneshot::Receiver<Settlement>,
}

impl Ticket {
    /// Waits for the answer. Returns `None` if the edge is going down.
    pub async fn settled(&mut self) -> Option<Settlement> {
        (&mut self.settlement).await.ok()
    }

    /// Stops waiting. Returns an answer that came at the last moment; any later one is dropped.
    pub fn close(&mut self) -> Option<Settlement> {
        self.settlement.close();
        self.settlement.try_recv().ok()
    }
}

struct Waiting {
    ack_policy: AckPolicy,
    trace: Option<TraceId>,
    client: oneshot::Sender<Settlement>,
}

/// Who got a write's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Its client.
    Answered,
    /// No client: recovery took the write over at that time. `None`: before this edge started.
    Recovered { since: Option<Instant> },
}

/// The least number of unnumbered tickets at which a sweep takes place.
const LEAST_SWEPT: usize = 64;

/// Every ticket that is not settled. Those of waiting clients are bounded by the requests that the proxy admits, the
/// closed ones by the backlog's limit.
#[derive(Default)]
pub(crate) struct Tickets {
    unnumbered: HashMap<TransactionId, Waiting>,
    /// At this many unnumbered tickets, those whose clients have gone are removed.
    sweep_at: usize,
    numbered: HashMap<Seq, oneshot::Sender<Settlement>>,
    /// When recovery took over a numbered write.
    taken_over: HashMap<Seq, Instant>,
}

impl Tickets {
    pub fn open(&mut self, id: TransactionId, ack_policy: AckPolicy, trace: Option<TraceId>) -> Ticket {
        // Not each time: opening a ticket would cost a pass over all others.
        if self.unnumbered.len() >= self.sweep_at {
            self.unnumbered.retain(|_, waiting| !waiting.client.is_closed());
            self.sweep_at = (self.unnumbered.len() * 2).max(LEAST_SWEPT);
        }
        let (client, settlement) = oneshot::channel();
        self.unnumbered.insert(id, Waiting { ack_policy, trace, client });
        Ticket { settlement }
    }

    /// Notes that the write is durable at `seq`. Returns when its client may be answered, and its request's trace id.
    pub fn number(&mut self, id: TransactionId, seq: Seq) -> (AckPolicy, Option<TraceId>) {
        match self.unnumbered.remove(&id) {
            Some(waiting) => {
                self.numbered.insert(seq, waiting.client);
                (waiting.ack_policy, waiting.trace)
            }
            None => (AckPolicy::Durable, None),
        }
    }

    /// Leaves the write to recovery, unless it is settled already.
    pub fn take_over(&mut self, seq: Seq, now: Instant) {
        if self.numbered.contains_key(&seq) {
            self.taken_over.insert(seq, now);
        }
    }

    /// Delivers the answer, and returns whether a client waited for it.
    pub fn settle(&mut self, seq: Seq, settlement: Settlement) -> Settled {
        let since = self.taken_over.remove(&seq);
        match self.numbered.remove(&seq).map(|client| client.send(settlement)) {
            Some(Ok(())) => Settled::Answered,
            Some(Err(_)) | None => Settled::Recovered { since },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_of_clients_that_have_gone_do_not_pile_up() {
        let mut tickets = Tickets::default();
        let open = |tickets: &mut Tickets| tickets.open(TransactionId::random(), AckPolicy::Applied, None);
        let kept: Vec<Ticket> = (0..1000).map(|_| open(&mut tickets)).collect();
        for _ in 0..10_000 {
            drop(open(&mut tickets));
        }
        assert!(tickets.unnumbered.len() <= 2 * kept.len(), "{}", tickets.unnumbered.len());
        assert_eq!(tickets.unnumbered.values().filter(|waiting| !waiting.client.is_closed()).count(), kept.len());
    }
}
