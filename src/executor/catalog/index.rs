//! What an executed catalog write shows about a collection's index, whichever instance executed it. The edge notes it
//! before it answers, so that it recognizes the first write into an unusual index as such (rule R13).

use super::entry::{Entry, uuid_field};
use crate::chroma::{self, CatalogWrite, Operation, Scanned, route, scan_update_collection};
use crate::executor::attempt::{Attempt, Attempted};
use crate::ids::CollectionId;
use crate::order::{Kind, Outcome};

/// Notes the index that the entry has defined or changed.
pub(super) fn note(attempt: &Attempt<'_>, entry: &Entry<'_>, ended: &Attempted) {
    if !matches!(ended.outcome, Outcome::Applied(_) | Outcome::Void) {
        return;
    }
    match entry.request.profile.kind {
        Kind::CreateCollection => created(attempt, entry, ended),
        Kind::UpdateCollection => changed(attempt, entry),
        _ => {}
    }
}

/// Prefers the stored answer of the instance that created the collection first: it contains the collection's id for
/// life.
fn created(attempt: &Attempt<'_>, entry: &Entry<'_>, ended: &Attempted) {
    let stored = entry.request.answer.as_ref().filter(|_| entry.has_verdict()).map(|answer| &answer.body);
    let own = ended.answer.as_ref().filter(|_| !entry.has_verdict()).map(|answer| &answer.body);
    let Some(shown) = stored.or(own) else { return };
    if let (Some(id), Some(index)) = (uuid_field(shown, "id"), chroma::shown_index(shown)) {
        attempt.core.discovery.indexes().shown(CollectionId::new(id), index);
    }
}

fn changed(attempt: &Attempt<'_>, entry: &Entry<'_>) {
    let Operation::CatalogWrite(CatalogWrite::UpdateCollection { collection, .. }) =
        route(&entry.request.method, &entry.request.path)
    else {
        return;
    };
    let known = collection.as_id().and_then(|id| attempt.core.board().catalog().by_id(id).map(|known| known.id));
    if let (Some(id), Ok(Scanned::Read(scan))) = (known, scan_update_collection(&entry.request.body)) {
        attempt.core.discovery.indexes().changed(id, entry.request.seq, scan.measured.index_shape());
    }
}
