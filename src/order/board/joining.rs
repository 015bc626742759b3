//! How a new instance joins the catalog lane when the journal no longer has the lane's beginning (rule R11).
//!
//! Decides where in the lane the instance begins. It holds nothing of what came before, so its collections are replaced
//! by new copies (rule R14). An instance that has executed something of the lane, and missed more than is left, stays
//! out: what it holds may have been deleted since.

use super::{Action, Board, DivergenceCause, Effect, Record, known, persist_divergence};
use crate::ids::{InstanceId, LaneId, Seq};
use crate::order::admission::Admission;
use crate::order::lane::{InFlight, LaneState, Pending};

impl Board {
    /// Lets the instance join the catalog lane once it has quiesced there. If it is out of the lane and never had
    /// anything of it, it begins behind what all others have.
    pub(super) fn join_catalog(&mut self, instance: InstanceId, effects: &mut Vec<Effect>) {
        let lane = known(self.lanes.get(&LaneId::Catalog));
        let progress = lane.progress(instance);
        let is_new = progress.state == LaneState::Diverged
            && progress.durable == Seq::ZERO
            && progress.in_flight == InFlight::None
            && !self.halted.contains(LaneId::Catalog);
        let in_step = |other: &InstanceId| lane.progress(*other).state == LaneState::InStep;
        let others = self.instances().filter(in_step).map(|other| lane.durably_covered(other));
        let Some(at) = others.min().filter(|at| is_new && *at > Seq::ZERO) else { return };
        let all = self.catalog.collections().map(|known| (LaneId::Records(known.id), instance)).collect();
        let diverged = self.diverge(all);
        persist_divergence(diverged, DivergenceCause::Unverified, effects);
        let record = Record { through: Some(at), admitted: vec![(LaneId::Catalog, instance)], ..Record::default() };
        let pending = Pending { admission: Admission::WhenDurable, ..Pending::default() };
        self.begin_record(LaneId::Catalog, instance, record, pending, effects);
        // Databases may have been created since its last inspection.
        effects.push(Effect::Perform(Action::Inspect { instance }));
    }
}
