//! Turns an instance's answer into the client's: ids as clients know them, lists in the edge's order.

use super::Edge;
use super::read::{Read, Rewrite};
use crate::chroma;
use crate::ids::{CollectionId, InstanceCollectionId, InstanceId, Scope};
use crate::instance::Answer;
use crate::web::{INSTANCE, Reply};

/// Whether an answer is rewritten. If so, its body is needed whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewritten {
    Yes,
    No,
}

/// Returns whether this read's answer is rewritten if it has this status.
pub fn is_rewritten(read: &Read, status: u16) -> Rewritten {
    match (&read.rewrite, status) {
        (Rewrite::Nothing, _) | (Rewrite::ErrorText, ..400) => Rewritten::No,
        (
            Rewrite::ErrorText
            | Rewrite::Collection
            | Rewrite::CollectionList(_)
            | Rewrite::Database(_)
            | Rewrite::DatabaseList(..),
            _,
        ) => Rewritten::Yes,
    }
}

/// Returns the body for the client. A body that cannot be parsed is passed on unchanged: it holds no id.
///
/// `ids` are the ids of the read's collection, on the instance and as clients know it. They take precedence over the
/// catalog, which may have forgotten a collection that was deleted meanwhile.
pub fn body(
    edge: &Edge,
    read: &Read,
    ids: Option<(InstanceCollectionId, CollectionId)>,
    status: u16,
    whole: Vec<u8>,
) -> Vec<u8> {
    if status >= 400 {
        return match ids {
            Some((on_instance, id)) => chroma::error_text(&whole, on_instance, id),
            None => whole,
        };
    }
    let board = edge.core.board();
    let catalog = board.catalog();
    let id_of = |id: InstanceCollectionId| match ids {
        Some((on_instance, known)) if on_instance == id => Some(known),
        _ => catalog.by_id(id.uuid()).map(|found| found.id),
    };
    let rewritten = match &read.rewrite {
        Rewrite::Nothing | Rewrite::ErrorText => None,
        Rewrite::Collection => chroma::collection_response(&whole, id_of),
        Rewrite::CollectionList(window) => chroma::collection_list(&whole, id_of, *window),
        Rewrite::Database(scope) => chroma::database_response(&whole, |_| catalog.database(scope)),
        Rewrite::DatabaseList(tenant, window) => {
            chroma::database_list(&whole, |name| catalog.database(&Scope::new(tenant, name)), *window)
        }
    };
    drop(board);
    rewritten.unwrap_or(whole)
}

/// Returns the reply for an answer that was read whole.
pub fn whole(
    edge: &Edge,
    read: &Read,
    instance: InstanceId,
    ids: Option<(InstanceCollectionId, CollectionId)>,
    answer: Answer,
) -> Reply {
    let mut reply = Reply::from(answer);
    if is_rewritten(read, reply.status) == Rewritten::Yes {
        reply.body = body(edge, read, ids, reply.status, reply.body.to_vec()).into();
    }
    reply.with(INSTANCE, edge.registry.name(instance).as_str())
}
