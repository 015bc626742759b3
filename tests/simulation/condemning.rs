//! Copies that are known to be wrong (rule R17): records are changed behind the edge's back; an audit or an operator
//! condemns copies, rightly or not. Has its own source of randomness.

use std::collections::BTreeMap;

use chroma_edge::ids::{CollectionId, InstanceCollectionId, InstanceId, LaneId};
use chroma_edge::order::{Evidence, Input, LaneState};
use testkit::random::Random;

use crate::divergence::Cause;
use crate::invariants::violated;
use crate::world::{Weather, World};

pub struct Condemning {
    fate: Random,
    /// The condemned copies, with the id on their instance, and whether they are condemned for their records alone.
    condemned: BTreeMap<(CollectionId, InstanceId), (InstanceCollectionId, LaneState)>,
}

impl Condemning {
    pub fn new(seed: u64) -> Self {
        Condemning { fate: Random::scattered(seed ^ 0x1717_1717_1717), condemned: BTreeMap::new() }
    }
}

impl World {
    pub fn some_condemning(&mut self) {
        self.r17_nothing_condemned_is_trusted();
        if self.weather != Weather::Storm || !self.condemning.fate.per_mille(4) {
            return;
        }
        let known: Vec<CollectionId> = self.board.catalog().collections().map(|known| known.id).collect();
        if known.is_empty() {
            return;
        }
        let mut known = known;
        known.sort();
        let collection = known[self.condemning.fate.index(known.len())];
        if self.temper.rollback > 0 && self.condemning.fate.per_mille(400) {
            return self.tamper(collection);
        }
        let instance = InstanceId(self.condemning.fate.index(self.instances.len()));
        self.condemn(collection, instance);
    }

    /// Removes the collection's last record from the one instance that may lose data.
    fn tamper(&mut self, collection: CollectionId) {
        let instance = self.unlucky();
        let Some(id) = self.board.catalog().mapping(collection, instance) else { return };
        let before = self.instances[instance.0].collections.clone();
        let held = self.instances[instance.0].collections.get_mut(&id.uuid());
        if held.and_then(|held| held.records.pop()).is_some() {
            self.counters.count("tampered with");
            self.note(|| format!("{collection:?} is tampered with on {instance:?}"));
            self.note_changes(instance, &before, Cause::Tampered);
        }
    }

    fn condemn(&mut self, collection: CollectionId, instance: InstanceId) {
        let in_step = |world: &World, at: InstanceId| {
            let mapped = world.board.catalog().mapping(collection, at).is_some();
            mapped && world.board.state_of(collection, at) == LaneState::InStep
        };
        let before = self.journal.instances().filter(|at| in_step(self, *at)).count();
        let evidence =
            if self.condemning.fate.per_mille(500) { Evidence::ContradictsJournal } else { Evidence::FailsQueries };
        self.tell(Input::Condemn { collection, instance, evidence });
        if before > 0 && !self.journal.instances().any(|at| in_step(self, at)) {
            violated("R17", &format!("the last copy of {collection:?} is condemned"));
        }
        self.note_condemned(collection, instance);
    }

    /// Notes that the copy is not trusted from now on, if it is condemned.
    pub fn note_condemned(&mut self, collection: CollectionId, instance: InstanceId) {
        let mapped = self.board.catalog().mapping(collection, instance);
        let state = self.board.state_of(collection, instance);
        if let (LaneState::Condemned | LaneState::Contradicted, Some(id)) = (state, mapped) {
            self.counters.count("condemned");
            self.condemning.condemned.insert((collection, instance), (id, state));
            if let Some(divergence) = self.divergences.of(collection, instance) {
                self.reported_to_the_board(instance, &[collection], divergence.cause);
            }
        }
    }

    /// Another copy is about to replace the condemned one. From now on, reports about the replica are about the new
    /// copy.
    pub fn is_condemned_no_more(&mut self, collection: CollectionId, instance: InstanceId) {
        if self.condemning.condemned.remove(&(collection, instance)).is_some() {
            self.counters.count("condemned, and made whole");
        }
    }

    /// Forgets what was not durable, since the edge restarts.
    pub fn condemned_is_forgotten(&mut self) {
        let journal = &self.journal;
        self.condemning.condemned.retain(|(collection, instance), (_, state)| {
            let durable = journal.step(LaneId::Records(*collection), *instance);
            // The worse state may not be durable.
            *state = if durable == LaneState::Contradicted { durable } else { *state };
            matches!(durable, LaneState::Condemned | LaneState::Contradicted)
        });
    }

    /// R17: as long as it is the condemned copy, it is not trusted again.
    fn r17_nothing_condemned_is_trusted(&mut self) {
        let board = &self.board;
        self.condemning
            .condemned
            .retain(|(collection, instance), (id, _)| board.catalog().mapping(*collection, *instance) == Some(*id));
        for ((collection, instance), (_, condemned)) in &self.condemning.condemned {
            let state = board.state_of(*collection, *instance);
            if state != *condemned {
                violated("R17", &format!("{collection:?} on {instance:?} was {condemned:?}, and is {state:?}"));
            }
        }
    }
}
