//! Keeping a copy by an operator's decision, where it cannot be told which copy is right (rule R18): one is kept, and
//! the others are made equal to it.
//!
//! Decides whether the copy can be the one that serves without losing what was acknowledged. Who decides, and what the
//! copies hold, is up to the shell.

use super::{Board, DivergenceCause, Effect, Evidence, Reach, Record};
use crate::ids::{CollectionId, InstanceId, LaneId, Seq};
use crate::order::lane::{Dimension, InFlight, Lane, LaneState, LateWriteCheck, Pending};

/// How a copy is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// It already serves. The copies that differ are condemned.
    Serves,
    /// It takes the place of the copies that serve, which are condemned with the others.
    TakesOver,
}

/// Why a copy cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    #[error("there is no such collection")]
    NoCollection,
    #[error("that instance holds no copy of it")]
    NoCopy,
    #[error("that instance is away: what it holds now is not known")]
    Away,
    #[error("no copy of it differs from this one: there is nothing to decide")]
    NothingDiffers,
    #[error("that copy is known to be wrong, or its instance died of it: it is being made whole")]
    Unfit,
    #[error("something about it is under way, or in doubt: try again in a moment")]
    Busy,
    #[error(
        "that copy lacks what was written since the edge came, up to position {through} ({in_memory} writes or more): keep the \
         copy that is served, or write the missing records to it first"
    )]
    Lacks { through: Seq, in_memory: usize },
}

impl Board {
    /// Returns what it takes to keep this copy and make the others equal to it.
    ///
    /// # Errors
    /// If the copy cannot be kept now, or not without losing what was acknowledged.
    pub fn can_keep(&self, collection: CollectionId, instance: InstanceId) -> Result<Keeping, Obstacle> {
        let id = LaneId::Records(collection);
        let known = self.catalog.get(collection).ok_or(Obstacle::NoCollection)?;
        known.mappings[instance.0].ok_or(Obstacle::NoCopy)?;
        if self.reach[instance.0] == Reach::Away {
            return Err(Obstacle::Away);
        }
        let differs = |other: InstanceId| self.state_of(collection, other) == LaneState::Diverged;
        if !self.instances().any(|other| differs(other) && known.mappings[other.0].is_some()) {
            return Err(Obstacle::NothingDiffers);
        }
        match self.state_of(collection, instance) {
            LaneState::InStep => return Ok(Keeping::Serves),
            LaneState::Diverged => {}
            LaneState::Quarantined | LaneState::Condemned | LaneState::Contradicted => return Err(Obstacle::Unfit),
        }
        let lane = self.lanes.get(&id).ok_or(Obstacle::NothingDiffers)?;
        // Checked first, since this obstacle does not pass.
        self.nothing_was_written(id, lane)?;
        let going = self.first_deletion(collection) != Seq::MAX || lane.closed_by.is_some();
        let held = self.cutovers.contains_key(&id)
            || self.halted.contains(id)
            || self.held.contains_key(&id)
            // The copy is being written to.
            || self.is_repaired(id, instance);
        let quiet = self.instances().all(|other| {
            let progress = lane.progress(other);
            let follows = other == instance || progress.state == LaneState::InStep;
            !follows || (progress.in_flight == InFlight::None && progress.late_write_check == LateWriteCheck::None)
        });
        if going || held || !quiet || !self.knows_collection(collection, instance) {
            return Err(Obstacle::Busy);
        }
        Ok(Keeping::TakesOver)
    }

    /// Returns an error if a record write has ever entered the lane. A copy that was once equal may have come back
    /// older since, so its own progress proves nothing.
    fn nothing_was_written(&self, id: LaneId, lane: &Lane) -> Result<(), Obstacle> {
        match self.lane_end(id) {
            Seq::ZERO => Ok(()),
            through => Err(Obstacle::Lacks { through, in_memory: lane.slots.len() }),
        }
    }

    /// Keeps this copy and condemns the others. If this one takes over, its admission is in the same durable record.
    /// Late if it can no longer be kept.
    pub(super) fn keep(
        &mut self,
        collection: CollectionId,
        instance: InstanceId,
        evidence: Evidence,
        effects: &mut Vec<Effect>,
    ) {
        let id = LaneId::Records(collection);
        let others: Vec<InstanceId> = self
            .instances()
            .filter(|other| *other != instance && self.catalog.mapping(collection, *other).is_some())
            .collect();
        match self.can_keep(collection, instance) {
            Err(_) => {}
            Ok(Keeping::Serves) => {
                let differ = others.iter().filter(|other| self.state_of(collection, **other) == LaneState::Diverged);
                for other in differ.copied().collect::<Vec<_>>() {
                    self.condemn(collection, other, evidence, effects);
                }
            }
            Ok(Keeping::TakesOver) => {
                let others = others.into_iter().map(|other| (id, other)).collect();
                let condemned = self.diverge_to(DivergenceCause::Condemned(evidence), others);
                let Some(lane) = self.lanes.get_mut(&id) else { return };
                // The copy that served had a dimension or not; this says nothing about this one.
                lane.dimension = Dimension::Unknown;
                let progress = lane.progress_mut(instance);
                progress.state = LaneState::InStep;
                progress.doubt = Seq::ZERO;
                let condemned = condemned.into_iter().map(|replica| (replica, evidence)).collect();
                let record = Record { condemned, admitted: vec![(id, instance)], ..Record::default() };
                self.begin_record(id, instance, record, Pending::default(), effects);
            }
        }
    }
}
