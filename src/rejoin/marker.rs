//! Reads the servers' markers at each inspection, and writes them while writes flow (rule R16).
//!
//! [`Expected::identify`] decides what a marker shows about a server; the board decides what it may claim. A marker
//! claims more only once everything that it relies on is durable in the journal.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;
use tracing::{debug, error, warn};
use uuid::Uuid;

use super::contents::Look;
use super::error::InspectError;
use crate::chroma::{self, MARKER_NAME, marker_change, marker_creation, marker_scope, read_marker};
use crate::coordinator::{Carried, Core};
use crate::ids::{InstanceId, InstanceName, Seq};
use crate::instance::{self, Answer, Licence, Observation, Outgoing};
use crate::journal::Fact;
use crate::order::{Expected, Generation, Identity, Input, Marker};

const ANSWER_BYTES: usize = 64 * 1024;

/// Reads the server's marker, with the id of the collection that holds it.
///
/// # Errors
/// When the server did not show whether it carries one.
pub(super) async fn read(look: &Look<'_>) -> Result<Option<(Uuid, Marker)>, InspectError> {
    let path = chroma::collection_path(&marker_scope(), MARKER_NAME);
    let answer = look.get(path.clone(), ANSWER_BYTES).await;
    match answer.map_err(|error| InspectError::Unanswered(error.to_string()))? {
        // A collection of that name that is no marker counts as none.
        Answer { status: 200, body, .. } => {
            read_marker(&body).map_err(|error| InspectError::Unreadable { path, error })
        }
        // The collection or its database does not exist. A 404 of a gateway would not show that.
        Answer { status, body, .. } if chroma::is_not_found(status, &body) => Ok(None),
        Answer { status, .. } => Err(InspectError::Refused { status, path }),
    }
}

fn to_carried(marker: &Marker) -> Carried {
    (marker.journal, marker.generation)
}

/// Finds out whether the server is still the same, and what it carries.
///
/// # Errors
/// When the server did not show what it carries, or is foreign.
pub(super) async fn identify(core: &Core, look: &Look<'_>) -> Result<(Identity, Option<Carried>), InspectError> {
    let markers = core.discovery().markers();
    // Read before the server is asked, since it may be marked meanwhile.
    let marked = markers.marked(look.instance).filter(|_| !markers.was_reset(look.instance));
    let found = match read(look).await {
        Ok(found) => found.map(|(_, marker)| marker),
        // A gateway lets only some databases through. Such a server is never marked.
        Err(error) if error.is_definite() && marked.is_none() => None,
        Err(error) => return Err(error),
    };
    let names: Vec<InstanceName> = core.registry().ids().map(|id| core.registry().name(id).clone()).collect();
    let instance = core.registry().name(look.instance);
    let expected = Expected { journal: markers.journal(), instance, configured: &names, marked };
    let identity = expected.identify(found.as_ref());
    let foreign = match &identity {
        Identity::Foreign(foreign) => Some(foreign.clone()),
        Identity::New | Identity::Same | Identity::Older { .. } => None,
    };
    if markers.note_foreign(look.instance, foreign.clone())
        && let Some(foreign) = &foreign
    {
        error!(%instance, %foreign, "this server holds somebody else's data: nothing is sent to it or served from it");
    }
    match &identity {
        Identity::Foreign(foreign) => {
            // It may have been replaced between two probes.
            if core.registry().usable(look.instance) {
                core.registry().observe_because(look.instance, Observation::Replaced, &foreign.to_string());
            }
            return Err(InspectError::Foreign(foreign.clone()));
        }
        Identity::New if found.is_some() => {
            warn!(%instance, "another journal has marked this server, and this one never has: what it holds is adopted");
        }
        Identity::New | Identity::Same | Identity::Older { .. } => {}
    }
    Ok((identity, found.as_ref().map(to_carried)))
}

/// Accepts what an inspection found the server to be, after it had returned for the given time. If it has come back older,
/// notifies the board, once for each return: copies that were healed since are not put out of step again.
pub(super) fn accept(
    core: &Core,
    (instance, returned): (InstanceId, instance::Generation),
    (identity, carried): (Identity, Option<Carried>),
) {
    let markers = core.discovery().markers();
    if let Identity::Older { through } = identity
        && markers.note_older(instance, returned, carried)
    {
        let name = core.registry().name(instance);
        warn!(instance = %name, %through, "this server lacks what it was given after this position: what has changed since is compared, or copied anew");
        let lost = core.board().only_copies_newer_than(instance, through);
        if let Some(example) = lost.first() {
            error!(instance = %name, %through, collections = lost.len(), %example, "no other server has what this one lacks: these collections are served without their writes after this position. Put back newer data of any server, or write them again");
        }
        core.step(Input::Older { instance, through });
    }
    markers.note_carried(instance, carried);
}

/// Returns whether the server still carries what it carried when it was inspected, or a newer marker of this journal:
/// one may have been written meanwhile, or its answer was lost. If it does not answer, it counts as unchanged.
pub(super) async fn is_unchanged(core: &Core, look: &Look<'_>) -> bool {
    let carried = core.discovery().markers().carried(look.instance);
    let Ok(found) = read(look).await else { return true };
    goes_on(core, look.instance, carried, found.as_ref().map(|(_, marker)| marker))
}

fn goes_on(core: &Core, instance: InstanceId, before: Option<Carried>, found: Option<&Marker>) -> bool {
    let registry = core.registry();
    // Two addresses lead to one server, which was marked under the other one.
    let is_anothers = |marker: &&Marker| {
        registry.id_of(marker.instance.as_str()).is_some_and(|named| named != instance)
            && marker.journal == core.discovery().markers().journal()
    };
    if found.is_some_and(|found| is_anothers(&found)) {
        return false;
    }
    let found = found.map(to_carried);
    let ours = |carried: &Carried| carried.0 == core.discovery().markers().journal();
    let older = before.filter(ours) > found.filter(ours);
    found == before || (found.is_some_and(|found| ours(&found)) && !older)
}

/// How an attempt to mark a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marked {
    Done,
    /// The server carries another marker than before: it must be inspected.
    Unexpected,
    /// The server could not be marked now.
    NotNow,
}

/// Writes the server's next marker. A crash at any point leaves the server with the previous marker or with this one,
/// and the journal with the previous one: either way it is the same server.
pub(super) async fn write(core: &Core, look: &Look<'_>, through: Seq) -> Marked {
    let (markers, registry, instance) = (core.discovery().markers(), core.registry(), look.instance);
    let (generation, before) = (registry.generation(instance), markers.carried(instance));
    // Before a marker claims that the server lacks nothing, what it is known to lack must be durably diverged.
    if core.persisted().await.is_err() {
        return Marked::NotNow;
    }
    let Ok(found) = read(look).await else { return Marked::NotNow };
    let carried = found.as_ref().map(|(_, marker)| to_carried(marker));
    if !goes_on(core, instance, before, found.as_ref().map(|(_, marker)| marker)) {
        return Marked::Unexpected;
    }
    // Another server may have taken its place since `through` was true.
    if !registry.usable(instance) || registry.generation(instance) != generation {
        return Marked::NotNow;
    }
    let known = markers.marked(instance).max(carried.map(|(_, generation)| generation));
    let next = known.map_or(Generation::new(1), Generation::next);
    let name = registry.name(instance).clone();
    let marker = Marker { journal: markers.journal(), instance: name.clone(), generation: next, through };
    if !put(core, look, found.map(|(id, _)| id), &marker).await {
        // The server may have taken it all the same. Then it carries a newer marker than is known.
        return Marked::NotNow;
    }
    markers.note_carried(instance, Some(to_carried(&marker)));
    if core.journal().record_in_time(vec![Fact::Marked { instance: name, generation: next }]).await.is_err() {
        return Marked::NotNow;
    }
    markers.note_marked(instance, next);
    debug!(instance = %registry.name(instance), generation = %next, %through, "marked");
    Marked::Done
}

/// Sends the marker, and returns whether the server has taken it.
async fn put(core: &Core, look: &Look<'_>, id: Option<Uuid>, marker: &Marker) -> bool {
    let scope = marker_scope();
    if let Some(id) = id {
        let path = chroma::collection_path(&scope, &id.to_string());
        return is_taken(send(core, look, Method::PUT, path, marker_change(marker)).await);
    }
    // The answer is ignored: the database may exist already.
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

/// The position up to which a server could be marked, and the journal's end at that time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Claim {
    pub through: Seq,
    pub end: Seq,
}

/// When a server was marked last, and with what.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastMark(Option<(Claim, Instant)>);

impl LastMark {
    pub(super) fn at(claim: Claim, now: Instant) -> LastMark {
        LastMark(Some((claim, now)))
    }

    /// Returns whether the interval is over and more may be claimed than last time. How much exactly takes a look at
    /// every lane.
    pub(super) fn may_be_due(self, end: Seq, now: Instant, interval: Duration) -> bool {
        self.is_due_if(now, interval, |last| end > last.end || last.through < last.end)
    }

    /// Returns whether the interval is over and more can be claimed, or has been journaled, since the last mark.
    pub(super) fn is_due(self, claim: Claim, now: Instant, interval: Duration) -> bool {
        self.is_due_if(now, interval, |last| claim.end > last.end || claim.through > last.through)
    }

    fn is_due_if(self, now: Instant, interval: Duration, is_more: impl FnOnce(Claim) -> bool) -> bool {
        self.0.is_none_or(|(last, at)| is_more(last) && now.duration_since(at) >= interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_server_is_marked_again_when_it_has_got_more_and_the_interval_is_over() {
        let (now, interval) = (clock::now(), Duration::from_secs(10));
        let claim = |through, end| Claim { through: Seq::new(through), end: Seq::new(end) };
        let last = LastMark::at(claim(5, 7), now);
        assert!(LastMark::default().is_due(claim(0, 0), now, interval));
        assert!(!last.is_due(claim(5, 8), now + Duration::from_secs(9), interval));
        assert!(last.is_due(claim(5, 8), now + interval, interval));
        assert!(last.is_due(claim(7, 7), now + interval, interval), "it has caught up");
        assert!(!last.is_due(claim(5, 7), now + 2 * interval, interval));
        assert!(last.may_be_due(Seq::new(7), now + interval, interval), "it may have caught up");
        let whole = LastMark::at(claim(7, 7), now);
        assert!(!whole.may_be_due(Seq::new(7), now + interval, interval));
    }
}
