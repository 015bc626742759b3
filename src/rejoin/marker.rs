//! The markers of the servers (rule R16): read at every look, written while writes flow.
//!
//! What a marker shows of a server is decided by [`Expected::identify`], what it may claim by the board. A marker says more
//! only once everything that it relies on is durable in the journal.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tracing::{debug, error, warn};
use uuid::Uuid;

use super::contents::Look;
use super::error::InspectError;
use crate::chroma::{self, MARKER_NAME, marker_change, marker_creation, marker_scope, read_marker};
use crate::coordinator::Core;
use crate::ids::{InstanceId, InstanceName};
use crate::instance::{Answer, Licence, Outgoing};
use crate::journal::Fact;
use crate::order::{Expected, Generation, Identity, Input, Marker};

const ANSWER_BYTES: usize = 64 * 1024;
/// How long the journal may take to make durable what a marker relies on.
const DURABLE: Duration = Duration::from_secs(5);

/// The server's marker, with the id of the collection that holds it.
///
/// # Errors
/// When the server did not say.
pub(super) async fn read(look: &Look<'_>) -> Result<Option<(Uuid, Marker)>, InspectError> {
    let path = chroma::collection_path(&marker_scope(), MARKER_NAME);
    let answer = look.get(path.clone(), ANSWER_BYTES).await;
    match answer.map_err(|error| InspectError::Unanswered(error.to_string()))? {
        // A collection of that name which is no marker is as none.
        Answer { status: 200, body, .. } => Ok(read_marker(&body)),
        // Neither the database nor the collection is there.
        Answer { status: 400..=499, .. } => Ok(None),
        Answer { status, .. } => Err(InspectError::Refused { status, path }),
    }
}

/// Finds out whether the server is the one that it was, and tells the board if it has come back older.
///
/// # Errors
/// When the server did not say, or holds somebody else's data.
pub(super) async fn identify(core: &Core, look: &Look<'_>) -> Result<Identity, InspectError> {
    let found = read(look).await?.map(|(_, marker)| marker);
    let markers = core.discovery().markers();
    let names: Vec<InstanceName> = core.registry().ids().map(|id| core.registry().name(id).clone()).collect();
    let expected = Expected {
        journal: markers.journal(),
        instance: core.registry().name(look.instance),
        configured: &names,
        marked: markers.marked(look.instance),
    };
    let identity = expected.identify(found.as_ref());
    let instance = core.registry().name(look.instance);
    let foreign = match &identity {
        Identity::Foreign(foreign) => Some(foreign.clone()),
        Identity::New | Identity::Same | Identity::Older { .. } => None,
    };
    if markers.note_foreign(look.instance, foreign.clone())
        && let Some(foreign) = &foreign
    {
        error!(%instance, %foreign, "this server holds somebody else's data: nothing is sent to it or served from it");
    }
    if let Some(foreign) = foreign {
        return Err(InspectError::Foreign(foreign));
    }
    match &identity {
        Identity::Older { through } => {
            error!(%instance, %through, "this server has come back without what it was given after that position: every collection that has changed since is compared, or made anew");
            core.step(Input::Older { instance: look.instance, through: *through });
        }
        Identity::New if found.as_ref().is_some_and(|marker| marker.journal != expected.journal) => {
            warn!(%instance, "this server was marked by another journal, and this one has never marked it: its data is adopted");
        }
        Identity::New | Identity::Same | Identity::Foreign(_) => {}
    }
    Ok(identity)
}

/// What an attempt to mark a server came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marked {
    Done,
    /// It carries another marker than the one that it should: it has to be looked at.
    Unexpected,
    /// Not this time.
    NotNow,
}

/// Gives the server its next marker. A crash at any point leaves it with the one before or with this one, and the journal
/// with the one before: either way it is the same server.
pub(super) async fn write(core: &Core, look: &Look<'_>) -> Marked {
    let markers = core.discovery().markers();
    let instance = look.instance;
    // Before anything else: what is claimed was true when the server was last seen with its marker.
    let through = core.board().settled_through(instance);
    let known = markers.marked(instance);
    let Ok(found) = read(look).await else { return Marked::NotNow };
    let carried = found.as_ref().map(|(_, marker)| marker.generation);
    let ours = found.as_ref().is_none_or(|(_, marker)| marker.journal == markers.journal());
    if known.is_some() && (carried < known || !ours) {
        return Marked::Unexpected;
    }
    // What it is known to lack is durably diverged before a marker says that it lacks nothing.
    core.journal().settle_within(DURABLE).await;
    let next = carried.max(known).map_or(Generation::new(1), Generation::next);
    let name = core.registry().name(instance).clone();
    let marker = Marker { journal: markers.journal(), instance: name.clone(), generation: next, through };
    if !put(core, look, found.map(|(id, _)| id), &marker).await {
        return Marked::NotNow;
    }
    if core.journal().record_in_time(vec![Fact::Marked { instance: name, generation: next }]).await.is_err() {
        return Marked::NotNow;
    }
    markers.note_marked(instance, next);
    debug!(instance = %core.registry().name(instance), generation = %next, %through, "marked");
    Marked::Done
}

/// Whether the server has taken the marker.
async fn put(core: &Core, look: &Look<'_>, id: Option<Uuid>, marker: &Marker) -> bool {
    let scope = marker_scope();
    if let Some(id) = id {
        let path = chroma::collection_path(&scope, &id.to_string());
        return is_taken(send(core, look, Method::PUT, path, marker_change(marker)).await);
    }
    // Whatever is called so is none of the edge's, or is there already.
    let database = json!({ "name": scope.database });
    send(core, look, Method::POST, chroma::databases_path(&scope.tenant), database.to_string()).await;
    is_taken(send(core, look, Method::POST, chroma::collections_path(&scope), marker_creation(marker)).await)
}

fn is_taken(answer: Option<Answer>) -> bool {
    answer.is_some_and(|answer| (200..300).contains(&answer.status))
}

async fn send(core: &Core, look: &Look<'_>, method: Method, path: String, body: String) -> Option<Answer> {
    let sending = core.lease().sending();
    let outgoing = Outgoing::json(method, path, body);
    let sent = look.client.send(look.instance, &outgoing, look.deadline, Licence::Lease(&sending)).await;
    drop(sending);
    sent.ok()
}

/// Decides when a server is marked again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastMark {
    at: Option<std::time::Instant>,
    through: Option<crate::ids::Seq>,
}

impl LastMark {
    /// Whether something has been settled since, and the interval is over.
    pub(super) fn is_due(&self, through: crate::ids::Seq, now: std::time::Instant, interval: Duration) -> bool {
        self.through != Some(through) && self.at.is_none_or(|at| now.duration_since(at) >= interval)
    }

    pub(super) fn note(&mut self, through: crate::ids::Seq, now: std::time::Instant) {
        *self = LastMark { at: Some(now), through: Some(through) };
    }
}
