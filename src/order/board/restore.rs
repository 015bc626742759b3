//! The board after a restart: what is not durably known counts as in doubt (rule R2) and as answered (rule R5).

use std::collections::BTreeSet;

use super::{Action, Board, DivergenceCause, Effect, Intent, WaitReason, known, persist_divergence};
use crate::ids::{CollectionId, InstanceId, InstanceName, LaneId, Seq};
use crate::order::catalog::Catalog;
use crate::order::entry::{AckPolicy, AckState, ClientState, Entry, Profile, Verdict};
use crate::order::lane::{Dimension, InFlight, Lane, LaneState, ReplicaProgress};
use crate::order::merging::MergeLimits;
use crate::order::vouching::RequestClass;
use crate::proof::{self, Rule};

/// An entry, as stored in the journal.
#[derive(Clone, Debug)]
pub struct RestoredEntry {
    pub seq: Seq,
    pub profile: Profile,
    pub verdict: Option<Verdict>,
    pub intent: Intent,
    /// For a limited delete: its ids are durable.
    pub resolved: bool,
    pub ack_state: AckState,
    /// The instance that died while it had the entry, and the collection that a catalog entry is about (rule R13).
    pub suspect_on: Option<(InstanceId, Option<CollectionId>)>,
}

/// A replica's progress, as stored in the journal.
#[derive(Clone, Debug)]
pub struct RestoredProgress {
    pub durable: Seq,
    pub state: LaneState,
}

/// A lane, as stored in the journal.
#[derive(Clone, Debug)]
pub struct RestoredLane {
    pub id: LaneId,
    pub dimension: Dimension,
    /// The journal keeps nothing at or below this position, although instances may lack it (rule R11).
    pub floor: Seq,
    /// Quarantined entries that are not lifted (rule R13).
    pub quarantined: Vec<(Seq, RequestClass)>,
    /// In `seq` order.
    pub entries: Vec<RestoredEntry>,
    /// In the order of the configuration.
    pub replicas: Vec<RestoredProgress>,
}

impl Board {
    /// Returns the board of this journal. No instance is reachable yet.
    pub fn restore(
        instances: Vec<InstanceName>,
        limits: MergeLimits,
        catalog: Catalog,
        lanes: Vec<RestoredLane>,
        last: Seq,
    ) -> (Board, Vec<Effect>) {
        let mut board = Board::new(instances, limits);
        let effects = board.fill(catalog, lanes, last, &BTreeSet::new());
        (board, effects)
    }

    /// Fills a new board with the content of the journal. `halted`: the lanes in which nothing is done.
    pub fn fill(
        &mut self,
        catalog: Catalog,
        lanes: Vec<RestoredLane>,
        last: Seq,
        halted: &BTreeSet<LaneId>,
    ) -> Vec<Effect> {
        self.catalog = catalog;
        self.last = last;
        for lane in &lanes {
            self.at = Some(lane.id);
            self.note_intents(lane);
        }
        let mut effects = Vec::new();
        let mut gone = Vec::new();
        let mut diverged = Vec::new();
        let mut suspects = Vec::new();
        for restored in lanes {
            let id = restored.id;
            self.at = Some(id);
            if halted.contains(&id) {
                self.restore_halted(&restored);
                continue;
            }
            suspects.extend(restored.entries.iter().filter(|entry| entry.verdict.is_none()).filter_map(|entry| {
                let (instance, about) = entry.suspect_on?;
                Some((id, instance, entry.seq, about))
            }));
            if !restored.quarantined.is_empty() {
                self.quarantined.insert(id, restored.quarantined.iter().copied().collect());
            }
            let lane = rebuild(restored, &mut diverged);
            self.lanes.insert(id, lane);
            match id {
                LaneId::Records(collection) if self.catalog.get(collection).is_none() => gone.push(id),
                LaneId::Catalog | LaneId::Records(_) => self.doubt_heads(id, &mut effects),
            }
        }
        self.at = None;
        self.lanes.take_stock();
        let stopped: Vec<_> = self
            .lanes
            .keys()
            .flat_map(|id| self.instances().map(|instance| (*id, instance)))
            .filter(|(id, instance)| self.never_mapped(*id, *instance))
            .collect();
        diverged.extend(self.diverge(stopped));
        persist_divergence(diverged, DivergenceCause::Unverified, &mut effects);
        self.close_gone(&gone, &mut effects);
        for (id, instance, seq, about) in suspects {
            self.at = Some(id);
            self.suspect_again(id, instance, seq, about, &mut effects);
        }
        self.touch_collections();
        self.dirty = self.lanes.keys().copied().collect::<BTreeSet<_>>();
        self.launch_all(&mut effects);
        self.lanes.take_stock();
        effects
    }

    fn note_intents(&mut self, lane: &RestoredLane) {
        for entry in &lane.entries {
            if entry.verdict.is_none() {
                self.coming_names.note(entry.seq, &entry.intent);
            }
            match (&entry.intent, entry.verdict) {
                (Intent::Deletes(deletion), None) => {
                    self.deletions.insert(entry.seq, deletion.clone());
                }
                (Intent::Deletes(_), Some(Verdict::Applied)) => {
                    self.settled_deletions.insert(entry.seq, Vec::new());
                }
                _ => {}
            }
        }
    }

    /// Marks what follows the durable progress as in doubt. It may have been sent before the crash, in the longest run
    /// that could have been. So may an entry that has been rejected elsewhere since, and would be skipped now.
    fn doubt_heads(&mut self, id: LaneId, effects: &mut Vec<Effect>) {
        if proof::broken(Rule::RememberDoubt) && id != LaneId::Catalog {
            return;
        }
        let limits = self.limits;
        let before = self.run_bound(id);
        for instance in self.instances() {
            let mapped = match id {
                LaneId::Catalog => true,
                LaneId::Records(collection) => self.catalog.mapping(collection, instance).is_some(),
            };
            let lane = known(self.lanes.get(&id));
            if lane.progress(instance).state != LaneState::InStep {
                // Requests sent to it before it diverged may still be executed, so it cannot be compared yet.
                self.await_restored(id, instance, Seq::ZERO, effects);
            } else if mapped && let Some(doubt) = lane.doubtful_end(instance, before, limits) {
                self.await_restored(id, instance, doubt, effects);
            }
        }
    }

    fn await_restored(&mut self, id: LaneId, instance: InstanceId, doubt: Seq, effects: &mut Vec<Effect>) {
        let lane = known(self.lanes.get_mut(&id));
        let progress = lane.progress_mut(instance);
        progress.doubt = doubt;
        let wait = progress.begin_wait(InFlight::InDoubt);
        let why = WaitReason::Settle { in_a_row: 0 };
        effects.push(Effect::Perform(Action::AwaitQuiescence { lane: id, instance, wait, why }));
    }

    /// Closes the lanes of deleted collections. It is no longer known which deletion closed which lane, so each
    /// deletion waits for all of them.
    fn close_gone(&mut self, gone: &[LaneId], effects: &mut Vec<Effect>) {
        for id in gone {
            self.at = Some(*id);
            self.close(*id, self.last, effects);
            let last = self.lanes.get(id).and_then(|lane| lane.slots.back()).map_or(Seq::ZERO, |slot| slot.entry.seq);
            for instance in self.instances() {
                if self.lanes.get(id).is_some_and(|lane| lane.progress(instance).durable < last) {
                    self.await_restored(*id, instance, Seq::ZERO, effects);
                }
            }
        }
        for closed in self.settled_deletions.values_mut() {
            closed.extend_from_slice(gone);
        }
    }

    /// Counts the last answered catalog entry for every collection, since it is no longer known which collections the
    /// catalog entries were about (rule R5).
    fn touch_collections(&mut self) {
        let answered = known(self.lanes.get(&LaneId::Catalog)).answered;
        let all: Vec<_> = self.catalog.collections().map(|collection| collection.id).collect();
        for collection in all {
            self.catalog.touch(collection, answered);
        }
    }
}

/// Returns whether an entry with this verdict may have been answered. A catalog entry is answered only once its verdict
/// is durable; a record write may be answered as soon as it is applied.
fn counts_as_answered(id: LaneId, verdict: Option<Verdict>) -> bool {
    match verdict {
        Some(Verdict::Applied) => true,
        None => id != LaneId::Catalog,
        Some(Verdict::Rejected | Verdict::Void | Verdict::Abandoned | Verdict::Quarantined) => false,
    }
}

/// Rebuilds the lane. What lies below the floor is gone, so a replica that needs it cannot catch up entry by entry (rule R11).
fn rebuild(restored: RestoredLane, below_floor: &mut Vec<(LaneId, InstanceId)>) -> Lane {
    let mut replicas = Vec::new();
    for (index, progress) in restored.replicas.iter().enumerate() {
        let mut step = progress.state;
        if progress.durable < restored.floor && step == LaneState::InStep {
            step = LaneState::Diverged;
            below_floor.push((restored.id, InstanceId(index)));
        }
        replicas.push(ReplicaProgress::new(progress.durable, step));
    }
    let mut lane = Lane::new(replicas, restored.dimension);
    for entry in restored.entries {
        if counts_as_answered(restored.id, entry.verdict) {
            lane.answered = entry.seq;
        }
        lane.push(
            Entry { seq: entry.seq, profile: entry.profile, verdict: entry.verdict },
            AckPolicy::Durable,
            ClientState::Gone,
        );
        if let Some(slot) = lane.slot_mut(entry.seq) {
            slot.resolved = entry.resolved;
            slot.changes = entry.intent.changes();
            // An earlier edge may have sent it.
            slot.may_have_run = true;
            slot.ack_state = entry.ack_state;
        }
    }
    lane
}
