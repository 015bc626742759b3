//! An operator decides which of two copies is kept (rule R18), rightly or not. Has its own source of randomness.

use chroma_edge::ids::{CollectionId, InstanceId, LaneId, Seq};
use chroma_edge::order::{Comparison, Evidence, Input, LaneState, WaitId};
use testkit::random::Random;

use crate::invariants::violated;
use crate::world::{Weather, World};

pub struct Keeping {
    fate: Random,
}

impl Keeping {
    pub fn new(seed: u64) -> Self {
        Keeping { fate: Random::scattered(seed ^ 0x1818_1818_1818) }
    }
}

impl World {
    /// Asks the board from time to time to keep a copy that differs. If the collection has been written to since, the
    /// board must refuse. Otherwise the simulated operator keeps the right copy, since the fold of the journal knows no
    /// other content.
    pub fn some_keeping(&mut self) {
        if self.weather != Weather::Storm {
            return;
        }
        let known = self.board.catalog().collections().map(|known| known.id);
        let replicas = known.flat_map(|collection| self.journal.instances().map(move |at| (collection, at)));
        let differs = |(collection, at): &(CollectionId, InstanceId)| {
            self.board.state_of(*collection, *at) == LaneState::Diverged
        };
        let mut differing: Vec<_> = replicas.filter(differs).collect();
        differing.sort();
        // Lanes are rarely without a write: these come first.
        let written = |(collection, _): &(CollectionId, InstanceId)| self.was_written_to(LaneId::Records(*collection));
        let unwritten: Vec<_> = differing.iter().filter(|replica| !written(replica)).copied().collect();
        let (differing, often) = if unwritten.is_empty() { (differing, 10) } else { (unwritten, 300) };
        if differing.is_empty() || !self.keeping.fate.per_mille(often) {
            return;
        }
        let (collection, instance) = differing[self.keeping.fate.index(differing.len())];
        let written = self.was_written_to(LaneId::Records(collection));
        let right =
            self.divergences.of(collection, instance).is_none() || self.is_like_a_right_one(collection, instance);
        if written || right {
            self.keep(collection, instance, written);
        }
    }

    /// Returns whether the board knows of a write. Writes that are durable but not yet reported are executed on the
    /// kept copy.
    fn was_written_to(&self, lane: LaneId) -> bool {
        let durable = self.journal.instances().any(|at| self.journal.durable(lane, at) > Seq::ZERO);
        durable || self.journal.between(lane, Seq::ZERO, self.board.last()).next().is_some()
    }

    fn is_like_a_right_one(&self, collection: CollectionId, instance: InstanceId) -> bool {
        self.journal.instances().any(|reference| {
            let (at, wait, divergences) = (Seq::ZERO, WaitId::default(), 0);
            let serves = self.board.state_of(collection, reference) == LaneState::InStep
                && self.board.catalog().mapping(collection, reference).is_some()
                && self.divergences.of(collection, reference).is_none();
            serves && self.same_content(&Comparison { collection, reference, instance, at, wait, divergences })
        })
    }

    fn keep(&mut self, collection: CollectionId, instance: InstanceId, written: bool) {
        self.tell(Input::Keep { collection, instance, evidence: Evidence::OperatorsWord });
        if self.board.state_of(collection, instance) != LaneState::InStep {
            self.counters.count("not kept");
            return;
        }
        if written {
            violated("R18", &format!("{instance:?} takes over {collection:?}, and lacks what was acknowledged"));
        }
        self.counters.count("kept");
        self.what_was_there_before_is(collection, instance);
        self.may_still_land(collection, instance);
        self.may_still_be_repaired(collection, instance);
        self.divergences.forget(collection, instance);
        for other in self.journal.instances().filter(|other| *other != instance) {
            let mapped = self.board.catalog().mapping(collection, other).is_some();
            match self.board.state_of(collection, other) {
                LaneState::InStep if mapped => {
                    violated("R18", &format!("{other:?} serves {collection:?} still, beside {instance:?}"));
                }
                LaneState::Condemned => self.note_condemned(collection, other),
                _ => {}
            }
        }
    }
}
