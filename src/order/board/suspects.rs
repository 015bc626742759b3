//! Which entry an instance died of, as far as can be told (rule R13).
//!
//! Decides what a death means for the entry that was in flight. It goes to another instance; or it is bound to the
//! instance that died and tried there once more, alone; or it has had its chance. [`super::quarantine`] decides what a
//! quarantine consists of.

use super::{Action, Board, DivergenceCause, Effect, Health, Held, Persist, Reach, Record, Retry, WaitId};
use super::{breach, known, persist_divergence};
use crate::ids::{CollectionId, InstanceId, LaneId, Seq};
use crate::order::entry::{AckPolicy, AckState, Kind};
use crate::order::lane::{InFlight, LaneState, Pending, Slot};
use crate::order::vouching::{Company, Conditions, Refusal, RequestClass, Vouching};

/// After this many deaths from one vouched-for entry that other instances have, an instance leaves the lane.
const DEATHS_ELSEWHERE_APPLIED: u32 = 3;
/// After this many deaths from one entry on one instance, each further death makes the instance wait longer for it.
pub(super) const DEATHS_WITHOUT_PAUSE: u32 = 3;
/// After this many attempts alone without an answer, although the instance was reachable, the entry has had its chance.
const UNANSWERED_ALONE: u32 = 2;
/// How often the wait for an instance may end while it is reachable and the entry has not been tried again.
const WAITS_WHILE_HERE: u32 = 3;
/// After this many waits, requests like the suspect no longer wait for it: the verdict may never come.
const WAITS_OF_OTHERS: u32 = 3;

/// An entry that an instance may have died of.
#[derive(Clone, Debug)]
pub(super) struct Suspect {
    pub seq: Seq,
    pub class: RequestClass,
    pub role: Role,
    /// The collection that a catalog entry is about.
    pub about: Option<CollectionId>,
    /// The wait that began with the death. It identifies the [`Action::AwaitReturn`] that counts.
    pub wait: WaitId,
    /// How often the wait has ended (`waits`), and how often while the instance was there (`waited`).
    pub waits: u32,
    pub waited: u32,
    pub chance: Chance,
}

/// Whether the suspected entry is settled elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// No instance has given a verdict, and no other instance gets the entry.
    Open,
    /// Other instances have the entry; this one dies of it.
    Carried,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chance {
    /// It is tried once more, alone, when the instance is back.
    Left,
    /// It is quarantined as soon as that record can begin.
    Had,
}

impl Board {
    /// Handles the instance's death while it had this request. The request is in doubt there, like any without an answer.
    pub(super) fn died(
        &mut self,
        id: LaneId,
        instance: InstanceId,
        (first, last): (Seq, Seq),
        company: Company,
        about: Option<CollectionId>,
        effects: &mut Vec<Effect>,
    ) {
        let lane = known(self.lanes.get_mut(&id));
        let instances = lane.replicas.len();
        lane.between_mut(first.prior(), last).for_each(|slot| slot.note_death(instance, instances));
        self.doubt(id, instance, first, last, Health::Gone, effects);
        // If the request was merged, sending its entries one by one shows which one was to blame.
        if first == last {
            self.blame(id, instance, first, company, about, effects);
        }
    }

    /// Handles the instance's death while it read the ids of a limited delete. Nothing was written.
    pub(super) fn died_reading(
        &mut self,
        id: LaneId,
        instance: InstanceId,
        seq: Seq,
        company: Company,
        effects: &mut Vec<Effect>,
    ) {
        self.wait(id, instance, Retry::AfterBackoff, effects);
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let instances = lane.replicas.len();
        let Some(slot) = lane.slot_mut(seq) else { return };
        slot.note_death(instance, instances);
        self.blame(id, instance, seq, company, None, effects);
    }

    /// Decides what the death means for the one entry that was in flight.
    fn blame(
        &mut self,
        id: LaneId,
        instance: InstanceId,
        seq: Seq,
        company: Company,
        about: Option<CollectionId>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(lane) = self.lanes.get(&id) else { return };
        let Some(slot) = lane.slot(seq) else { return };
        let vouching = slot.entry.profile.vouching;
        if slot.entry.verdict.is_some() {
            return self.died_of_what_is_settled(id, instance, seq, company, about, effects);
        }
        // An entry that may have been acknowledged is tried for as long as it takes. So is a deletion: what it may have
        // removed from the instance that died is not restored.
        let deletes = matches!(slot.entry.profile.kind, Kind::DeleteCollection | Kind::DeleteDatabase | Kind::Reset);
        if slot.ack_state == AckState::MaybeAcknowledged || deletes {
            return;
        }
        if let Some(suspect) = self.suspects.get_mut(&(id, instance)).filter(|suspect| suspect.seq == seq) {
            suspect.chance = Chance::Had;
            return;
        }
        let chance = match (vouching, company) {
            (Vouching::Unvouched, Company::Alone) => Chance::Had,
            (Vouching::Unvouched, Company::Others) => Chance::Left,
            // Most likely the entry was merely in flight when the instance was killed. Other instances are asked at
            // once, until one of them has died too, or this one has died again.
            (Vouching::Vouched, Company::Alone | Company::Others) => {
                let elsewhere = slot.deaths.iter().enumerate().any(|(at, deaths)| at != instance.0 && *deaths > 0);
                if !elsewhere && slot.deaths(instance) < 2 {
                    return;
                }
                Chance::Left
            }
        };
        self.suspect(id, instance, seq, (chance, about), effects);
    }

    /// Returns whether entries of the lane could be sent to the instance.
    pub(super) fn takes(&self, id: LaneId, instance: InstanceId) -> bool {
        let in_step = |lane: &super::Lane| lane.progress(instance).state == LaneState::InStep;
        self.reach[instance.0] != Reach::Away && self.lanes.get(&id).is_some_and(in_step)
    }

    /// Binds the entry to the instance: no other instance gets it from now on. The binding becomes durable, so that the
    /// next edge does not send the entry elsewhere. A crash before that forgets the death.
    fn suspect(
        &mut self,
        id: LaneId,
        instance: InstanceId,
        seq: Seq,
        (chance, about): (Chance, Option<CollectionId>),
        effects: &mut Vec<Effect>,
    ) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let wait = lane.progress(instance).wait;
        let Some(slot) = lane.slot_mut(seq) else { return };
        slot.unanswered[instance.0] = 0;
        // From here on the client is not told that the entry was applied before that is durable: the next edge may
        // still set the entry aside.
        slot.ack_policy = AckPolicy::Durable;
        let class = slot.entry.profile.class();
        if matches!(self.held.get(&id), Some(Held::UntilQuiescent(held)) if *held == seq) {
            self.held.remove(&id);
            slot.examined = false;
        }
        let suspect = Suspect { seq, class, role: Role::Open, about, wait, waits: 0, waited: 0, chance };
        self.suspects.insert((id, instance), suspect);
        effects.push(Effect::Persist(Persist::Suspected { seq, on: Some(instance) }));
        if chance == Chance::Left {
            effects.push(Effect::Perform(Action::AwaitReturn { lane: id, instance, wait }));
        }
    }

    /// Binds the entry to this instance again after a restart.
    pub(super) fn suspect_again(
        &mut self,
        id: LaneId,
        instance: InstanceId,
        seq: Seq,
        about: Option<CollectionId>,
        effects: &mut Vec<Effect>,
    ) {
        self.suspect(id, instance, seq, (Chance::Left, about), effects);
    }

    /// Handles a death from an entry that another instance has settled: the instance that died leaves the lane. The catalog lane
    /// never stops. There, the collection that the entry is about becomes diverged on this instance. It takes more deaths if the
    /// entry is vouched for, since an instance that is killed repeatedly for another reason dies of no entry.
    fn died_of_what_is_settled(
        &mut self,
        id: LaneId,
        instance: InstanceId,
        seq: Seq,
        company: Company,
        about: Option<CollectionId>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(lane) = self.lanes.get(&id) else { return };
        let wait = lane.progress(instance).wait;
        let Some(slot) = lane.slot(seq) else { return };
        let class = slot.entry.profile.class();
        let suspected = self.suspects.contains_key(&(id, instance));
        let enough = match slot.entry.profile.vouching {
            Vouching::Unvouched => company == Company::Alone || suspected,
            Vouching::Vouched => slot.deaths(instance) >= DEATHS_ELSEWHERE_APPLIED,
        };
        // Reading what the instance has of the entry may kill it as well.
        let cause = DivergenceCause::Quarantined;
        match (enough, id, about) {
            (true, LaneId::Records(_), _) => {
                let diverged = self.diverge_to(cause, vec![(id, instance)]);
                persist_divergence(diverged, cause, effects);
            }
            (true, LaneId::Catalog, Some(collection)) => {
                let quarantined = self.diverge_to(cause, vec![(LaneId::Records(collection), instance)]);
                effects.push(Effect::Perform(Action::Inspect { instance }));
                let record = Record { through: Some(seq), quarantined, ..Record::default() };
                self.begin_record(id, instance, record, Pending::default(), effects);
            }
            // An entry about no existing collection is never passed over (as in rule R12).
            (true, LaneId::Catalog, None) | (false, ..) => {
                if slot.entry.profile.vouching == Vouching::Unvouched && !suspected {
                    let (role, chance) = (Role::Carried, Chance::Left);
                    let suspect = Suspect { seq, class, role, about, wait, waits: 0, waited: 0, chance };
                    self.suspects.insert((id, instance), suspect);
                }
            }
        }
    }

    /// Returns whether the entry at the head may be sent to the instance, as far as deaths are concerned.
    pub(super) fn may_be_risked(&self, id: LaneId, instance: InstanceId, slot: &Slot) -> bool {
        if self.suspects.is_empty() {
            return true;
        }
        let seq = slot.entry.seq;
        if let Some(suspect) = self.suspects.get(&(id, instance)).filter(|suspect| suspect.seq == seq) {
            return suspect.chance == Chance::Left && self.alone(id, instance);
        }
        let open = slot.entry.verdict.is_none();
        if open && self.is_suspect(id, seq) {
            // Bound to another instance.
            return breach::sends_suspects_on(id);
        }
        if slot.entry.profile.vouching == Vouching::Vouched {
            return true;
        }
        let class = slot.entry.profile.class();
        let alike = |suspect: &Suspect| suspect.role == Role::Open && suspect.class == class && suspect.is_fresh();
        if open && self.suspects.values().any(alike) {
            return false;
        }
        let fresh = self.suspects.iter().filter(|(_, suspect)| suspect.is_fresh());
        let mut here = fresh.map(|(place, _)| place).filter(|(_, at)| *at == instance).peekable();
        // An entry that is in doubt on the instance is sent again nevertheless, since a suspect may be waiting for that.
        let in_doubt = self.lanes.get(&id).is_some_and(|lane| seq <= lane.progress(instance).doubt);
        here.peek().is_none() || (in_doubt && !here.any(|(lane, _)| self.is_busy(*lane, instance)))
    }

    /// Returns whether nothing else that is not vouched for is in flight on the instance.
    fn alone(&self, id: LaneId, instance: InstanceId) -> bool {
        let risks = |lane: &super::Lane| {
            let seq = match lane.progress(instance).in_flight {
                InFlight::Sent { first, .. } => first,
                InFlight::Resolving { seq } => seq,
                InFlight::None
                | InFlight::Recording { .. }
                | InFlight::InDoubt
                | InFlight::Checking { .. }
                | InFlight::Paused => return false,
            };
            let suspected = |slot: &Slot| slot.entry.profile.vouching == Vouching::Unvouched;
            lane.slot(seq).is_some_and(suspected)
        };
        let mut suspects = self.suspects.keys().filter(|(lane, at)| *lane != id && *at == instance);
        let mut others = self.lanes.restless_lanes().filter(|(other, _)| *other != id);
        !others.any(|(_, lane)| risks(lane)) && !suspects.any(|(lane, _)| self.is_busy(*lane, instance))
    }

    fn is_busy(&self, id: LaneId, instance: InstanceId) -> bool {
        self.lanes.get(&id).is_some_and(|lane| lane.progress(instance).busy())
    }

    /// Returns whether this open entry is bound to an instance that died while it had it.
    pub(super) fn is_suspect(&self, id: LaneId, seq: Seq) -> bool {
        self.in_lane(id).any(|(_, suspect)| suspect.role == Role::Open && suspect.seq == seq)
    }

    /// The suspect, if any, whose verdict a read with these conditions waits for, if the read is not vouched for. It is
    /// a suspect of the read's collection, or one that searches as the read does. For the latter, the read waits no
    /// longer than other requests do. Only requests that search have something in common across operations.
    pub fn holds_back(&self, collection: CollectionId, conditions: Conditions) -> Option<Refusal> {
        let holds = |((id, _), suspect): &(&(LaneId, InstanceId), &Suspect)| {
            let here = *id == LaneId::Records(collection) || suspect.about == Some(collection);
            let alike = suspect.class.conditions == conditions && conditions.is_searching() && suspect.is_fresh();
            suspect.role == Role::Open && (here || alike)
        };
        self.suspects.iter().find(holds).map(|(_, suspect)| Refusal::Suspect { seq: suspect.seq })
    }

    fn in_lane(&self, id: LaneId) -> impl Iterator<Item = (InstanceId, &Suspect)> {
        let all = (id, InstanceId(0))..=(id, InstanceId(usize::MAX));
        self.suspects.range(all).map(|((_, instance), suspect)| (*instance, suspect))
    }

    /// Notes that the instance gave an answer: it does not die of this entry.
    pub(super) fn cleared(&mut self, id: LaneId, instance: InstanceId, effects: &mut Vec<Effect>) {
        let Some(suspect) = self.suspects.remove(&(id, instance)) else { return };
        let slot = self.lanes.get_mut(&id).and_then(|lane| lane.slot_mut(suspect.seq));
        if let Some(slot) = slot {
            slot.deaths.clear();
        }
        if suspect.role == Role::Open {
            effects.push(Effect::Persist(Persist::Suspected { seq: suspect.seq, on: None }));
        }
        self.suspects_changed();
    }

    /// Wakes the instance's suspects after a request to it has ended: one of them may have waited to be alone.
    pub(super) fn wake_suspects(&mut self, instance: InstanceId) {
        if !self.suspects.is_empty() {
            let lanes = self.suspects.keys().filter(|(_, at)| *at == instance).map(|(lane, _)| *lane);
            self.dirty.extend(lanes);
        }
    }

    /// Looks again at every lane that may wait for a suspect.
    pub(super) fn suspects_changed(&mut self) {
        self.dirty.extend(self.lanes.restless());
    }

    /// Notes an attempt alone that got no answer, although no death was seen. After a few of these, the entry is not
    /// tried again.
    pub(super) fn unanswered_alone(&mut self, id: LaneId, instance: InstanceId, seq: Seq) {
        let Some(slot) = self.lanes.get(&id).and_then(|lane| lane.slot(seq)) else { return };
        let enough = slot.unanswered[instance.0] >= UNANSWERED_ALONE;
        if let Some(suspect) = self.suspects.get_mut(&(id, instance))
            && suspect.seq == seq
            && suspect.role == Role::Open
            && enough
        {
            suspect.chance = Chance::Had;
        }
    }

    /// Handles the end of the wait for the instance. As long as no other instance could take the entry, nothing depends
    /// on the verdict, and the wait goes on.
    pub(super) fn return_awaited(&mut self, id: LaneId, instance: InstanceId, wait: WaitId, effects: &mut Vec<Effect>) {
        let here = self.reach[instance.0] != Reach::Away;
        let busy = self.is_busy(id, instance);
        let others = self.instances().any(|other| other != instance && self.takes(id, other));
        let Some(suspect) = self.suspects.get_mut(&(id, instance)) else { return };
        if suspect.wait != wait || suspect.role != Role::Open || suspect.chance == Chance::Had {
            return;
        }
        suspect.waits += 1;
        suspect.waited += u32::from(here);
        if others && !busy && (!here || suspect.waited >= WAITS_WHILE_HERE) {
            suspect.chance = Chance::Had;
            self.dirty.insert(id);
        } else {
            let others_go_on = suspect.waits == WAITS_OF_OTHERS;
            effects.push(Effect::Perform(Action::AwaitReturn { lane: id, instance, wait }));
            if others_go_on {
                self.suspects_changed();
            }
        }
    }

    /// Settles the lane's suspects: quarantines each one that has had its chance, or whose instance has left the lane,
    /// since no other instance gets it.
    pub(super) fn settle_suspects(&mut self, id: LaneId, effects: &mut Vec<Effect>) {
        if self.suspects.is_empty() {
            return;
        }
        let instances: Vec<InstanceId> = self.in_lane(id).map(|(instance, _)| instance).collect();
        for instance in instances {
            let Some(suspect) = self.suspects.get(&(id, instance)) else { continue };
            let Some(lane) = self.lanes.get(&id).filter(|lane| lane.closed_by.is_none()) else {
                self.forget_suspect(id, instance);
                continue;
            };
            let progress = lane.progress(instance);
            let in_step = progress.state == LaneState::InStep;
            let verdict = lane.slot(suspect.seq).map(|slot| slot.entry.verdict);
            match (suspect.role, verdict) {
                (Role::Open, Some(None)) if suspect.chance == Chance::Had || !in_step => {
                    let free = matches!(progress.in_flight, InFlight::None | InFlight::InDoubt | InFlight::Paused);
                    let (seq, about) = (suspect.seq, suspect.about);
                    if free {
                        self.quarantine(id, instance, seq, (Some(instance), about), effects);
                    }
                }
                (Role::Open, Some(None)) => {}
                (Role::Carried, Some(Some(_))) if in_step && progress.durable < suspect.seq => {}
                // The entry has a verdict, or the instance has passed it or left the lane.
                (Role::Open | Role::Carried, _) => self.forget_suspect(id, instance),
            }
        }
    }

    fn forget_suspect(&mut self, id: LaneId, instance: InstanceId) {
        self.suspects.remove(&(id, instance));
        self.suspects_changed();
    }
}

impl Suspect {
    fn is_fresh(&self) -> bool {
        self.waits < WAITS_OF_OTHERS
    }
}

impl Slot {
    /// How often the instance died while it had the entry.
    pub(super) fn deaths(&self, instance: InstanceId) -> u32 {
        self.deaths.get(instance.0).copied().unwrap_or(0)
    }

    fn note_death(&mut self, instance: InstanceId, instances: usize) {
        self.deaths.resize(instances, 0);
        self.deaths[instance.0] = self.deaths[instance.0].saturating_add(1);
    }
}
