//! Markers, and instances that have come back older (rule R16): what a marker may claim, and which copies are no longer trusted.

use super::{Board, DivergenceCause, Effect, persist_divergence};
use crate::ids::{CollectionId, InstanceId, LaneId, Seq};
use crate::order::catalog::Collection;
use crate::order::lane::{Lane, LaneState};

impl Board {
    /// The position up to which everything is durably known to be applied or skipped on the instance, in every lane. A
    /// lane in which it is not in step holds the position back: what is later found equal there may have been executed
    /// after the marker was written.
    pub fn settled_through(&self, instance: InstanceId) -> Seq {
        // The entries of a halted lane are not on the board.
        if !self.halted.is_empty() {
            return Seq::ZERO;
        }
        let settled = |lane: &Lane| {
            let progress = lane.progress(instance);
            match progress.state {
                LaneState::InStep => lane.first_unsettled(instance).map(Seq::prior),
                // The content of a copy that is out of step is not proven at its position. A repair may bring it there
                // only later, at this very position (rule R14).
                LaneState::Diverged | LaneState::Quarantined | LaneState::Condemned | LaneState::Contradicted => {
                    Some(progress.durable.prior())
                }
            }
        };
        // In every other lane everything is settled.
        self.lanes.restless_lanes().filter_map(|(_, lane)| settled(lane)).min().unwrap_or(self.last)
    }

    /// The collections that were written to on the instance after this position, and that no other instance holds. If it
    /// has come back older, nothing else can show what they lack.
    pub fn only_copies_newer_than(&self, instance: InstanceId, through: Seq) -> Vec<CollectionId> {
        let newer = |known: &&Collection| {
            known.mappings[instance.0].is_some()
                && self.has_moved(LaneId::Records(known.id), instance, through)
                && !self.is_held_elsewhere(known.id, instance)
        };
        self.catalog.collections().filter(newer).map(|known| known.id).collect()
    }

    /// Returns whether the instance has durably executed or skipped something in the lane after this position.
    fn has_moved(&self, id: LaneId, instance: InstanceId, through: Seq) -> bool {
        self.lanes.get(&id).is_some_and(|lane| lane.progress(instance).durable > through)
    }

    /// Returns whether another instance has a copy in step, reachable or not.
    fn is_held_elsewhere(&self, collection: CollectionId, instance: InstanceId) -> bool {
        self.instances().any(|other| other != instance && self.holds(collection, other))
    }

    /// Makes diverged every copy on the instance that something may have changed after this position: it is compared, or
    /// replaced by a new copy. The others are unchanged. After a restart it is not known which collections a change of the
    /// catalog was about, so it may have been any. The only copy stays, whatever it lacks: nothing else could serve, or heal it.
    pub(super) fn came_back_older(&mut self, instance: InstanceId, through: Seq, effects: &mut Vec<Effect>) {
        self.comparisons_of_repairs_are_void(instance);
        let moved = |id| self.has_moved(id, instance, through);
        let catalog = moved(LaneId::Catalog);
        let changed = self.catalog.collections().filter(|known| {
            let changed = catalog || known.touched > through || moved(LaneId::Records(known.id));
            known.mappings[instance.0].is_some() && changed && self.is_held_elsewhere(known.id, instance)
        });
        let replicas = changed.map(|known| (LaneId::Records(known.id), instance)).collect();
        let diverged = self.diverge(replicas);
        persist_divergence(diverged, DivergenceCause::Unverified, effects);
        self.dirty.insert(LaneId::Catalog);
    }
}
