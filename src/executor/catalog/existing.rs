//! Creating a collection that exists already: in the catalog, or only on the instance.
//!
//! A `get_or_create` that finds a collection unknown to the catalog adopts it within its own entry. It cannot wait for
//! an adoption: the adoption's entry would be behind it in the same lane.

use serde_json::Value;
use uuid::Uuid;

use super::database;
use super::entry::{Entry, field, plain, uuid_field};
use super::made::{Content, created, creation, doubtful, origin_of_found};
use crate::chroma::{self, Class, EdgeAnswer, ErrorBody, ErrorName, Existing};
use crate::executor::attempt::{Attempt, Attempted};
use crate::ids::{CollectionId, InstanceId, Scope, shown};
use crate::instance::Answer;
use crate::order::{CatalogChange, Consequences, Consistency, Input, Origin, Outcome, Retry};

const NOT_FOUND: u16 = 404;

/// Handles a 409 for a collection that the catalog does not have: an earlier attempt of this entry made it, or it
/// existed before the edge.
pub(super) async fn conflict(
    attempt: &Attempt<'_>,
    entry: &Entry<'_>,
    (scope, name): (&Scope, &str),
    existing: Existing,
    answer: Answer,
) -> Result<Attempted, Attempted> {
    let found = attempt.get(chroma::collection_path(scope, name)).await.map_err(doubtful)?;
    let rejected = |answer| Ok(plain(attempt, Class::Rejected, answer, Vec::new()));
    let id = match (found.status, uuid_field(&found.body, "id")) {
        (200, Some(id)) => id,
        // The instance contradicts itself about whether the collection exists: its refusal stands.
        (NOT_FOUND, _) => return rejected(answer),
        _ => return Ok(Attempted::of(Outcome::NotSent { retry: Retry::AfterBackoff }, None)),
    };
    let known = attempt.core.board().catalog().by_id(id).map(|known| known.id);
    if let Some(known) = known {
        // The catalog has this collection under another name, so the instance does not match the journal.
        attempt.core.step(Input::Missing { instance: attempt.instance, collections: vec![known] });
        return rejected(answer);
    }
    // Only a repeated creation can have made the collection. For a first attempt its content makes no difference.
    let looks_empty = entry.retry() && is_empty(attempt, scope, id).await?;
    let content = if looks_empty { Content::Empty } else { Content::Other };
    match origin_of_found(entry.repeat, content, existing) {
        Some(Origin::Created) => {
            let changes = database::unknown_scope(attempt, scope).await.map_err(doubtful)?;
            let outcome = created(attempt, entry, (scope, name), changes, &found.body);
            Ok(Attempted::of(outcome, Some(found)))
        }
        Some(Origin::Adopted) => {
            attempt.core.doubt_contents(attempt.instance);
            adopt(attempt, entry, (scope, name), (id, found)).await
        }
        None => {
            attempt.core.doubt_contents(attempt.instance);
            rejected(answer)
        }
    }
}

/// Adopts a collection that existed before the edge, as the one that the client asks for.
async fn adopt(
    attempt: &Attempt<'_>,
    entry: &Entry<'_>,
    (scope, name): (&Scope, &str),
    (id, found): (Uuid, Answer),
) -> Result<Attempted, Attempted> {
    let collection = CollectionId::new(id);
    let mut changes = database::unknown_scope(attempt, scope).await?;
    let mut consequences = creation(attempt, entry, (scope, name), id, Origin::Adopted);
    changes.append(&mut consequences.changes);
    if field(&found.body, "dimension").is_some_and(|dimension| dimension.is_u64()) {
        changes.push(CatalogChange::Dimensioned { collection });
    }
    tracing::info!(%collection, name = %shown(name), "a client asks for a collection that existed before the edge: adopted");
    Ok(Attempted::of(Outcome::Applied(Consequences { changes, ..consequences }), Some(found)))
}

/// Returns whether the creation found this collection on its instance instead of making it. Other instances get no copy
/// of its definition alone.
pub(super) fn was_found(attempt: &Attempt<'_>, collection: CollectionId) -> bool {
    let board = attempt.core.board();
    let catalog = board.catalog();
    let known = catalog.get(collection).or_else(|| catalog.departed(collection));
    known.is_some_and(|known| known.origin == Origin::Adopted)
}

/// Returns the instance's collection of this name if it is empty and not mapped. Only then can it be this entry's own.
pub(super) async fn unmapped_and_empty(
    attempt: &Attempt<'_>,
    scope: &Scope,
    name: &str,
) -> Result<Option<Answer>, Attempted> {
    let found = attempt.get(chroma::collection_path(scope, name)).await.map_err(doubtful)?;
    let Some(id) = uuid_field(&found.body, "id") else { return Ok(None) };
    if attempt.core.board().catalog().by_id(id).is_some() {
        return Ok(None);
    }
    Ok(is_empty(attempt, scope, id).await?.then_some(found))
}

async fn is_empty(attempt: &Attempt<'_>, scope: &Scope, id: Uuid) -> Result<bool, Attempted> {
    let path = format!("{}/count", chroma::collection_path(scope, &id.to_string()));
    let count = attempt.get(path).await.map_err(doubtful)?;
    Ok(serde_json::from_slice::<Value>(&count.body).is_ok_and(|count| count.as_u64() == Some(0)))
}

/// Answers a `get_or_create` that finds its collection, which is a read of it.
pub(super) async fn show(
    attempt: &Attempt<'_>,
    collection: CollectionId,
    scope: &Scope,
    name: &str,
) -> Result<Attempted, Attempted> {
    let serves = |instance: InstanceId| attempt.core.board().serves(collection, instance, Consistency::Any);
    if !serves(attempt.instance) {
        if attempt.core.registry.ids().any(|other| attempt.core.is_in_use(other) && serves(other)) {
            return Ok(Attempted::not_sent("the collection is served by another instance"));
        }
        // The catalog lane does not wait for the return of the one instance that has it.
        return Ok(Attempted::by_the_edge(Outcome::Rejected { about: None }, nobody_has_it(name)));
    }
    let mut answer = attempt.get(chroma::collection_path(scope, name)).await?;
    if answer.status != 200 {
        return Ok(Attempted::of(Outcome::NotSent { retry: Retry::AfterBackoff }, None));
    }
    match chroma::collection_response(&answer.body, |_| Some(collection)) {
        Some(body) => answer.body = body.into(),
        None => return Ok(Attempted::of(Outcome::NotSent { retry: Retry::AfterBackoff }, None)),
    }
    Ok(Attempted::of(Outcome::Void, Some(answer)))
}

fn nobody_has_it(name: &str) -> EdgeAnswer {
    let message = format!("Collection [{name}] exists, but no instance that holds it can be reached");
    EdgeAnswer::error(503, &ErrorBody::new(ErrorName::InternalError, message).with_reason("no_fresh_instance"))
}
