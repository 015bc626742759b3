//! The board: every lane and the catalog, and the one function that moves them, [`Board::step`].
//!
//! Events come in as [`Input`]s, work goes out as [`Effect`]s. The board decides which instance executes what and when, and what
//! is in doubt, skipped, answered or diverged. It performs nothing itself and deals with no bodies, answers, sockets or time.

mod abandon;
mod agreement;
mod breach;
mod check;
mod coming_names;
mod condemn;
mod cross_lane;
mod cutover;
mod deferred;
mod effect;
mod gather;
mod halt;
mod input;
mod inspection;
mod joining;
mod keep;
mod lanes;
mod late_write;
mod launch;
mod object;
mod older;
mod outcome;
mod placed;
mod quarantine;
mod rebuild;
mod record;
mod repair;
mod restore;
mod suspects;
mod view;
mod wait;
mod wipe;
mod withdraw;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use cutover::CutoverState;
pub use effect::{
    Action, ClientAnswer, DivergenceCause, Effect, Evidence, Persist, Purpose, Record, Repeat, SendPriority, Urgency,
};
pub use input::{
    Comparison, Consequences, Examination, Health, Input, Intent, Look, Outcome, Reach, Resolved, Retry, Submission,
};
pub use keep::{Keeping, Obstacle};
pub use object::ObjectVersion;
pub use placed::{LastCopies, NotReady};
pub use rebuild::{CutoverOutcome, Rebuild, RepairWrites};
pub use restore::{RestoredEntry, RestoredLane, RestoredProgress};
pub use view::{Consistency, LaneView};
pub use wait::{WaitId, WaitReason};

use self::coming_names::ComingNames;
use self::deferred::Deferred;
use self::lanes::Lanes;
use self::suspects::Suspect;
use super::admission::Admission;
use super::catalog::{Catalog, Deletion};
use super::entry::{AckPolicy, ClientState, Entry};
use super::lane::{Dimension, Expected, InFlight, Lane, LaneState, ReplicaProgress, Trail};
use super::merging::MergeLimits;
use super::placement::{Duty, Placement};
use super::vouching::{RequestClass, Vouching};
use crate::ids::{CollectionId, InstanceId, InstanceName, LaneId, Seq};
use cutover::{CopyLog, Cutover};

/// Why an entry is held back: the state of its examination (rule R10) or its comparison (rule R12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// Waits until no given-up request can still be executed.
    UntilQuiescent(Seq),
    /// [`Action::Examine`] is under way.
    Asked(Seq),
    /// [`Action::CompareTouched`] is under way (rule R12).
    Comparing(Seq),
}

/// How many lanes [`Look::Around`] looks at: a few milliseconds of work.
const LOOKED_AT: usize = 1024;

/// Every lane and the catalog.
#[derive(Clone, Debug)]
pub struct Board {
    /// How well each instance can be reached. A stopped instance is away.
    pub(super) reach: Vec<Reach>,
    /// How each instance was last reported to be reachable.
    seen: Vec<Reach>,
    /// The newest entry at the time the instance last became reachable.
    returned: Vec<Seq>,
    placement: Placement,
    /// Open entries that drained instances do not take yet.
    deferred: BTreeMap<LaneId, Deferred>,
    pub(super) lanes: Lanes,
    pub(super) catalog: Catalog,
    /// The configured limits of one merged request.
    pub(super) limits: MergeLimits,
    /// The current limits, which are lower while memory is short.
    pub(super) batches: MergeLimits,
    /// Unsettled deletions of the catalog lane (rule R7).
    pub(super) deletions: BTreeMap<Seq, Deletion>,
    /// The names that unsettled entries of the catalog lane may give to collections.
    coming_names: ComingNames,
    /// Settled deletions that some instance has yet to execute, and the lanes they closed.
    pub(super) settled_deletions: BTreeMap<Seq, Vec<LaneId>>,
    /// Entries that are being examined (rule R10) or compared (rule R12).
    pub(super) held: BTreeMap<LaneId, Held>,
    /// Entries that an instance may have died of, until they have a verdict (rule R13).
    suspects: BTreeMap<(LaneId, InstanceId), Suspect>,
    /// Quarantined entries that are not lifted, by lane (rule R13).
    pub(super) quarantined: BTreeMap<LaneId, BTreeMap<Seq, RequestClass>>,
    /// The entries that have entered each lane of which a copy is being made (rule R14).
    pub(super) copies: BTreeMap<LaneId, CopyLog>,
    /// Copies that are being repaired where they are (rule R14).
    repairs: BTreeMap<(LaneId, InstanceId), Rebuild>,
    /// Lanes that are held for a new copy to take its place (rule R14).
    pub(super) cutovers: BTreeMap<LaneId, Cutover>,
    pub(super) dirty: BTreeSet<LaneId>,
    pub(super) last: Seq,
    /// The last change of an unknown collection that was not applied: it may have left something behind.
    pub(super) failed_change: Seq,
    /// The same for each known collection.
    pub(super) failed_changes: BTreeMap<CollectionId, Seq>,
    /// Halted lanes, in which nothing is done.
    halted: halt::Halted,
    /// The lane that is being worked on, to locate a panic.
    at: Option<LaneId>,
    /// Where [`Look::Around`] stopped; `None` at the end.
    looked_at: Option<LaneId>,
}

impl Board {
    /// Returns the board of a blank journal.
    pub fn new(instances: Vec<InstanceName>, limits: MergeLimits) -> Self {
        let replicas = instances.iter().map(|_| ReplicaProgress::new(Seq::ZERO, LaneState::InStep)).collect();
        let catalog_lane = Lane::new(replicas, Dimension::Known);
        let mut lanes = Lanes::default();
        lanes.insert(LaneId::Catalog, catalog_lane);
        lanes.take_stock();
        Board {
            reach: vec![Reach::Away; instances.len()],
            seen: vec![Reach::Away; instances.len()],
            returned: vec![Seq::ZERO; instances.len()],
            placement: Placement::new(instances.len()),
            deferred: BTreeMap::new(),
            lanes,
            catalog: Catalog::new(instances),
            limits,
            batches: limits,
            deletions: BTreeMap::new(),
            coming_names: ComingNames::default(),
            settled_deletions: BTreeMap::new(),
            held: BTreeMap::new(),
            suspects: BTreeMap::new(),
            quarantined: BTreeMap::new(),
            copies: BTreeMap::new(),
            repairs: BTreeMap::new(),
            cutovers: BTreeMap::new(),
            dirty: BTreeSet::new(),
            last: Seq::ZERO,
            failed_change: Seq::ZERO,
            failed_changes: BTreeMap::new(),
            halted: halt::Halted::default(),
            at: None,
            looked_at: None,
        }
    }

    /// Takes one input and returns the effects to carry out.
    pub fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.at = halt::reported_lane(&input);
        if self.at.is_some_and(|lane| self.halted.contains(lane)) {
            return effects;
        }
        match input {
            Input::Journaled(submissions) => {
                for submission in submissions {
                    self.submit(submission, &mut effects);
                }
            }
            Input::Attempted { lane, instance, outcome } => self.attempted(lane, instance, outcome, &mut effects),
            Input::IdsRead { lane, instance, resolved } => self.ids_read(lane, instance, resolved, &mut effects),
            Input::Recorded { lane, instance } => self.recorded(lane, instance, &mut effects),
            Input::VoidsRecorded { lane, seqs } => self.voids_recorded(lane, &seqs, &mut effects),
            Input::Quiesced { lane, instance, wait } => self.quiesced(lane, instance, wait, &mut effects),
            Input::Reached { instance, reach } => self.reached(instance, reach),
            Input::Prefer { instance } => self.prefer(instance),
            Input::HandedOver => self.handed_over(),
            Input::Assign { instance, duty } => self.assign(instance, duty),
            Input::DeferredLongEnough => self.deferred_long_enough(),
            Input::Missing { instance, collections } => self.missing(instance, &collections, &mut effects),
            Input::Older { instance, through } => self.came_back_older(instance, through, &mut effects),
            Input::Condemn { collection, instance, evidence } => {
                self.condemn(collection, instance, evidence, &mut effects);
            }
            Input::Keep { collection, instance, evidence } => self.keep(collection, instance, evidence, &mut effects),
            Input::LateWrite { lane, instance } => self.late_write(lane, instance, &mut effects),
            Input::LeftBehind { lane, instance } => self.left_behind(lane, instance, &mut effects),
            Input::ClientGone { lane, seq } => self.client_gone(lane, seq),
            Input::Withdraw { lane, seq } => self.withdraw(lane, seq, &mut effects),
            Input::WithdrawalRecorded { lane, seq } => self.withdrawal_recorded(lane, seq, &mut effects),
            Input::Examined { lane, seq, shows } => self.examined(lane, seq, shows, &mut effects),
            Input::WriteChecked { lane, instance, seq, shows } => {
                self.write_checked(lane, instance, seq, shows, &mut effects);
            }
            Input::TouchedCompared { lane, seq, comparison } => {
                self.touched_compared(lane, seq, comparison, &mut effects);
            }
            Input::WritersAwaited { lane, after } => self.writers_awaited(lane, after),
            Input::MoreAwaited { lane, instance, from } => self.more_awaited(lane, instance, from),
            Input::FreshWanted { collection } => self.fresh_wanted(collection),
            Input::ReturnAwaited { lane, instance, wait } => {
                self.return_awaited(lane, instance, wait, &mut effects);
            }
            Input::Lift { lane, seq } => self.lift(lane, seq, &mut effects),
            Input::Reconsider { lane, instance } => self.reconsider(lane, instance, &mut effects),
            Input::FoundEqual(comparison) => self.found_equal(&comparison, &mut effects),
            Input::RepairBegun(rebuild) => self.repair_begun(rebuild),
            Input::RepairEnded { rebuild, writes } => self.repair_ended(rebuild, writes),
            Input::CopyBegun(rebuild) => self.copy_begun(rebuild),
            Input::CopyNoted(rebuild, id) => self.copy_noted(rebuild, id),
            Input::CutoverWanted(rebuild) => self.cutover_wanted(rebuild),
            Input::CutoverEnded { rebuild, outcome } => self.cutover_ended(rebuild, outcome, &mut effects),
            Input::Batches { limits } => self.batches = self.limits.within(limits),
            Input::LookAgain(look) => self.look_again(look, &mut effects),
        }
        self.launch_all(&mut effects);
        self.lanes.take_stock();
        if cfg!(debug_assertions) {
            self.check(&effects);
        }
        effects
    }

    fn submit(&mut self, submission: Submission, effects: &mut Vec<Effect>) {
        let Submission { seq, lane: id, profile, intent, ack_policy } = submission;
        assert!(seq > self.last, "entries are submitted in seq order (R6)");
        self.last = seq;
        self.at = Some(id);
        if self.halted.contains(id) {
            return self.submit_to_halted(id, seq);
        }
        let changes = intent.changes();
        self.coming_names.note(seq, &intent);
        if let Intent::Deletes(deletion) = intent {
            self.deletions.insert(seq, deletion);
        }
        let durable = ack_policy == AckPolicy::Durable || profile.vouching == Vouching::Vouched;
        debug_assert!(durable, "what is not vouched for is answered when it is durable (R13)");
        let diverged = self.ensure_lane(id);
        persist_divergence(diverged, DivergenceCause::Unverified, effects);
        let lane = known(self.lanes.get_mut(&id));
        lane.push(Entry { seq, profile, verdict: None }, ack_policy, ClientState::Waiting);
        lane.slots.back_mut().into_iter().for_each(|slot| slot.changes = changes);
        lane.expected = lane.expected.and_then(Expected::one_came);
        self.copies.get_mut(&id).into_iter().for_each(|log| log.note(seq));
        self.dirty.insert(id);
        let gone = match id {
            LaneId::Catalog => false,
            LaneId::Records(collection) => self.catalog.get(collection).is_none(),
        };
        if gone {
            lane.closed_by.get_or_insert(seq);
            self.void(id, vec![seq], effects);
        }
    }

    fn client_gone(&mut self, lane: LaneId, seq: Seq) {
        if let Some(lane) = self.lanes.get_mut(&lane)
            && let Some(slot) = lane.slot_mut(seq)
        {
            slot.client = ClientState::Gone;
            lane.stops_waiting(seq);
        }
    }

    /// Creates the lane if it does not exist. Returns the replicas that start out diverged.
    pub(super) fn ensure_lane(&mut self, id: LaneId) -> Vec<(LaneId, InstanceId)> {
        if self.lanes.contains_key(&id) {
            return Vec::new();
        }
        let replicas = self.instances().map(|_| ReplicaProgress::new(Seq::ZERO, LaneState::InStep)).collect();
        self.lanes.insert(id, Lane::new(replicas, Dimension::Unknown));
        let without = self.instances().filter(|instance| self.never_mapped(id, *instance));
        self.diverge(without.map(|instance| (id, instance)).collect())
    }

    /// Returns whether the instance lacks the collection and its catalog lane will not bring it. The instance then
    /// needs a rebuild, and nothing may wait for it until then (rule R11).
    pub(super) fn never_mapped(&self, id: LaneId, instance: InstanceId) -> bool {
        // Only collections are mapped.
        let LaneId::Records(collection) = id else { return false };
        let stopped =
            self.lanes.get(&LaneId::Catalog).is_some_and(|lane| lane.progress(instance).state != LaneState::InStep);
        stopped && self.catalog.mapping(collection, instance).is_none()
    }

    fn quiesced(&mut self, id: LaneId, instance: InstanceId, wait: WaitId, effects: &mut Vec<Effect>) {
        // Late: the lane's collection was deleted during the wait.
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let closed = lane.closed_by.is_some();
        let progress = lane.progress_mut(instance);
        if matches!(progress.in_flight, InFlight::InDoubt | InFlight::Paused) && progress.wait == wait {
            progress.in_flight = InFlight::None;
            progress.declined = None;
            if closed || progress.state != LaneState::InStep {
                progress.doubt = Seq::ZERO;
            }
            self.late_write_wait_over(id, instance, effects);
        }
        self.dirty.insert(id);
        self.dirty.insert(LaneId::Catalog);
        self.examine_when_quiescent(id, effects);
        if id == LaneId::Catalog {
            self.join_catalog(instance, effects);
        }
    }

    /// Makes up for a missed wake-up. Costs one look at each lane that it visits.
    fn look_again(&mut self, look: Look, effects: &mut Vec<Effect>) {
        let held: Vec<_> = self.held.keys().copied().collect();
        for id in held {
            self.examine_when_quiescent(id, effects);
        }
        match look {
            Look::Everywhere => self.dirty.extend(self.lanes.restless()),
            Look::Around => {
                let next: Vec<LaneId> = self.lanes.restless_after(self.looked_at).take(LOOKED_AT).collect();
                self.looked_at = next.last().copied().filter(|_| next.len() == LOOKED_AT);
                self.dirty.extend(next);
            }
        }
    }

    fn reached(&mut self, instance: InstanceId, reach: Reach) {
        self.seen[instance.0] = reach;
        if self.duty(instance) != Duty::Stopped {
            self.comes_to(instance, reach);
        }
    }

    fn comes_to(&mut self, instance: InstanceId, reach: Reach) {
        let before = std::mem::replace(&mut self.reach[instance.0], reach);
        if reach == Reach::Away {
            self.comparisons_of_repairs_are_void(instance);
        }
        if before == Reach::Away {
            self.returned[instance.0] = self.last;
            // Failures from before the instance went away say nothing about what will fail now.
            let lanes: Vec<LaneId> = self.lanes.restless().collect();
            for lane in lanes {
                let Some(lane) = self.lanes.get_mut(&lane) else { continue };
                let progress = lane.progress_mut(instance);
                progress.backoffs = 0;
                progress.trail = Trail::CatchingUp;
            }
        }
        if reach == Reach::Away {
            self.release_held();
        }
        if reach != before {
            self.hold_nothing();
        }
        self.dirty.extend(self.lanes.restless());
    }

    fn missing(&mut self, instance: InstanceId, collections: &[CollectionId], effects: &mut Vec<Effect>) {
        let lanes: Vec<_> = collections
            .iter()
            .filter(|id| self.catalog.mapping(**id, instance).is_some() && !self.may_be_going(**id, instance))
            .map(|id| LaneId::Records(*id))
            .collect();
        self.comparisons_of_repairs_are_void(instance);
        let diverged = self.diverge(lanes.into_iter().map(|lane| (lane, instance)).collect());
        persist_divergence(diverged, DivergenceCause::Unverified, effects);
    }

    /// Rule R11: only in a collection's lane, and only if two others in step durably have more. The instance may have
    /// moved since it was found to be the last.
    fn left_behind(&mut self, id: LaneId, instance: InstanceId, effects: &mut Vec<Effect>) {
        // Late: the collection was deleted since.
        let Some(lane) = self.lanes.get(&id).filter(|_| id != LaneId::Catalog) else { return };
        let has = lane.durably_covered(instance);
        let ahead =
            |other: &InstanceId| lane.progress(*other).state == LaneState::InStep && lane.durably_covered(*other) > has;
        if self.instances().filter(ahead).count() < 2 {
            return;
        }
        let diverged = self.diverge(vec![(id, instance)]);
        persist_divergence(diverged, DivergenceCause::LeftBehind, effects);
    }

    /// Stops sending to these replicas and serving from them at once. Returns those whose state has changed, which the
    /// caller makes durable.
    pub(super) fn diverge(&mut self, replicas: Vec<(LaneId, InstanceId)>) -> Vec<(LaneId, InstanceId)> {
        self.diverge_to(DivergenceCause::Unverified, replicas)
    }

    /// See [`Board::diverge`].
    pub(super) fn diverge_to(
        &mut self,
        cause: DivergenceCause,
        replicas: Vec<(LaneId, InstanceId)>,
    ) -> Vec<(LaneId, InstanceId)> {
        let state = match cause {
            DivergenceCause::Unverified | DivergenceCause::LeftBehind => LaneState::Diverged,
            DivergenceCause::Quarantined => LaneState::Quarantined,
            DivergenceCause::Condemned(Evidence::ContradictsJournal) => LaneState::Contradicted,
            DivergenceCause::Condemned(_) => LaneState::Condemned,
        };
        let mut diverged = Vec::new();
        for (id, instance) in replicas {
            diverged.extend(self.ensure_lane(id));
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            let progress = lane.progress_mut(instance);
            let admitted = std::mem::take(&mut progress.pending.admission) == Admission::WhenDurable;
            let worse = state.is_worse_than(progress.state);
            if progress.state == LaneState::InStep || admitted || worse {
                progress.state = state;
                lane.divergences = lane.divergences.wrapping_add(1);
                diverged.push((id, instance));
                self.dirty.insert(id);
            }
        }
        diverged
    }
}

/// Makes durable that these replicas are diverged, if there are any.
pub(super) fn persist_divergence(
    replicas: Vec<(LaneId, InstanceId)>,
    cause: DivergenceCause,
    effects: &mut Vec<Effect>,
) {
    if !replicas.is_empty() {
        effects.push(Effect::Persist(Persist::Divergence { replicas, cause }));
    }
}

/// Unwraps something that must be on the board because it is being worked on. A step that finds it missing panics: the
/// process ends, and the true state is restored from the journal (decision 0026).
#[track_caller]
pub(super) fn known<T>(found: Option<T>) -> T {
    match found {
        Some(found) => found,
        None => panic!("worked on, and not on the board"),
    }
}

/// Panics because of something that cannot have happened, like [`known`].
#[track_caller]
pub(super) fn never(what: &str) -> ! {
    panic!("{what}")
}
