//! Read access to the board for other rooms: which instances are fresh (rule R5), which are behind, and which copies
//! could be compared.

use std::collections::BTreeSet;

use super::{Board, Comparison, Reach};
use crate::ids::{CollectionId, InstanceId, LaneId, Seq};
use crate::order::catalog::{Catalog, Collection};
use crate::order::choose::{Candidate, CandidateHealth};
use crate::order::entry::{ClientState, Verdict};
use crate::order::lane::{InFlight, Lag, LaneState, Slot};
use crate::order::merging::MergeLimits;
use crate::proof::{self, Rule};

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Every acknowledged write of the collection is visible.
    Fresh,
    /// The content of any instance that is in step, however far behind.
    Any,
}

/// A lane's state, for operators.
#[derive(Clone, Debug)]
pub struct LaneView {
    pub lane: LaneId,
    /// For each instance, the number of entries it has yet to apply.
    pub behind: Vec<u64>,
    /// The state of each instance.
    pub states: Vec<LaneState>,
    /// Entries that some in-step instance has yet to apply, or that have no verdict.
    pub pending: u64,
    pub in_doubt: u64,
}

impl Board {
    /// The current limits of one merged request.
    pub const fn batches(&self) -> MergeLimits {
        self.batches
    }

    /// The catalog, as far as it is durable.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The instances that may serve a read of this collection now, with their health. [`Board::spared`] decides which
    /// of them are used. The caller fills in the loads.
    pub fn readers(&self, collection: CollectionId, consistency: Consistency) -> Vec<Candidate> {
        let consistency = if proof::broken(Rule::FreshReads) { Consistency::Any } else { consistency };
        self.candidates(|instance| self.serves(collection, instance, consistency))
    }

    /// The instances that may serve a read of the catalog now.
    pub fn catalog_readers(&self, consistency: Consistency) -> Vec<Candidate> {
        let any = consistency == Consistency::Any || proof::broken(Rule::FreshReads);
        self.candidates(|instance| any || self.catalog_fresh(instance))
    }

    /// The instances that may serve any other request.
    pub fn usable(&self) -> Vec<Candidate> {
        self.candidates(|_| true)
    }

    fn candidates(&self, fit: impl Fn(InstanceId) -> bool) -> Vec<Candidate> {
        let health = |instance: InstanceId| match self.reach[instance.0] {
            Reach::Away => None,
            Reach::Suspect => Some(CandidateHealth::Suspect),
            Reach::Here => Some(CandidateHealth::Sound),
        };
        self.instances()
            .filter(|instance| fit(*instance))
            .filter_map(|instance| Some(Candidate { instance, health: health(instance)?, in_flight: 0 }))
            .collect()
    }

    fn catalog_fresh(&self, instance: InstanceId) -> bool {
        self.lanes.get(&LaneId::Catalog).is_some_and(|lane| {
            lane.progress(instance).state == LaneState::InStep && lane.covered(instance) >= lane.answered
        })
    }

    /// Returns whether the instance may serve reads of the collection.
    pub fn serves(&self, collection: CollectionId, instance: InstanceId, consistency: Consistency) -> bool {
        // The collection was deleted in the meantime.
        let Some(entry) = self.catalog.get(collection) else { return false };
        if entry.mappings[instance.0].is_none() || self.state_of(collection, instance) != LaneState::InStep {
            return false;
        }
        let records_fresh =
            || self.lanes.get(&LaneId::Records(collection)).is_none_or(|lane| lane.covered(instance) >= lane.answered);
        let catalog_covered = || self.lanes.get(&LaneId::Catalog).map_or(Seq::ZERO, |lane| lane.covered(instance));
        consistency == Consistency::Any || (catalog_covered() >= entry.touched && records_fresh())
    }

    /// The instance's state in the collection's lane.
    pub fn state_of(&self, collection: CollectionId, instance: InstanceId) -> LaneState {
        self.lanes.get(&LaneId::Records(collection)).map_or(LaneState::InStep, |lane| lane.progress(instance).state)
    }

    /// The position in the lane up to which everything is applied or skipped on the instance.
    pub fn covered(&self, id: LaneId, instance: InstanceId) -> Seq {
        self.lanes.get(&id).map_or(Seq::ZERO, |lane| lane.covered(instance))
    }

    /// The lane's newest entry that the board has received.
    pub fn lane_end(&self, id: LaneId) -> Seq {
        let Some(lane) = self.lanes.get(&id) else { return Seq::ZERO };
        let passed = self.instances().map(|instance| lane.covered(instance)).max();
        lane.slots.back().map(|slot| slot.entry.seq).max(passed).unwrap_or(Seq::ZERO)
    }

    /// Returns whether the instance has a copy of the collection in step.
    pub(super) fn holds(&self, collection: CollectionId, instance: InstanceId) -> bool {
        self.catalog.mapping(collection, instance).is_some() && self.state_of(collection, instance) == LaneState::InStep
    }

    /// Returns whether another reachable instance has a copy in step.
    pub(super) fn another_holds(&self, collection: CollectionId, instance: InstanceId) -> bool {
        let there = |other: InstanceId| self.reach[other.0] != Reach::Away;
        self.instances().any(|other| other != instance && there(other) && self.holds(collection, other))
    }

    /// Returns whether every reachable instance has executed the entry, diverged ones aside.
    pub fn everywhere_here(&self, id: LaneId, seq: Seq) -> bool {
        // A lane is forgotten when nothing is left to wait for.
        let Some(lane) = self.lanes.get(&id) else { return true };
        self.instances().all(|instance| {
            self.reach[instance.0] == Reach::Away
                || lane.progress(instance).state != LaneState::InStep
                || lane.covered(instance) >= seq
        })
    }

    /// Returns whether some instance could take an entry of the lane, now or once what is under way has ended.
    pub fn has_taker(&self, id: LaneId) -> bool {
        // The lane is gone, so nothing is left to take.
        let Some(lane) = self.lanes.get(&id) else { return false };
        self.instances().any(|instance| {
            let progress = lane.progress(instance);
            self.reach[instance.0] != Reach::Away
                && progress.state == LaneState::InStep
                && !matches!(progress.in_flight, InFlight::InDoubt | InFlight::Paused)
        })
    }

    /// Returns whether another instance would be sent this open entry at once if `instance` gave it up.
    pub fn another_stands_ready(&self, id: LaneId, seq: Seq, instance: InstanceId) -> bool {
        let ready = |other: InstanceId| {
            let next = self.sendable(id, other);
            next.is_some_and(|next| {
                next.seq == seq && next.verdict.is_none() && !self.others_come_first(id, seq, other)
            })
        };
        self.instances().any(|other| other != instance && ready(other))
    }

    /// The diverged instances whose copy could be compared now, each with the instance to compare it with.
    pub fn comparisons(&self) -> Vec<Comparison> {
        self.comparisons_after(None, usize::MAX).0
    }

    /// The comparisons in the next `most` lanes after this one in which an instance is out of step. Also returns where
    /// to continue, unless that was all.
    pub fn comparisons_after(&self, after: Option<LaneId>, most: usize) -> (Vec<Comparison>, Option<LaneId>) {
        let (mut found, mut looked_at) = (Vec::new(), 0);
        // This is called several times a second.
        for (id, lane) in self.lanes.out_of_step_after(after) {
            looked_at += 1;
            self.add_comparisons(id, lane, &mut found);
            if looked_at == most {
                return (found, Some(id));
            }
        }
        (found, None)
    }

    fn add_comparisons(&self, id: LaneId, lane: &super::Lane, found: &mut Vec<Comparison>) {
        let LaneId::Records(collection) = id else { return };
        if self.halted.contains(id) {
            return;
        }
        let Some(reference) = self.instances().find(|i| self.quiet(collection, *i)) else { return };
        for instance in self.instances() {
            let progress = lane.progress(instance);
            let comparable = progress.state == LaneState::Diverged
                && progress.in_flight == InFlight::None
                && self.reach[instance.0] != Reach::Away
                && !self.is_repaired(id, instance)
                && self.catalog.mapping(collection, instance).is_some();
            if comparable {
                let (at, wait, divergences) = (lane.covered(reference), progress.wait, lane.divergences);
                found.push(Comparison { collection, reference, instance, at, wait, divergences });
            }
        }
    }

    /// Returns whether the instance serves the collection and nothing is under way or waiting for it there.
    pub(super) fn quiet(&self, collection: CollectionId, instance: InstanceId) -> bool {
        self.reach[instance.0] != Reach::Away
            && self.serves(collection, instance, Consistency::Fresh)
            && self.lanes.get(&LaneId::Records(collection)).is_some_and(|lane| {
                lane.progress(instance).in_flight == InFlight::None
                    && lane.head(instance).is_none()
                    && !lane.doubtful(instance)
            })
    }

    /// Collections of which fewer than two instances hold a copy in step: how many there are, and the first `show` of
    /// them by id. If only one instance is configured, that is all of them.
    pub fn without_second_copy(&self, show: usize) -> (usize, Vec<CollectionId>) {
        let single = |collection: &&Collection| {
            self.instances().filter(|instance| self.holds(collection.id, *instance)).take(2).count() < 2
        };
        let collection_of = |(id, _): (LaneId, _)| match id {
            LaneId::Records(collection) => Some(collection),
            LaneId::Catalog => None,
        };
        // Every other collection is mapped and in step everywhere: on two instances, if there are that many.
        let mut suspected: BTreeSet<CollectionId> = self.lanes.out_of_step().filter_map(collection_of).collect();
        if self.reach.len() < 2 {
            suspected.extend(self.catalog.collections().map(|known| known.id));
        }
        suspected.extend(self.catalog.incomplete());
        let known = suspected.into_iter().filter_map(|id| self.catalog.get(id));
        let mut found: Vec<CollectionId> = known.filter(single).map(|one| one.id).collect();
        let count = found.len();
        found.truncate(show);
        (count, found)
    }

    /// Every lane that is behind, in doubt or diverged somewhere.
    pub fn lane_views(&self) -> Vec<LaneView> {
        let mut views: Vec<_> = self.lanes.restless_lanes().map(|(id, lane)| self.lane_view(id, lane)).collect();
        views.sort_by_key(|view| view.lane);
        views
    }

    fn lane_view(&self, id: LaneId, lane: &super::Lane) -> LaneView {
        let in_step = |instance: &InstanceId| lane.progress(*instance).state == LaneState::InStep;
        let low = self.instances().filter(in_step).map(|i| lane.durably_covered(i)).min().unwrap_or(Seq::ZERO);
        LaneView {
            lane: id,
            behind: self.instances().map(|i| if in_step(&i) { lane.behind(i) } else { 0 }).collect(),
            states: lane.replicas.iter().map(|progress| progress.state).collect(),
            pending: lane
                .slots
                .iter()
                .filter(|s| {
                    s.entry.verdict.is_none() || (s.entry.seq > low && s.entry.verdict == Some(Verdict::Applied))
                })
                .count() as u64,
            in_doubt: self.instances().filter(|i| lane.doubtful(*i)).count() as u64,
        }
    }

    /// The oldest entry that the instance has yet to apply, in the lanes where it is in step.
    pub fn oldest_lacked(&self, instance: InstanceId) -> Option<Seq> {
        self.in_step(instance).filter_map(|lane| lane.lacked(instance).next()).min()
    }

    /// The newest entry.
    pub fn last(&self) -> Seq {
        self.last
    }

    /// Entries that the instance has yet to apply, in the lanes where it is in step.
    pub fn backlog(&self, instance: InstanceId) -> u64 {
        self.in_step(instance).map(|lane| lane.behind(instance)).sum()
    }

    /// The size of those entries, and the first of them.
    pub fn lag(&self, instance: InstanceId) -> Lag {
        let mut lag = Lag::default();
        for lane in self.in_step(instance) {
            let (covered, progress) = (lane.durably_covered(instance), lane.progress(instance));
            let missing = |slot: &&Slot| slot.entry.seq > covered && !lane.skipped(slot, progress);
            lag = lane.slots.iter().filter(missing).fold(lag, |lag, slot| lag.and(&slot.entry));
        }
        lag
    }

    /// Returns whether the instance has applied every entry up to this one, in the lanes where it is in step. Newer
    /// entries do not count: under steady load there is always one on its way.
    pub fn has_caught_up(&self, instance: InstanceId, up_to: Seq) -> bool {
        !self.in_step(instance).any(|lane| lane.is_behind(instance, up_to))
    }

    /// Returns whether the instance has yet to apply an entry that existed when it became reachable.
    pub fn lacks_what_it_missed(&self, instance: InstanceId) -> bool {
        !self.has_caught_up(instance, self.returned[instance.0])
    }

    /// Lanes in which the instance is in step, except those in which no instance lacks anything.
    fn in_step(&self, instance: InstanceId) -> impl Iterator<Item = &super::Lane> {
        let lanes = self.lanes.restless_lanes().map(|(_, lane)| lane);
        lanes.filter(move |lane| lane.progress(instance).state == LaneState::InStep)
    }

    /// The number of entries without a verdict whose client no longer waits, so recovery has yet to finish them. Looks
    /// at every entry in memory.
    pub fn awaiting_recovery(&self) -> u64 {
        let open = |slot: &&Slot| slot.entry.verdict.is_none() && slot.client == ClientState::Gone;
        let lanes = self.lanes.restless_lanes();
        let in_lanes: u64 = lanes.map(|(_, lane)| lane.slots.iter().filter(open).count() as u64).sum();
        in_lanes + self.halted.waiting()
    }

    /// Returns whether a request for the entry is under way on another instance.
    pub fn under_way_elsewhere(&self, lane: LaneId, seq: Seq, except: InstanceId) -> bool {
        self.lanes.get(&lane).is_some_and(|lane| lane.under_way_elsewhere(seq, except))
    }

    /// The number of entries in memory, for the backlog's limit.
    pub fn entries(&self) -> usize {
        self.lanes.entries()
    }
}
