//! How all that there is is looked at: a part at a time, so that no write waits for the whole.

use crate::coordinator::Core;
use crate::ids::{CollectionId, InstanceCollectionId, InstanceId};
use crate::order::Comparison;

/// Lanes and collections that are looked at while the board is locked: writes wait meanwhile.
pub(super) const AT_ONCE: usize = 1024;
/// So many times as long as a look at all that is out of step took, there is no other one.
pub(super) const REST: u32 = 20;

/// What could be compared: after a server has lost its data, all that there is.
pub(super) async fn comparisons(core: &Core) -> Vec<Comparison> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let (some, last) = core.board().comparisons_after(after, AT_ONCE);
        found.extend(some);
        if last.is_none() {
            return found;
        }
        after = last;
        Core::let_others_in().await;
    }
}

/// The collections that must be on the instance, each as of a moment before it is looked at.
pub(super) async fn expected_on(core: &Core, instance: InstanceId) -> Vec<(CollectionId, InstanceCollectionId)> {
    let (mut expected, mut after) = (Vec::new(), None);
    loop {
        let (some, last) = core.board().expected_on(instance, after, AT_ONCE);
        expected.extend(some);
        if last.is_none() {
            return expected;
        }
        after = last;
        Core::let_others_in().await;
    }
}
