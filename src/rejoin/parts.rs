//! How all that there is is looked at: a part at a time, so that no write waits for the whole.

use crate::coordinator::Core;
use crate::ids::{CollectionId, InstanceCollectionId, InstanceId};
use crate::order::{Board, Comparison};

/// Lanes and collections that are looked at while the board is locked: writes wait meanwhile.
pub(super) const AT_ONCE: usize = 1024;
/// So many times as long as a look at all that is out of step took, there is no other one.
pub(super) const REST: u32 = 20;

/// All that a look at a part of the board finds, part by part: it is told where to go on, and says where it ended, unless that was all.
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

/// What could be compared: after a server has lost its data, all that there is.
pub(super) async fn comparisons(core: &Core) -> Vec<Comparison> {
    in_parts(core, |board, after| board.comparisons_after(after, AT_ONCE)).await
}

/// The collections that must be on the instance, each as of a moment before it is looked at.
pub(super) async fn expected_on(core: &Core, instance: InstanceId) -> Vec<(CollectionId, InstanceCollectionId)> {
    in_parts(core, |board, after| board.expected_on(instance, after, AT_ONCE)).await
}
