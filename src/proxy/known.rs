//! Which collections a client may know of: the one that it names, and those that it lists.
//!
//! The rules are in `auth`, the names in the catalog.

use super::failure::Failure;
use crate::auth::Grants;
use crate::chroma::{CollectionRef, ErrorBody};
use crate::ids::{CollectionId, Scope};
use crate::order::{Catalog, Collection};

/// Resolves a path segment in the place of a collection id: any instance's id in any spelling, or else a name.
///
/// # Errors
/// There is no such collection, or the client may not know of it, wherever it is and whatever the path says.
pub fn resolve(
    catalog: &Catalog,
    reference: &CollectionRef,
    scope: &Scope,
    grants: &Grants,
) -> Result<CollectionId, Failure> {
    let is_known = |found: &&Collection| grants.collection(&found.scope, &found.name);
    let by_id = reference.as_id().and_then(|id| catalog.by_id(id)).filter(is_known);
    if let Some(found) = by_id.or_else(|| catalog.by_name(scope, reference.as_str()).filter(is_known)) {
        return Ok(found.id);
    }
    Err(Failure::Chroma(match reference.as_id() {
        Some(id) => ErrorBody::collection_id_not_found(id),
        None => ErrorBody::bad_collection_id(),
    }))
}

/// Returns the collections of a database that the client may know of, in list order.
pub fn visible<'a>(
    catalog: &'a Catalog,
    scope: &Scope,
    grants: &'a Grants,
) -> impl Iterator<Item = CollectionId> + use<'a> {
    let is_known = |id: CollectionId| catalog.get(id).is_some_and(|one| grants.collection(&one.scope, &one.name));
    catalog.listed(scope).filter(move |id| is_known(*id))
}
