//! Copies a collection that one instance has created to another (rule R8). The definition comes from the journaled entry and
//! the first instance's stored answer, never from what any instance has now.
//!
//! The edge reads the copy back and compares it, whatever the servers' versions. A copy with another definition is
//! mapped and diverged. The inspection of a server finds out how that server copies exactly.

use http::Method;
use uuid::Uuid;

use super::collection::send_in_scope;
use super::entry::{Entry, already, applied, send, uuid_field};
use super::existing;
use super::made::mapped;
use crate::chroma::{self, Class, EdgeAnswer, Scanned, copy_requests, scan_create_collection};
use crate::coordinator::adoption::lacking;
use crate::executor::attempt::{Attempt, Attempted, judge};
use crate::ids::{CollectionId, Scope, shown};
use crate::instance::{Answer, Outgoing};
use crate::order::{Consequences, Health, Kind, Outcome, Retry};
use crate::proof::{self, CrashPoint};

const CONFLICT: u16 = 409;

/// Makes the copy on the attempt's instance.
pub(super) async fn copy(attempt: &Attempt<'_>, entry: &Entry<'_>, scope: &Scope) -> Result<Attempted, Attempted> {
    let stored = entry.request.answer.as_ref().map(|answer| answer.body.clone()).unwrap_or_default();
    let (Some(id), Ok(Scanned::Read(scan))) = (uuid_field(&stored, "id"), scan_create_collection(&entry.request.body))
    else {
        // A creation that made no collection leaves nothing to copy.
        return Ok(already(Vec::new()));
    };
    let collection = CollectionId::new(id);
    if existing::was_found(attempt, collection) {
        let consequences = lacking(attempt.core.board().catalog(), [collection], attempt.instance);
        return Ok(Attempted::by_the_edge(Outcome::Applied(consequences), EdgeAnswer::json(200, "{}")));
    }
    let copied_by = attempt.core.discovery.servers().copied_by(attempt.instance);
    let Some(plan) = copy_requests(&stored, &scan.name, copied_by) else {
        return Ok(Attempted::of(Outcome::Rejected { about: Some(collection) }, None));
    };
    let create = Outgoing::json(Method::POST, entry.request.path.clone(), plan.create_body);
    let (class, answer) = send_in_scope(attempt, scope, &create).await?;
    let found = match (answer.status == CONFLICT, entry.retry()) {
        (false, _) => (class == Class::Applied).then(|| answer.clone()),
        (true, true) => existing::unmapped_and_empty(attempt, scope, &scan.name).await?,
        (true, false) => None,
    };
    let Some(on_instance) = found.and_then(|found| uuid_field(&found.body, "id")) else {
        let class = if answer.status == CONFLICT { Class::Rejected } else { class };
        return Ok(judge(attempt, class, answer, |_| applied(Vec::new()), Some(collection)));
    };
    if let Some(put) = plan.then_put.filter(|_| answer.status != 200 || !chroma::same_definition(&stored, &answer.body))
    {
        // A crash here leaves the copy incomplete and the entry in doubt: both requests are sent again.
        proof::pass(CrashPoint::BetweenTwoRequests);
        let path = chroma::collection_path(scope, &on_instance.to_string());
        let put = Outgoing::json(Method::PUT, path, put);
        let sent = send(attempt, Kind::UpdateCollection, &put).await;
        let (class, answer) = sent.map_err(|failed| half_made(attempt, failed))?;
        if class != Class::Applied {
            let ended = judge(attempt, class, answer, |_| applied(Vec::new()), Some(collection));
            return Ok(half_made(attempt, ended));
        }
    }
    // A crash here leaves the copy made but not mapped, and the entry in doubt. The next attempt finds the copy by its
    // name, and reads it back.
    let read = read_back(attempt, (scope, &scan.name), on_instance).await.map_err(|end| half_made(attempt, end))?;
    let difference = chroma::definition_difference(&stored, &read.body);
    if let Some(difference) = &difference {
        let instance = attempt.core.registry.name(attempt.instance);
        tracing::warn!(%instance, %collection, name = %shown(&scan.name), difference, "the copy of a definition is not exact: diverged");
    }
    let diverged = difference.map(|_| (collection, attempt.instance)).into_iter().collect();
    let changes = vec![mapped(attempt, collection, on_instance)];
    let outcome = Outcome::Applied(Consequences { changes, diverged });
    Ok(judge(attempt, Class::Applied, answer, |_| outcome, None))
}

/// Returns the copy as its instance shows it.
async fn read_back(
    attempt: &Attempt<'_>,
    (scope, name): (&Scope, &str),
    on_instance: Uuid,
) -> Result<Answer, Attempted> {
    let read = attempt.get(chroma::collection_path(scope, name)).await?;
    match (read.status, uuid_field(&read.body, "id")) {
        (200, Some(id)) if id == on_instance => Ok(read),
        _ => Err(Attempted::of(Outcome::NotSent { retry: Retry::AfterBackoff }, None)),
    }
}

/// The outcome when the first request has made the collection and a later one failed. It is in doubt even if the later
/// request was not sent: the next attempt finds the collection on the instance, and must recognize it as this entry's
/// own.
fn half_made(attempt: &Attempt<'_>, ended: Attempted) -> Attempted {
    match ended.outcome {
        Outcome::NotSent { .. } | Outcome::Unfit => {
            let gone = !attempt.core.registry.usable(attempt.instance);
            let instance_was = if gone { Health::Gone } else { Health::Healthy };
            Attempted { outcome: Outcome::InDoubt { instance_was }, ..ended }
        }
        _ => ended,
    }
}
