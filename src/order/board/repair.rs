//! Copies that are repaired where they are (rule R14). Meanwhile their instance is written to outside the lane.
//!
//! Decides which copies may be repaired, that nothing else admits one meanwhile, and what makes a comparison void: if the
//! instance goes away, its server may come back older. [`super::cutover`] decides how a copy is admitted in the end.

use super::{Board, Rebuild, RepairWrites};
use crate::ids::{InstanceId, LaneId};
use crate::order::lane::{InFlight, LaneState, LateWriteCheck};

impl Board {
    /// Returns whether the copy can be repaired where it is: it is reachable, it can be read, and nothing that was sent
    /// to it before can still be executed. A copy that its instance died of is not read. One that is condemned for
    /// anything but its records is not trusted to answer.
    pub fn can_repair(&self, rebuild: Rebuild) -> bool {
        let Rebuild { collection, target, .. } = rebuild;
        let id = LaneId::Records(collection);
        let readable = matches!(self.state_of(collection, target), LaneState::Diverged | LaneState::Contradicted);
        readable
            && self.catalog.mapping(collection, target).is_some()
            && self.lanes.get(&id).is_some_and(|lane| self.can_be_rebuilt(lane, rebuild))
    }

    /// Returns whether this repair is under way and may go on. If not, nothing is written to the copy.
    pub fn repairs(&self, rebuild: Rebuild) -> bool {
        let under_way = self.repairs.get(&(LaneId::Records(rebuild.collection), rebuild.target));
        under_way == Some(&rebuild) && self.can_repair(rebuild)
    }

    /// Returns whether the copy is written to outside the lane, so that a comparison of it proves nothing.
    pub(super) fn is_repaired(&self, id: LaneId, instance: InstanceId) -> bool {
        self.repairs.contains_key(&(id, instance))
    }

    pub(super) fn repair_begun(&mut self, rebuild: Rebuild) {
        let key = (LaneId::Records(rebuild.collection), rebuild.target);
        if !self.repairs.contains_key(&key) && self.can_repair(rebuild) {
            self.repairs.insert(key, rebuild);
        }
    }

    /// Ends a repair. A comparison that began before the repair's end is late, since it read what has been overwritten.
    /// A write that may still be executed is waited for. A settle time that has already begun proves nothing about it.
    pub(super) fn repair_ended(&mut self, rebuild: Rebuild, writes: RepairWrites) {
        let (id, target) = (LaneId::Records(rebuild.collection), rebuild.target);
        if self.repairs.get(&(id, target)) != Some(&rebuild) {
            return;
        }
        self.repairs.remove(&(id, target));
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let progress = lane.progress_mut(target);
        match writes {
            RepairWrites::InDoubt => progress.late_write_check = LateWriteCheck::WaitDue,
            RepairWrites::Answered if progress.in_flight == InFlight::None && progress.state != LaneState::InStep => {
                progress.wait = progress.wait.next();
            }
            // A wait is under way that began after the comparison, or the copy is admitted.
            RepairWrites::Answered => {}
        }
        self.dirty.insert(id);
    }

    /// Returns whether everything that the repaired copy holds has been compared since its instance last came back.
    pub(super) fn is_compared_repair(&self, rebuild: Rebuild) -> bool {
        let log = self.copies.get(&LaneId::Records(rebuild.collection));
        self.repairs(rebuild) && log.is_some_and(|log| log.rebuild == rebuild && log.touched.is_some())
    }

    /// Discards the comparisons of copies under repair on this instance: its server may come back older, so they must
    /// be compared again. A new copy is not affected, since no older server has its id.
    pub(super) fn comparisons_of_repairs_are_void(&mut self, instance: InstanceId) {
        for (id, target) in self.repairs.keys().filter(|(_, target)| *target == instance) {
            if let Some(log) = self.copies.get_mut(id).filter(|log| log.rebuild.target == *target) {
                log.touched = None;
            }
        }
    }
}
