//! What another edge may have sent behind this one's back (docs/one-active-edge.md).
//!
//! Decides that a place is not trusted, and from when on it may be looked at: not before a rest that began after the
//! suspicion is over, since what was sent may be executed until then. The look itself is the shell's.

use super::{Board, Effect, Rest};
use crate::ids::{InstanceId, LaneId};
use crate::order::lane::{Flight, Suspicion};

impl Board {
    /// A collection's lane stops there until it has been compared: also if a deletion without a verdict may take the
    /// collection, for that may be refused. The catalog lane only rests; what was done to it shows when the instance is
    /// looked at.
    pub(super) fn suspected(&mut self, id: LaneId, instance: InstanceId, effects: &mut Vec<Effect>) {
        match id {
            LaneId::Records(collection) => {
                if self.catalog.mapping(collection, instance).is_none() {
                    return;
                }
                let record = self.diverge(vec![(id, instance)]);
                if !record.diverged.is_empty() {
                    effects.push(Effect::Note { record });
                }
            }
            LaneId::Catalog => effects.push(Effect::Inspect { instance }),
        }
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.place_mut(instance).suspicion = Suspicion::RestDue;
            self.dirty.insert(id);
        }
    }

    /// A rest that is over already, or nearly, says nothing of what was sent meanwhile: another one begins.
    pub(super) fn rest_suspected(&mut self, id: LaneId, effects: &mut Vec<Effect>) {
        for instance in self.instances() {
            let Some(lane) = self.lanes.get_mut(&id) else { return };
            let place = lane.place_mut(instance);
            let free = matches!(place.flight, Flight::None | Flight::Paused | Flight::InDoubt);
            if place.suspicion == Suspicion::RestDue && free {
                let rest = place.begin_rest(Flight::InDoubt);
                effects.push(Effect::AwaitCalm { lane: id, instance, rest, why: Rest::Doubt { in_a_row: 0 } });
            }
        }
    }

    pub(super) fn suspicion_rested(&mut self, id: LaneId, instance: InstanceId, effects: &mut Vec<Effect>) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let place = lane.place_mut(instance);
        if place.suspicion == Suspicion::Resting {
            place.suspicion = Suspicion::None;
            if id == LaneId::Catalog {
                effects.push(Effect::Inspect { instance });
            }
        }
    }
}
