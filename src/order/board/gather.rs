//! Waits that let more entries share a request (rule R19). An open entry waits for the next writes of clients that were
//! just answered, a replicated one for what is applied next. Nothing is held that could not grow, nothing in a lane
//! with one writer, and nothing that is needed at once.
//!
//! Decides what may be held, and what ends a hold early. The shell decides how long a hold pays, and ends it.

use super::{Action, Board, Effect, Reach};
use crate::ids::{CollectionId, InstanceId, LaneId, Seq};
use crate::order::entry::{ClientState, Verdict};
use crate::order::lane::{Expected, InFlight, Lane, LaneState, Trail};
use crate::order::merging::{MergeLimits, Room, mergeable};
use crate::order::vouching::Vouching;

impl Board {
    /// Notes that this many clients of the lane are being answered, the last of them at `after`. In a busy lane they
    /// are expected to write again at once.
    pub(super) fn expect_writers(
        &mut self,
        id: LaneId,
        instance: InstanceId,
        after: Seq,
        answered: u32,
        effects: &mut Vec<Effect>,
    ) {
        let merges = self.batches.documents > 1;
        // Catalog entries share no request.
        let Some(lane) = self.lanes.get_mut(&id).filter(|_| id != LaneId::Catalog && merges) else { return };
        lane.expected = None;
        if answered as usize + lane.waiting.len() > 1 {
            lane.expected = Some(Expected { after, writers: answered });
            effects.push(Effect::Perform(Action::AwaitWriters { lane: id, instance, after, writers: answered }));
        }
    }

    /// Ends the wait for these writers, since it no longer pays.
    pub(super) fn writers_awaited(&mut self, id: LaneId, after: Seq) {
        // Late: the lane is gone, or others are expected by now.
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if lane.expected.is_some_and(|expected| expected.after == after) {
            lane.expected = None;
            self.dirty.insert(id);
        }
    }

    /// Ends the hold of what the instance lacks, since it no longer pays.
    pub(super) fn more_awaited(&mut self, id: LaneId, instance: InstanceId, from: Seq) {
        // Late: the lane is gone, or the entries were sent.
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let progress = lane.progress_mut(instance);
        if progress.trail == Trail::Held(from) {
            progress.trail = Trail::Due;
            self.dirty.insert(id);
        }
    }

    pub(super) fn fresh_wanted(&mut self, collection: CollectionId) {
        let id = LaneId::Records(collection);
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.replicas.iter_mut().for_each(|progress| progress.trail = progress.trail.released());
        self.dirty.insert(id);
    }

    /// Ends every hold. An instance has come or gone, or is used for something else, so what is held is needed there,
    /// or can be had elsewhere.
    pub(super) fn hold_nothing(&mut self) {
        let lanes: Vec<LaneId> = self.lanes.restless().collect();
        for id in lanes {
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            lane.expected = None;
            lane.replicas.iter_mut().for_each(|progress| progress.trail = progress.trail.released());
        }
    }

    /// Returns whether the open entry at the head waits for the writers that are expected.
    pub(super) fn awaits_writers(&self, id: LaneId, instance: InstanceId, seq: Seq) -> bool {
        let Some(lane) = self.lanes.get(&id) else { return false };
        let is_new = || lane.slot(seq).is_some_and(|slot| slot.client == ClientState::Waiting && !slot.may_have_run);
        lane.expected.is_some()
            && is_new()
            && is_undisturbed(lane, instance, seq)
            && may_grow(lane, seq, self.run_bound(id), self.batches)
    }

    /// Returns whether replication from this entry on is held for more. If the hold begins now, asks the shell to end it.
    pub(super) fn trails(&mut self, id: LaneId, instance: InstanceId, seq: Seq, effects: &mut Vec<Effect>) -> bool {
        let Some(trail) = self.lanes.get(&id).map(|lane| lane.progress(instance).trail) else { return false };
        if !matches!(trail, Trail::Level | Trail::Held(_)) {
            return false;
        }
        let Some(leader) = self.leader(id, instance, seq) else { return false };
        if trail == Trail::Level
            && let Some(lane) = self.lanes.get_mut(&id)
        {
            lane.progress_mut(instance).trail = Trail::Held(seq);
            effects.push(Effect::Perform(Action::AwaitMore { lane: id, instance, leader, from: seq }));
        }
        true
    }

    /// The instance that executes more of a busy lane, which may share the request for this entry. `None`: the entry is
    /// not held.
    fn leader(&self, id: LaneId, instance: InstanceId, seq: Seq) -> Option<InstanceId> {
        let lane = self.lanes.get(&id).filter(|_| id != LaneId::Catalog && self.batches.documents > 1)?;
        let busy = lane.expected.is_some() || lane.waiting.len() > 1;
        let applied = lane.slot(seq).is_some_and(|slot| slot.entry.verdict == Some(Verdict::Applied));
        let ordinary = self.reach[instance.0] == Reach::Here && self.placement.is_ordinary();
        if !busy || !applied || !ordinary || instance == self.primary() || !is_undisturbed(lane, instance, seq) {
            return None;
        }
        let leads = |other: &InstanceId| {
            let progress = lane.progress(*other);
            *other != instance
                && self.reach[other.0] == Reach::Here
                && progress.state == LaneState::InStep
                && !matches!(progress.in_flight, InFlight::InDoubt | InFlight::Paused)
                && lane.covered(*other) >= lane.answered
        };
        let leader = self.instances().find(leads)?;
        may_grow(lane, seq, self.run_bound(id), self.batches).then_some(leader)
    }

    /// Notes that an instance has everything that was applied. It follows closely from now on.
    pub(super) fn note_level(&mut self, id: LaneId, instance: InstanceId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let catching_up = lane.progress(instance).trail == Trail::CatchingUp;
        if catching_up && lane.head(instance).is_none_or(|slot| slot.entry.verdict.is_none()) {
            lane.progress_mut(instance).trail = Trail::Level;
        }
    }

    /// The last entry that was answered to clients whose next writes the lane's next request waits for.
    pub fn expects_after(&self, id: LaneId) -> Option<Seq> {
        self.lanes.get(&id).and_then(|lane| lane.expected).map(|expected| expected.after)
    }

    /// The first entry that is held on its way to the instance.
    pub fn trails_since(&self, id: LaneId, instance: InstanceId) -> Option<Seq> {
        match self.lanes.get(&id)?.progress(instance).trail {
            Trail::Held(from) => Some(from),
            Trail::CatchingUp | Trail::Level | Trail::Due => None,
        }
    }

    /// Returns whether anything of the collection is held on its way to any instance.
    pub fn holds_copies(&self, collection: CollectionId) -> bool {
        let lane = self.lanes.get(&LaneId::Records(collection));
        lane.is_some_and(|lane| lane.replicas.iter().any(|progress| matches!(progress.trail, Trail::Held(_))))
    }
}

/// Returns whether nothing went wrong on the instance lately: what is in doubt or failed is not held.
fn is_undisturbed(lane: &Lane, instance: InstanceId, seq: Seq) -> bool {
    let progress = lane.progress(instance);
    progress.doubt < seq && progress.backoffs == 0
}

/// Returns whether what is applied next, or enters the lane next, could share the request that begins with this entry.
fn may_grow(lane: &Lane, first: Seq, bound: Seq, limits: MergeLimits) -> bool {
    let from = lane.slots.partition_point(|slot| slot.entry.seq < first);
    let mut slots = lane.slots.range(from..);
    let Some(head) = slots.next().map(|slot| (&slot.entry, slot.solo)) else { return false };
    let (Some(merge), Vouching::Vouched, false) = (head.0.profile.merge, head.0.profile.vouching, head.1) else {
        return false;
    };
    let mut room = Room { documents: merge.docs, bytes: head.0.profile.bytes };
    for slot in slots {
        let joins = slot.entry.seq <= bound
            && !slot.solo
            && mergeable(&head.0.profile, &slot.entry.profile)
            && room.take(&slot.entry.profile, limits);
        if !joins || slot.entry.verdict != head.0.verdict {
            return joins && slot.entry.verdict.is_none();
        }
    }
    // Nothing that enters from now on comes before an open deletion.
    bound == Seq::MAX && room.documents < limits.documents && room.bytes < limits.bytes
}
