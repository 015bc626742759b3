//! What would be lost with an instance's copies: asked before a server that took its place is wiped (rule R16).

use super::{Board, Reach};
use crate::ids::{CollectionId, InstanceId};
use crate::order::lane::LaneState;

impl Board {
    /// Collections that no other instance could be a source of, now that this one is not there: as long as there are some, its
    /// own data may have to be put back.
    pub fn lost_without(&self, instance: InstanceId) -> Vec<CollectionId> {
        let elsewhere = |collection: CollectionId| {
            self.instances().any(|other| {
                other != instance
                    && self.reach[other.0] != Reach::Away
                    && self.catalog.mapping(collection, other).is_some()
                    && self.state_of(collection, other) == LaneState::InStep
            })
        };
        let mut lost: Vec<_> =
            self.catalog.collections().map(|known| known.id).filter(|collection| !elsewhere(*collection)).collect();
        lost.sort();
        lost
    }
}
