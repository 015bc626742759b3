//! Looks for copies that are wrong although their servers are healthy: their index is damaged, or their records were
//! changed behind the edge's back.
//!
//! It reads, compares and judges. The board decides what becomes of a wrong copy (rule R17), and `heal/` how it is made
//! whole.

mod answers;
mod contents;
mod damage;
mod fold;
mod judge;
mod pace;
mod passes;
mod report;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

pub use self::report::{AuditReport, AuditRequest, CollectionAudit, Differing, Finding, More, Repair, RunningAudit};
use crate::chroma;
use crate::clock;
use crate::coordinator::Core;
use crate::current::Current;
use crate::heal::Place;
use crate::ids::{CollectionId, InstanceId};
use crate::instance::{Client, Generation};
use crate::lasting::LastingStates;
use crate::order::LaneState;

/// How long the probes may take to see that a server is gone.
const PROBED: Duration = Duration::from_secs(1);
/// How long a copy is left alone after its server went away while it was read: at least, and at most this many times as
/// long.
const SHORTEST: Duration = Duration::from_secs(600);
const LONGEST: u32 = 144;
/// The most copies that are left alone at once.
const LEFT_ALONE: usize = 10_000;

/// How often contents are compared, and how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditOptions {
    /// The interval in which every collection is compared once. Zero: only on request.
    pub interval: Duration,
    /// How many records a second are compared without a request.
    pub rate: u32,
}

/// The background service `audit`.
pub struct Auditor {
    core: Arc<Core>,
    client: Client,
    options: Current<AuditOptions>,
    report: Arc<AuditReport>,
    /// For the log: copies that fail queries while no other copy answers them.
    failing: LastingStates<(CollectionId, InstanceId)>,
    /// For the log: collections whose copies differ and where it is undecided which one is right.
    undecided: LastingStates<CollectionId>,
    /// Copies whose server went away while they were read: how many times, and until when they are left alone.
    left_alone: Mutex<HashMap<(CollectionId, InstanceId), (u32, Instant)>>,
}

impl Auditor {
    /// Creates the service. It must run in the runtime that `client` belongs to.
    pub fn new(core: Arc<Core>, client: Client, options: Current<AuditOptions>, report: Arc<AuditReport>) -> Self {
        let (failing, undecided) = (LastingStates::default(), LastingStates::default());
        Auditor { core, client, options, report, failing, undecided, left_alone: Mutex::default() }
    }

    /// Runs until the future is dropped.
    pub async fn run(self) {
        tokio::join!(self.check_what_failed(), self.check_what_returned(), self.compare_contents());
    }

    /// Leaves the copy alone for a while, longer each time, if its server went away: it may have died of the audit's
    /// request.
    async fn note_departure(&self, collection: CollectionId, instance: InstanceId, before: Generation) {
        // The probes notice it a moment later than the lost connection.
        tokio::time::sleep(PROBED).await;
        let registry = self.core.registry();
        if registry.usable(instance) && registry.generation(instance) == before {
            return;
        }
        let mut left_alone = self.left_alone.lock().unwrap_or_else(PoisonError::into_inner);
        if left_alone.len() >= LEFT_ALONE {
            let now = clock::now();
            left_alone.retain(|_, (_, until)| now < *until);
        }
        if left_alone.len() >= LEFT_ALONE {
            return;
        }
        let (times, until) = left_alone.entry((collection, instance)).or_insert((0, clock::now()));
        *times = times.saturating_add(1);
        let pause = SHORTEST * 6_u32.saturating_pow(times.saturating_sub(1)).min(LONGEST);
        *until = clock::now() + pause;
        let (instance, seconds) = (registry.name(instance), pause.as_secs());
        warn!(%collection, %instance, times = *times, seconds, "the server went away while an audit read this copy: it is left alone");
    }

    fn is_left_alone(&self, collection: CollectionId, instance: InstanceId) -> bool {
        let left_alone = self.left_alone.lock().unwrap_or_else(PoisonError::into_inner);
        left_alone.get(&(collection, instance)).is_some_and(|(_, until)| clock::now() < *until)
    }

    /// Returns the copy, if it is not left alone and its instance is in use and in one of these states in the
    /// collection's lane.
    fn copy(&self, collection: CollectionId, instance: InstanceId, states: &[LaneState]) -> Option<Place<'_>> {
        if !self.core.is_in_use(instance) || self.is_left_alone(collection, instance) {
            return None;
        }
        let board = self.core.board();
        let known = board.catalog().get(collection)?;
        let id = known.mappings[instance.0]?;
        let path = chroma::collection_path(&known.scope, &id.to_string());
        let fits = states.contains(&board.state_of(collection, instance));
        fits.then(|| Place::new(&self.core, &self.client, instance, path, self.core.registry().timeouts().attempt))
    }
}
