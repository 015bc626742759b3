//! Who waits for which entry. A ticket is taken before the write is journaled, numbered when it is durable, and
//! settled once; dropping it cancels nothing, since the lane owns the write.

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
    /// Whose answer it is; `None`: the edge's own.
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
    /// The answer, when there is one. `None`: the edge is going down.
    pub async fn settled(&mut self) -> Option<Settlement> {
        (&mut self.settlement).await.ok()
    }

    /// Stops waiting. An answer that came in the last moment is handed out; any later one is dropped.
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
    /// Nobody: it was recovery's business since then. `None`: since before this edge's start.
    Recovered { since: Option<Instant> },
}

/// So few are not looked through.
const LEAST_SWEPT: usize = 64;

/// Every open ticket. Bounded by the requests that the proxy admits, and those closed by the backlog's limit.
#[derive(Default)]
pub(crate) struct Tickets {
    unnumbered: HashMap<TransactionId, Waiting>,
    /// When so many are unnumbered, those are looked for whose clients have gone.
    sweep_at: usize,
    numbered: HashMap<Seq, oneshot::Sender<Settlement>>,
    /// When recovery took over what is numbered.
    taken_over: HashMap<Seq, Instant>,
}

impl Tickets {
    pub fn open(&mut self, id: TransactionId, ack_policy: AckPolicy, trace: Option<TraceId>) -> Ticket {
        // Not each time: a ticket would cost a look at all others.
        if self.unnumbered.len() >= self.sweep_at {
            self.unnumbered.retain(|_, waiting| !waiting.client.is_closed());
            self.sweep_at = (self.unnumbered.len() * 2).max(LEAST_SWEPT);
        }
        let (client, settlement) = oneshot::channel();
        self.unnumbered.insert(id, Waiting { ack_policy, trace, client });
        Ticket { settlement }
    }

    /// The write is durable at `seq`: says when its client may be answered, and what its request is called.
    pub fn number(&mut self, id: TransactionId, seq: Seq) -> (AckPolicy, Option<TraceId>) {
        match self.unnumbered.remove(&id) {
            Some(waiting) => {
                self.numbered.insert(seq, waiting.client);
                (waiting.ack_policy, waiting.trace)
            }
            None => (AckPolicy::Durable, None),
        }
    }

    /// From now on it is recovery's business, unless it is settled already.
    pub fn take_over(&mut self, seq: Seq, now: Instant) {
        if self.numbered.contains_key(&seq) {
            self.taken_over.insert(seq, now);
        }
    }

    /// Hands over the answer; says whether anybody waited for it.
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
