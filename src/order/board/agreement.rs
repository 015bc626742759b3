//! When a failure is the request's own (rule R12).
//!
//! Decides what an unexplained failure of an entry leads to: another instance is asked; or the entry is rejected
//! because every instance fails it while executing other writes; or the instance becomes diverged because it alone
//! fails. The executor performs the checks and comparisons that this takes.

use super::{Action, Board, DivergenceCause, Effect, Held, Reach, Record, Retry, known, never, persist_divergence};
use crate::ids::{CollectionId, InstanceId, LaneId, Seq};
use crate::order::entry::{AckState, Kind, MAX_RETRIES, Verdict};
use crate::order::failures::{Failures, PUT_OFF, Signature, Touched, Traces, Writable};
use crate::order::lane::{InFlight, LaneState, Pending, Slot};
use crate::proof::{self, Rule};

/// An instance that fails an entry this often, although another one has settled it, becomes diverged.
const FAILED_ELSEWHERE: u32 = 5;
/// An instance that is further behind than this is not waited for.
const NEAR: usize = 64;

impl Board {
    /// Handles a request that ended with an unexplained failure: it is over, and its effect is unknown.
    pub(super) fn failed(
        &mut self,
        id: LaneId,
        instance: InstanceId,
        (first, last): (Seq, Seq),
        signature: Signature,
        about: Option<CollectionId>,
        effects: &mut Vec<Effect>,
    ) {
        let lane = known(self.lanes.get_mut(&id));
        let progress = lane.progress_mut(instance);
        progress.doubt = progress.doubt.max(last);
        progress.over = progress.doubt;
        if first == last {
            return self.failed_alone(id, instance, first, signature, about, effects);
        }
        // Sending its entries one by one shows which one fails.
        lane.between_mut(first.prior(), last).for_each(|slot| slot.solo = true);
    }

    pub(super) fn failed_alone(
        &mut self,
        id: LaneId,
        instance: InstanceId,
        seq: Seq,
        signature: Signature,
        about: Option<CollectionId>,
        effects: &mut Vec<Effect>,
    ) {
        let lane = known(self.lanes.get_mut(&id));
        let count = lane.replicas.len();
        let slot = known(lane.slot_mut(seq));
        let failures = slot.failures.get_or_insert_with(|| Box::new(Failures::new(count)));
        if slot.entry.verdict.is_some() {
            failures.by[instance.0].settled += 1;
            let times = failures.by[instance.0].settled;
            return self.failed_what_is_settled(id, instance, (seq, times), about, effects);
        }
        failures.about = failures.about.or(about);
        if !failures.signatures.contains(&signature) {
            failures.signatures.push(signature);
        }
        lane.progress_mut(instance).in_flight = InFlight::Checking { seq };
        effects.push(Effect::Perform(Action::CheckWritable { lane: id, instance, seq }));
    }

    /// Handles a failure of an entry that another instance has settled: if it is repeated, this instance becomes
    /// diverged. The catalog lane does not stop. There, the collection becomes diverged. An entry about no existing
    /// collection is never passed over: what a deletion leaves behind would be found one day and adopted, and what
    /// lacks its database cannot be created.
    fn failed_what_is_settled(
        &mut self,
        id: LaneId,
        instance: InstanceId,
        (seq, times): (Seq, u32),
        about: Option<CollectionId>,
        effects: &mut Vec<Effect>,
    ) {
        if proof::broken(Rule::AppliedStands) && self.rejected_all_the_same(id, instance, seq, effects) {
            return;
        }
        match (id, about) {
            (LaneId::Records(_), _) if times >= FAILED_ELSEWHERE => {
                let diverged = self.diverge(vec![(id, instance)]);
                persist_divergence(diverged, DivergenceCause::Unverified, effects);
            }
            (LaneId::Catalog, Some(collection)) if times >= FAILED_ELSEWHERE => {
                let diverged = self.diverge(vec![(LaneId::Records(collection), instance)]);
                effects.push(Effect::Perform(Action::Inspect { instance }));
                let record = Record { through: Some(seq), diverged, ..Record::default() };
                self.begin_record(id, instance, record, Pending::default(), effects);
            }
            _ => self.wait(id, instance, Retry::AfterBackoff, effects),
        }
    }

    pub(super) fn write_checked(
        &mut self,
        id: LaneId,
        instance: InstanceId,
        seq: Seq,
        shows: Writable,
        effects: &mut Vec<Effect>,
    ) {
        self.dirty.insert(id);
        self.dirty.insert(LaneId::Catalog);
        let lane = known(self.lanes.get_mut(&id));
        let closed = lane.closed_by.is_some();
        let progress = lane.progress_mut(instance);
        if progress.in_flight != (InFlight::Checking { seq }) {
            never("a check ended, and none was under way");
        }
        progress.in_flight = InFlight::None;
        if closed || progress.state != LaneState::InStep {
            progress.doubt = Seq::ZERO;
            return;
        }
        // The entry got its verdict during the check.
        let Some(slot) = lane.slot_mut(seq).filter(|slot| slot.entry.verdict.is_none()) else { return };
        let failures = known(slot.failures.as_mut());
        let failed = &mut failures.by[instance.0];
        failed.writable = Some(shows);
        if shows == Writable::Yes {
            failed.own = failed.own.saturating_add(1);
        }
        if shows == Writable::No || !self.agreed(id, instance, seq, effects) {
            self.wait(id, instance, Retry::AfterBackoff, effects);
        }
    }

    /// Returns whether an instance that has failed the entry waits until the others have been asked as often.
    pub(super) fn others_come_first(&self, id: LaneId, seq: Seq, instance: InstanceId) -> bool {
        let slot = known(self.lanes.get(&id).and_then(|lane| lane.slot(seq)));
        // No instance has failed it.
        let Some(failures) = &slot.failures else { return false };
        let own = failures.by[instance.0].own;
        let first = |peer: &InstanceId| asked(slot, failures, *peer) < own && failures.by[peer.0].put_off < PUT_OFF;
        own > 0 && self.peers(id, slot, failures).iter().any(first)
    }

    /// Notes an attempt without effect, so that an instance that cannot be asked does not hold up the others for ever.
    pub(super) fn put_off(&mut self, id: LaneId, instance: InstanceId, seq: Seq) {
        let slot = self.lanes.get_mut(&id).and_then(|lane| lane.slot_mut(seq));
        if let Some(failures) = slot.and_then(|slot| slot.failures.as_mut()) {
            failures.by[instance.0].put_off = failures.by[instance.0].put_off.saturating_add(1);
        }
    }

    /// The instances whose answer counts: reachable, in step, near, and not known to fail every write in the lane.
    fn peers(&self, id: LaneId, slot: &Slot, failures: &Failures) -> Vec<InstanceId> {
        let lane = known(self.lanes.get(&id));
        let seq = slot.entry.seq;
        let counts = |instance: &InstanceId| {
            let progress = lane.progress(*instance);
            self.reach[instance.0] != Reach::Away
                && progress.state == LaneState::InStep
                && progress.declined != Some(seq)
                && failures.by[instance.0].writable != Some(Writable::No)
                && lane.distance(*instance, seq) <= NEAR
                && self.clear_to_send(id, seq, None, *instance)
        };
        self.instances().filter(counts).collect()
    }

    /// Rejects the entry if every instance that can be asked has failed it by the entry's own fault. If instances may differ in
    /// what the entry did, they are compared first. An entry that may have been acknowledged is never rejected.
    fn agreed(&mut self, id: LaneId, instance: InstanceId, seq: Seq, effects: &mut Vec<Effect>) -> bool {
        let slot = known(self.lanes.get(&id).and_then(|lane| lane.slot(seq)));
        let failures = known(slot.failures.as_ref());
        if slot.ack_state == AckState::MaybeAcknowledged && !proof::broken(Rule::AppliedStands) {
            return false;
        }
        let peers = self.peers(id, slot, failures);
        let required = failures.required(peers.len());
        if peers.is_empty() || peers.iter().any(|peer| asked(slot, failures, *peer) < required) {
            return false;
        }
        let took_part: Vec<_> = peers.into_iter().filter(|peer| failures.by[peer.0].own > 0).collect();
        let undone = id == LaneId::Catalog && slot.entry.profile.kind != Kind::UpdateCollection;
        // From now on no instance is asked.
        if let Some(slot) = self.lanes.get_mut(&id).and_then(|lane| lane.slot_mut(seq)) {
            slot.examined = true;
        }
        if undone {
            // Anything that the entry may have left behind is undone where it is expected to be rejected (rule R4), on
            // this instance too.
            self.reject_by_agreement(id, instance, (seq, None), Vec::new(), effects);
            return true;
        }
        self.held.insert(id, Held::Comparing(seq));
        effects.push(Effect::Perform(Action::CompareTouched { lane: id, seq, instances: took_part }));
        true
    }

    /// Rejects the entry. Instances that differ become diverged. If those that agree may have executed it, the
    /// instances that were not asked become diverged too, since they would skip it.
    pub(super) fn touched_compared(&mut self, id: LaneId, seq: Seq, comparison: Touched, effects: &mut Vec<Effect>) {
        self.dirty.insert(id);
        if self.held.get(&id) != Some(&Held::Comparing(seq)) {
            return;
        }
        self.held.remove(&id);
        let lane = known(self.lanes.get_mut(&id));
        let slot = known(lane.slot_mut(seq));
        slot.examined = false;
        let about = slot.failures.as_ref().and_then(|failures| failures.about);
        if slot.entry.verdict.is_some() || lane.closed_by.is_some() {
            return;
        }
        let Touched { same, differ, traces } = comparison;
        let reach = &self.reach;
        let stands = |instance: &InstanceId| {
            let progress = lane.progress(*instance);
            let idle = matches!(progress.in_flight, InFlight::None | InFlight::Paused);
            let next = lane.head(*instance).map(|slot| slot.entry.seq);
            reach[instance.0] != Reach::Away && progress.state == LaneState::InStep && idle && next == Some(seq)
        };
        let mut standing: Vec<_> = same.into_iter().filter(stands).collect();
        if standing.is_empty() {
            let mut others = (0..lane.replicas.len()).map(InstanceId);
            standing.extend(others.find(|other| !differ.contains(other) && stands(other)));
        }
        // The entry is no longer any instance's head: it is tried again.
        let Some(reference) = standing.first().copied() else { return };
        let mut apart = differ;
        if traces == Traces::Possible {
            let others = (0..lane.replicas.len()).map(InstanceId);
            apart.extend(others.filter(|other| !standing.contains(other) && lane.progress(*other).durable < seq));
        }
        standing.iter().for_each(|instance| lane.progress_mut(*instance).compared = seq);
        let compared = if id == LaneId::Catalog { about.map(LaneId::Records) } else { Some(id) };
        let apart = compared.into_iter().flat_map(|lane| apart.iter().map(move |instance| (lane, *instance))).collect();
        self.reject_by_agreement(id, reference, (seq, Some(seq)), apart, effects);
    }

    fn reject_by_agreement(
        &mut self,
        id: LaneId,
        reference: InstanceId,
        (seq, through): (Seq, Option<Seq>),
        apart: Vec<(LaneId, InstanceId)>,
        effects: &mut Vec<Effect>,
    ) {
        let diverged = self.diverge(apart);
        let verdict = (seq, Verdict::Rejected);
        let record = Record { through, verdicts: vec![verdict], diverged, ..Record::default() };
        let pending = Pending { verdicts: vec![verdict], answers: vec![seq], ..Pending::default() };
        self.begin_record(id, reference, record, pending, effects);
    }
}

/// How often the instance has been asked in a way that counts. An instance that repeatedly leaves the entry without an
/// answer is not waited for (rule R10).
fn asked(slot: &Slot, failures: &Failures, instance: InstanceId) -> u32 {
    if slot.unanswered[instance.0] >= MAX_RETRIES { u32::MAX } else { failures.by[instance.0].own }
}
