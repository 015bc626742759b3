//! Creates, changes and deletes collections on one instance (rules R7, R8). Copying them is in `copy.rs`.

use bytes::Bytes;
use http::Method;
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use uuid::Uuid;

use super::database;
use super::entry::{Entry, already, applied, field, not_done, plain, remove, send, send_as_is};
use super::existing::{self, show};
use super::made::{created, doubtful};
use crate::chroma::{self, Class, ErrorBody, Existing, Scanned, scan_create_collection, scan_update_collection};
use crate::executor::attempt::{Attempt, Attempted, judge};
use crate::executor::records::content_type;
use crate::ids::{CollectionId, Scope};
use crate::instance::{Answer, Outgoing};
use crate::order::{CatalogChange, Collection, Kind, LaneState, Outcome};

const CONFLICT: u16 = 409;
const NOT_FOUND: u16 = 404;

/// Creates the collection on the first instance. The id that this instance assigns is the collection's id for life.
pub(super) async fn create(attempt: &Attempt<'_>, entry: &Entry<'_>, scope: &Scope) -> Result<Attempted, Attempted> {
    let Ok(Scanned::Read(scan)) = scan_create_collection(&entry.request.body) else {
        let (class, answer) = send_as_is(attempt, entry).await?;
        // The scan reads everything that Chroma accepts. If it did not, the collection would be adopted.
        return Ok(plain(attempt, class, answer, Vec::new()));
    };
    let existing = attempt.core.board().catalog().by_name(scope, &scan.name).cloned();
    if let Some(existing) = existing {
        return match scan.existing {
            Existing::Conflict => {
                let answer = ErrorBody::collection_exists(&scan.name);
                Ok(Attempted::by_the_edge(Outcome::Rejected { about: None }, answer))
            }
            Existing::Reuse => show(attempt, existing.id, scope, &scan.name).await,
        };
    }
    let outgoing = Outgoing {
        method: Method::POST,
        path: entry.request.path.clone(),
        headers: content_type(entry.request.content_type.as_deref()),
        body: without_reuse(&entry.request.body),
    };
    let (class, answer) = send_in_scope(attempt, scope, &outgoing).await?;
    if answer.status == CONFLICT {
        return existing::conflict(attempt, entry, (scope, &scan.name), scan.existing, answer).await;
    }
    if class == Class::Rejected && database::is_lacking(attempt, scope, &answer) {
        // The instance still lacks the database, because it is blank: its answer is no verdict on the write.
        return Ok(Attempted::of(Outcome::Unfit, Some(answer)));
    }
    let mut changes = Vec::new();
    if class == Class::Applied {
        changes = database::unknown_scope(attempt, scope).await.map_err(doubtful)?;
    }
    let outcome = |answer: &Answer| created(attempt, entry, (scope, &scan.name), changes, &answer.body);
    Ok(judge(attempt, class, answer, outcome, None))
}

/// Sends the creation of a collection. If the instance lacks a database that the catalog has, creates it there and
/// sends the request again.
pub(super) async fn send_in_scope(
    attempt: &Attempt<'_>,
    scope: &Scope,
    outgoing: &Outgoing,
) -> Result<(Class, Answer), Attempted> {
    let (class, answer) = send(attempt, Kind::CreateCollection, outgoing).await?;
    if class != Class::Rejected || !database::is_lacking(attempt, scope, &answer) {
        return Ok((class, answer));
    }
    database::create_again(attempt, scope).await?;
    send(attempt, Kind::CreateCollection, outgoing).await
}

/// Removes `get_or_create`, because the catalog decides it: an instance would return whatever it has by this name.
fn without_reuse(body: &Bytes) -> Bytes {
    let Ok(mut fields) = serde_json::from_slice::<BTreeMap<String, Box<RawValue>>>(body) else { return body.clone() };
    fields.remove("get_or_create");
    serde_json::to_vec(&fields).map_or_else(|_| body.clone(), Bytes::from)
}

/// Changes a collection's name, metadata or configuration. The journaled path holds the stable id.
pub(super) async fn update(attempt: &Attempt<'_>, entry: &Entry<'_>, id: Option<Uuid>) -> Result<Attempted, Attempted> {
    let found = id.and_then(|id| {
        let board = attempt.core.board();
        let living = board.catalog().by_id(id);
        // Deleted since. Replicated all the same, so that the deletion finds the name that it deletes.
        let departed = || board.catalog().departed(CollectionId::new(id)).filter(|_| entry.has_verdict());
        living.or_else(departed).cloned()
    });
    let Some(collection) = found else {
        // Deleted in the meantime: by an earlier entry if this is its first execution, by a later one if not.
        let answer = ErrorBody::collection_id_not_found(id.unwrap_or_default());
        let outcome = if entry.has_verdict() { applied(Vec::new()) } else { Outcome::Rejected { about: None } };
        return Ok(Attempted::by_the_edge(outcome, answer));
    };
    let Some(on_instance) = collection.mappings[attempt.instance.0] else {
        return Ok(if entry.has_verdict() {
            already(Vec::new())
        } else if is_lost(attempt, collection.id) {
            let answer = ErrorBody::collection_id_not_found(id.unwrap_or_default());
            Attempted::by_the_edge(Outcome::Rejected { about: Some(collection.id) }, answer)
        } else {
            Attempted::not_sent("the collection is not on this instance")
        });
    };
    let rename = match scan_update_collection(&entry.request.body) {
        Ok(Scanned::Read(update)) => update.new_name,
        _ => None,
    };
    if !entry.has_verdict() && rename.as_deref().is_some_and(|name| is_taken(attempt, &collection, name)) {
        return Ok(Attempted::by_the_edge(Outcome::Rejected { about: None }, ErrorBody::name_is_taken()));
    }
    let outgoing = Outgoing {
        method: Method::PUT,
        path: chroma::collection_path(&collection.scope, &on_instance.to_string()),
        headers: content_type(entry.request.content_type.as_deref()),
        body: entry.request.body.clone(),
    };
    let (class, mut answer) = send(attempt, Kind::UpdateCollection, &outgoing).await?;
    if answer.status >= 400 {
        answer.body = chroma::error_text(&answer.body, on_instance, collection.id).into();
    }
    // The 404 is Chroma's own: either an earlier entry has deleted the collection here, or the instance has lost it. No
    // other instance can answer for this copy, and none can at all if every copy is lost. The catalog lane never stops
    // (rule R4), so the entry is rejected here.
    let gone = answer.status == NOT_FOUND && field(&answer.body, "error").is_some();
    if gone && (entry.has_verdict() || is_lost(attempt, collection.id)) {
        attempt.core.doubt_contents(attempt.instance);
        let about = attempt.core.board().catalog().get(collection.id).map(|living| living.id);
        return Ok(Attempted::of(Outcome::Rejected { about }, Some(answer)));
    }
    // Renaming to the same name marks that the catalog entry was about this collection (rule R5).
    let name = rename.unwrap_or_else(|| collection.name.clone());
    let change = CatalogChange::CollectionRenamed { collection: collection.id, name };
    let changes = if entry.has_verdict() { Vec::new() } else { vec![change] };
    Ok(judge(attempt, class, answer, |_| applied(changes), Some(collection.id)))
}

/// Returns whether another collection has the name. The catalog decides, since an instance that has lost that
/// collection would accept the name.
fn is_taken(attempt: &Attempt<'_>, collection: &Collection, name: &str) -> bool {
    let board = attempt.core.board();
    board.catalog().by_name(&collection.scope, name).is_some_and(|owner| owner.id != collection.id)
}

/// Returns whether no instance is in step for the collection.
fn is_lost(attempt: &Attempt<'_>, collection: CollectionId) -> bool {
    let board = attempt.core.board();
    attempt.core.registry.ids().all(|instance| board.state_of(collection, instance) != LaneState::InStep)
}

pub(super) async fn delete(
    attempt: &Attempt<'_>,
    entry: &Entry<'_>,
    scope: &Scope,
    name: &str,
) -> Result<Attempted, Attempted> {
    let found = attempt.core.board().catalog().by_name(scope, name).cloned();
    // Until this instance has been inspected, its contents are unknown, so it answers for itself.
    if !entry.has_verdict() && found.is_none() && attempt.core.discovery.is_seen(attempt.instance) {
        let answer = ErrorBody::collection_not_found(name);
        return Ok(Attempted::by_the_edge(Outcome::Rejected { about: None }, answer));
    }
    let (class, answer) = send_as_is(attempt, entry).await?;
    if answer.status == NOT_FOUND {
        delete_by_id(attempt, entry, scope, found.as_ref()).await?;
    }
    if entry.has_verdict() {
        return Ok(if answer.status == NOT_FOUND {
            already(Vec::new())
        } else {
            plain(attempt, class, answer, Vec::new())
        });
    }
    let Some(collection) = found else { return Ok(plain(attempt, class, answer, Vec::new())) };
    let changes = vec![CatalogChange::CollectionDeleted { collection: collection.id }];
    if answer.status == NOT_FOUND && class == Class::Rejected {
        let expected = entry.retry() || collection.mappings[attempt.instance.0].is_none();
        // Mapped, never asked to delete it, and still gone: the instance is not what it should be.
        return Ok(if expected { already(changes) } else { Attempted::of(Outcome::Unfit, Some(answer)) });
    }
    Ok(plain(attempt, class, answer, changes))
}

/// Deletes a copy that predates the collection's last rename, and so does not have the name that is deleted. Left
/// behind, it would later be taken for a new collection. Chroma deletes by name only, so the copy is first renamed to a
/// hidden name. A crash in between leaves the hidden collection. Clients never see it, and it is removed before the
/// next copy is made in its database.
async fn delete_by_id(
    attempt: &Attempt<'_>,
    entry: &Entry<'_>,
    scope: &Scope,
    living: Option<&Collection>,
) -> Result<(), Attempted> {
    let here = |collection: &Collection| collection.mappings[attempt.instance.0];
    let on_instance = if entry.has_verdict() {
        attempt.core.board().catalog().deleted_by(entry.request.seq).and_then(here)
    } else {
        // On a first attempt the copy may be in step. Then a missing name means that the instance is not what it should
        // be.
        living.filter(|_| entry.retry()).and_then(here)
    };
    let Some(on_instance) = on_instance else { return Ok(()) };
    let hidden = chroma::hidden_name("deleted");
    let body = json!({ "new_name": hidden }).to_string();
    let rename = Outgoing::json(Method::PUT, chroma::collection_path(scope, &on_instance.to_string()), body);
    match attempt.send(&rename).await?.status {
        200..=299 => remove(attempt, chroma::collection_path(scope, &hidden)).await,
        // Gone with its database, or never there.
        404 => Ok(()),
        _ => Err(not_done()),
    }
}
