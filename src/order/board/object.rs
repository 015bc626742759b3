//! The version of a collection object: what Chroma shows of a collection, its definition, metadata and dimension.
//!
//! Decides when an object that was read earlier is still what a fresh instance would show. It is changed only by the
//! entries of the collection's lane, which may set the dimension and let the schema grow, and by the changes of the
//! collection itself in the catalog lane. The proxy keeps the objects.

use super::{Board, Consistency, Reach};
use crate::ids::{CollectionId, InstanceId, LaneId, Seq};
use crate::order::entry::{Kind, Verdict};
use crate::order::lane::{InFlight, Slot};

/// The state that a collection object depends on. While this stays the same, so does the object, and it contains
/// everything that was acknowledged (rule R5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectVersion {
    /// The last entry of the collection's lane, whatever became of it: a rejected write can have set the dimension.
    entered: Seq,
    /// The last applied change of the collection itself.
    touched: Seq,
    /// The last change of it, or of an unknown collection, that was not applied: it may have left something behind.
    failed_change: Seq,
    /// How often a copy has diverged. What was read from it before no longer counts, even if the instance is trusted again.
    divergences: u32,
}

impl Board {
    /// The current version of a collection's object; `None` if there is no such collection.
    pub fn object_version(&self, collection: CollectionId) -> Option<ObjectVersion> {
        let touched = self.catalog.get(collection)?.touched;
        let lane = self.lanes.get(&LaneId::Records(collection));
        let (entered, divergences) = lane.map_or((Seq::ZERO, 0), |lane| (lane.entered, lane.divergences));
        let failed_change = self.failed_changes.get(&collection).copied().max(Some(self.failed_change));
        let failed_change = failed_change.unwrap_or(Seq::ZERO);
        Some(ObjectVersion { entered, touched, failed_change, divergences })
    }

    /// Returns whether the instance shows the object of the current version: it has everything that has entered, and
    /// nothing that could change the object is under way or in doubt on it.
    pub fn shows_version(&self, collection: CollectionId, instance: InstanceId) -> bool {
        let at_rest = self.lanes.get(&LaneId::Records(collection)).is_none_or(|lane| {
            let ended = matches!(lane.progress(instance).in_flight, InFlight::None | InFlight::Recording { .. });
            ended && lane.covered(instance) >= lane.entered && !lane.doubtful(instance)
        });
        // Comes last, since it looks at each catalog entry that the instance lacks.
        let unchanged = || !self.lacks_a_change(collection, instance);
        let is_there = self.reach[instance.0] != Reach::Away;
        is_there && at_rest && self.serves(collection, instance, Consistency::Fresh) && unchanged()
    }

    /// Notes a change of a collection that ended with any verdict but applied.
    pub(super) fn note_failed_change(&mut self, seq: Seq, verdict: Verdict) {
        let slot = self.lanes.get(&LaneId::Catalog).and_then(|lane| lane.slot(seq));
        let Some(slot) = slot.filter(|slot| slot.entry.profile.kind == Kind::UpdateCollection) else { return };
        if verdict == Verdict::Applied {
            return;
        }
        let failed = match self.changed_by(slot) {
            Some(collection) => self.failed_changes.entry(collection).or_insert(Seq::ZERO),
            None => &mut self.failed_change,
        };
        *failed = seq.max(*failed);
    }

    /// The collection that the entry changes; `None` if it is not known.
    fn changed_by(&self, slot: &Slot) -> Option<CollectionId> {
        slot.changes.filter(|collection| self.catalog.get(*collection).is_some())
    }

    /// Returns whether a change of the collection is under way, in doubt, or yet to be executed on the instance.
    fn lacks_a_change(&self, collection: CollectionId, instance: InstanceId) -> bool {
        let Some(catalog) = self.lanes.get(&LaneId::Catalog) else { return false };
        let covered = catalog.covered(instance);
        let after = catalog.slots.partition_point(|slot| slot.entry.seq <= covered);
        catalog.slots.range(after..).any(|slot| {
            let changes = slot.entry.profile.kind == Kind::UpdateCollection;
            changes && self.changed_by(slot).is_none_or(|changed| changed == collection)
        })
    }
}
