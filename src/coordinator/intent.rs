//! Reads from a journaled catalog entry's request what it may do to the entries that wait behind it.

use super::adoption::Adoption;
use crate::chroma::{CatalogWrite, Operation, Scanned, route, scan_create_collection, scan_update_collection};
use crate::ids::{CollectionId, Scope};
use crate::order::{Catalog, Deletion, Intent, Kind};

/// Returns the intent of an entry with this request. A request that cannot be read is assumed to do the worst that it
/// may.
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
            // Every server rejects it.
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
                // A request that cannot be read may be a renaming: it is better to wait.
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

/// Returns the known collection that a catalog entry changes or deletes. Another copy of it would show that in its
/// content. (A collection that is created twice is rejected, and the existing one stays as it is.)
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
