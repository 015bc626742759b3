//! The board after a restart: whatever is not known durably counts as in doubt (rule R2) and as answered (rule R5).

use std::collections::BTreeSet;

use super::{Acknowledge, Attendance, Board, Effect, Intent, Rest};
use crate::ids::{InstanceName, LaneId, Seq};
use crate::order::catalog::Catalog;
use crate::order::entry::{Entry, Profile, Verdict};
use crate::order::lane::{Dimension, Flight, Lane, MergeLimits, Place, Step};

/// An entry as the journal has it.
#[derive(Clone, Debug)]
pub struct RestoredEntry {
    pub seq: Seq,
    pub profile: Profile,
    pub verdict: Option<Verdict>,
    pub intent: Intent,
    /// A limited delete whose ids are durable.
    pub resolved: bool,
}

/// An instance's place as the journal has it.
#[derive(Clone, Debug)]
pub struct RestoredPlace {
    pub marked: Seq,
    pub step: Step,
}

/// A lane as the journal has it.
#[derive(Clone, Debug)]
pub struct RestoredLane {
    pub id: LaneId,
    pub dimension: Dimension,
    /// In `seq` order.
    pub entries: Vec<RestoredEntry>,
    /// By the instances' places in the configuration.
    pub places: Vec<RestoredPlace>,
}

impl Board {
    /// The board of this journal. No instance is reachable yet.
    pub fn restore(
        instances: Vec<InstanceName>,
        limits: MergeLimits,
        catalog: Catalog,
        lanes: Vec<RestoredLane>,
        last: Seq,
    ) -> (Board, Vec<Effect>) {
        let mut board = Board::new(instances, limits);
        board.catalog = catalog;
        board.last = last;
        for lane in &lanes {
            board.note_intents(lane);
        }
        let mut effects = Vec::new();
        for restored in lanes {
            let id = restored.id;
            let lane = rebuild(restored);
            board.lanes.insert(id, lane);
            board.doubt_heads(id, &mut effects);
            let gone = match id {
                LaneId::Catalog => false,
                LaneId::Records(collection) => board.catalog.get(collection).is_none(),
            };
            if gone {
                board.void_open_entries(id, &mut effects);
            }
        }
        board.dirty = board.lanes.keys().copied().collect::<BTreeSet<_>>();
        board.launch_all(&mut effects);
        (board, effects)
    }

    fn note_intents(&mut self, lane: &RestoredLane) {
        for entry in &lane.entries {
            match (&entry.intent, entry.verdict) {
                (Intent::Renames, None) => {
                    self.renames.insert(entry.seq);
                }
                (Intent::Deletes(deletion), None) => {
                    self.deletions.insert(entry.seq, deletion.clone());
                }
                (Intent::Deletes(_), Some(Verdict::Applied)) => {
                    self.settled_deletions.insert(entry.seq);
                }
                _ => {}
            }
        }
    }

    /// Every unmarked head may have been sent before the crash, in the longest run that could have been.
    fn doubt_heads(&mut self, id: LaneId, effects: &mut Vec<Effect>) {
        let limits = self.limits;
        let before = self.run_bound(id);
        let instances: Vec<_> = self.instances().collect();
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        for instance in instances {
            let Some(head) = lane.head(instance).map(|slot| slot.entry.seq) else { continue };
            if lane.place(instance).step == Step::Diverged {
                continue;
            }
            let doubt = lane.doubtful_run_end(head, before, limits);
            let place = lane.place_mut(instance);
            place.doubt = doubt;
            let rest = place.begin_rest(Flight::InDoubt);
            effects.push(Effect::AwaitCalm { lane: id, instance, rest, why: Rest::Doubt, unanswered: 1 });
        }
    }
}

fn rebuild(restored: RestoredLane) -> Lane {
    let places = restored.places.iter().map(|place| Place::new(place.marked, place.step)).collect();
    let mut lane = Lane::new(places, restored.dimension);
    for entry in restored.entries {
        lane.answered = entry.seq;
        lane.push(
            Entry { seq: entry.seq, profile: entry.profile, verdict: entry.verdict },
            Acknowledge::WhenRecorded,
            Attendance::Unattended,
        );
        if let Some(slot) = lane.slot_mut(entry.seq) {
            slot.resolved = entry.resolved;
        }
    }
    lane
}
