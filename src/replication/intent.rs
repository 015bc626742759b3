//! What a journaled catalog entry may do to others that wait behind it, read from its request.

use bytes::Bytes;
use serde_json::json;

use super::adopt::Adoption;
use crate::chroma::{CatalogWrite, Operation, Scanned, route, scan_update_collection};
use crate::clock::Timestamp;
use crate::ids::{LaneId, TransactionId};
use crate::journal::Draft;
use crate::order::{Board, Deletion, Intent, Kind, Profile};

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

/// The draft of an adoption: the edge's own entry, sent to no instance.
pub fn adoption_draft(adoption: &Adoption) -> Draft {
    let body = Bytes::from(json!(adoption).to_string());
    Draft {
        transaction_id: TransactionId::random(),
        client_key: None,
        lane: LaneId::Catalog,
        profile: Profile { kind: Kind::Adopt, merge: None, bytes: body.len() as u64 },
        method: "ADOPT".to_owned(),
        path: format!("/{}", adoption.instance),
        content_type: None,
        body,
        created_at: Timestamp::now(),
        client_session: None,
        client_ip: None,
        user_identifier: None,
    }
}
