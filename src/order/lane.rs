//! One lane: its entries in `seq` order and every instance's progress in it.
//!
//! Decides what may be sent next to one instance (rules R1, R3, R4, R9) and what an instance has covered (rule R5).
//! Rules that cross lanes are in [`super::board`] (`cross_lane.rs`).

use std::collections::{BTreeSet, VecDeque};

use super::admission::Admission;
use super::board::WaitId;
use super::catalog_change::CatalogChange;
use super::entry::{AckPolicy, AckState, ClientState, Entry, Kind, Priority, Verdict};
use super::failures::Failures;
pub use super::lane_state::{Dimension, Lag, LaneState};
pub(super) use super::lane_state::{Expected, Trail};

use super::merging::{MergeLimits, Room, mergeable};
use super::precedence::Precedence;
use crate::ids::{CollectionId, InstanceId, Seq};
use crate::proof::{self, Rule};

/// The state of the one request that an instance may have in this lane (rule R1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InFlight {
    /// Nothing is under way.
    None,
    /// The ids of a limited delete are being read on the instance.
    Resolving { seq: Seq },
    /// Sent, and not answered yet.
    Sent { first: Seq, last: Seq },
    /// Executed or skipped on the instance, and becoming durable. The next request waits for that (rule R1).
    Recording { through: Seq },
    /// In doubt. It is sent again first, once the instance has quiesced (rule R2).
    InDoubt,
    /// Answered with an unexplained failure of this entry. A check whether the instance executes other writes is under
    /// way (rule R12).
    Checking { seq: Seq },
    /// The last request had no effect. The next one waits until the pause is over.
    Paused,
}

/// The state of the check that follows a late write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LateWriteCheck {
    None,
    /// A settle time begins once the request in flight has ended.
    WaitDue,
    /// The settle time is running.
    Waiting,
}

/// One replica: how far an instance is in a lane, and what is in flight there.
#[derive(Clone, Debug)]
pub struct ReplicaProgress {
    /// The last entry durably known to be applied or skipped on the instance.
    pub durable: Seq,
    /// Everything up to here is durably applied, or skipped. The search for the head starts here, so that a long run of
    /// skipped entries is walked only once.
    pub scan_from: Seq,
    pub in_flight: InFlight,
    /// Entries up to here may have been executed on the instance; it is unknown whether they were.
    pub doubt: Seq,
    /// Every request for entries up to here has been answered, so what is in doubt up to here can no longer be executed.
    pub over: Seq,
    /// The last entry that was rejected by agreement and left this replica equal to the others (rule R12).
    pub compared: Seq,
    pub state: LaneState,
    /// The entry that this instance gave no verdict on (`Unfit`), until the pause is over.
    pub declined: Option<Seq>,
    /// Consecutive requests without an answer while the instance was reachable.
    pub unanswered: u32,
    /// Consecutive requests without effect while the instance was reachable, since its last answer or return.
    pub backoffs: u32,
    /// The latest wait that began for this replica.
    pub wait: WaitId,
    pub(super) late_write_check: LateWriteCheck,
    pub(super) trail: Trail,
    /// What takes effect when the record under way is durable.
    pub(super) pending: Pending,
}

/// What takes effect once a record is durable.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending {
    pub verdicts: Vec<(Seq, Verdict)>,
    pub changes: Vec<CatalogChange>,
    pub diverged: Vec<(CollectionId, InstanceId)>,
    pub answers: Vec<Seq>,
    pub admission: Admission,
}

impl ReplicaProgress {
    pub(super) fn new(durable: Seq, state: LaneState) -> Self {
        ReplicaProgress {
            durable,
            scan_from: durable,
            in_flight: InFlight::None,
            doubt: Seq::ZERO,
            over: Seq::ZERO,
            compared: Seq::ZERO,
            state,
            declined: None,
            unanswered: 0,
            backoffs: 0,
            wait: WaitId::default(),
            late_write_check: LateWriteCheck::None,
            trail: Trail::default(),
            pending: Pending::default(),
        }
    }

    fn scan_from(&self) -> Seq {
        self.durable.max(self.scan_from)
    }

    /// Returns whether a request, or a read for one, is under way on the instance.
    pub(super) fn busy(&self) -> bool {
        matches!(self.in_flight, InFlight::Sent { .. } | InFlight::Resolving { .. } | InFlight::Checking { .. })
    }

    /// Returns whether a request for this entry is under way on the instance.
    fn is_at(&self, seq: Seq) -> bool {
        match self.in_flight {
            InFlight::Sent { first, last } => first <= seq && seq <= last,
            InFlight::Resolving { seq: other } | InFlight::Checking { seq: other } => other == seq,
            // Its verdict is becoming durable.
            InFlight::Recording { through } => self.durable < seq && seq <= through,
            InFlight::None | InFlight::InDoubt | InFlight::Paused => false,
        }
    }

    /// Notes that a request got a definite answer.
    pub(super) fn answered(&mut self) {
        self.unanswered = 0;
        self.backoffs = 0;
    }

    /// Begins a wait. Only the end of this wait ends it.
    pub(super) fn begin_wait(&mut self, in_flight: InFlight) -> WaitId {
        if self.late_write_check == LateWriteCheck::WaitDue && in_flight == InFlight::InDoubt {
            self.late_write_check = LateWriteCheck::Waiting;
        }
        self.in_flight = in_flight;
        self.wait = self.wait.next();
        self.wait
    }
}

/// An entry with what the lane remembers about running it.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub entry: Entry,
    /// The collection that a catalog entry changes, if known.
    pub changes: Option<CollectionId>,
    pub ack_policy: AckPolicy,
    pub client: ClientState,
    pub ack_state: AckState,
    /// The client's answer has been given. It is never given twice.
    pub answer_given: bool,
    /// Never merged again, because a request that contained it was rejected, failed, or not answered.
    pub solo: bool,
    /// The ids of this limited delete are durable.
    pub resolved: bool,
    /// A request for it ended otherwise than as `NotSent`, or an earlier edge may have sent one.
    pub may_have_run: bool,
    /// Single requests that healthy instances left without an answer, per instance.
    pub unanswered: Vec<u32>,
    /// Being examined for rule R10, or compared for rule R12.
    pub examined: bool,
    /// Its unexplained failures, once there are any (rule R12).
    pub failures: Option<Box<Failures>>,
    /// Deaths of each instance while it had the entry; empty if there were none (rule R13).
    pub deaths: Vec<u32>,
}

/// A lane: one order of execution.
#[derive(Clone, Debug)]
pub struct Lane {
    pub(super) slots: VecDeque<Slot>,
    pub(super) replicas: Vec<ReplicaProgress>,
    /// Entries that a client waits for, the most urgent first.
    pub(super) waiting: BTreeSet<(Priority, Seq)>,
    /// The writers that the next request waits for (rule R19).
    pub(super) expected: Option<Expected>,
    /// The last entry whose effect a client may rely on (rule R5).
    pub(super) answered: Seq,
    /// The last entry that has entered, whatever became of it.
    pub(super) entered: Seq,
    /// How often one of its replicas has diverged, or was found to be worse than diverged.
    pub(super) divergences: u32,
    /// How many of its entries are counted, and whether it may have changed since.
    pub(super) counted: usize,
    pub(super) touched: bool,
    pub(super) dimension: Dimension,
    /// The collection was deleted by this entry, so everything unsettled here is void (rule R7).
    pub(super) closed_by: Option<Seq>,
}

impl Lane {
    pub(super) fn new(replicas: Vec<ReplicaProgress>, dimension: Dimension) -> Self {
        Lane {
            slots: VecDeque::new(),
            replicas,
            waiting: BTreeSet::new(),
            expected: None,
            answered: Seq::ZERO,
            entered: Seq::ZERO,
            divergences: 0,
            counted: 0,
            touched: false,
            dimension,
            closed_by: None,
        }
    }

    pub(super) fn push(&mut self, entry: Entry, ack_policy: AckPolicy, client: ClientState) {
        assert!(self.slots.back().is_none_or(|last| last.entry.seq < entry.seq), "a lane is in seq order");
        self.entered = entry.seq;
        if client == ClientState::Waiting && entry.verdict.is_none() {
            self.waiting.insert((entry.profile.priority, entry.seq));
        }
        self.slots.push_back(Slot {
            answer_given: entry.verdict.is_some(),
            entry,
            changes: None,
            ack_policy,
            client,
            ack_state: AckState::Unacknowledged,
            solo: false,
            resolved: false,
            may_have_run: false,
            unanswered: vec![0; self.replicas.len()],
            examined: false,
            failures: None,
            deaths: Vec::new(),
        });
    }

    /// Notes that the entry's client has its answer, or no longer waits. Returns whether a client was waiting.
    pub(super) fn stops_waiting(&mut self, seq: Seq) -> bool {
        let priority = self.slot(seq).map(|slot| slot.entry.profile.priority);
        priority.is_some_and(|priority| self.waiting.remove(&(priority, seq)))
    }

    /// The precedence of a request for these entries. A client that waits for a later entry of the lane waits for this
    /// request too.
    pub(super) fn precedence(&self, seqs: &[Seq]) -> Precedence {
        let awaited = self.waiting.first().map(|(priority, _)| *priority);
        let own = seqs.iter().filter_map(|seq| self.slot(*seq)).map(|slot| slot.entry.profile.priority);
        Precedence {
            client: if awaited.is_some() { ClientState::Waiting } else { ClientState::Gone },
            priority: own.chain(awaited).min().unwrap_or_default(),
            seq: seqs.first().copied().unwrap_or(Seq::ZERO),
        }
    }

    pub(super) fn progress(&self, instance: InstanceId) -> &ReplicaProgress {
        &self.replicas[instance.0]
    }

    pub(super) fn progress_mut(&mut self, instance: InstanceId) -> &mut ReplicaProgress {
        &mut self.replicas[instance.0]
    }

    fn index_after(&self, seq: Seq) -> usize {
        self.slots.partition_point(|slot| slot.entry.seq <= seq)
    }

    pub(super) fn slot(&self, seq: Seq) -> Option<&Slot> {
        self.slots.get(self.slots.partition_point(|slot| slot.entry.seq < seq)).filter(|slot| slot.entry.seq == seq)
    }

    pub(super) fn slot_mut(&mut self, seq: Seq) -> Option<&mut Slot> {
        let at = self.slots.partition_point(|slot| slot.entry.seq < seq);
        self.slots.get_mut(at).filter(|slot| slot.entry.seq == seq)
    }

    /// Slots in `(after, through]`.
    pub(super) fn between_mut(&mut self, after: Seq, through: Seq) -> impl Iterator<Item = &mut Slot> {
        let from = self.index_after(after);
        self.slots.range_mut(from..).take_while(move |slot| slot.entry.seq <= through)
    }

    /// Returns whether an instance skips this entry (rule R4). A rejected write may have set the collection's
    /// dimension, so it is sent to every instance as long as no dimension is known. Where it is in doubt, it is sent
    /// again and should be rejected.
    pub(super) fn skipped(&self, slot: &Slot, progress: &ReplicaProgress) -> bool {
        match slot.entry.verdict {
            None | Some(Verdict::Applied) => false,
            Some(Verdict::Void | Verdict::Abandoned) => true,
            // A creation in doubt is undone on the instance. Where a write or a change is in doubt, the instance leaves
            // the collection instead.
            Some(Verdict::Quarantined) => {
                let kind = slot.entry.profile.kind;
                kind.is_record() || kind == Kind::UpdateCollection || progress.doubt < slot.entry.seq
            }
            Some(Verdict::Rejected) => {
                let traceless = self.dimension == Dimension::Known || !slot.entry.profile.kind.is_record();
                let compared = progress.compared == slot.entry.seq;
                compared || (traceless && progress.doubt < slot.entry.seq)
            }
        }
    }

    /// The first entry that the instance has yet to execute.
    pub(super) fn head(&self, instance: InstanceId) -> Option<&Slot> {
        let progress = self.progress(instance);
        let from = self.index_after(progress.scan_from());
        self.slots.range(from..).find(|slot| !self.skipped(slot, progress))
    }

    /// Moves every replica past the entries that it skips. A skipped entry stays skipped, so each is visited once.
    pub(super) fn pass_skipped(&mut self) {
        for index in 0..self.replicas.len() {
            let progress = &self.replicas[index];
            let mut scan_from = progress.scan_from();
            for slot in self.slots.range(self.index_after(scan_from)..) {
                if !self.skipped(slot, progress) {
                    break;
                }
                scan_from = slot.entry.seq;
            }
            self.replicas[index].scan_from = scan_from;
        }
    }

    /// The position up to which everything is applied or skipped on the instance (rule R5).
    pub(super) fn covered(&self, instance: InstanceId) -> Seq {
        let progress = self.progress(instance);
        let mut covered = match progress.in_flight {
            InFlight::Recording { through } => through.max(progress.scan_from()),
            InFlight::None
            | InFlight::Resolving { .. }
            | InFlight::Sent { .. }
            | InFlight::Checking { .. }
            | InFlight::InDoubt
            | InFlight::Paused => progress.scan_from(),
        };
        for slot in self.slots.range(self.index_after(covered)..) {
            if !self.skipped(slot, progress) {
                break;
            }
            covered = slot.entry.seq;
        }
        covered
    }

    /// The position up to which everything is durably applied or skipped on the instance. Pages and metrics show this.
    pub(super) fn durably_covered(&self, instance: InstanceId) -> Seq {
        let progress = self.progress(instance);
        match progress.in_flight {
            InFlight::Recording { .. } => progress.scan_from(),
            InFlight::None
            | InFlight::Resolving { .. }
            | InFlight::Sent { .. }
            | InFlight::Checking { .. }
            | InFlight::InDoubt
            | InFlight::Paused => self.covered(instance),
        }
    }

    /// The first entry that the instance is not durably known to have applied.
    pub(super) fn first_unsettled(&self, instance: InstanceId) -> Option<Seq> {
        let from = self.index_after(self.durably_covered(instance));
        self.slots.range(from..).map(|slot| slot.entry.seq).next()
    }

    /// Returns whether something in doubt on the instance will be sent again (rule R2). Nothing is sent to a diverged
    /// replica, so nothing may wait for it.
    pub(super) fn doubtful(&self, instance: InstanceId) -> bool {
        let progress = self.progress(instance);
        progress.state == LaneState::InStep && progress.doubt > self.covered(instance)
    }

    /// Returns whether an unanswered request may still be executed on the instance. An entry answered with an
    /// unexplained failure is in doubt as well, but no request for it is pending.
    pub(super) fn may_still_execute(&self, instance: InstanceId) -> bool {
        self.doubtful(instance) && self.progress(instance).doubt > self.progress(instance).over
    }

    /// How many entries before this one the instance has yet to pass.
    pub(super) fn distance(&self, instance: InstanceId, seq: Seq) -> usize {
        self.index_after(seq).saturating_sub(self.index_after(self.progress(instance).scan_from()) + 1)
    }

    /// The number of entries that the instance is not durably known to have applied.
    pub(super) fn behind(&self, instance: InstanceId) -> u64 {
        self.lacked(instance).count() as u64
    }

    /// The entries that [`Lane::behind`] counts.
    pub(super) fn lacked(&self, instance: InstanceId) -> impl Iterator<Item = Seq> {
        let from = self.index_after(self.durably_covered(instance));
        let lacked = move |slot: &&Slot| !self.skipped(slot, self.progress(instance));
        self.slots.range(from..).filter(lacked).map(|slot| slot.entry.seq)
    }

    /// Returns whether some entry up to this one is not durably known to be applied on the instance.
    pub(super) fn is_behind(&self, instance: InstanceId, up_to: Seq) -> bool {
        let from = self.index_after(self.durably_covered(instance));
        let mut entries = self.slots.range(from..).take_while(|slot| slot.entry.seq <= up_to);
        entries.any(|slot| !self.skipped(slot, self.progress(instance)))
    }

    /// The run of neighbors that starts at `first` and may share one request on `instance` (rules R1, R9).
    ///
    /// `before`: the run ends at this position because an open deletion follows (rule R7).
    pub(super) fn run_from(&self, instance: InstanceId, first: Seq, before: Seq, limits: MergeLimits) -> Vec<Seq> {
        let Some(head) = self.slot(first) else { return Vec::new() };
        let mut run = vec![first];
        let (Some(merge), false) = (head.entry.profile.merge, head.solo) else { return run };
        let doubt = self.progress(instance).doubt;
        let mut room = Room { documents: merge.docs, bytes: head.entry.profile.bytes };
        for slot in self.slots.range(self.index_after(first)..) {
            let inside_doubt = first > doubt || slot.entry.seq <= doubt;
            let alike = slot.entry.verdict == head.entry.verdict && !slot.solo && inside_doubt;
            if !alike
                || slot.entry.seq > before
                || !mergeable(&head.entry.profile, &slot.entry.profile)
                || !room.take(&slot.entry.profile, limits)
            {
                break;
            }
            run.push(slot.entry.seq);
        }
        run
    }

    /// The end of what may have been under way on the instance before a crash, including entries that have a verdict by
    /// now. Everything up to there counts as in doubt (rule R2). `None` if nothing was under way. It starts right after
    /// the durable progress, because skips are recorded before anything newer is sent.
    ///
    /// Nothing beyond an open deletion at `before` was sent, so nothing beyond it may count as in doubt. Otherwise the
    /// deletion and the doubt would wait for each other (rule R7).
    pub(super) fn doubtful_end(&self, instance: InstanceId, before: Seq, limits: MergeLimits) -> Option<Seq> {
        let first = self.slots.get(self.index_after(self.progress(instance).durable))?;
        let (seq, open) = (first.entry.seq, first.entry.verdict.is_none());
        (!open || seq < before).then(|| self.doubtful_run_end(seq, before, limits))
    }

    /// The end of the longest run that may have been sent from `first`.
    fn doubtful_run_end(&self, first: Seq, before: Seq, limits: MergeLimits) -> Seq {
        let Some(head) = self.slot(first) else { return first };
        let mut room =
            Room { documents: head.entry.profile.merge.map_or(0, |m| m.docs), bytes: head.entry.profile.bytes };
        let mut end = first;
        for slot in self.slots.range(self.index_after(first)..) {
            if slot.entry.seq > before
                || !mergeable(&head.entry.profile, &slot.entry.profile)
                || !room.take(&slot.entry.profile, limits)
            {
                break;
            }
            end = slot.entry.seq;
        }
        end
    }

    /// Forgets entries that are durable on every instance that is in step or about to be. Entries of a request under
    /// way are kept, since it may have been sent before they could be skipped.
    pub(super) fn trim(&mut self) {
        let passed = |progress: &ReplicaProgress| match (progress.state, progress.in_flight) {
            (LaneState::InStep, InFlight::Sent { first: seq, .. })
            | (LaneState::InStep, InFlight::Resolving { seq } | InFlight::Checking { seq }) => {
                Some(progress.scan_from().min(seq.prior()))
            }
            (LaneState::InStep, _) => Some(progress.scan_from()),
            (_, InFlight::Recording { through }) if progress.pending.admission == Admission::WhenDurable => {
                Some(through)
            }
            _ => None,
        };
        let low = self.replicas.iter().filter_map(passed).min().unwrap_or(Seq::ZERO);
        let kept = if proof::broken(Rule::ReplayOne) { KEPT } else { 0 };
        while self.slots.len() > kept
            && self.slots.front().is_some_and(|slot| slot.entry.seq <= low && slot.answer_given)
        {
            self.slots.pop_front();
        }
    }

    /// Returns whether nothing is under way on any instance.
    pub(super) fn idle(&self) -> bool {
        self.replicas.iter().all(|progress| progress.in_flight == InFlight::None)
    }

    /// Returns whether any instance other than `except` has a request for this entry under way.
    pub(super) fn under_way_elsewhere(&self, seq: Seq, except: InstanceId) -> bool {
        let mut others = self.replicas.iter().enumerate().filter(|(index, _)| *index != except.0);
        others.any(|(_, progress)| progress.is_at(seq))
    }

    /// Returns whether any instance has a request for this entry under way.
    pub(super) fn under_way(&self, seq: Seq) -> bool {
        self.replicas.iter().any(|progress| progress.is_at(seq))
    }
}

/// How many entries a build that breaks `ReplayOne` keeps in memory.
const KEPT: usize = 64;
