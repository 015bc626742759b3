//! Looks for copies that are not what they should be although their servers are well: their index is damaged, or somebody has
//! changed records behind the edge's back.
//!
//! It reads, compares and judges. What becomes of a copy that is wrong is the board's decision (rule R17), and how it is
//! made whole is `heal/`.

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
/// How long a copy is left alone whose server went away while it was read: at least, and at most so many times that.
const SHORTEST: Duration = Duration::from_secs(600);
const LONGEST: u32 = 144;
/// Copies that are left alone at once.
const LEFT_ALONE: usize = 10_000;

/// How often contents are compared, and how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditOptions {
    /// In which every collection is compared once. Zero: only when somebody asks for it.
    pub interval: Duration,
    /// Records a second that are compared without being asked for.
    pub rate: u32,
}

/// The background service `audit`.
pub struct Auditor {
    core: Arc<Core>,
    client: Client,
    options: Current<AuditOptions>,
    report: Arc<AuditReport>,
    /// Copies that fail queries and have no sound one beside them: for the log.
    failing: LastingStates<(CollectionId, InstanceId)>,
    /// Collections whose copies differ, and nobody knows which one is right: for the log.
    undecided: LastingStates<CollectionId>,
    /// Copies whose server went away while they were read: how often, and until when they are left alone.
    left_alone: Mutex<HashMap<(CollectionId, InstanceId), (u32, Instant)>>,
}

impl Auditor {
    /// Run it in the runtime that `client` is to belong to.
    pub fn new(core: Arc<Core>, client: Client, options: Current<AuditOptions>, report: Arc<AuditReport>) -> Self {
        let (failing, undecided) = (LastingStates::default(), LastingStates::default());
        Auditor { core, client, options, report, failing, undecided, left_alone: Mutex::default() }
    }

    /// Runs until the future is dropped.
    pub async fn run(self) {
        tokio::join!(self.check_what_failed(), self.check_what_returned(), self.compare_contents());
    }

    /// A server may have died of what an audit asked it for: then it is not asked for that again before a while, longer each
    /// time.
    async fn note_departure(&self, collection: CollectionId, instance: InstanceId, before: Generation) {
        // The probes say it a moment later than the lost connection.
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

    /// The copy, if the instance is there and in one of these states in the collection's lane.
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
