//! What a journaled catalog entry may do to others that wait behind it, read from its request.

use super::adoption::Adoption;
use crate::chroma::{CatalogWrite, Operation, Scanned, route, scan_create_collection, scan_update_collection};
use crate::ids::{CollectionId, Scope};
use crate::order::{Catalog, Deletion, Intent, Kind};

/// The intent of an entry with this request. A request that cannot be read is taken for the worst that it may do.
pub fn of(kind: Kind, method: &str, path: &str, body: &[u8]) -> Intent {
    if kind.is_record() {
        return Intent::Plain;
    }
    if kind == Kind::Adopt {
        return Intent::Brings(adopted(body));
    }
    match route(method, path) {
        Operation::CatalogWrite(CatalogWrite::CreateCollection { scope }) => match scan_create_collection(body) {
            Ok(Scanned::Read(create)) => Intent::Brings(vec![(scope, create.name)]),
            // Every server refuses it.
            _ => Intent::Plain,
        },
        Operation::CatalogWrite(CatalogWrite::DeleteCollection { scope, name }) => {
            Intent::Deletes(Deletion::Collection { scope, name })
        }
        Operation::CatalogWrite(CatalogWrite::DeleteDatabase { scope }) => {
            Intent::Deletes(Deletion::Database { scope })
        }
        Operation::CatalogWrite(CatalogWrite::Reset) => Intent::Deletes(Deletion::Everything),
        Operation::CatalogWrite(CatalogWrite::UpdateCollection { collection, .. }) => {
            let changed = collection.as_id().map(CollectionId::new);
            match scan_update_collection(body) {
                Ok(Scanned::Read(update)) if update.new_name.is_none() => {
                    changed.map_or(Intent::Plain, Intent::Changes)
                }
                Ok(Scanned::Read(update)) => Intent::Renames(changed, update.new_name),
                // What cannot be read may rename: better to wait.
                _ => Intent::Renames(changed, None),
            }
        }
        _ => Intent::Plain,
    }
}

fn adopted(body: &[u8]) -> Vec<(Scope, String)> {
    let found = serde_json::from_slice(body).map_or_else(|_| Vec::new(), |adoption: Adoption| adoption.collections);
    found.into_iter().map(|one| (Scope::new(&one.tenant, &one.database), one.name)).collect()
}

/// The known collection that a catalog entry changes or deletes: what another copy of it would show in its content.
/// (One that is created twice is refused, and leaves what is there as it is.)
pub(crate) fn about(catalog: &Catalog, method: &str, path: &str) -> Option<CollectionId> {
    match route(method, path) {
        Operation::CatalogWrite(CatalogWrite::UpdateCollection { collection, .. }) => {
            catalog.by_id(collection.as_id()?).map(|known| known.id)
        }
        Operation::CatalogWrite(CatalogWrite::DeleteCollection { scope, name }) => {
            catalog.by_name(&scope, &name).map(|known| known.id)
        }
        _ => None,
    }
}
