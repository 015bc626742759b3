//! How pages that show every collection read the board.

use crate::coordinator::Core;
use crate::ids::CollectionId;
use crate::order::{Board, Collection};

/// The most collections to read under one lock of the board, because writes wait meanwhile.
const AT_ONCE: usize = 256;

/// Collects `shown` of every collection, ordered by id. The board is unlocked in between, so collections created or
/// deleted meanwhile may be missing.
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
