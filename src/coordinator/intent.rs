//! What a journaled catalog entry may do to others that wait behind it, read from its request.

use crate::chroma::{CatalogWrite, Operation, Scanned, route, scan_update_collection};
use crate::ids::CollectionId;
use crate::order::{Catalog, Deletion, Intent, Kind};

/// The intent of an entry with this request. A request that cannot be read is taken for the worst that it may do.
pub fn of(kind: Kind, method: &str, path: &str, body: &[u8]) -> Intent {
    if kind.is_record() || kind == Kind::Adopt {
        return Intent::Plain;
    }
    match route(method, path) {
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
                // What cannot be read may rename: better to wait.
                _ => Intent::Renames(changed),
            }
        }
        _ => Intent::Plain,
    }
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
