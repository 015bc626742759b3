//! What a journaled catalog entry may do to others that wait behind it, read from its request.

use crate::chroma::{CatalogWrite, Operation, Scanned, route, scan_update_collection};
use crate::order::{Board, Deletion, Intent, Kind};

/// The intent of an entry with this request.
pub(super) fn of(kind: Kind, method: &str, path: &str, body: &[u8]) -> Intent {
    if !Board::changes_catalog(kind) || kind == Kind::Adopt {
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
        Operation::CatalogWrite(CatalogWrite::UpdateCollection { .. }) => match scan_update_collection(body) {
            Ok(Scanned::Read(update)) if update.new_name.is_none() => Intent::Plain,
            // What cannot be read may rename: better to wait.
            _ => Intent::Renames,
        },
        _ => Intent::Plain,
    }
}
