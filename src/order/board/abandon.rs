//! When to abandon an entry that healthy instances leave without an answer (rule R10).
//!
//! Decides which entry is examined, and when: only after no request for it can still be executed, since one that is
//! still under way could be executed right after the examination. The shell performs the examination.

use super::{Action, Board, Effect, Examination, Held, Reach, known};
use crate::ids::{LaneId, Seq};
use crate::order::entry::{MAX_RETRIES, Verdict};
use crate::order::lane::{InFlight, LaneState, ReplicaProgress};

impl Board {
    /// Holds back an unacknowledged entry once every instance in step has been asked for it often enough, each time
    /// alone and while healthy. Unreachable instances never count.
    pub(super) fn consider_examination(&mut self, id: LaneId, seq: Seq) {
        let reach = &self.reach;
        let lane = known(self.lanes.get_mut(&id));
        if id == LaneId::Catalog || lane.closed_by.is_some() {
            return;
        }
        let in_step: Vec<_> = lane.replicas.iter().map(|progress| progress.state == LaneState::InStep).collect();
        // If this was the last instance that had not passed the entry, and it has left the lane since, the entry is forgotten.
        let Some(slot) = lane.slot_mut(seq) else { return };
        let tried = slot
            .unanswered
            .iter()
            .zip(reach.iter().zip(&in_step))
            .all(|(count, (reach, in_step))| !in_step || (*count >= MAX_RETRIES && *reach != Reach::Away));
        if slot.entry.verdict.is_none() && tried && !slot.examined {
            slot.examined = true;
            self.held.insert(id, Held::UntilQuiescent(seq));
        }
    }

    /// Asks for the examination once nothing is under way or in doubt on any instance in step.
    pub(super) fn examine_when_quiescent(&mut self, id: LaneId, effects: &mut Vec<Effect>) {
        // Nothing in the lane waits for quiescence.
        let Some(Held::UntilQuiescent(seq)) = self.held.get(&id).copied() else { return };
        let lane = known(self.lanes.get(&id));
        if lane.replicas.iter().all(is_quiescent) {
            self.held.insert(id, Held::Asked(seq));
            effects.push(Effect::Perform(Action::Examine { lane: id, seq }));
        }
    }

    /// Releases the entries that wait for quiescence, because an instance has become unreachable.
    pub(super) fn release_held(&mut self) {
        let waiting = |(id, held): (&LaneId, &Held)| match held {
            Held::UntilQuiescent(seq) => Some((*id, *seq)),
            Held::Asked(_) | Held::Comparing(_) => None,
        };
        let released: Vec<_> = self.held.iter().filter_map(waiting).collect();
        for (id, seq) in released {
            self.held.remove(&id);
            if let Some(slot) = self.lanes.get_mut(&id).and_then(|lane| lane.slot_mut(seq)) {
                slot.examined = false;
            }
        }
    }

    pub(super) fn examined(&mut self, id: LaneId, seq: Seq, shows: Examination, effects: &mut Vec<Effect>) {
        self.dirty.insert(id);
        if self.held.get(&id) != Some(&Held::Asked(seq)) {
            return;
        }
        self.held.remove(&id);
        let lane = known(self.lanes.get_mut(&id));
        let quiesced = lane.replicas.iter().all(is_quiescent);
        let slot = known(lane.slot_mut(seq));
        slot.examined = false;
        slot.unanswered.fill(0);
        if shows == Examination::Unclear || slot.entry.verdict.is_some() || !quiesced {
            return;
        }
        let in_step = |lane: &crate::order::lane::Lane| {
            lane.replicas.iter().position(|progress| progress.state == LaneState::InStep)
        };
        if let Some(index) = in_step(lane) {
            let instance = crate::ids::InstanceId(index);
            self.settle_without_effect(id, instance, seq, Verdict::Abandoned, effects);
        }
    }
}

/// Returns whether no request to this replica can still be executed, as far as the lane's content counts.
pub(super) fn is_quiescent(progress: &ReplicaProgress) -> bool {
    progress.state != LaneState::InStep || progress.in_flight == InFlight::None
}
