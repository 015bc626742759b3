//! What waits for the next commit: appends and groups of facts, each in the order in which they arrived.
//!
//! An append can be withdrawn while it is here. Once it is taken into a batch, only the commit decides. A group of
//! facts is never split, and it can be withdrawn only if it has a `Hold`.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot, watch};

use super::hold::Hold;
use super::interface::{AppendError, Committed, JournalOptions, Judge, Judgement};
use super::stats::JournalStats;
use super::watches::Watches;
use super::writability::Writability;
use crate::clock;
use crate::journal::{ClientKey, Draft, Fact};
use crate::order::Urgency;

/// An append, and the channel for its answer.
pub(super) struct Waiting {
    ticket: u64,
    pub(super) draft: Draft,
    judge: Option<Judge>,
    pub(super) reply: oneshot::Sender<Result<Committed, AppendError>>,
}

impl Waiting {
    /// Returns the same append, already judged, with a reply channel of its own, and the receiver of that channel.
    pub(super) fn again(&self) -> (Waiting, oneshot::Receiver<Result<Committed, AppendError>>) {
        let (reply, answer) = oneshot::channel();
        (Waiting { ticket: self.ticket, draft: self.draft.clone(), judge: None, reply }, answer)
    }
}

/// Facts that become durable together, and the channel to notify if a caller waits.
pub(super) struct Facts {
    pub(super) facts: Vec<Fact>,
    pub(super) reply: Option<oneshot::Sender<()>>,
    /// Set if the group can be withdrawn.
    pub(super) hold: Option<Arc<Hold>>,
}

impl Facts {
    /// Records that the commit of these facts is in doubt.
    pub(super) fn doubt(&self) {
        self.hold.iter().for_each(|hold| hold.doubt());
    }
}

/// The content of one commit.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) appends: Vec<Waiting>,
    pub(super) facts: Vec<Facts>,
    /// Whether the commit must show that the journal takes writes, and so has to write something.
    pub(super) probe: bool,
}

impl Taken {
    pub(super) fn is_empty(&self) -> bool {
        self.appends.is_empty() && self.facts.is_empty() && !self.probe
    }

    /// Removes and answers the appends that their judges decline. Everything committed before is in its lane by now.
    pub(super) fn judged(mut self) -> Taken {
        let is_declined =
            |waiting: &mut Waiting| waiting.judge.take().is_some_and(|judge| judge() == Judgement::Decline);
        for waiting in self.appends.extract_if(.., is_declined) {
            // Its caller may have gone.
            let _ = waiting.reply.send(Err(AppendError::Declined));
        }
        self
    }
}

#[derive(Default)]
struct State {
    appends: VecDeque<Waiting>,
    facts: VecDeque<Facts>,
    /// The number of facts in `facts`, all groups together.
    facts_len: usize,
    next_ticket: u64,
    /// Whether a caller waits for something in the queue.
    urgent: bool,
    /// Whether the next commit must show that the journal takes writes.
    probe: bool,
    closed: bool,
}

/// The queue between the handles and the task.
pub(super) struct Queue {
    state: Mutex<State>,
    pub(super) arrived: Notify,
    pub(super) options: JournalOptions,
    pub(super) stats: Arc<JournalStats>,
    /// Changes after each commit that may have changed a transaction's status.
    pub(super) reports: watch::Sender<u64>,
    pub(super) watches: Arc<Watches>,
    pub(super) writability: Writability,
}

const CLOSED: &str = "the edge is shutting down";

impl Queue {
    pub(super) fn new(options: JournalOptions) -> Arc<Queue> {
        let state = Mutex::new(State::default());
        let (stats, watches, reports) = (Arc::default(), Arc::default(), watch::Sender::new(0));
        let writability = Writability::default();
        Arc::new(Queue { state, arrived: Notify::new(), options, stats, watches, reports, writability })
    }

    /// Queues an append. Returns the ticket to withdraw it by, and the receiver of its answer.
    pub(super) fn append(
        &self,
        draft: Draft,
        judge: Option<Judge>,
    ) -> Result<(u64, oneshot::Receiver<Result<Committed, AppendError>>), AppendError> {
        let mut state = self.state();
        if state.closed {
            return Err(AppendError::Unavailable(CLOSED.to_owned()));
        }
        if state.appends.len() >= self.options.queue_entries {
            return Err(AppendError::Full);
        }
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        let (reply, answer) = oneshot::channel();
        state.appends.push_back(Waiting { ticket, draft, judge, reply });
        self.arrived(&mut state, Urgency::Now);
        Ok((ticket, answer))
    }

    /// Withdraws an append. Returns `false` if a commit has taken it already.
    pub(super) fn withdraw(&self, ticket: u64) -> bool {
        let mut state = self.state();
        let place = state.appends.binary_search_by_key(&ticket, |waiting| waiting.ticket);
        let withdrawn = place.ok().and_then(|place| state.appends.remove(place));
        self.count(&state);
        withdrawn.is_some()
    }

    /// Queues facts. The caller is notified when they are durable.
    pub(super) fn record(&self, facts: Vec<Fact>, urgency: Urgency) -> oneshot::Receiver<()> {
        let (reply, answer) = oneshot::channel();
        self.push(Facts { facts, reply: Some(reply), hold: None }, urgency);
        answer
    }

    /// Queues facts that a caller waits for, but only for a limited time. Returns the receiver of the answer, and the
    /// handle that withdraws them.
    pub(super) fn record_held(&self, facts: Vec<Fact>) -> Result<(oneshot::Receiver<()>, Arc<Hold>), AppendError> {
        let (closed, full) = {
            let state = self.state();
            (state.closed, state.facts_len >= self.options.queue_entries)
        };
        match (closed, full) {
            (true, _) => return Err(AppendError::Unavailable(CLOSED.to_owned())),
            (_, true) => return Err(AppendError::Full),
            _ => {}
        }
        let (reply, answer) = oneshot::channel();
        let hold = Arc::new(Hold::default());
        self.push(Facts { facts, reply: Some(reply), hold: Some(Arc::clone(&hold)) }, Urgency::Now);
        Ok((answer, hold))
    }

    /// Queues facts that no caller waits for. When more facts wait than appends may, retry counts are dropped: only
    /// operators see them, and during a long outage of the journal they would accumulate without limit. All other facts
    /// are kept: their number is bounded by the transactions and lanes they are about.
    pub(super) fn record_later(&self, mut facts: Vec<Fact>) {
        if self.state().facts_len >= self.options.queue_entries {
            let before = facts.len();
            facts.retain(|fact| !matches!(fact, Fact::Retried { .. }));
            let shed = u64::try_from(before - facts.len()).unwrap_or(u64::MAX);
            self.stats.facts_shed.fetch_add(shed, Ordering::Relaxed);
        }
        self.push(Facts { facts, reply: None, hold: None }, Urgency::WithTheNext);
    }

    fn push(&self, facts: Facts, urgency: Urgency) {
        if facts.facts.is_empty() && facts.reply.is_none() {
            return;
        }
        let mut state = self.state();
        state.facts_len += facts.facts.len();
        state.facts.push_back(facts);
        self.arrived(&mut state, urgency);
    }

    /// Puts facts back at the front of the queue, because their commit failed.
    pub(super) fn keep(&self, facts: Vec<Facts>) {
        let mut state = self.state();
        for facts in facts.into_iter().rev() {
            facts.hold.iter().for_each(|hold| hold.give_back());
            state.facts_len += facts.facts.len();
            state.facts.push_front(facts);
        }
        // They have waited long enough.
        state.urgent = true;
        self.count(&state);
    }

    /// Makes the next commit show whether the journal takes writes, unless the queue is closed.
    pub(super) fn probe(&self) {
        let mut state = self.state();
        state.probe = !state.closed;
    }

    /// Records that the journal took no write, and why. Returns how often in a row, if a log line is due.
    pub(super) fn failed(&self, why: &str) -> Option<u64> {
        self.writability.failed(why, clock::runtime_now().into_std())
    }

    /// Records that a write was not committed in time, whatever a commit under way will show. Probes at once, because
    /// there may be no commit under way.
    pub(super) fn unanswered(&self, why: &str) {
        if let Some(times) = self.failed(why) {
            tracing::warn!(reason = why, times, "the journal does not take writes in time");
        }
        self.probe();
        self.arrived.notify_one();
    }

    /// Takes everything that waits, up to the limits of one batch, but at least one append and one group of facts.
    pub(super) fn take(&self) -> Taken {
        let mut state = self.state();
        let mut taken = Taken { probe: std::mem::take(&mut state.probe), ..Taken::default() };
        let mut facts = 0;
        while let Some(next) = state.facts.front()
            && (taken.facts.is_empty() || facts + next.facts.len() <= self.options.max_batch_entries)
        {
            facts += next.facts.len();
            let next = state.facts.pop_front();
            taken.facts.extend(next.filter(|next| next.hold.as_ref().is_none_or(|hold| hold.carry())));
        }
        state.facts_len -= facts;
        self.take_appends(&mut state, &mut taken);
        state.urgent &= !state.facts.is_empty() || !state.appends.is_empty();
        self.count(&state);
        taken
    }

    /// Marks the queue as urgent: entries have entered their lanes, and may be waiting for the facts in it.
    pub(super) fn hurry(&self) {
        self.state().urgent = true;
    }

    /// Returns whether the queued facts may wait to share the next commit, because no caller waits for them.
    pub(super) fn may_linger(&self) -> bool {
        let state = self.state();
        !state.urgent && !state.closed && !state.facts.is_empty()
    }

    fn take_appends(&self, state: &mut State, taken: &mut Taken) {
        let mut bytes = 0;
        let mut keys: HashSet<(String, String)> = HashSet::new();
        while let Some(next) = state.appends.front() {
            let capacity = taken.appends.len() < self.options.max_batch_entries
                && bytes + next.draft.body.len() <= self.options.max_batch_bytes;
            // A judged append must be first in its batch, so that everything before it is in its lane.
            if !taken.appends.is_empty() && (!capacity || next.judge.is_some()) {
                return;
            }
            // Of two appends with the same key, the second waits until the first is durable or has failed.
            if let Some(ClientKey { tenant, key, .. }) = &next.draft.client_key
                && !keys.insert((tenant.clone(), key.clone()))
            {
                return;
            }
            bytes += next.draft.body.len();
            taken.appends.extend(state.appends.pop_front());
        }
    }

    /// Notifies the receivers of reports, if these facts, which are durable, may have changed a status.
    pub(super) fn reported<'a>(&self, mut facts: impl Iterator<Item = &'a Fact>) {
        if facts.any(|fact| matches!(fact, Fact::Status { .. } | Fact::ApplicationReported { .. })) {
            self.reports.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// Refuses new appends. Those that wait are still committed.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.probe = false;
    }

    /// Returns whether new appends are refused.
    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Refuses everything, including what still waits.
    pub(super) fn abandon(&self) {
        let mut state = self.state();
        (state.closed, state.probe) = (true, false);
        for waiting in state.appends.drain(..) {
            // Its caller may have gone.
            let _ = waiting.reply.send(Err(AppendError::Unavailable(CLOSED.to_owned())));
        }
        state.facts.clear();
        state.facts_len = 0;
        self.count(&state);
    }

    fn arrived(&self, state: &mut State, urgency: Urgency) {
        let is_first = state.facts.len() + state.appends.len() == 1;
        state.urgent = urgency == Urgency::Now || state.urgent && !is_first;
        self.count(state);
        // Otherwise the task has been notified already, or the facts can wait.
        if is_first || state.urgent {
            self.arrived.notify_one();
        }
    }

    fn count(&self, state: &State) {
        self.stats.appends_waiting.store(state.appends.len(), Ordering::Relaxed);
        self.stats.facts_waiting.store(state.facts_len, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
