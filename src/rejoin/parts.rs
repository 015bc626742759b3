//! Reads everything on the board a part at a time, so that no write waits for the whole.

use crate::coordinator::Core;
use crate::ids::{CollectionId, InstanceCollectionId, InstanceId};
use crate::order::{Board, Comparison};

/// How many lanes and collections are read while the board is locked. Writes wait meanwhile.
pub(super) const AT_ONCE: usize = 1024;
/// After a pass over everything that is out of step, the pause before the next one is this many times as long.
pub(super) const REST: u32 = 20;

/// Collects what `look` finds on the board, part by part. `look` takes the place to continue from, and returns the
/// place where it ended, or `None` at the end.
async fn in_parts<T, At: Copy>(core: &Core, look: impl Fn(&Board, Option<At>) -> (Vec<T>, Option<At>)) -> Vec<T> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let (some, last) = look(&core.board(), after);
        found.extend(some);
        if last.is_none() {
            return found;
        }
        after = last;
        Core::let_others_in().await;
    }
}

/// Returns what could be compared. After a server has lost its data, that is everything.
pub(super) async fn comparisons(core: &Core) -> Vec<Comparison> {
    in_parts(core, |board, after| board.comparisons_after(after, AT_ONCE)).await
}

/// Returns the collections that must be on the instance, each as of a moment before the instance is inspected.
pub(super) async fn expected_on(core: &Core, instance: InstanceId) -> Vec<(CollectionId, InstanceCollectionId)> {
    in_parts(core, |board, after| board.expected_on(instance, after, AT_ONCE)).await
}
