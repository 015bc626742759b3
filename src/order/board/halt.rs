//! Halted lanes: a step has panicked in them again after a restart, or while they were restored.
//!
//! Decides what still holds for such a lane, and what is not done: nothing is sent, recorded, answered or forgotten,
//! and its entries are not looked at. Instances that have all of it go on serving reads (rule R5). The coordinator
//! decides which lanes are halted, and until when.

use std::collections::BTreeMap;

use super::{Board, Input, RestoredLane};
use crate::ids::{LaneId, Seq};
use crate::order::lane::{Dimension, Lane, LaneState, ReplicaProgress};

/// The halted lanes, with how many of their entries have no verdict.
#[derive(Clone, Debug, Default)]
pub(super) struct Halted(BTreeMap<LaneId, u64>);

impl Halted {
    pub(super) fn contains(&self, lane: LaneId) -> bool {
        self.0.contains_key(&lane)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of entries without a verdict in all of them.
    pub(super) fn waiting(&self) -> u64 {
        self.0.values().sum()
    }
}

impl Board {
    /// The lane that the last step worked in. After a panic, this is where it happened.
    pub fn at(&self) -> Option<LaneId> {
        self.at
    }

    /// Returns whether new writes to the lane must be refused: it is halted, or a deletion of its collection waits in
    /// the catalog lane, which is halted.
    pub fn is_halted(&self, lane: LaneId) -> bool {
        let behind_a_deletion = |lane: LaneId| match lane {
            LaneId::Catalog => false,
            LaneId::Records(collection) => {
                self.halted.contains(LaneId::Catalog) && self.first_deletion(collection) != Seq::MAX
            }
        };
        self.halted.contains(lane) || behind_a_deletion(lane)
    }

    /// The number of entries without a verdict in a halted lane.
    pub fn halted_entries(&self, lane: LaneId) -> u64 {
        self.halted.0.get(&lane).copied().unwrap_or(0)
    }

    /// Puts the lane on the board as far as the rules for reads need it, without looking at its entries.
    pub(super) fn restore_halted(&mut self, restored: &RestoredLane) {
        let state = |durable: Seq, state: LaneState| match state {
            LaneState::InStep if durable < restored.floor => LaneState::Diverged,
            state => state,
        };
        let replicas = restored.replicas.iter().map(|at| ReplicaProgress::new(at.durable, state(at.durable, at.state)));
        let mut lane = Lane::new(replicas.collect(), Dimension::Known);
        // Entries that may have been answered count as answered: only an instance that has all of them serves reads.
        lane.answered = restored.entries.last().map_or(Seq::ZERO, |entry| entry.seq);
        lane.entered = lane.answered;
        self.lanes.insert(restored.id, lane);
        let open = restored.entries.iter().filter(|entry| entry.verdict.is_none()).count() as u64;
        self.halted.0.insert(restored.id, open);
    }

    /// Notes an entry that became durable in a halted lane: it waits in the journal. The edge refuses such writes beforehand.
    pub(super) fn submit_to_halted(&mut self, id: LaneId, seq: Seq) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.answered = seq;
            lane.entered = seq;
        }
        *self.halted.0.entry(id).or_default() += 1;
    }
}

/// The lane that an input reports about, if any. Nothing of a halted lane is under way, so nothing can be reported of
/// it except what makes an instance diverged.
pub(super) fn reported_lane(input: &Input) -> Option<LaneId> {
    match input {
        Input::Attempted { lane, .. }
        | Input::IdsRead { lane, .. }
        | Input::Recorded { lane, .. }
        | Input::VoidsRecorded { lane, .. }
        | Input::Quiesced { lane, .. }
        | Input::ReturnAwaited { lane, .. }
        | Input::WritersAwaited { lane, .. }
        | Input::MoreAwaited { lane, .. }
        | Input::LeftBehind { lane, .. }
        | Input::ClientGone { lane, .. }
        | Input::Withdraw { lane, .. }
        | Input::WithdrawalRecorded { lane, .. }
        | Input::Examined { lane, .. }
        | Input::WriteChecked { lane, .. }
        | Input::TouchedCompared { lane, .. } => Some(*lane),
        Input::FreshWanted { collection } | Input::Condemn { collection, .. } | Input::Keep { collection, .. } => {
            Some(LaneId::Records(*collection))
        }
        Input::FoundEqual(comparison) => Some(LaneId::Records(comparison.collection)),
        Input::RepairBegun(rebuild)
        | Input::RepairEnded { rebuild, .. }
        | Input::CopyBegun(rebuild)
        | Input::CopyNoted(rebuild, _)
        | Input::CutoverWanted(rebuild)
        | Input::CutoverEnded { rebuild, .. } => Some(LaneId::Records(rebuild.collection)),
        Input::Journaled(_)
        | Input::Reached { .. }
        | Input::Prefer { .. }
        | Input::HandedOver
        | Input::Assign { .. }
        | Input::DeferredLongEnough
        | Input::Missing { .. }
        | Input::Older { .. }
        | Input::LateWrite { .. }
        | Input::Lift { .. }
        | Input::Reconsider { .. }
        | Input::Batches { .. }
        | Input::LookAgain(_) => None,
    }
}
