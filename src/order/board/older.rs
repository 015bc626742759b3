//! What a marker may claim of an instance, and what becomes of one that has come back older (rule R16).

use super::{Board, DivergenceCause, Effect, persist_divergence};
use crate::ids::{InstanceId, LaneId, Seq};
use crate::order::lane::{Lane, LaneState};

impl Board {
    /// Everything up to here is durably known to be applied or skipped on the instance, in every lane. A lane in which it is
    /// not in step holds that back: what is found equal there later may have been executed after the marker.
    pub fn settled_through(&self, instance: InstanceId) -> Seq {
        // What is in a halted lane is not on the board.
        if !self.halted.is_empty() {
            return Seq::ZERO;
        }
        let settled = |lane: &Lane| {
            let progress = lane.progress(instance);
            match progress.state {
                LaneState::InStep => lane.first_unsettled(instance).map(Seq::prior),
                LaneState::Diverged | LaneState::Quarantined => Some(progress.durable),
            }
        };
        self.lanes.values().filter_map(settled).min().unwrap_or(self.last)
    }

    /// Every copy that something has changed after this position is diverged there: it is compared, or made anew. The others
    /// are what they were.
    pub(super) fn came_back_older(&mut self, instance: InstanceId, through: Seq, effects: &mut Vec<Effect>) {
        let changed = self.catalog.collections().filter(|known| {
            let written = self.lanes.get(&LaneId::Records(known.id)).map(|lane| lane.progress(instance).durable);
            known.mappings[instance.0].is_some() && (known.touched > through || written.is_some_and(|at| at > through))
        });
        let replicas = changed.map(|known| (LaneId::Records(known.id), instance)).collect();
        let diverged = self.diverge(replicas);
        persist_divergence(diverged, DivergenceCause::Unverified, effects);
        self.dirty.insert(LaneId::Catalog);
    }
}
