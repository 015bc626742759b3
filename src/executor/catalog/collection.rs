//! Collections on one instance: created, changed, deleted (rules R7, R8). How they are copied is in `copy.rs`.

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

/// First execution. The id that this instance gives is the collection's id for life.
pub(super) async fn create(attempt: &Attempt<'_>, entry: &Entry<'_>, scope: &Scope) -> Result<Attempted, Attempted> {
    let Ok(Scanned::Read(scan)) = scan_create_collection(&entry.request.body) else {
        let (class, answer) = send_as_is(attempt, entry).await?;
        // Nothing that Chroma accepts is beyond the scan; were it otherwise, the collection would be adopted.
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
        // A blank instance refuses it for a reason of its own.
        return Ok(Attempted::of(Outcome::Unfit, Some(answer)));
    }
    let mut changes = Vec::new();
    if class == Class::Applied {
        changes = database::unknown_scope(attempt, scope).await.map_err(doubtful)?;
    }
    let outcome = |answer: &Answer| created(attempt, entry, (scope, &scan.name), changes, &answer.body);
    Ok(judge(attempt, class, answer, outcome, None))
}

/// Sends the creation of a collection. An instance that lacks its database is given it first: the catalog has it.
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

/// `get_or_create` is judged by the catalog: sent as it is, it would return whatever the instance has by this name.
fn without_reuse(body: &Bytes) -> Bytes {
    let Ok(mut fields) = serde_json::from_slice::<BTreeMap<String, Box<RawValue>>>(body) else { return body.clone() };
    fields.remove("get_or_create");
    serde_json::to_vec(&fields).map_or_else(|_| body.clone(), Bytes::from)
}

/// Rename, metadata and configuration. The journaled path holds the stable id.
pub(super) async fn update(attempt: &Attempt<'_>, entry: &Entry<'_>, id: Option<Uuid>) -> Result<Attempted, Attempted> {
    let found = id.and_then(|id| {
        let board = attempt.core.board();
        let living = board.catalog().by_id(id);
        // Deleted since: replicated all the same, so that the deletion finds the name that it deletes.
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
    // In Chroma's own words: an earlier entry has deleted it here, or the instance has lost it. No other can be asked for
    // this instance's copy, nor for anything when all have lost theirs, and the catalog lane never stops (rule R4).
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

/// Whether another collection has the name: judged by the catalog, since an instance that has lost that one would take it.
fn is_taken(attempt: &Attempt<'_>, collection: &Collection, name: &str) -> bool {
    let board = attempt.core.board();
    board.catalog().by_name(&collection.scope, name).is_some_and(|owner| owner.id != collection.id)
}

/// Whether no instance can be asked for the collection any more.
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
    // Before the first look at this instance, what it holds is not known yet: it answers for itself.
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
        // Mapped, never asked to delete it, and yet gone: this instance is not what it should be.
        return Ok(if expected { already(changes) } else { Attempted::of(Outcome::Unfit, Some(answer)) });
    }
    Ok(plain(attempt, class, answer, changes))
}

/// A copy that is older than the collection's last rename has another name than the one that is deleted: it would be taken for
/// a new collection later. Chroma deletes by name alone, so it is given a hidden one first. A crash in between leaves that, which
/// nobody is shown, and which goes before the next copy is made in its database.
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
        // Where it may be in step, its absence is judged by the name: the instance is not what it should be.
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
