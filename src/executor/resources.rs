//! What the executor's tasks share: requests in memory, the limiter of each instance, the collections that are warmed
//! up, and the late writes.
//!
//! It decides nothing. The coordinator sees it only as a [`RequestSink`].

use std::sync::Arc;
use std::time::Instant;

use super::bodies::Bodies;
use super::counters::Counters;
use super::gather::{Gathering, Holds};
use super::limiter::{AttemptLimiter, Permit};
use super::warmed::Warmed;
use crate::coordinator::{Core, LateWrites, RequestSink};
use crate::ids::{InstanceId, LaneId, Scope, TraceId};
use crate::journal::{Request, Store};
use crate::lasting::{Lasted, LastingStates};
use crate::order::Precedence;

/// The limits of the executor.
#[derive(Clone, Debug)]
pub struct ResourceLimits {
    /// Bodies kept in memory for lanes that are about to need them; others are read from the journal again.
    pub cached_bytes: u64,
    /// How long requests may wait for more writes.
    pub holds: Holds,
    /// The most requests in flight to one instance at once, over all lanes.
    pub concurrent_attempts: usize,
    pub record_writes: RecordWrites,
}

/// Which record writes of different collections may be in flight to one instance at once. The order within a collection
/// is the board's and stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordWrites {
    /// As many as there are permits.
    SideBySide,
    /// One request over all collections.
    OneByOne,
}

/// Findings about a lane's writes, as text.
pub(super) type LaneFindings = LastingStates<(LaneId, &'static str)>;

/// Shared by everything that the runner starts.
pub struct Resources {
    pub(super) bodies: Bodies,
    pub(super) warmed: Warmed,
    pub(super) counters: Counters,
    pub(super) gathering: Gathering,
    pub(super) late_writes: Arc<LateWrites>,
    /// For the log: repeated findings about a lane's writes, and databases that had to be created on an instance again.
    pub(super) findings: LaneFindings,
    pub(super) recreated: LastingStates<(InstanceId, Scope)>,
    /// One for each instance, so that requests that hang on one take no permits from another.
    limiters: Vec<Arc<AttemptLimiter>>,
    /// The limiters of record writes, if these are sent one by one; otherwise empty.
    one_by_one: Vec<Arc<AttemptLimiter>>,
}

impl Resources {
    /// Creates the resources for this many instances. The holder of the lease reads `late_writes`.
    pub fn new(
        store: Arc<dyn Store>,
        instances: usize,
        late_writes: Arc<LateWrites>,
        limits: &ResourceLimits,
    ) -> Arc<Resources> {
        let single = match limits.record_writes {
            RecordWrites::SideBySide => 0,
            RecordWrites::OneByOne => instances,
        };
        Arc::new(Resources {
            bodies: Bodies::new(store, limits.cached_bytes),
            warmed: Warmed::default(),
            counters: Counters::default(),
            gathering: Gathering::new(limits.holds),
            late_writes,
            findings: LaneFindings::default(),
            recreated: LastingStates::default(),
            limiters: (0..instances).map(|_| AttemptLimiter::new(limits.concurrent_attempts)).collect(),
            one_by_one: (0..single).map(|_| AttemptLimiter::new(1)).collect(),
        })
    }

    /// Returns the databases that were created on an instance again more than once, and have not been for a while.
    pub(super) fn recreated_no_more(&self, now: Instant) -> impl Iterator<Item = (Scope, InstanceId, Lasted)> {
        let over = self.recreated.quiet(now).into_iter().filter(|(_, lasted)| lasted.times > 1);
        over.map(|((instance, scope), lasted)| (scope, instance, lasted))
    }

    /// Waits for the lane's turn on the instance, as [`AttemptLimiter::enter`].
    pub(super) async fn permit(
        &self,
        core: &Core,
        instance: InstanceId,
        lane: LaneId,
        precedence: Precedence,
    ) -> Option<Permit> {
        let permit = self.limiter(instance, lane).enter(lane, precedence).await;
        if permit.as_ref().is_some_and(Permit::is_beside_another) {
            core.sync_numbers().began_beside_another();
        }
        permit
    }

    /// The limiter of the lane's requests to the instance.
    fn limiter(&self, instance: InstanceId, lane: LaneId) -> &Arc<AttemptLimiter> {
        let single = self.one_by_one.get(instance.0).filter(|_| lane != LaneId::Catalog);
        single.unwrap_or(&self.limiters[instance.0])
    }
}

impl RequestSink for Resources {
    fn arrived(&self, request: Request, trace: Option<TraceId>) {
        self.bodies.insert(request, trace);
    }

    fn awaited(&self, lane: LaneId, precedence: Precedence) {
        let all = self.limiters.iter().chain(&self.one_by_one);
        all.for_each(|limiter| limiter.raise(lane, precedence));
        self.gathering.came(lane);
    }
}
