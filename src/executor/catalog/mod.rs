//! One attempt of a catalog write on one instance: what to send, and what an answer means, given what the catalog
//! held before the entry (rule R8).
//!
//! The edge's catalog decides about names. The edge adopts whatever else an instance has, and never mixes it in.

mod adopt;
mod collection;
mod copy;
mod database;
mod entry;
mod existing;
mod index;
mod made;
mod refusal;

pub(super) use self::entry::Entry;
use self::entry::{not_executable, uuid_field};
pub use self::made::{Content, Creation, origin_of_found};

use super::attempt::{Attempt, Attempted};
use crate::chroma::{CatalogWrite, Operation, route};
use crate::coordinator::{Core, intent};
use crate::ids::CollectionId;
use crate::journal::Request;
use crate::order::{CatalogChange, Kind, Outcome, Purpose};

/// Executes the entry on the attempt's instance.
pub(super) async fn attempt(attempt: &Attempt<'_>, entry: &Entry<'_>) -> Attempted {
    let request = entry.request;
    if request.profile.kind == Kind::Adopt {
        return match entry.purpose {
            Purpose::Execute | Purpose::Replicate => adopt::attempt(attempt, entry),
            Purpose::ExpectRefusal => Attempted::of(Outcome::Rejected { about: None }, None),
        };
    }
    let ended = execute(attempt, entry).await.unwrap_or_else(|failed| failed);
    index::note(attempt, entry, &ended);
    if entry.has_verdict() { on_this_instance_only(ended) } else { ended }
}

async fn execute(attempt: &Attempt<'_>, entry: &Entry<'_>) -> Result<Attempted, Attempted> {
    let request = entry.request;
    let Operation::CatalogWrite(write) = route(&request.method, &request.path) else {
        return Ok(not_executable("a journaled catalog write is not one"));
    };
    match write {
        write if entry.purpose == Purpose::ExpectRefusal => refusal::expect_refusal(attempt, entry, write).await,
        CatalogWrite::CreateTenant => database::create_tenant(attempt, entry).await,
        CatalogWrite::UpdateTenant { .. } => database::update_tenant(attempt, entry).await,
        CatalogWrite::CreateDatabase { tenant } => database::create_database(attempt, entry, &tenant).await,
        CatalogWrite::DeleteDatabase { scope } => database::delete_database(attempt, entry, &scope).await,
        CatalogWrite::CreateCollection { scope } if entry.has_verdict() => copy::copy(attempt, entry, &scope).await,
        CatalogWrite::CreateCollection { scope } => collection::create(attempt, entry, &scope).await,
        CatalogWrite::UpdateCollection { collection, .. } => {
            collection::update(attempt, entry, collection.as_id()).await
        }
        CatalogWrite::DeleteCollection { scope, name } => collection::delete(attempt, entry, &scope, &name).await,
        CatalogWrite::Reset => database::reset(attempt, entry).await,
    }
}

/// Keeps only the mapping to this instance's own id. The catalog took the entry's effect at its first execution and has
/// moved on since: folded again, an old reset or deletion would remove what was created after it.
fn on_this_instance_only(mut attempted: Attempted) -> Attempted {
    if let Outcome::Applied(consequences) = &mut attempted.outcome {
        consequences.changes.retain(|change| matches!(change, CatalogChange::Mapped { .. }));
    }
    attempted
}

/// The collection that a catalog entry changes, deletes, or has created.
pub(super) fn about(core: &Core, request: &Request) -> Option<CollectionId> {
    let board = core.board();
    let created = || {
        let creates = request.profile.kind == Kind::CreateCollection;
        let answer = request.answer.as_ref().filter(|_| creates)?;
        let id = CollectionId::new(uuid_field(&answer.body, "id")?);
        board.catalog().get(id).map(|known| known.id)
    };
    intent::about(board.catalog(), &request.method, &request.path).or_else(created)
}
