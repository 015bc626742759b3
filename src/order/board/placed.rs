//! The effect of an operator's placement: a switchover makes another instance the preferred one, a drain takes clients'
//! requests off an instance.
//!
//! Decides which of the instances that could take an open entry, or serve a read, is used. It never decides what may be
//! sent at all: a switchover or a drain breaks no other rule, and leaves no state that has to survive a restart.

use super::{Board, Consistency, Reach};
use crate::ids::{CollectionId, InstanceId, LaneId, Seq};
use crate::order::catalog::Collection;
use crate::order::choose::Candidate;
use crate::order::lane::{InFlight, Lane, LaneState, Trail};
use crate::order::placement::{Duty, Handover};

/// How many entries an instance may have to pass before an entry that waits for it.
const NEAR: usize = 64;

/// Why an instance cannot become the preferred one now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReady {
    Away,
    Drained,
    /// It does not serve this many collections that another instance serves.
    Lacks(usize),
    /// It has this many writes yet to apply, or a write is in doubt on it.
    Behind(u64),
}

/// The collections that no other instance could serve, or would hold, without certain instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastCopies {
    pub count: usize,
    /// The first of them by id.
    pub first: Option<CollectionId>,
}

impl Board {
    /// The preferred instance. It executes writes first while it can, which spares the replicas.
    pub fn primary(&self) -> InstanceId {
        self.placement.primary()
    }

    /// What the instance is used for.
    pub fn duty(&self, instance: InstanceId) -> Duty {
        self.placement.duty(instance)
    }

    pub(super) fn prefer(&mut self, instance: InstanceId) {
        self.placement.prefer(instance);
        self.hold_nothing();
        self.dirty.extend(self.lanes.restless());
    }

    pub(super) fn handed_over(&mut self) {
        self.placement.handover = Handover::Over;
        self.dirty.extend(self.lanes.restless());
    }

    /// Sets what the instance is used for. A stopped instance is away, whatever its probes report.
    pub(super) fn assign(&mut self, instance: InstanceId, duty: Duty) {
        let before = self.placement.assign(instance, duty);
        let seen = match duty {
            Duty::Stopped => Reach::Away,
            Duty::Full | Duty::SyncOnly => self.seen[instance.0],
        };
        if before != duty {
            self.deferred.clear();
            self.hold_nothing();
            self.comes_to(instance, seen);
        }
    }

    /// Of the instances whose head is this open entry, returns those that it may go to now. Returns none if the entry
    /// waits for another instance that is about to reach it.
    pub(super) fn placed(&mut self, id: LaneId, seq: Seq, candidates: Vec<Candidate>) -> Vec<Candidate> {
        if !candidates.iter().any(|candidate| self.placement.is_on_duty(candidate.instance)) {
            let comes = |other: &InstanceId| self.placement.is_on_duty(*other) && self.comes(id, seq, *other);
            let passed = self.instances().filter(comes).map(|other| self.covered(id, other)).max();
            return if self.defers(id, seq, passed) { Vec::new() } else { candidates };
        }
        self.deferred.remove(&id);
        let is_candidate = |instance| candidates.iter().any(|candidate| candidate.instance == instance);
        let comes = |instance| !is_candidate(instance) && self.comes(id, seq, instance);
        let primary = self.placement.primary();
        let awaited = self.placement.handover == Handover::UnderWay
            && self.placement.is_on_duty(primary)
            && self.reach[primary.0] == Reach::Here
            && comes(primary);
        if awaited {
            return Vec::new();
        }
        candidates.into_iter().filter(|candidate| self.placement.is_on_duty(candidate.instance)).collect()
    }

    /// Returns whether this open entry will be the instance's head in a moment: the instance is near, nothing is in
    /// doubt or paused on it, and nothing keeps the entry from it.
    fn comes(&self, id: LaneId, seq: Seq, instance: InstanceId) -> bool {
        let Some(lane) = self.lanes.get(&id) else { return false };
        let mapped = match id {
            LaneId::Catalog => true,
            LaneId::Records(collection) => self.catalog.mapping(collection, instance).is_some(),
        };
        let unhindered = |at: Seq| lane.slot(at).is_none_or(|slot| self.may_be_risked(id, instance, slot));
        let next = lane.head(instance).map_or(seq, |slot| slot.entry.seq);
        mapped
            && self.is_near(lane, seq, instance)
            && lane.progress(instance).declined != Some(seq)
            && unhindered(seq)
            && unhindered(next)
            && !self.others_come_first(id, seq, instance)
    }

    /// Returns whether the instance follows the lane and has passed all but a few entries before this one. An instance
    /// with something in doubt may be about to hang on it again, even while that is being sent once more.
    fn is_near(&self, lane: &Lane, seq: Seq, instance: InstanceId) -> bool {
        let progress = lane.progress(instance);
        self.reach[instance.0] != Reach::Away
            && progress.state == LaneState::InStep
            && !matches!(progress.in_flight, InFlight::InDoubt | InFlight::Paused)
            && !lane.doubtful(instance)
            // Held entries are sent as soon as they are needed.
            && (lane.distance(instance, seq) <= NEAR || matches!(progress.trail, Trail::Held(_)))
    }

    /// Returns whether the instance serves the catalog, now or in a moment.
    fn nearly_serves_catalog(&self, instance: InstanceId) -> bool {
        self.lanes.get(&LaneId::Catalog).is_some_and(|lane| self.is_near(lane, lane.answered, instance))
    }

    /// Returns whether the instance serves the collection, now or in a moment.
    fn nearly_serves(&self, collection: CollectionId, instance: InstanceId) -> bool {
        let lane = self.lanes.get(&LaneId::Records(collection));
        self.serves(collection, instance, Consistency::Any)
            && self.nearly_serves_catalog(instance)
            && lane.is_none_or(|lane| self.is_near(lane, lane.answered, instance))
    }

    /// Of the instances that could serve a read, returns those that are used for it. A drained one is used only if no
    /// other one serves, now or in a moment.
    pub fn spared(&self, collection: Option<CollectionId>, candidates: Vec<Candidate>) -> Vec<Candidate> {
        let on_duty = |candidate: &Candidate| self.placement.is_on_duty(candidate.instance);
        if candidates.iter().all(on_duty) {
            return candidates;
        }
        let serves = |instance| match collection {
            Some(collection) => self.nearly_serves(collection, instance),
            None => self.nearly_serves_catalog(instance),
        };
        let other = candidates.iter().any(on_duty)
            || self.instances().any(|other| self.placement.is_on_duty(other) && serves(other));
        candidates.into_iter().filter(|candidate| !other || on_duty(candidate)).collect()
    }

    /// Returns whether requests of clients' open entries are under way on the instance.
    pub fn executes_first(&self, instance: InstanceId) -> bool {
        let open = |lane: &Lane| match lane.progress(instance).in_flight {
            InFlight::Sent { last, .. } => lane.slot(last).is_some_and(|slot| slot.entry.verdict.is_none()),
            InFlight::Resolving { .. } | InFlight::Checking { .. } => true,
            InFlight::None | InFlight::Recording { .. } | InFlight::InDoubt | InFlight::Paused => false,
        };
        self.lanes.restless_lanes().any(|(_, lane)| open(lane))
    }

    /// The number of lanes that have a request under way on the instance.
    pub fn requests_of_lanes(&self, instance: InstanceId) -> usize {
        self.lanes.restless_lanes().filter(|(_, lane)| lane.progress(instance).busy()).count()
    }

    /// Why the instance cannot become the preferred one now.
    pub fn why_not_preferred(&self, instance: InstanceId) -> Option<NotReady> {
        if self.reach[instance.0] != Reach::Here && self.duty(instance) != Duty::Stopped {
            return Some(NotReady::Away);
        }
        if !self.placement.is_on_duty(instance) {
            return Some(NotReady::Drained);
        }
        let elsewhere =
            |known: &Collection| self.instances().any(|other| other != instance && self.holds(known.id, other));
        let lacks =
            self.catalog.collections().filter(|known| !self.holds(known.id, instance) && elsewhere(known)).count();
        if lacks > 0 {
            return Some(NotReady::Lacks(lacks));
        }
        let near = |lane: &Lane| {
            lane.closed_by.is_some()
                || lane.progress(instance).state != LaneState::InStep
                || self.is_near(lane, lane.answered, instance)
        };
        let all_near = self.lanes.values().all(near) && self.nearly_serves_catalog(instance);
        (!all_near).then(|| NotReady::Behind(self.backlog(instance)))
    }

    /// The collections that no other instance could serve if this one were drained; `None` if nothing would be missing.
    pub fn last_copies(&self, instance: InstanceId) -> Option<LastCopies> {
        let others = || self.instances().filter(|other| *other != instance && self.placement.is_on_duty(*other));
        let last = |known: &&Collection| {
            self.serves(known.id, instance, Consistency::Any)
                && !others().any(|other| self.nearly_serves(known.id, other))
        };
        let found = self.copies(last);
        let anybody = others().any(|other| self.nearly_serves_catalog(other));
        (found.count > 0 || !anybody).then_some(found)
    }

    /// The collections that no instance would hold if these were removed; `None` if there are none. The journal has
    /// whatever the others still lack of them.
    pub fn held_by_these_alone(&self, going: &[InstanceId]) -> Option<LastCopies> {
        let staying = || self.instances().filter(|other| !going.contains(other));
        let alone = |known: &&Collection| {
            going.iter().any(|one| self.holds(known.id, *one)) && !staying().any(|other| self.holds(known.id, other))
        };
        Some(self.copies(alone)).filter(|found| found.count > 0)
    }

    fn copies(&self, are_meant: impl Fn(&&Collection) -> bool) -> LastCopies {
        let found: Vec<CollectionId> = self.catalog.collections().filter(are_meant).map(|known| known.id).collect();
        LastCopies { count: found.len(), first: found.into_iter().min() }
    }
}
