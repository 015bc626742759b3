//! What an inspection of an instance needs of the board: what should be there, and whether what else is there could
//! still be the board's own doing.

use super::Board;
use crate::ids::{CollectionId, InstanceCollectionId, InstanceId, LaneId, Seq};
use crate::order::entry::Kind;
use crate::order::lane::InFlight;

impl Board {
    /// The collections that must be on the instance: mapped there, and no deletion under way.
    pub fn expected_on(&self, instance: InstanceId) -> Vec<(CollectionId, InstanceCollectionId)> {
        self.catalog
            .collections()
            .filter_map(|collection| Some((collection.id, collection.mappings[instance.0]?)))
            .filter(|(id, _)| self.first_deletion(*id) == Seq::MAX)
            .collect()
    }

    /// Whether an adoption is in the catalog lane without a verdict.
    pub fn adopting(&self) -> bool {
        self.lanes.get(&LaneId::Catalog).is_some_and(|lane| {
            lane.slots.iter().any(|slot| slot.entry.profile.kind == Kind::Adopt && slot.entry.verdict.is_none())
        })
    }

    /// Where the instance stands in the catalog lane, if nothing is under way, waiting or in doubt there: then what
    /// it has beyond the catalog was made by someone else.
    pub fn catalog_quiescent(&self, instance: InstanceId) -> Option<Seq> {
        let lane = self.lanes.get(&LaneId::Catalog)?;
        let progress = lane.progress(instance);
        let is_quiescent =
            progress.in_flight == InFlight::None && lane.head(instance).is_none() && !lane.doubtful(instance);
        is_quiescent.then(|| lane.covered(instance))
    }
}
