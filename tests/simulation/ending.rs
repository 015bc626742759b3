//! The end of a run: everything is healed, must finish, and must then agree with the fold of the journal.

use chroma_edge::ids::{CollectionId, InstanceCollectionId, InstanceId, LaneId, Seq};
use chroma_edge::order::{Comparison, LaneState, Verdict};

use crate::body::Body;
use crate::divergence::{Cause, Divergence};
use crate::fold::Fold;
use crate::instance::{Instance, Power, Stored};
use crate::invariants::violated;
use crate::world::{Weather, World};

const STEPS_TO_FINISH: u64 = 40_000;

/// A late write that no edge recorded.
pub const LATE_UNSEEN: &str = "differs for good, since a late write was not seen";
/// An older copy that lacks no collection.
pub const OLDER_UNSEEN: &str = "differs for good, since an older copy was not seen";

impl World {
    pub fn finish(&mut self) {
        self.weather = Weather::Quiesced;
        for index in 0..self.instances.len() {
            self.set_power(InstanceId(index), Power::Up);
        }
        self.place_for_the_end();
        self.failures.broken.clear();
        self.deaths.quiet_down();
        self.unequal.clear();
        let until = self.now + STEPS_TO_FINISH;
        while !self.is_finished() {
            if self.catalog_waits_for_good() {
                self.counters.count("runs whose catalog waits for a collection that no instance has any more");
                return self.answers_stand();
            }
            if self.now > until {
                violated("liveness", &self.unfinished());
            }
            self.advance();
        }
        self.answers_stand();
        let astray = self.all_equal_the_fold();
        self.judge_run(astray);
    }

    fn is_finished(&self) -> bool {
        self.requests.is_empty()
            && self.notices.is_empty()
            && self.journal.queue.is_empty()
            && self.waits.is_empty()
            && self.examinations.is_empty()
            && self.inspections.is_empty()
            && self.failures.is_idle()
            && self.deaths.all_stand()
            && self.board.suspects().next().is_none()
            && self.compared.is_empty()
            && self.rebuilding.is_idle()
            && self.repairing.is_idle()
            && self.board.rebuilds().iter().all(|rebuild| self.cannot_be_copied(*rebuild))
            && self.late_requests.is_empty()
            && self.unrecorded_late_writes.is_empty()
            && self.journal.late_writes().is_empty()
            && self.reach.iter().all(|reach| *reach == chroma_edge::order::Reach::Here)
            && self.board.comparisons().iter().all(|c| self.unequal.contains(&(c.collection, c.instance)))
            && self.journal.rows.values().all(|row| row.verdict.is_some() || self.nobody_in_step(row.lane))
            && self.board.lane_views().iter().all(|view| view.behind.iter().all(|behind| *behind == 0))
            && self.all_is_adopted()
    }

    /// A change of a collection is refused only if a client waits and every instance reports that the collection does
    /// not exist. It is never refused on recovery. Only copies that came back older can lead to this.
    fn catalog_waits_for_good(&self) -> bool {
        let mut entries = self.journal.between(LaneId::Catalog, Seq::ZERO, Seq::MAX);
        let Some(Body::UpdateCollection { collection, .. }) =
            entries.find(|row| row.verdict.is_none()).map(|row| &row.body)
        else {
            return false;
        };
        let Some(known) = self.board.catalog().get(*collection) else { return false };
        let held = |(mapped, server): (&Option<_>, &Instance)| {
            mapped.is_some_and(|id: InstanceCollectionId| server.collections.contains_key(&id.uuid()))
        };
        let rollback = self.journal.instances().any(|instance| self.divergences.is_strange(instance));
        let lost = rollback || self.beforehand.lost.contains(collection);
        lost && !known.mappings.iter().zip(&self.instances).any(held)
    }

    /// Returns whether no copy is trusted. If so, no copy is chosen, and writes wait until an operator has compared the
    /// copies.
    pub fn nobody_in_step(&self, lane: LaneId) -> bool {
        lane != LaneId::Catalog && self.journal.instances().all(|i| self.journal.step(lane, i) != LaneState::InStep)
    }

    fn unfinished(&self) -> String {
        let open: Vec<_> = self.journal.rows.values().filter(|row| row.verdict.is_none()).map(|row| row.seq).collect();
        let busy: Vec<_> = self
            .board
            .lane_views()
            .into_iter()
            .filter(|view| view.pending > 0 || view.in_doubt > 0)
            .map(|view| format!("{view:?}"))
            .collect();
        format!(
            "not finished: open {open:?}, {} late requests, {} late writes to act upon, {} requests, {} notices, {} to commit, waits {:?}, \
             {} to examine, {} to inspect\n{}",
            self.late_requests.len(),
            self.unrecorded_late_writes.len() + self.journal.late_writes().len(),
            self.requests.len(),
            self.notices.len(),
            self.journal.queue.len(),
            self.waits,
            self.examinations.len(),
            self.inspections.len(),
            busy.join("\n")
        )
    }

    pub fn same_content(&self, comparison: &Comparison) -> bool {
        let content = |instance: InstanceId| -> Option<&Stored> {
            let mapped = self.board.catalog().mapping(comparison.collection, instance)?;
            self.instances[instance.0].collections.get(&mapped.uuid())
        };
        let (reference, instance) = (content(comparison.reference), content(comparison.instance));
        reference.is_some() && reference == instance
    }

    /// G6: each client's answer equals the journal's verdict at the end.
    fn answers_stand(&self) {
        for (seq, answered) in self.facts.answers() {
            let row = &self.journal.rows[&seq];
            // If no copy is trusted, a verdict that was not durable waits for a comparison.
            let waits = row.verdict.is_none() && self.nobody_in_step(row.lane);
            let went = row.verdict == Some(Verdict::Void) && self.went_since_it_was_acknowledged(row.lane, seq);
            if row.verdict != Some(answered) && !waits && !went {
                violated("G6", &format!("{seq} was answered {answered:?} and is {:?}", row.verdict));
            }
        }
    }

    /// G2, G3: every instance in step holds exactly what the journal's applied entries produce, record by record.
    fn all_equal_the_fold(&mut self) -> bool {
        let mut fold = Fold::default();
        fold.astray.records.extend(&self.failures.executed_by_all);
        fold.astray.records.extend(&self.beforehand.lost);
        let shown = self.shown_all_the_same();
        fold.astray.records.extend(&shown);
        shown.into_iter().for_each(|collection| self.alike(collection));
        for row in self.journal.rows.values().filter(|row| row.verdict == Some(Verdict::Applied)) {
            fold.apply(row, self.divergences.verdict_from_elsewhere(row.seq));
        }
        fold.ids.retain(|_, id| fold.reference.collections.contains_key(id));
        if fold.astray.catalog {
            self.counters.count("runs whose catalog was changed by an instance that was not in order");
        }
        for instance in self.journal.instances() {
            if self.journal.step(LaneId::Catalog, instance) != LaneState::InStep {
                continue;
            }
            for (collection, id) in fold.ids.iter().filter(|(collection, _)| !fold.astray.records.contains(collection))
            {
                self.equals(instance, *collection, &fold.reference.collections[id]);
            }
            if !fold.astray.catalog && !self.divergences.is_strange(instance) {
                self.same_catalog(instance, &fold.reference);
            }
        }
        let known = self.board.catalog().collections().count();
        if known != fold.ids.len() && !fold.astray.catalog {
            violated("R8", &format!("the catalog knows {known} collections, the fold {}", fold.ids.len()));
        }
        for collection in fold.ids.keys().copied().filter(|collection| !fold.astray.records.contains(collection)) {
            self.one_dimension(collection);
        }
        fold.astray.catalog || !fold.astray.records.is_empty()
    }

    fn same_catalog(&self, instance: InstanceId, reference: &Instance) {
        let server = &self.instances[instance.0];
        if server.databases != reference.databases {
            violated("G2", &format!("{instance:?} has other databases: {:?}", server.databases));
        }
        let orphans = server.collections.keys().filter(|id| self.board.catalog().by_id(**id).is_none()).count();
        let passed = self.divergences.may_hold_what_was_passed(instance);
        if orphans > 0 && !passed && server.collections.len() > reference.collections.len() {
            violated("G2", &format!("{instance:?} holds {orphans} collections that the catalog does not know"));
        }
    }

    fn equals(&mut self, instance: InstanceId, collection: CollectionId, expected: &Stored) {
        if self.board.state_of(collection, instance) != LaneState::InStep {
            return;
        }
        if let Some(divergence) = self.divergences.of(collection, instance) {
            return self.count_damage(instance, collection, expected, divergence);
        }
        let Some(mapped) = self.board.catalog().mapping(collection, instance) else {
            violated("R8", &format!("{collection:?} is not mapped on {instance:?}"));
        };
        let Some(held) = self.instances[instance.0].collections.get(&mapped.uuid()) else {
            violated("G2", &format!("{collection:?} is not on {instance:?}"));
        };
        if (&held.scope, &held.name, held.metadata) != (&expected.scope, &expected.name, expected.metadata) {
            violated("G2", &format!("{collection:?} is defined otherwise on {instance:?}: {held:?}, not {expected:?}"));
        }
        if held.records != expected.records {
            violated(
                "G2",
                &format!("{collection:?} differs on {instance:?}: {:?}\nnot {:?}", held.records, expected.records),
            );
        }
    }

    /// Counts damage that cannot be prevented: no edge received a report of it, and it is served.
    fn count_damage(
        &mut self,
        instance: InstanceId,
        collection: CollectionId,
        expected: &Stored,
        divergence: Divergence,
    ) {
        let mapped = self.board.catalog().mapping(collection, instance);
        let held = mapped.and_then(|id| self.instances[instance.0].collections.get(&id.uuid()));
        let same = held.is_some_and(|held| held.records == expected.records && held.metadata == expected.metadata);
        match (divergence.cause, same) {
            (_, true) => self.counters.count("not in order for a while, and equal in the end"),
            (Cause::Older, false) => self.counters.count(OLDER_UNSEEN),
            (Cause::Tampered, false) => self.counters.count("tampered with, and nobody has seen it"),
            (Cause::Late, false) => self.counters.count(LATE_UNSEEN),
        }
    }

    /// R4: what refused writes leave behind is the same everywhere.
    fn one_dimension(&mut self, collection: CollectionId) {
        let catalog = self.board.catalog();
        let mut dimensions = Vec::new();
        let mut diverged = false;
        for instance in self.journal.instances() {
            if self.board.state_of(collection, instance) != LaneState::InStep {
                diverged = true;
            } else if self.divergences.of(collection, instance).is_some() {
            } else if let Some(mapped) = catalog.mapping(collection, instance) {
                dimensions.push(self.instances[instance.0].collections.get(&mapped.uuid()).map(|c| c.dimension));
            }
        }
        dimensions.dedup();
        if dimensions.len() > 1 {
            violated("R4", &format!("{collection:?} has the dimensions {dimensions:?}"));
        }
        self.counters.count("collections at the end");
        if diverged {
            self.counters.count("collections left diverged somewhere");
        }
    }
}
