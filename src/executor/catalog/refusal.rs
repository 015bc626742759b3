//! A catalog entry that another instance rejected, and that this one may have executed: undoes, or reports, whatever
//! the entry left here (rules R4, G7).
//!
//! The client was told that the entry has no effect. A collection left behind would one day look like something that
//! existed before the edge, and be adopted.

use super::collection::update;
use super::entry::{Entry, field, remove};
use super::existing::unmapped_and_empty;
use crate::chroma::{self, CatalogWrite, Scanned, scan_create_collection, scan_create_database};
use crate::executor::attempt::{Attempt, Attempted};
use crate::ids::Scope;
use crate::order::{Consequences, Outcome};

/// Ensures that the entry has no effect on this instance.
pub(super) async fn expect_refusal(
    attempt: &Attempt<'_>,
    entry: &Entry<'_>,
    write: CatalogWrite,
) -> Result<Attempted, Attempted> {
    match write {
        CatalogWrite::CreateCollection { scope } => undo_collection(attempt, entry, &scope).await?,
        CatalogWrite::CreateDatabase { tenant } => undo_database(attempt, entry, &tenant).await?,
        CatalogWrite::UpdateCollection { collection, .. } => {
            let id = collection.as_id();
            let attempted = update(attempt, entry, id).await?;
            let known = id.and_then(|id| attempt.core.board().catalog().by_id(id).map(|known| known.id));
            if let (Outcome::Applied(_), Some(known)) = (&attempted.outcome, known) {
                let consequences =
                    Consequences { diverged: vec![(known, attempt.instance)], ..Consequences::default() };
                return Ok(Attempted { outcome: Outcome::Applied(consequences), ..attempted });
            }
            return Ok(attempted);
        }
        // The next inspection finds a deletion that was executed here all the same.
        CatalogWrite::DeleteCollection { .. } | CatalogWrite::DeleteDatabase { .. } | CatalogWrite::Reset => {
            attempt.core.doubt_contents(attempt.instance);
        }
        // Names without content.
        CatalogWrite::CreateTenant | CatalogWrite::UpdateTenant { .. } => {}
    }
    Ok(Attempted::of(Outcome::Rejected { about: None }, None))
}

async fn undo_collection(attempt: &Attempt<'_>, entry: &Entry<'_>, scope: &Scope) -> Result<(), Attempted> {
    let Ok(Scanned::Read(scan)) = scan_create_collection(&entry.request.body) else { return Ok(()) };
    let known = attempt.core.board().catalog().by_name(scope, &scan.name).is_some();
    if known || unmapped_and_empty(attempt, scope, &scan.name).await?.is_none() {
        return Ok(());
    }
    // A crash here leaves the entry in doubt: it is undone again.
    remove(attempt, chroma::collection_path(scope, &scan.name)).await
}

async fn undo_database(attempt: &Attempt<'_>, entry: &Entry<'_>, tenant: &str) -> Result<(), Attempted> {
    let Ok(Scanned::Read(name)) = scan_create_database(&entry.request.body) else { return Ok(()) };
    let scope = Scope::new(tenant, &name);
    if attempt.core.board().catalog().database(&scope).is_some() {
        return Ok(());
    }
    let listed = attempt.get(chroma::collections_path(&scope)).await?;
    let empty = serde_json::from_slice::<Vec<serde_json::Value>>(&listed.body).is_ok_and(|list| list.is_empty());
    let found = attempt.get(chroma::database_path(&scope)).await?;
    if !empty || field(&found.body, "id").is_none() {
        return Ok(());
    }
    // A crash here leaves the entry in doubt: it is undone again.
    remove(attempt, chroma::database_path(&scope)).await
}
