//! Markers (rule R16): the shell's part. A server is marked when everything that the board has requested is durable. An
//! answer may be lost, and the edge may end between any two steps. Has its own source of randomness.

use std::collections::BTreeMap;

use chroma_edge::ids::{CollectionId, InstanceId, Seq};
use chroma_edge::order::{Expected, Generation, Identity, Input, LaneState, Marker};
use testkit::random::Random;
use uuid::Uuid;

use crate::divergence::Cause;
use crate::world::World;

const JOURNAL: Uuid = Uuid::nil();

pub struct Marking {
    fate: Random,
    /// The marker that each server carried at its last inspection, as the shell knows it.
    carried: BTreeMap<InstanceId, Option<Generation>>,
    /// The last durable marker of each server.
    marked: BTreeMap<InstanceId, Generation>,
}

impl Marking {
    pub fn new(seed: u64) -> Self {
        let fate = Random::scattered(seed ^ 0x1616_1616_1616);
        Marking { fate, carried: BTreeMap::new(), marked: BTreeMap::new() }
    }

    pub fn shell_forgets(&mut self) {
        self.carried.clear();
    }
}

impl World {
    /// Marks a server from time to time.
    pub fn some_mark(&mut self) {
        if !self.marking.fate.per_mille(30) {
            return;
        }
        let instance = InstanceId(self.marking.fate.index(self.instances.len()));
        let through = self.board.settled_through(instance);
        if !self.there(instance) || !self.journal.queue.is_empty() {
            return;
        }
        let found = self.instances[instance.0].marker.map(|(generation, _)| generation);
        if self.marking.carried.get(&instance) != Some(&found) {
            self.inspections.insert(instance);
            return;
        }
        let next = found.max(self.marking.marked.get(&instance).copied()).unwrap_or_default().next();
        self.instances[instance.0].marker = Some((next, through));
        self.counters.count("marked");
        if self.marking.fate.per_mille(250) {
            self.counters.count("marked, and the answer was lost");
            self.marking.carried.remove(&instance);
            return;
        }
        self.marking.carried.insert(instance, Some(next));
        if self.marking.fate.per_mille(900) {
            self.marking.marked.insert(instance, next);
        }
    }

    /// Checks whether the server has what it had at its last marking. If not, reports it to the board.
    pub fn identify(&mut self, instance: InstanceId) {
        let names = self.journal.names.clone();
        let name = &names[instance.0];
        let found = self.instances[instance.0].marker;
        let marker =
            found.map(|(generation, through)| Marker { journal: JOURNAL, instance: name.clone(), generation, through });
        let marked = self.marking.marked.get(&instance).copied();
        let expected = Expected { journal: JOURNAL, instance: name, configured: &names, marked };
        if let Identity::Older { through } = expected.identify(marker.as_ref()) {
            self.counters.count("found older by its marker");
            self.repairing.told(instance);
            self.tell(Input::Older { instance, through });
            self.r16_nothing_newer_is_trusted(instance, through);
        }
        self.marking.carried.insert(instance, found.map(|(generation, _)| generation));
    }

    /// R16: no copy serves if it was given something after the position that the server certainly holds.
    fn r16_nothing_newer_is_trusted(&mut self, instance: InstanceId, through: Seq) {
        let diverged = |collection: &CollectionId| self.board.state_of(*collection, instance) != LaneState::InStep;
        let known: Vec<CollectionId> = self.board.catalog().collections().map(|known| known.id).collect();
        let trusted = known.iter().filter(|collection| !diverged(collection));
        for collection in trusted {
            let lane = chroma_edge::ids::LaneId::Records(*collection);
            let mark = self.journal.durable(lane, instance);
            let mapped = self.board.catalog().mapping(*collection, instance).is_some();
            let others = |other: &InstanceId| {
                let mapped = self.board.catalog().mapping(*collection, *other).is_some();
                *other != instance && mapped && self.board.state_of(*collection, *other) == LaneState::InStep
            };
            let only_copy = !self.journal.instances().any(|other| others(&other));
            if mapped && mark > through && !only_copy {
                let text =
                    format!("{instance:?} lost what came after {through}, and serves {collection:?} up to {mark}");
                crate::invariants::violated("R16", &text);
            }
        }
        let told: Vec<_> = known.into_iter().filter(diverged).collect();
        self.reported_to_the_board(instance, &told, Cause::Older);
    }
}
