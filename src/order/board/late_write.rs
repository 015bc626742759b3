//! Writes that another edge may have sent after its lease (docs/one-active-edge.md).
//!
//! Decides that a replica is not trusted, and from when on it may be compared: not before the end of a settle time that
//! began after the late write, since what was sent may be executed until then. The shell performs the comparison.

use super::{Action, Board, DivergenceCause, Effect, WaitReason, known, persist_divergence};
use crate::ids::{InstanceId, LaneId};
use crate::order::lane::{InFlight, LateWriteCheck};

impl Board {
    /// Stops a collection's lane on the instance until it has been compared, even if a deletion without a verdict may
    /// delete the collection, since the deletion may be rejected. The catalog lane only waits for a settle time. An
    /// inspection of the instance shows what was done to the catalog.
    pub(super) fn late_write(&mut self, id: LaneId, instance: InstanceId, effects: &mut Vec<Effect>) {
        match id {
            LaneId::Records(collection) => {
                if self.catalog.mapping(collection, instance).is_none() {
                    return;
                }
                let diverged = self.diverge(vec![(id, instance)]);
                persist_divergence(diverged, DivergenceCause::Unverified, effects);
            }
            LaneId::Catalog => effects.push(Effect::Perform(Action::Inspect { instance })),
        }
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.progress_mut(instance).late_write_check = LateWriteCheck::WaitDue;
            self.dirty.insert(id);
        }
    }

    /// Begins a settle time after a late write. One that is already over, or nearly so, proves nothing about what was
    /// sent meanwhile.
    pub(super) fn await_late_writes(&mut self, id: LaneId, effects: &mut Vec<Effect>) {
        for instance in self.instances() {
            let lane = known(self.lanes.get_mut(&id));
            let progress = lane.progress_mut(instance);
            let free = matches!(progress.in_flight, InFlight::None | InFlight::Paused | InFlight::InDoubt);
            if progress.late_write_check == LateWriteCheck::WaitDue && free {
                let wait = progress.begin_wait(InFlight::InDoubt);
                let why = WaitReason::Settle { in_a_row: 0 };
                effects.push(Effect::Perform(Action::AwaitQuiescence { lane: id, instance, wait, why }));
            }
        }
    }

    pub(super) fn late_write_wait_over(&mut self, id: LaneId, instance: InstanceId, effects: &mut Vec<Effect>) {
        let lane = known(self.lanes.get_mut(&id));
        let progress = lane.progress_mut(instance);
        if progress.late_write_check == LateWriteCheck::Waiting {
            progress.late_write_check = LateWriteCheck::None;
            if id == LaneId::Catalog {
                effects.push(Effect::Perform(Action::Inspect { instance }));
            }
        }
    }
}
