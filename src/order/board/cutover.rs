//! When a new copy may take the place of a diverged or quarantined one, and when a repaired one may serve again (rule R14).
//!
//! Decides which replicas can be healed, from which instance, and at which position of the lane the copy is admitted.
//! At that position nothing is in flight to the source, and nothing is sent until the copy is in its place. The shell
//! does the copying itself, before and at that position. Rules that apply only to a copy that is repaired where it is
//! are in [`super::repair`].

use super::rebuild::{CutoverOutcome, Rebuild};
use super::{Action, Board, Consistency, Effect, Reach, Record, WaitReason, breach, known};
use crate::ids::{CollectionId, InstanceCollectionId, InstanceId, LaneId, Seq};
use crate::order::admission::Admission;
use crate::order::catalog_change::CatalogChange;
use crate::order::lane::{InFlight, Lane, LaneState, LateWriteCheck, Pending};

/// The state of a cutover, for the task that asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CutoverState {
    /// Requests to the source are still in flight.
    Draining,
    /// Until [`Input::CutoverEnded`](super::Input::CutoverEnded), nothing moves the source, and nothing changes the
    /// names on either instance. `touched` holds the entries that entered the lane since
    /// [`Input::CopyBegun`](super::Input::CopyBegun). It is `None` if there were too many, or if the comparison is
    /// void: the copy must be compared again.
    Ready { touched: Option<Vec<Seq>> },
    /// The cutover has become impossible.
    GivenUp,
}

/// The entries that have entered a lane since the comparison of its copy began.
#[derive(Clone, Debug)]
pub(in crate::order) struct CopyLog {
    pub(super) rebuild: Rebuild,
    pub(super) touched: Option<Vec<Seq>>,
}

/// Beyond this length, comparing again is cheaper.
const LONGEST_LOG: usize = 20_000;

impl CopyLog {
    pub(super) fn note(&mut self, seq: Seq) {
        if let Some(touched) = &mut self.touched {
            touched.push(seq);
        }
        if self.touched.as_ref().is_some_and(|touched| touched.len() > LONGEST_LOG) {
            self.touched = None;
        }
    }
}

/// A lane that is held.
#[derive(Clone, Copy, Debug)]
pub(in crate::order) struct Cutover {
    rebuild: Rebuild,
    stage: Stage,
}

/// The most catalog entries that the target may lack for its lane to be held: clients' catalog writes wait until it has
/// executed them.
const MOST_CATALOG_LAG: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Requests to the source are still in flight. Source and target still execute catalog entries up to
    /// `catalog_through`: what was in flight or in doubt on either of them, or what the other one had already executed.
    Draining { catalog_through: Seq },
    /// The task that asked for it may put the copy in its place, at this position.
    Running(Seq),
    /// The admission is becoming durable. Until then the old mapping counts.
    Admitting,
}

impl Cutover {
    fn drains(&self) -> bool {
        matches!(self.stage, Stage::Draining { .. })
    }
}

impl Board {
    /// The replicas that can be healed now, each with its source.
    pub fn rebuilds(&self) -> Vec<Rebuild> {
        let mut found: Vec<_> = self.lanes.out_of_step().flat_map(|(id, lane)| self.rebuilds_in(id, lane)).collect();
        found.sort();
        found
    }

    /// Returns whether a rebuild that was one of [`Board::rebuilds`] may go on. Catalog entries in flight do not end it,
    /// nor does a source that lags or is no longer the preferred one.
    pub fn can_rebuild(&self, rebuild: Rebuild) -> bool {
        let halted = self.halted.contains(LaneId::Records(rebuild.collection));
        !halted && self.lane_of(rebuild).is_some_and(|lane| self.can_be_rebuilt(lane, rebuild))
    }

    fn rebuilds_in(&self, id: LaneId, lane: &Lane) -> Vec<Rebuild> {
        let LaneId::Records(collection) = id else { return Vec::new() };
        // An operator looks at a halted lane first.
        if self.halted.contains(id) || lane.replicas.iter().all(|progress| progress.state == LaneState::InStep) {
            return Vec::new();
        }
        // The preferred instance is spared if another one can be read.
        let serves = |source: &InstanceId| {
            self.reach[source.0] == Reach::Here && self.serves(collection, *source, Consistency::Fresh)
        };
        let last = self.instances().filter(serves).max_by_key(|source| self.placement.rank(*source));
        let Some(source) = last else { return Vec::new() };
        let rebuild = |target: InstanceId| Rebuild { collection, source, target, wait: lane.progress(target).wait };
        let can_begin = |rebuild: &Rebuild| {
            self.can_be_rebuilt(lane, *rebuild) && self.has_settled_changes(collection, rebuild.target)
        };
        self.instances().map(rebuild).filter(can_begin).collect()
    }

    /// Returns whether the target is out of step and not away, and no record write that was sent to it before can still
    /// be executed. Catalog entries may be in flight there: names matter only while the lane is held.
    pub(super) fn can_be_rebuilt(&self, lane: &Lane, rebuild: Rebuild) -> bool {
        let progress = lane.progress(rebuild.target);
        let catalog = self.lanes.get(&LaneId::Catalog);
        self.may_be_rebuilt(lane, rebuild)
            && progress.in_flight == InFlight::None
            && progress.late_write_check == LateWriteCheck::None
            && catalog.is_some_and(|catalog| catalog.progress(rebuild.target).state == LaneState::InStep)
    }

    /// Like [`Board::can_be_rebuilt`], but ignores conditions that end by themselves.
    fn may_be_rebuilt(&self, lane: &Lane, rebuild: Rebuild) -> bool {
        let Rebuild { collection, target, wait, .. } = rebuild;
        let progress = lane.progress(target);
        progress.state != LaneState::InStep
            && progress.wait == wait
            && lane.closed_by.is_none()
            && self.reach[target.0] != Reach::Away
            && self.first_deletion(collection) == Seq::MAX
    }

    /// Returns whether the instance has every change of the collection itself, and no catalog entry is under way or in
    /// doubt there. A busy catalog makes this false again and again: wait for it only while the catalog lane is held.
    pub(super) fn knows_collection(&self, collection: CollectionId, instance: InstanceId) -> bool {
        let Some(catalog) = self.lanes.get(&LaneId::Catalog) else { return false };
        let progress = catalog.progress(instance);
        progress.state == LaneState::InStep
            && matches!(progress.in_flight, InFlight::None | InFlight::Paused)
            && !catalog.doubtful(instance)
            && self.has_settled_changes(collection, instance)
    }

    /// Returns whether the instance has every settled change of the collection itself, such as its name.
    fn has_settled_changes(&self, collection: CollectionId, instance: InstanceId) -> bool {
        let (Some(catalog), Some(known)) = (self.lanes.get(&LaneId::Catalog), self.catalog.get(collection)) else {
            return false;
        };
        catalog.covered(instance) >= known.touched
    }

    /// Starts the log with what the source has yet to execute, since reading the source now does not show it.
    pub(super) fn copy_begun(&mut self, rebuild: Rebuild) {
        let id = LaneId::Records(rebuild.collection);
        let Some(lane) = self.lanes.get(&id) else { return };
        let covered = lane.covered(rebuild.source);
        let ahead = lane.slots.iter().map(|slot| slot.entry.seq).filter(|seq| *seq > covered);
        self.copies.insert(id, CopyLog { rebuild, touched: Some(ahead.collect()) });
    }

    /// Folds what is durable: the new copy can be found under the collection's name, and is never taken for a client's.
    pub(super) fn copy_noted(&mut self, rebuild: Rebuild, id: InstanceCollectionId) {
        let instance = self.catalog.instance(rebuild.target).of_a_copy();
        self.catalog.fold(Seq::ZERO, &CatalogChange::mapped(rebuild.collection, &instance, id.uuid()));
    }

    /// The state of the cutover.
    pub fn cutover_state(&self, rebuild: Rebuild) -> CutoverState {
        let id = LaneId::Records(rebuild.collection);
        match self.cutovers.get(&id).filter(|cutover| cutover.rebuild == rebuild).map(|cutover| cutover.stage) {
            Some(Stage::Draining { .. }) => CutoverState::Draining,
            Some(Stage::Running(_)) => {
                let log = self.copies.get(&id).filter(|log| log.rebuild == rebuild);
                CutoverState::Ready { touched: log.and_then(|log| log.touched.clone()) }
            }
            Some(Stage::Admitting) | None => CutoverState::GivenUp,
        }
    }

    /// Returns whether the admission of a copy that is in its place is becoming durable.
    pub fn admits(&self, rebuild: Rebuild) -> bool {
        let cutover = self.cutovers.get(&LaneId::Records(rebuild.collection));
        cutover.is_some_and(|cutover| cutover.rebuild == rebuild && cutover.stage == Stage::Admitting)
    }

    pub(super) fn cutover_wanted(&mut self, rebuild: Rebuild) {
        let id = LaneId::Records(rebuild.collection);
        if self.cutover_stands(rebuild)
            && !self.cutovers.contains_key(&id)
            && let Some(catalog_through) = self.catalog_drains_at(rebuild)
        {
            self.cutovers.insert(id, Cutover { rebuild, stage: Stage::Draining { catalog_through } });
        }
    }

    /// The catalog entry after which source and target can stand still soon. `None` if the target lags too far behind.
    fn catalog_drains_at(&self, rebuild: Rebuild) -> Option<Seq> {
        let catalog = self.lanes.get(&LaneId::Catalog)?;
        let reached = |instance: InstanceId| {
            let progress = catalog.progress(instance);
            let in_flight = match progress.in_flight {
                InFlight::Sent { last, .. } => last,
                InFlight::Resolving { seq } | InFlight::Checking { seq } => seq,
                InFlight::None | InFlight::Recording { .. } | InFlight::InDoubt | InFlight::Paused => Seq::ZERO,
            };
            catalog.covered(instance).max(progress.doubt).max(in_flight)
        };
        let through = reached(rebuild.source).max(reached(rebuild.target));
        let lacking = catalog.slots.iter().map(|slot| slot.entry.seq);
        let lag = lacking.filter(|seq| *seq > catalog.covered(rebuild.target) && *seq <= through).count();
        (lag <= MOST_CATALOG_LAG).then_some(through)
    }

    /// Returns whether the cutover is possible now.
    fn cutover_stands(&self, rebuild: Rebuild) -> bool {
        self.lane_of(rebuild).is_some_and(|lane| self.can_be_rebuilt(lane, rebuild))
    }

    /// Returns whether the cutover is possible, now or once what is under way has ended.
    fn stands_or_may(&self, rebuild: Rebuild) -> bool {
        self.lane_of(rebuild).is_some_and(|lane| self.may_be_rebuilt(lane, rebuild))
    }

    /// The lane, if the source can still be read in it.
    fn lane_of(&self, rebuild: Rebuild) -> Option<&Lane> {
        let lane = self.lanes.get(&LaneId::Records(rebuild.collection))?;
        let source = rebuild.source;
        (self.reach[source.0] != Reach::Away && lane.progress(source).state == LaneState::InStep).then_some(lane)
    }

    /// Returns whether this entry is not sent to this instance now: the source must not move, and the names on source and
    /// target must not change.
    pub(super) fn held_for_cutover(&self, id: LaneId, instance: InstanceId, seq: Seq) -> bool {
        match id {
            LaneId::Records(_) => {
                let cutover = self.cutovers.get(&id);
                cutover.is_some_and(|cutover| cutover.drains() || !breach::lets_lanes_go_on())
            }
            LaneId::Catalog => {
                let holds = |cutover: &Cutover| {
                    let drains = matches!(cutover.stage, Stage::Draining { catalog_through } if seq <= catalog_through);
                    [cutover.rebuild.source, cutover.rebuild.target].contains(&instance) && !drains
                };
                self.cutovers.values().any(holds)
            }
        }
    }

    /// Gives up each cutover that has become impossible, so that it holds no lane.
    pub(super) fn give_up_cutovers(&mut self) {
        let lost: Vec<_> =
            self.draining().filter(|(_, rebuild)| !self.stands_or_may(*rebuild)).map(|(id, _)| id).collect();
        lost.into_iter().for_each(|id| self.release_cutover(id));
    }

    /// Begins each cutover whose lane stands still.
    pub(super) fn begin_cutovers(&mut self) {
        let ready: Vec<_> =
            self.draining().filter_map(|(id, rebuild)| Some((id, rebuild, self.stands_still(id, rebuild)?))).collect();
        for (id, rebuild, at) in ready {
            self.cutovers.insert(id, Cutover { rebuild, stage: Stage::Running(at) });
        }
    }

    fn draining(&self) -> impl Iterator<Item = (LaneId, Rebuild)> {
        let waits = |(_, cutover): &(&LaneId, &Cutover)| cutover.drains();
        self.cutovers.iter().filter(waits).map(|(id, cutover)| (*id, cutover.rebuild))
    }

    /// The source's position, if nothing is under way or in doubt there.
    fn stands_still(&self, id: LaneId, rebuild: Rebuild) -> Option<Seq> {
        let Rebuild { collection, source, .. } = rebuild;
        let lane = self.lanes.get(&id)?;
        let stands = lane.progress(source).in_flight == InFlight::None
            && !lane.doubtful(source)
            && self.serves(collection, source, Consistency::Fresh)
            && lane.covered(source) >= lane.progress(rebuild.target).durable
            && !self.held.contains_key(&id)
            && self.cutover_stands(rebuild)
            && self.knows_collection(collection, source)
            && self.knows_collection(collection, rebuild.target);
        stands.then(|| lane.covered(source))
    }

    /// Lets the lane go on. A copy that is in its place is admitted at the position at which the lane was held. If the
    /// target has come into doubt since, the old mapping stays, and the rebuild starts over. Catalog entries that were
    /// journaled meanwhile change nothing: while the lane is held, none is sent to the source or the target.
    pub(super) fn cutover_ended(&mut self, rebuild: Rebuild, outcome: CutoverOutcome, effects: &mut Vec<Effect>) {
        let id = LaneId::Records(rebuild.collection);
        let repaired = self.is_compared_repair(rebuild);
        if self.copies.get(&id).is_some_and(|log| log.rebuild == rebuild) {
            self.copies.remove(&id);
        }
        // This input is late: the cutover was given up, another one is under way, or the copy is in its place and its
        // admission is becoming durable.
        let wanted = |cutover: &Cutover| cutover.rebuild == rebuild && cutover.stage != Stage::Admitting;
        let Some(cutover) = self.cutovers.get(&id).copied().filter(wanted) else {
            return;
        };
        let stands = self.cutover_stands(rebuild);
        let Rebuild { collection, target, .. } = rebuild;
        self.release_cutover(id);
        match (outcome, cutover.stage) {
            (CutoverOutcome::InPlace(on_target), Stage::Running(at)) if stands => {
                let instance = self.catalog.instance(target).clone();
                let changes = vec![CatalogChange::Mapped { collection, instance, id: on_target }];
                self.admit(rebuild, at, changes, effects);
            }
            (CutoverOutcome::Repaired, Stage::Running(at)) if stands && repaired => {
                self.admit(rebuild, at, Vec::new(), effects);
            }
            (CutoverOutcome::InDoubt | CutoverOutcome::InPlace(_), _) => self.rest_target(id, target, effects),
            (CutoverOutcome::NotBegun | CutoverOutcome::Repaired, _) => {}
        }
    }

    /// Makes durable, in one commit, that the copy is in step at the source's position, with the resulting changes of
    /// the catalog.
    fn admit(&mut self, rebuild: Rebuild, at: Seq, changes: Vec<CatalogChange>, effects: &mut Vec<Effect>) {
        let (id, target) = (LaneId::Records(rebuild.collection), rebuild.target);
        // The copy also skips what was skipped meanwhile; the lane may have forgotten that already.
        let through = known(self.lanes.get(&id)).covered(rebuild.source);
        debug_assert!(through >= at, "the source's place went back while its lane was held");
        let pending = Pending { changes: changes.clone(), admission: Admission::WhenDurable, ..Pending::default() };
        let record = Record { through: Some(through), changes, admitted: vec![(id, target)], ..Record::default() };
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.progress_mut(target).doubt = Seq::ZERO;
        }
        self.cutovers.insert(id, Cutover { rebuild, stage: Stage::Admitting });
        self.begin_record(id, target, record, pending, effects);
    }

    /// Waits until a rename can no longer be executed on the target, that is, until the target has been reachable for a
    /// settle time.
    fn rest_target(&mut self, id: LaneId, target: InstanceId, effects: &mut Vec<Effect>) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let progress = lane.progress_mut(target);
        if progress.state != LaneState::InStep && progress.in_flight == InFlight::None {
            let wait = progress.begin_wait(InFlight::InDoubt);
            let why = WaitReason::Settle { in_a_row: 0 };
            effects.push(Effect::Perform(Action::AwaitQuiescence { lane: id, instance: target, wait, why }));
        }
    }

    /// Releases the cutover if the record of the target that is now durable was its admission.
    pub(super) fn admission_recorded(&mut self, id: LaneId, instance: InstanceId) {
        let admitting = |cutover: &Cutover| cutover.stage == Stage::Admitting && cutover.rebuild.target == instance;
        if self.cutovers.get(&id).is_some_and(admitting) {
            self.release_cutover(id);
        }
    }

    fn release_cutover(&mut self, id: LaneId) {
        self.cutovers.remove(&id);
        self.dirty.insert(id);
        self.dirty.insert(LaneId::Catalog);
    }
}
