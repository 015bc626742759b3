//! Rules across lanes: a record write waits for its collection's mapping and for deletions before it; a deletion waits
//! for the requests in flight in the lanes that it closes when it is applied (rule R7).

use std::collections::BTreeSet;

use super::{Board, Effect, Persist, known};
use crate::ids::{CollectionId, InstanceId, LaneId, Seq};
use crate::order::catalog::Deletion;
use crate::order::catalog_change::CatalogChange;
use crate::order::entry::Verdict;
use crate::order::lane::{InFlight, Lane, LateWriteCheck};

impl Board {
    /// Returns whether the entry at the head may be sent to the instance, as far as other lanes are concerned.
    pub(super) fn clear_to_send(&self, id: LaneId, seq: Seq, verdict: Option<Verdict>, instance: InstanceId) -> bool {
        match id {
            LaneId::Records(collection) => {
                self.catalog.mapping(collection, instance).is_some()
                    && (verdict.is_some() || !self.awaits_deletion(collection, seq))
            }
            LaneId::Catalog => !self.flights_under(seq, instance),
        }
    }

    /// Returns whether an earlier, unsettled deletion could delete the collection. Its verdict decides what becomes of
    /// the entry.
    fn awaits_deletion(&self, collection: CollectionId, seq: Seq) -> bool {
        self.first_deletion(collection) < seq
    }

    /// The first unsettled deletion that could delete the collection; [`Seq::MAX`] if there is none.
    pub(super) fn first_deletion(&self, collection: CollectionId) -> Seq {
        let hits = |(deleted_at, deletion): (&Seq, &Deletion)| {
            // A rename before it that is not settled either may give the collection the name that it deletes.
            let may_get_the_name = matches!(deletion, Deletion::Collection { name, .. }
                if self.coming_names.may_be_called(collection, name, *deleted_at));
            (may_get_the_name || self.catalog.hits(deletion, collection)).then_some(*deleted_at)
        };
        self.deletions.iter().find_map(hits).unwrap_or(Seq::MAX)
    }

    /// The position at which a run in this lane must end.
    pub(super) fn run_bound(&self, id: LaneId) -> Seq {
        match id {
            LaneId::Catalog => Seq::MAX,
            LaneId::Records(collection) => self.first_deletion(collection),
        }
    }

    /// Returns whether requests are under way or in doubt on the instance in lanes that this catalog entry deletes.
    fn flights_under(&self, seq: Seq, instance: InstanceId) -> bool {
        let flying = |lane: &Lane| {
            let progress = lane.progress(instance);
            progress.busy()
                || progress.in_flight == InFlight::InDoubt
                // Its wait begins as soon as a record is durable.
                || progress.late_write_check == LateWriteCheck::WaitDue
                || (lane.may_still_execute(instance) && lane.closed_by.is_none())
        };
        if let Some(deletion) = self.deletions.get(&seq) {
            let hit = self.catalog.hit_by(deletion);
            return hit.iter().filter_map(|id| self.lanes.get(&LaneId::Records(*id))).any(flying);
        }
        let closed = self.settled_deletions.get(&seq);
        closed.is_some_and(|lanes| lanes.iter().filter_map(|id| self.lanes.get(id)).any(flying))
    }

    /// Returns whether a deletion without a verdict may have been executed on the instance and have deleted the lane's
    /// collection.
    pub(super) fn may_be_deleted(&self, id: LaneId, instance: InstanceId) -> bool {
        // A deletion deletes collections, never the catalog.
        let LaneId::Records(collection) = id else { return false };
        let sent = self.lanes.get(&LaneId::Catalog).map_or(Seq::ZERO, |catalog| catalog.progress(instance).doubt);
        self.first_deletion(collection) <= sent
    }

    /// Handles the verdict of a catalog entry: what waited for it may go on.
    pub(super) fn catalog_settled(&mut self, seq: Seq, verdict: Verdict, effects: &mut Vec<Effect>) {
        self.note_failed_change(seq, verdict);
        if self.coming_names.settled(seq) && !self.deletions.is_empty() {
            // Entries that waited because a name might change may go on, even if it did not change.
            self.dirty.extend(self.lanes.restless());
        }
        // The entry deletes nothing.
        let Some(deletion) = self.deletions.remove(&seq) else { return };
        if verdict == Verdict::Applied {
            let hit = self.catalog.hit_by(&deletion);
            for collection in &hit {
                self.failed_changes.remove(collection);
            }
            let closed: Vec<_> = hit.into_iter().map(LaneId::Records).collect();
            for id in &closed {
                self.close(*id, seq, effects);
            }
            self.dirty.extend(closed.iter().copied());
            self.settled_deletions.insert(seq, closed);
        }
        self.dirty.extend(self.lanes.restless());
    }

    /// Closes the lane, because the entry at `seq` deleted its collection.
    pub(super) fn close(&mut self, id: LaneId, seq: Seq, effects: &mut Vec<Effect>) {
        // A collection that has no entries has no lane.
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.closed_by = Some(seq);
        for progress in &mut lane.replicas {
            if progress.in_flight == InFlight::None {
                progress.doubt = Seq::ZERO;
            }
        }
        self.held.remove(&id);
        // Nothing more is sent in the lane, so no class of writes has to be refused.
        self.quarantined.remove(&id);
        self.void_open_entries(id, effects);
    }

    /// Wakes what a change of the catalog may have freed.
    pub(super) fn wake_changed(&mut self, changes: &[CatalogChange]) {
        for change in changes {
            match change {
                CatalogChange::CollectionCreated { collection, .. }
                | CatalogChange::CollectionRenamed { collection, .. }
                | CatalogChange::CollectionDeleted { collection }
                | CatalogChange::Mapped { collection, .. }
                | CatalogChange::Dimensioned { collection } => {
                    self.dirty.insert(LaneId::Records(*collection));
                }
                // Deletions of more than one collection wake everything when they are settled.
                CatalogChange::TenantCreated { .. }
                | CatalogChange::DatabaseCreated { .. }
                | CatalogChange::DatabaseDeleted { .. }
                | CatalogChange::Reset => {}
            }
        }
        self.dirty.insert(LaneId::Catalog);
    }

    /// Settles the open entries of a lane whose collection is gone as "no such collection", durably.
    ///
    /// A verdict that is becoming durable stands: the journal never holds two (rule R3).
    pub(super) fn void_open_entries(&mut self, id: LaneId, effects: &mut Vec<Effect>) {
        let lane = known(self.lanes.get(&id));
        let on_their_way: BTreeSet<Seq> =
            lane.replicas.iter().flat_map(|progress| &progress.pending.verdicts).map(|(seq, _)| *seq).collect();
        let open = lane.slots.iter().filter(|slot| slot.entry.verdict.is_none()).map(|slot| slot.entry.seq);
        let seqs = open.filter(|seq| !on_their_way.contains(seq)).collect();
        self.void(id, seqs, effects);
    }

    /// Answers these open entries with "no such collection" once that is durable.
    pub(super) fn void(&mut self, id: LaneId, seqs: Vec<Seq>, effects: &mut Vec<Effect>) {
        let lane = known(self.lanes.get_mut(&id));
        for seq in &seqs {
            if let Some(slot) = lane.slot_mut(*seq) {
                slot.entry.verdict = Some(Verdict::Void);
            }
        }
        if !seqs.is_empty() {
            effects.push(Effect::Persist(Persist::Voids { lane: id, seqs }));
        }
    }

    /// Forgets the lane of a deleted collection once nothing is left to wait for.
    pub(super) fn forget_finished(&mut self, id: LaneId) {
        let LaneId::Records(collection) = id else { return };
        if self.catalog.get(collection).is_some() {
            return;
        }
        if let Some(lane) = self.lanes.get(&id)
            && lane.idle()
            && lane.slots.iter().all(|slot| slot.answer_given)
        {
            self.lanes.remove(&id);
        }
    }
}
