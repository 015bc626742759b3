//! Pages that show every collection: how the board is read for them.

use crate::coordinator::Core;
use crate::ids::CollectionId;
use crate::order::{Board, Collection};

/// Collections that are looked at while the board is locked: writes wait meanwhile.
const AT_ONCE: usize = 256;

/// What is shown of the collections, ordered by id. The board is free in between: what is made or deleted meanwhile may be
/// missing.
pub(super) async fn each_collection<T>(core: &Core, mut shown: impl FnMut(&Board, &Collection) -> Option<T>) -> Vec<T> {
    let mut all: Vec<T> = Vec::new();
    let mut after: Option<CollectionId> = None;
    loop {
        let mut count = 0;
        {
            let board = core.board();
            for collection in board.catalog().collections_after(after).take(AT_ONCE) {
                all.extend(shown(&board, collection));
                (count, after) = (count + 1, Some(collection.id));
            }
        }
        if count < AT_ONCE {
            return all;
        }
        Core::let_others_in().await;
    }
}
