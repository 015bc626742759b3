//! Diverged copies that are made anew (rule R14): the shell's part, with everything that may go wrong in it.
//!
//! A copy is what the source held when its comparison began. At the cutover it is brought up to date with what has
//! entered the lane since, as the shell does it: from the bodies of those entries, read from the source.

use std::collections::BTreeSet;

use chroma_edge::ids::{CollectionId, InstanceCollectionId, InstanceId, LaneId, Seq};
use chroma_edge::order::{CutoverOutcome, CutoverState, Input, LaneState, Rebuild};

use crate::body::Body;
use crate::divergence::Known;
use crate::instance::{Power, Stored};
use crate::invariants::violated;
use crate::requests::Request;
use crate::world::{Weather, World};

/// What the shell has under way: the copies, as they were at their last comparison.
#[derive(Default)]
pub struct Rebuilding {
    copies: Vec<(Rebuild, Stored)>,
    /// Copies that durably took their places. Those that were not admitted are removed before the next one.
    made: Vec<(CollectionId, InstanceId, InstanceCollectionId)>,
}

impl Rebuilding {
    pub fn is_idle(&self) -> bool {
        self.copies.is_empty()
    }

    pub fn shell_forgets(&mut self) {
        self.copies.clear();
    }
}

impl World {
    pub fn some_rebuild(&mut self) {
        if let Some(at) = self.pick(self.rebuilding.copies.len())
            && self.rng.per_mille(700)
        {
            return self.go_on(at);
        }
        let possible = self.board.rebuilds();
        let Some(at) = self.pick(possible.len()) else { return };
        let rebuild = possible[at];
        if !self.is_being_made(rebuild.collection)
            && self.is_up(rebuild.source)
            && let Some(copy) = self.content_of(rebuild.collection, rebuild.source)
        {
            self.tell(Input::CopyBegun(rebuild));
            self.rebuilding.copies.push((rebuild, copy));
        }
    }

    /// Returns whether a copy of it is being made or repaired. (The shell does both at once only on two instances, and
    /// then one of them starts over.)
    pub fn is_being_made(&self, collection: CollectionId) -> bool {
        let made = |(other, _): &(Rebuild, Stored)| other.collection == collection;
        self.rebuilding.copies.iter().any(made) || self.repairing.is_about(collection)
    }

    fn go_on(&mut self, at: usize) {
        let rebuild = self.rebuilding.copies[at].0;
        match self.board.cutover_state(rebuild) {
            CutoverState::GivenUp if self.weather == Weather::Quiesced && !self.board.can_rebuild(rebuild) => {
                self.rebuilding.copies.swap_remove(at);
                self.end_rebuild(rebuild, CutoverOutcome::NotBegun);
            }
            CutoverState::GivenUp if self.rng.per_mille(500) => self.tell(Input::CutoverWanted(rebuild)),
            CutoverState::Ready { touched } => {
                let (_, copy) = self.rebuilding.copies.swap_remove(at);
                let outcome = self.cut_over(rebuild, copy, touched);
                self.end_rebuild(rebuild, outcome);
            }
            CutoverState::GivenUp | CutoverState::Draining => {
                if self.rng.per_mille(150) {
                    self.counters.count("cutover given up before it began");
                    self.rebuilding.copies.swap_remove(at);
                    self.end_rebuild(rebuild, CutoverOutcome::NotBegun);
                }
            }
        }
    }

    fn is_up(&self, instance: InstanceId) -> bool {
        self.instances[instance.0].power == Power::Up
    }

    /// Returns whether the source has lost the collection, or the collection was renamed on the source or the target,
    /// unnoticed.
    pub fn cannot_be_copied(&self, rebuild: Rebuild) -> bool {
        let Some(held) = self.content_of(rebuild.collection, rebuild.source) else { return true };
        let catalog = self.board.catalog();
        let named = catalog.get(rebuild.collection).is_some_and(|known| known.name == held.name);
        let on_target = self.instances[rebuild.target.0].find(&held.scope, &held.name);
        let holder = on_target.and_then(|id| catalog.by_id(id)).map(|holder| holder.id);
        !named || holder.is_some_and(|holder| holder != rebuild.collection)
    }

    pub fn content_of(&self, collection: CollectionId, instance: InstanceId) -> Option<Stored> {
        let mapped = self.board.catalog().mapping(collection, instance)?;
        self.instances[instance.0].collections.get(&mapped.uuid()).cloned()
    }

    fn cut_over(&mut self, rebuild: Rebuild, copy: Stored, touched: Option<Vec<Seq>>) -> CutoverOutcome {
        let Rebuild { collection, source, target, .. } = rebuild;
        self.r14_source_stands_still(collection, source);
        let storm = self.weather == Weather::Storm;
        let there = self.is_up(source) && self.is_up(target);
        let (Some(now), Some(touched), true) = (self.content_of(collection, source), touched, there) else {
            return CutoverOutcome::NotBegun;
        };
        let Some(copy) = self.brought_up_to_date(copy, &now, &touched) else {
            self.counters.count("copy whose order differs");
            return CutoverOutcome::NotBegun;
        };
        if copy != now {
            violated("R14", &format!("{rebuild:?}: {copy:?} is not {now:?} after {touched:?}"));
        }
        if storm && self.rng.per_mille(150) {
            return if self.rng.per_mille(500) { CutoverOutcome::NotBegun } else { CutoverOutcome::InDoubt };
        }
        let Some(id) = self.put_in_place(collection, target, copy) else {
            self.counters.count("name held by another collection");
            return CutoverOutcome::NotBegun;
        };
        if storm && self.rng.per_mille(150) {
            self.counters.count("cutover whose answer was lost");
            return CutoverOutcome::InDoubt;
        }
        CutoverOutcome::InPlace(id)
    }

    /// Returns the shell's copy. `None` if the shell sees that the order of the ids differs, and starts over.
    fn brought_up_to_date(&self, mut copy: Stored, now: &Stored, touched: &[Seq]) -> Option<Stored> {
        let mut ids = BTreeSet::new();
        for seq in touched {
            match &self.journal.rows[seq].body {
                Body::Write { docs, .. } => ids.extend(docs.iter().map(|doc| doc.id)),
                Body::DeleteIds(deleted) => ids.extend(deleted.iter().copied()),
                // Only the lists show their ids.
                _ => copy.records.retain(|record| now.records.iter().any(|other| other.id == record.id)),
            }
        }
        let held = |records: &[crate::instance::Record], id: u8| records.iter().position(|record| record.id == id);
        copy.records.retain(|record| !ids.contains(&record.id) || held(&now.records, record.id).is_some());
        for record in now.records.iter().filter(|record| ids.contains(&record.id)) {
            match held(&copy.records, record.id) {
                Some(at) => copy.records[at] = record.clone(),
                None => copy.records.push(record.clone()),
            }
        }
        // Read and compared as they are: definitions and dimensions are small.
        (copy.scope, copy.name) = (now.scope.clone(), now.name.clone());
        (copy.metadata, copy.dimension) = (now.metadata, now.dimension);
        let order = |stored: &Stored| stored.records.iter().map(|record| record.id).collect::<Vec<_>>();
        (order(&copy) == order(now)).then_some(copy)
    }

    /// Notes that the copy's definition is the source's, including every change of the collection that the source has
    /// executed.
    fn changes_came_with_it(&mut self, collection: CollectionId, source: InstanceId, target: InstanceId) {
        let about =
            |body: &Body| matches!(body, Body::UpdateCollection { collection: about, .. } if *about == collection);
        let rows = self.journal.rows.values().filter(|row| about(&row.body)).map(|row| row.seq);
        let changes: Vec<Seq> = rows.filter(|seq| self.facts.executed(source, *seq)).collect();
        self.facts.executed.extend(changes.into_iter().map(|seq| (target, seq)));
    }

    /// R14: nothing that is under way, or abandoned and not over, can change the source.
    pub fn r14_source_stands_still(&self, collection: CollectionId, source: InstanceId) {
        let lane = LaneId::Records(collection);
        let moves =
            |request: &&Request| (request.lane, request.instance) == (lane, source) && request.is_not_answered();
        if let Some(request) = self.requests.iter().chain(&self.abandoned).find(moves) {
            violated("R14", &format!("{collection:?} is copied from {source:?} while {request:?} may be executed"));
        }
    }

    /// Gives the copy the name, and removes the collection that had it. Returns `None` if the source has another name
    /// for it, or another collection has the name.
    fn put_in_place(
        &mut self,
        collection: CollectionId,
        target: InstanceId,
        copy: Stored,
    ) -> Option<InstanceCollectionId> {
        let catalog = self.board.catalog();
        let known = catalog.get(collection)?;
        let server = &mut self.instances[target.0];
        let holder = server.find(&copy.scope, &copy.name).and_then(|id| catalog.by_id(id)).map(|holder| holder.id);
        let strange = (&known.scope, &known.name) != (&copy.scope, &copy.name);
        if strange || holder.is_some_and(|holder| holder != collection) {
            return None;
        }
        server.create_database(&copy.scope);
        server.delete_collection(&copy.scope, &copy.name);
        for (.., left) in self.rebuilding.made.iter().filter(|(of, at, _)| (*of, *at) == (collection, target)) {
            if catalog.by_id(left.uuid()).is_none_or(|owner| owner.mappings[target.0] != Some(*left)) {
                server.collections.remove(&left.uuid());
            }
        }
        let id = InstanceCollectionId::new(server.give(copy));
        self.rebuilding.made.push((collection, target, id));
        Some(id)
    }

    pub fn end_rebuild(&mut self, rebuild: Rebuild, outcome: CutoverOutcome) {
        let Rebuild { collection, source, target, .. } = rebuild;
        let lane = LaneId::Records(collection);
        let admissions = self.facts.admissions;
        self.tell(Input::CutoverEnded { rebuild, outcome });
        if self.facts.admissions == admissions {
            return;
        }
        self.counters.count("made whole");
        self.is_condemned_no_more(collection, target);
        let at = self.facts.admitted.get(&(target, lane)).copied().unwrap_or(Seq::ZERO);
        let later: BTreeSet<Seq> = self.journal.between(lane, at, Seq::MAX).map(|row| row.seq).collect();
        self.facts.executed.retain(|(instance, seq)| *instance != target || !later.contains(seq));
        self.changes_came_with_it(collection, source, target);
        self.facts.highest.insert((target, lane), at);
        self.facts.latest.insert((target, lane), at);
        if self.board.state_of(collection, target) == LaneState::InStep {
            violated("R14", &format!("{target:?} serves {collection:?} before its new mapping is durable"));
        }
        match self.divergences.of(collection, source) {
            Some(divergence) if divergence.known == Known::ToTheBoard => {
                violated("R14", &format!("{collection:?} is copied from {source:?}, which is known to be astray"))
            }
            Some(divergence) => self.divergences.diverge_again(collection, target, divergence),
            None => self.divergences.forget(collection, target),
        }
    }
}
