//! An operator decides between copies that nobody can tell the right one of (rule R18): one is kept, the others are made like it.
//!
//! It decides whether the copy can be the one that serves without losing what was acknowledged. Who decides, and what the
//! copies hold, is the shell's.

use super::{Board, DivergenceCause, Effect, Evidence, Reach, Record};
use crate::ids::{CollectionId, InstanceId, LaneId, Seq};
use crate::order::lane::{Dimension, InFlight, Lane, LaneState, LateWriteCheck, Pending};

/// What it takes to keep a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// It is served already: the ones that differ are condemned.
    Serves,
    /// It takes the place of what is served, which is condemned with the others.
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
    /// What it takes to keep this copy, and make the others like it.
    ///
    /// # Errors
    /// When it cannot be kept now, or without losing what was acknowledged.
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
        // First: that does not pass.
        self.nothing_was_written(id, lane)?;
        let going = self.first_deletion(collection) != Seq::MAX || lane.closed_by.is_some();
        let held = self.cutovers.contains_key(&id)
            || self.halted.contains(id)
            || self.held.contains_key(&id)
            // It is being written to.
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

    /// Whether no record write has ever entered the lane. A copy that was equal once may have come back older since: so its own
    /// progress proves nothing.
    fn nothing_was_written(&self, id: LaneId, lane: &Lane) -> Result<(), Obstacle> {
        match self.lane_end(id) {
            Seq::ZERO => Ok(()),
            through => Err(Obstacle::Lacks { through, in_memory: lane.slots.len() }),
        }
    }

    /// Keeps this copy: the others are condemned, durably with the admission of this one if it takes over. Late if it cannot be
    /// kept any more.
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
                // The one that was served had it, or had not.
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
