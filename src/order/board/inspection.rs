//! What an inspection of an instance needs from the board: what should be there, and whether anything else there could
//! still be the board's own doing.

use super::Board;
use crate::ids::{CollectionId, InstanceCollectionId, InstanceId, LaneId, Scope, Seq};
use crate::order::catalog::{Collection, Deletion};
use crate::order::entry::Kind;
use crate::order::lane::{InFlight, LaneState};

impl Board {
    /// Of the next `most` collections after this one, returns those that must be on the instance: mapped there, and not
    /// hit by a deletion that may have been sent there. Also returns where to continue, unless that was all.
    pub fn expected_on(
        &self,
        instance: InstanceId,
        after: Option<CollectionId>,
        most: usize,
    ) -> (Vec<(CollectionId, InstanceCollectionId)>, Option<CollectionId>) {
        let some: Vec<&Collection> = self.catalog.collections_after(after).take(most).collect();
        let expected = some
            .iter()
            .filter_map(|collection| Some((collection.id, collection.mappings[instance.0]?)))
            .filter(|(id, _)| !self.may_be_going(*id, instance))
            .collect();
        (expected, some.last().filter(|_| some.len() == most).map(|last| last.id))
    }

    /// Returns whether a deletion without a durable verdict may have been executed on the instance and have deleted the
    /// collection. A deletion that waits deletes nothing: what is missing meanwhile is lost, and the deletion may be
    /// waiting for exactly that to be noticed (rule R7).
    pub(super) fn may_be_going(&self, collection: CollectionId, instance: InstanceId) -> bool {
        let in_flight = self
            .lanes
            .get(&LaneId::Catalog)
            .is_some_and(|catalog| !matches!(catalog.progress(instance).in_flight, InFlight::None | InFlight::Paused));
        let deletion_waits = self.first_deletion(collection) != Seq::MAX;
        (deletion_waits && in_flight) || self.may_be_deleted(LaneId::Records(collection), instance)
    }

    /// The id on the instance of one of the collections that it serves; the number selects which one.
    pub fn served_sample(&self, instance: InstanceId, number: usize) -> Option<InstanceCollectionId> {
        let in_step = |id: CollectionId| self.state_of(id, instance) == LaneState::InStep;
        let mut from = self.catalog.beginning_with(number);
        from.find_map(|one| one.mappings[instance.0].filter(|_| in_step(one.id)))
    }

    /// Returns whether an adoption is in the catalog lane without a verdict.
    pub fn adopting(&self) -> bool {
        self.lanes.get(&LaneId::Catalog).is_some_and(|lane| {
            lane.slots.iter().any(|slot| slot.entry.profile.kind == Kind::Adopt && slot.entry.verdict.is_none())
        })
    }

    /// The instance's position in the catalog lane, if nothing is under way or in doubt there and it lacks nothing that
    /// is settled. Then whatever it has beyond the catalog was made by someone else.
    ///
    /// An open entry that waits at the head does not matter: it was never sent to this instance, and it may be waiting
    /// for the adoption of what is there.
    pub fn catalog_quiescent(&self, instance: InstanceId) -> Option<Seq> {
        let lane = self.lanes.get(&LaneId::Catalog)?;
        let idle = matches!(lane.progress(instance).in_flight, InFlight::None | InFlight::Paused);
        let waits = lane.head(instance).is_none_or(|head| head.entry.verdict.is_none());
        (idle && waits && !lane.doubtful(instance)).then(|| lane.covered(instance))
    }

    /// Returns whether a deletion without a verdict may delete this database.
    pub fn may_be_deleting(&self, scope: &Scope) -> bool {
        self.deletions.values().any(|deletion| match deletion {
            Deletion::Collection { .. } => false,
            Deletion::Database { scope: deleted } => deleted == scope,
            Deletion::Everything => true,
        })
    }
}
