//! Looks for copies that are not what they should be although their servers are well: their index is damaged, or somebody has
//! changed records behind the edge's back.
//!
//! It reads, compares and judges. What becomes of a copy that is wrong is the board's decision (rule R17), and how it is
//! made anew is `heal/`.

mod answers;
mod contents;
mod damage;
mod fold;
mod judge;
mod pace;
mod passes;
mod report;

use std::sync::Arc;
use std::time::Duration;

pub use self::report::{AuditReport, AuditRequest, CollectionAudit, Differing, Finding, Repair, RunningAudit};
use crate::chroma;
use crate::coordinator::Core;
use crate::heal::Place;
use crate::ids::{CollectionId, InstanceId};
use crate::instance::Client;
use crate::lasting::LastingStates;
use crate::order::LaneState;

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
    options: AuditOptions,
    /// The time limit of one request.
    deadline: Duration,
    report: Arc<AuditReport>,
    /// Copies that fail queries and have no sound one beside them: for the log.
    failing: LastingStates<(CollectionId, InstanceId)>,
    /// Collections whose copies differ, and nobody knows which one is right: for the log.
    undecided: LastingStates<CollectionId>,
}

impl Auditor {
    /// Run it in the runtime that `client` is to belong to.
    pub fn new(
        core: Arc<Core>,
        client: Client,
        options: AuditOptions,
        deadline: Duration,
        report: Arc<AuditReport>,
    ) -> Self {
        let (failing, undecided) = (LastingStates::default(), LastingStates::default());
        Auditor { core, client, options, deadline, report, failing, undecided }
    }

    /// Runs until the future is dropped.
    pub async fn run(self) {
        tokio::join!(self.check_what_failed(), self.check_what_returned(), self.compare_contents());
    }

    /// The copy, if the instance is there and in one of these states in the collection's lane.
    fn copy(&self, collection: CollectionId, instance: InstanceId, states: &[LaneState]) -> Option<Place<'_>> {
        if !self.core.is_in_use(instance) {
            return None;
        }
        let board = self.core.board();
        let known = board.catalog().get(collection)?;
        let id = known.mappings[instance.0]?;
        let path = chroma::collection_path(&known.scope, &id.to_string());
        let fits = states.contains(&board.state_of(collection, instance));
        fits.then(|| Place::new(&self.core, &self.client, instance, path, self.deadline))
    }
}
