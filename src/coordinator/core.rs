//! The one place that steps the board: an input goes in, answers go out at once, everything else becomes
//! work for the runner.
//!
//! There is one lock, and nothing awaits while holding it. Inputs may come from any runtime. Work is done in the
//! runner's: a pooled connection lives in the runtime that opened it.

use std::collections::HashSet;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};

use super::discovery::Discovery;
use super::placements::Placements;
use super::restore::Restored;
use super::sync_numbers::SyncNumbers;
use super::tickets::{Settled, Settlement, Ticket, Tickets};
use super::{fail_stop, intent};
use crate::clock::{self, Timestamp};
use crate::ids::{InstanceId, InstanceName, LaneId, Seq, TraceId, TransactionId};
use crate::instance::{Answer, Registry};
use crate::journal::retention::{ApplicationQuota, Capacity, RetentionSink};
use crate::journal::{
    AppendError, Appended, DurableSink, Fact, Fault, Journal, LateWrite, LateWriteId, Request, Resolution, Status,
    Store, TimingGap,
};
use crate::lease::Lease;
use crate::metrics::{self, Recovery};
use crate::order::{
    AckPolicy, Action, Board, ClientAnswer, ClientState, Effect, Input, Look, Persist, Precedence, Submission,
};

/// Long enough for a waiting thread to wake up and take the lock.
const BREATH: Duration = Duration::from_millis(1);

/// Sends what the board asks for. It receives each new request before the request may be sent, and must not block.
pub trait RequestSink: Send + Sync + 'static {
    /// Receives the request of a durable entry that is about to enter its lane. The board may ask for it at once.
    fn arrived(&self, request: Request, trace: Option<TraceId>);

    /// Called when a client begins to wait in the lane, with this precedence.
    fn awaited(&self, lane: LaneId, precedence: Precedence);
}

/// The parts that the core is built from.
pub struct CoreParts {
    pub registry: Arc<Registry>,
    pub store: Arc<dyn Store>,
    pub lease: Arc<Lease>,
    pub journal: Journal,
    pub applications: ApplicationQuota,
    pub requests: Arc<dyn RequestSink>,
}

/// Work for the runner, in the order of the queue.
pub(crate) enum Work {
    /// Hand this to the journal, with the instance's answer that led to it, if one did.
    Persist { persist: Persist, answer: Option<Arc<Answer>> },
    /// Perform this in a task of its own, with the answer that led to it.
    Perform { action: Action, answer: Option<Arc<Answer>> },
    /// Record that this late write is handled, once everything before it is durable.
    Handled(LateWriteId),
    /// Report that everything before this has been handed to the journal.
    HandedOver(oneshot::Sender<()>),
}

/// The board, for reading. Only [`Core::step`] can change it.
pub struct BoardView<'a>(MutexGuard<'a, Board>);

impl Deref for BoardView<'_> {
    type Target = Board;

    fn deref(&self) -> &Board {
        &self.0
    }
}

/// Ends the process if a panic drops it. Otherwise the lane of a task that owes the board a report would wait forever.
pub struct PanicGuard {
    core: Arc<Core>,
    lane: Option<LaneId>,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            fail_stop::end(&self.core.store, self.lane, "a task that owed the board a report panicked");
        }
    }
}

/// The board with its surroundings. Shared by the proxy, the runner and recovery.
pub struct Core {
    board: Mutex<Board>,
    tickets: Mutex<Tickets>,
    /// Entries with an attempt that failed on an instance believed healthy.
    gaps: Mutex<HashSet<Seq>>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) lease: Arc<Lease>,
    /// What is known about the instances' contents.
    pub(crate) discovery: Discovery,
    /// Switchovers and drains.
    pub(super) placements: Placements,
    /// Set once another edge has taken over: from then on no client is answered.
    silent: AtomicBool,
    journal: Journal,
    requests: Arc<dyn RequestSink>,
    /// The halted lanes, and why.
    halted: Vec<Fault>,
    capacity: Mutex<Capacity>,
    applications: ApplicationQuota,
    work: mpsc::UnboundedSender<Work>,
    changed: watch::Sender<u64>,
    hurried: watch::Sender<u64>,
    recovering: AtomicBool,
    sync_numbers: SyncNumbers,
    started: Instant,
}

/// The outcome of a request to withdraw an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawal {
    Begun,
    MayHaveBeenSent,
}

/// Recovery runs until this is dropped.
pub(crate) struct Recovering(Arc<Core>);

impl Drop for Recovering {
    fn drop(&mut self) {
        self.0.recovering.store(false, Ordering::Release);
    }
}

/// The queue from which the runner takes its work.
pub struct WorkQueue(pub(crate) mpsc::UnboundedReceiver<Work>);

#[cfg(test)]
impl WorkQueue {
    /// Takes and describes all queued work, one line each.
    pub(crate) fn describe(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Ok(work) = self.0.try_recv() {
            lines.push(match work {
                Work::Persist { persist, .. } => format!("{persist:?}"),
                Work::Perform { action, .. } => format!("{action:?}"),
                Work::Handled(LateWriteId(id)) => format!("handled {id}"),
                Work::HandedOver(_) => "handed over".to_owned(),
            });
        }
        lines
    }
}

impl Core {
    /// Creates the core of a restored board. The effects of restoring it are in the queue.
    pub fn new(restored: Restored, parts: CoreParts) -> (Arc<Core>, WorkQueue) {
        let Restored { board, effects, halted, markers } = restored;
        let CoreParts { registry, store, lease, journal, applications, requests } = parts;
        #[allow(
            clippy::disallowed_methods,
            reason = "the runner takes each effect at once and never waits; a step adds at most \
            a few for each lane and instance, and `limits.backlog_entries` bounds the lanes"
        )]
        let (work, queue) = mpsc::unbounded_channel();
        let core = Core {
            board: Mutex::new(board),
            tickets: Mutex::default(),
            gaps: Mutex::default(),
            discovery: Discovery::new(registry.ids().len(), markers),
            registry,
            store,
            lease,
            placements: Placements::default(),
            silent: AtomicBool::new(false),
            journal,
            requests,
            halted,
            capacity: Mutex::default(),
            applications,
            work,
            changed: watch::Sender::new(0),
            hurried: watch::Sender::new(0),
            recovering: AtomicBool::new(false),
            sync_numbers: SyncNumbers::default(),
            started: clock::now(),
        };
        core.hand_out(effects, None);
        (Arc::new(core), WorkQueue(queue))
    }

    /// The journal's handle.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Locks the board for reading. Hold it briefly: every write and read takes this lock.
    pub fn board(&self) -> BoardView<'_> {
        BoardView(self.locked())
    }

    /// Awaited between two of many readings of the board. The lock is not fair: a task that takes it again at once
    /// keeps the others out.
    pub async fn let_others_in() {
        tokio::time::sleep(BREATH).await;
    }

    /// Locks the board, poisoned or not. A thread that panicked while it held the lock was reading: a panic in a step
    /// ends the process before the lock is released.
    fn locked(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(|poisoned| {
            self.board.clear_poison();
            poisoned.into_inner()
        })
    }

    /// The halted lanes. They stay halted until an operator clears their faults and the edge starts again.
    pub fn halted(&self) -> &[Fault] {
        &self.halted
    }

    /// Returns the guard for a task that owes the board a report about this lane.
    pub fn ends_with_a_panic(self: &Arc<Self>, lane: Option<LaneId>) -> PanicGuard {
        PanicGuard { core: Arc::clone(self), lane }
    }

    /// How much of the journal applications' own operations may take.
    pub fn applications_quota(&self) -> &ApplicationQuota {
        &self.applications
    }

    /// The journal's size and limit as of retention's last check.
    pub fn capacity(&self) -> Capacity {
        self.capacity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns whether an instance stands ready to take this entry from `instance`, which has not settled it.
    pub(crate) fn another_stands_ready(&self, (lane, seq): (LaneId, Seq), instance: InstanceId) -> bool {
        self.board().another_stands_ready(lane, seq, instance)
    }

    /// The instances.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The right to send writes.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// What is known about the instances' contents.
    pub fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    /// Stops answering clients that their writes succeeded, because another edge has taken over.
    pub fn fall_silent(&self) {
        self.silent.store(true, Ordering::SeqCst);
    }

    /// Returns a receiver that changes after each step of the board.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The journal's store, for queries about transactions.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The counts of what replication has done since the edge started.
    pub fn sync_numbers(&self) -> &SyncNumbers {
        &self.sync_numbers
    }

    /// Returns whether recovery runs.
    pub fn is_recovering(&self) -> bool {
        self.recovering.load(Ordering::Acquire)
    }

    /// Begins recovery, which runs until the returned value is dropped.
    pub(crate) fn recovering(self: &Arc<Self>) -> Recovering {
        self.recovering.store(true, Ordering::Release);
        Recovering(Arc::clone(self))
    }

    /// Feeds an input to the board.
    pub fn step(&self, input: Input) {
        self.step_with(input, None);
    }

    /// Feeds an input to the board, with the instance's answer that led to it.
    pub(crate) fn step_with(&self, input: Input, answer: Option<Arc<Answer>>) {
        {
            let mut board = self.locked();
            let stepped = catch_unwind(AssertUnwindSafe(|| {
                let effects = board.step(input);
                // Still under the lock, so that the order of the queue is the order of the effects.
                self.hand_out(effects, answer);
            }));
            if let Err(panic) = stepped {
                // Still under the lock, so that no other thread acts on a board that is half changed.
                fail_stop::end(&self.store, board.at(), fail_stop::text(&*panic));
            }
        }
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Answers clients, and queues the rest for the runner.
    fn hand_out(&self, effects: Vec<Effect>, answer: Option<Arc<Answer>>) {
        for effect in effects {
            let work = match effect {
                Effect::Answer(client_answer) => {
                    self.answer(client_answer, answer.clone());
                    continue;
                }
                Effect::Persist(persist) => Work::Persist { persist, answer: answer.clone() },
                Effect::Perform(action) => Work::Perform { action, answer: answer.clone() },
            };
            let _ = self.work.send(work);
        }
    }

    /// Requests an inspection, because the instance may have lost content.
    pub fn doubt_contents(&self, instance: InstanceId) {
        let _ = self.work.send(Work::Perform { action: Action::Inspect { instance }, answer: None });
    }

    /// Handles a late write that an earlier edge has reported: the replica is diverged until it has been compared. That
    /// is durable before the late write counts as handled.
    pub fn late_write(&self, id: LateWriteId, late_write: &LateWrite) {
        let LateWrite { lane, instance } = late_write;
        match self.registry.ids().find(|id| self.registry.name(*id) == instance) {
            Some(instance) => self.step(Input::LateWrite { lane: *lane, instance }),
            None => {
                tracing::info!(%instance, %lane, "ignored a late write of an earlier edge: the instance is no longer configured")
            }
        }
        let _ = self.work.send(Work::Handled(id));
    }

    /// Waits until everything that the board has asked for so far is durable, at most for the journal's time limit.
    ///
    /// # Errors
    /// If it may not be durable.
    pub async fn persisted(&self) -> Result<(), AppendError> {
        let (reached, handed_over) = oneshot::channel();
        let _ = self.work.send(Work::HandedOver(reached));
        if handed_over.await.is_err() {
            return Err(AppendError::Unavailable("the edge is being stopped".to_owned()));
        }
        self.journal.record_in_time(Vec::new()).await
    }

    /// Opens the ticket of a write that is about to be journaled. The answer goes to the ticket.
    pub fn ticket(&self, id: TransactionId, ack_policy: AckPolicy, trace: Option<TraceId>) -> Ticket {
        self.tickets().open(id, ack_policy, trace)
    }

    pub(crate) fn tickets(&self) -> MutexGuard<'_, Tickets> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Re-examines every lane and ends all backoff pauses. Returns how many writes recovery has yet to finish.
    pub fn hurry(&self) -> u64 {
        self.hurried.send_modify(|count| *count = count.wrapping_add(1));
        self.step(Input::LookAgain(Look::Everywhere));
        self.board().awaiting_recovery()
    }

    /// Returns a receiver that changes whenever `hurry` is called.
    pub(crate) fn hurried(&self) -> watch::Receiver<u64> {
        self.hurried.subscribe()
    }

    /// Notes that an attempt failed on an instance that was believed healthy. Called before the board is stepped,
    /// because that step may answer the client.
    pub(crate) fn note_gap(&self, seqs: &[Seq]) {
        self.gaps.lock().unwrap_or_else(PoisonError::into_inner).extend(seqs);
    }

    /// Records a failed attempt, and the time of the next one unless another instance is already executing the entry.
    pub(crate) fn retried(
        &self,
        lane: LaneId,
        instance: InstanceId,
        seqs: &[Seq],
        reason: &str,
        next: Option<Timestamp>,
    ) {
        let facts = {
            let board = self.board();
            let fact = |seq: &Seq| {
                let next_retry_at = next.filter(|_| !board.under_way_elsewhere(lane, *seq, instance));
                Fact::Retried { seq: *seq, reason: reason.to_owned(), next_retry_at }
            };
            seqs.iter().map(fact).collect()
        };
        self.journal.record_later(facts);
    }

    /// Returns whether an attempt for this entry failed on an instance that was believed healthy. Called once, when the
    /// entry ends.
    fn take_gap(&self, seq: Seq) -> TimingGap {
        let mut gaps = self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        if gaps.remove(&seq) { TimingGap::Yes } else { TimingGap::No }
    }

    fn answer(&self, client_answer: ClientAnswer, answer: Option<Arc<Answer>>) {
        let ClientAnswer { seq, from, verdict, ack_state, .. } = client_answer;
        if self.silent.load(Ordering::SeqCst) {
            return;
        }
        let timing_gap = self.take_gap(seq);
        let answered = answer.as_ref().map(|answer| answer.status);
        let settlement = Settlement { seq, verdict, from, answer, timing_gap };
        let Settled::Recovered { since } = self.tickets().settle(seq, settlement) else { return };
        // No client waits: recovery finished it.
        let executed_on = from.map(|instance| self.registry.name(instance).clone());
        let at = Timestamp::now();
        let fact = Fact::recovered(seq, verdict, ack_state, answered, executed_on, timing_gap, at);
        let recovered = matches!(fact, Fact::Status { status: Status::Recovered, .. });
        let outcome = if recovered { Recovery::Recovered } else { Recovery::Abandoned };
        metrics::recovered(outcome, since.unwrap_or(self.started).elapsed());
        self.journal.record_later(vec![fact]);
    }

    /// Withdraws this entry if nothing of it can have been executed (rule R15). Its ticket is settled as abandoned once
    /// that is durable. If a request for it is sent between the check and the step, nothing happens.
    pub fn withdraw(&self, lane: LaneId, seq: Seq) -> Withdrawal {
        if !self.board().withdrawable(lane, seq) {
            return Withdrawal::MayHaveBeenSent;
        }
        self.step(Input::Withdraw { lane, seq });
        Withdrawal::Begun
    }

    /// Notes that the client of this entry was answered "recovery pending", or has gone.
    pub fn detach(&self, lane: LaneId, seq: Seq) {
        self.tickets().take_over(seq, clock::now());
        self.step(Input::ClientGone { lane, seq });
    }
}

impl RetentionSink for Core {
    fn capacity(&self, capacity: &Capacity) {
        self.capacity.lock().unwrap_or_else(PoisonError::into_inner).clone_from(capacity);
    }

    fn applications(&self) -> &ApplicationQuota {
        &self.applications
    }

    fn left_behind(&self, lane: LaneId, instance: &InstanceName) {
        if let Some(instance) = self.registry.id_of(instance.as_str()) {
            self.step(Input::LeftBehind { lane, instance });
        }
    }
}

impl DurableSink for Core {
    fn appended(&self, entries: Vec<Appended>) {
        let mut submissions = Vec::with_capacity(entries.len());
        let mut awaited = Vec::with_capacity(entries.len());
        for Appended { seq, draft } in entries {
            // Lifted first: otherwise the new entry would be quarantined for its class, unsent.
            if let Some(quarantined) = draft.instead_of {
                self.step(Input::Lift { lane: draft.lane, seq: quarantined });
            }
            let (ack_policy, trace) = self.tickets().number(draft.transaction_id, seq);
            let intent = intent::of(draft.profile.kind, &draft.method, &draft.path, &draft.body);
            submissions.push(Submission { seq, lane: draft.lane, profile: draft.profile, intent, ack_policy });
            let (client, priority) = (ClientState::Waiting, draft.profile.priority);
            awaited.push((draft.lane, Precedence { client, priority, seq }));
            let request = Request {
                seq,
                lane: draft.lane,
                profile: draft.profile,
                method: draft.method,
                path: draft.path,
                content_type: draft.content_type,
                body: draft.body,
                resolved: Resolution::AsReceived,
                answer: None,
                trace_context: draft.trace_context,
            };
            self.requests.arrived(request, trace);
        }
        self.step(Input::Journaled(submissions));
        for (lane, precedence) in awaited {
            self.requests.awaited(lane, precedence);
        }
    }
}
