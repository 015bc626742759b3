//! The collections that would be lost with an instance's copies. Checked before a server that took its place is wiped
//! (rule R16).

use super::Board;
use crate::ids::{CollectionId, InstanceId};

impl Board {
    /// The collections that no other instance could be a source of, now that this one is gone. As long as there are
    /// any, its own data may have to be restored.
    pub fn lost_without(&self, instance: InstanceId) -> Vec<CollectionId> {
        let mut lost: Vec<_> = self
            .catalog
            .collections()
            .map(|known| known.id)
            .filter(|collection| !self.another_holds(*collection, instance))
            .collect();
        lost.sort();
        lost
    }
}
