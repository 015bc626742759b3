//! What an operator may ask about what is quarantined, and say (rule R13).

use super::{Board, DivergenceCause, Effect, Persist, persist_divergence};
use crate::ids::{InstanceId, LaneId, Seq};
use crate::order::lane::{LaneState, LateWriteCheck};
use crate::order::vouching::{Refusal, RequestClass};

impl Board {
    /// Whether a new write of this class that is not vouched for is refused in this lane, and because of which entry.
    pub fn refusal(&self, lane: LaneId, class: RequestClass) -> Option<Refusal> {
        let of_class = |(_, quarantined): &(&Seq, &RequestClass)| **quarantined == class;
        let quarantined = self.quarantined.get(&lane)?.iter().find(of_class);
        quarantined.map(|(seq, _)| Refusal::Quarantined { seq: *seq })
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

    /// It is compared once nothing can be executed there any more.
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
