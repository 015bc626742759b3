//! The consequences of setting an entry aside, and how operators inspect and resolve it (rule R13).
//!
//! [`super::suspects`] decides whether an entry is set aside.

use super::suspects::Role;
use super::{Board, DivergenceCause, Effect, Held, Persist, Reach, Record, persist_divergence};
use crate::ids::{CollectionId, InstanceId, LaneId, Seq};
use crate::order::entry::{Kind, Verdict};
use crate::order::lane::{InFlight, LaneState, LateWriteCheck, Pending};
use crate::order::vouching::{Conditions, Refusal, RequestClass, Vouching};

/// The instances that leave a collection when an entry is set aside. The others go on with it.
#[derive(Default)]
struct Apart {
    /// They died of the entry.
    died: Vec<(LaneId, InstanceId)>,
    /// They may differ from the instance that goes on: they may hold the entry, or lack it.
    unlike: Vec<(LaneId, InstanceId)>,
}

impl Board {
    /// Sets the entry aside for good. Its client is told once that is durable, the lane goes on behind it, and each
    /// instance that may hold something of it leaves the collection. A crash before that is durable leaves a suspect.
    ///
    /// `bearer`: the instance whose record carries the verdict. Nothing in flight there can still be answered. `died`:
    /// the instance that died of the entry last. `about`: the collection that a catalog entry is about.
    pub(super) fn quarantine(
        &mut self,
        id: LaneId,
        bearer: InstanceId,
        seq: Seq,
        (died, about): (Option<InstanceId>, Option<CollectionId>),
        effects: &mut Vec<Effect>,
    ) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let mut pending = lane.replicas.iter().flat_map(|progress| &progress.pending.verdicts);
        if pending.any(|(settled, _)| *settled == seq) {
            return;
        }
        let Some(slot) = lane.slot_mut(seq).filter(|slot| slot.entry.verdict.is_none()) else { return };
        slot.examined = true;
        if self.held.get(&id).is_some_and(|held| held.seq() == seq) {
            self.held.remove(&id);
        }
        let Apart { died, unlike } = self.apart(id, seq, died, about);
        let quarantined = self.diverge_to(DivergenceCause::Quarantined, died);
        let diverged = self.diverge_to(DivergenceCause::Unverified, unlike);
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let progress = lane.progress_mut(bearer);
        if progress.in_flight == InFlight::InDoubt {
            // A request that was given up there may still be executed: another settle time begins when the record is
            // durable.
            progress.late_write_check = LateWriteCheck::WaitDue;
        }
        let verdicts = vec![(seq, Verdict::Quarantined)];
        let record = Record { verdicts: verdicts.clone(), quarantined, diverged, ..Record::default() };
        let pending = Pending { verdicts, answers: vec![seq], ..Pending::default() };
        self.begin_record(id, bearer, record, pending, effects);
    }

    /// Decides which instances leave. One goes on, preferably one that is reachable and has never had the entry, and so
    /// does each one that is certainly like it. If only the one that died is left, it stays, and what it holds counts.
    fn apart(&self, id: LaneId, seq: Seq, died: Option<InstanceId>, about: Option<CollectionId>) -> Apart {
        let Some(lane) = self.lanes.get(&id) else { return Apart::default() };
        let Some(slot) = lane.slot(seq) else { return Apart::default() };
        let place = match id {
            LaneId::Records(collection) => Some(collection),
            // Any other catalog entry is undone where it was in doubt (rule R4).
            LaneId::Catalog => about.filter(|_| slot.entry.profile.kind == Kind::UpdateCollection),
        };
        let Some(collection) = place else { return Apart::default() };
        let in_doubt = |instance: InstanceId| lane.progress(instance).doubt >= seq;
        let dead = |instance: InstanceId| died == Some(instance) || slot.deaths(instance) > 0;
        let rank = |instance: &InstanceId| match (self.reach[instance.0], dead(*instance), in_doubt(*instance)) {
            (Reach::Here | Reach::Suspect, false, false) => 0,
            (Reach::Here | Reach::Suspect, false, true) => 1,
            (Reach::Here | Reach::Suspect, true, _) if died != Some(*instance) => 2,
            (_, true, _) if died == Some(*instance) => 3,
            (_, false, _) => 4,
            (_, true, _) => 5,
        };
        let in_step = |instance: &InstanceId| self.state_of(collection, *instance) == LaneState::InStep;
        let members: Vec<InstanceId> = self.instances().filter(in_step).collect();
        let Some(reference) = members.iter().copied().min_by_key(rank) else { return Apart::default() };
        let leaves = |instance: &InstanceId| *instance != reference && (in_doubt(*instance) || in_doubt(reference));
        let mut apart = Apart::default();
        for instance in members.into_iter().filter(leaves) {
            let group = if dead(instance) && in_doubt(instance) { &mut apart.died } else { &mut apart.unlike };
            group.push((LaneId::Records(collection), instance));
        }
        apart
    }

    /// Returns whether the entry is quarantined unsent, because an entry of its class is quarantined in the lane.
    pub(super) fn shares_a_quarantine(&self, id: LaneId, seq: Seq) -> bool {
        let Some(quarantined) = self.quarantined.get(&id) else { return false };
        let Some(lane) = self.lanes.get(&id) else { return false };
        let Some(slot) = lane.slot(seq) else { return false };
        let class = slot.entry.profile.class();
        // For a catalog entry that is in doubt, it is not known what it was about.
        let known = id != LaneId::Catalog || lane.replicas.iter().all(|progress| progress.doubt < seq);
        slot.entry.profile.vouching == Vouching::Unvouched
            && known
            && !self.is_suspect(id, seq)
            && quarantined.values().any(|other| *other == class)
    }

    /// Notes the quarantine, whose verdict is now durable.
    pub(super) fn note_quarantined(&mut self, id: LaneId, seq: Seq) {
        let Some(lane) = self.lanes.get(&id).filter(|lane| lane.closed_by.is_none()) else { return };
        let Some(slot) = lane.slot(seq) else { return };
        let class = slot.entry.profile.class();
        self.quarantined.entry(id).or_default().insert(seq, class);
        self.suspects_changed();
    }

    /// Returns why this lane refuses a new write of this class that is not vouched for, if it does.
    pub fn refusal(&self, lane: LaneId, class: RequestClass) -> Option<Refusal> {
        self.refused(lane, |suspected, other| suspected == lane || other == class, |other| other == class)
    }

    /// The same for a read of the lane's collection with conditions of this class.
    pub fn read_refusal(&self, lane: LaneId, conditions: Conditions) -> Option<Refusal> {
        let alike = |other: RequestClass| other.conditions == conditions;
        self.refused(lane, |suspected, other| suspected == lane && alike(other), alike)
    }

    fn refused(
        &self,
        lane: LaneId,
        suspected: impl Fn(LaneId, RequestClass) -> bool,
        quarantined: impl Fn(RequestClass) -> bool,
    ) -> Option<Refusal> {
        let mut open = self.suspects.iter().filter(|(_, suspect)| suspect.role == Role::Open);
        if let Some((_, suspect)) = open.find(|((id, _), suspect)| suspected(*id, suspect.class)) {
            return Some(Refusal::Suspect { seq: suspect.seq });
        }
        let found = self.quarantined.get(&lane)?.iter().find(|(_, class)| quarantined(**class));
        found.map(|(seq, _)| Refusal::Quarantined { seq: *seq })
    }

    /// The open entries that are bound to an instance that died while it had them, each with that instance.
    pub fn suspects(&self) -> impl Iterator<Item = (LaneId, Seq, InstanceId)> {
        let open = self.suspects.iter().filter(|(_, suspect)| suspect.role == Role::Open);
        open.map(|((lane, instance), suspect)| (*lane, suspect.seq, *instance))
    }

    /// The entries that are quarantined and not lifted.
    pub fn quarantined(&self) -> impl Iterator<Item = (LaneId, Seq, RequestClass)> {
        self.quarantined.iter().flat_map(|(lane, entries)| entries.iter().map(|(seq, class)| (*lane, *seq, *class)))
    }

    pub(super) fn lift(&mut self, lane: LaneId, seq: Seq, effects: &mut Vec<Effect>) {
        let Some(entries) = self.quarantined.get_mut(&lane) else { return };
        if entries.remove(&seq).is_none() {
            return;
        }
        if entries.is_empty() {
            self.quarantined.remove(&lane);
        }
        effects.push(Effect::Persist(Persist::Lifted { seq }));
    }

    /// Makes the quarantined replica a diverged one. It is compared once nothing that was sent to it can still be executed.
    pub(super) fn reconsider(&mut self, id: LaneId, instance: InstanceId, effects: &mut Vec<Effect>) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let progress = lane.progress_mut(instance);
        if progress.state != LaneState::Quarantined {
            return;
        }
        progress.state = LaneState::Diverged;
        progress.late_write_check = LateWriteCheck::WaitDue;
        self.dirty.insert(id);
        persist_divergence(vec![(id, instance)], DivergenceCause::Unverified, effects);
    }
}

impl Held {
    fn seq(self) -> Seq {
        match self {
            Held::UntilQuiescent(seq) | Held::Asked(seq) | Held::Comparing(seq) => seq,
        }
    }
}
