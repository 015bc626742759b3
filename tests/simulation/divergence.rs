//! Replicas that do not hold what the rules alone would have made of them: something was executed on them without the
//! edge knowing, or they were rolled back. Also tracks who knows about it.
//!
//! Until the board knows, nothing can be expected of such a replica, and only of such a replica. From then on it must
//! not serve before its content has been compared and found equal.

use std::collections::{BTreeMap, BTreeSet};

use chroma_edge::ids::{CollectionId, InstanceId, LaneId, Seq};
use chroma_edge::order::{CatalogChange, LaneState, Record, Verdict};
use uuid::Uuid;

use crate::instance::Stored;
use crate::invariants::violated;
use crate::world::World;

/// The cause of a divergence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A write of an earlier edge was executed late.
    Late,
    /// The instance came back with an earlier state.
    Older,
    /// Records were changed behind the edge's back.
    Tampered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    ToNobody,
    ToTheBoard,
}

#[derive(Clone, Copy, Debug)]
pub struct Divergence {
    pub cause: Cause,
    pub known: Known,
}

pub type Held = BTreeMap<Uuid, Stored>;

#[derive(Default)]
pub struct Divergences {
    replicas: BTreeMap<(CollectionId, InstanceId), Divergence>,
    /// Divergences of collections that had no mapping at the time.
    ids: BTreeMap<(InstanceId, Uuid), Cause>,
    /// Instances that may hold more or less than the catalog says.
    strange: BTreeSet<InstanceId>,
    /// Instances that have passed a creation without an answer that counts (rule R12). What they created is adopted at
    /// the next inspection, which is not simulated.
    passed: BTreeSet<InstanceId>,
    /// Entries that were first applied on a copy with wrong content.
    verdicts: BTreeSet<Seq>,
}

impl Divergences {
    pub fn of(&self, collection: CollectionId, instance: InstanceId) -> Option<Divergence> {
        self.replicas.get(&(collection, instance)).copied()
    }

    pub fn is_strange(&self, instance: InstanceId) -> bool {
        self.strange.contains(&instance)
    }

    pub fn may_hold_what_was_passed(&self, instance: InstanceId) -> bool {
        self.passed.contains(&instance)
    }

    pub fn verdict_from_elsewhere(&self, seq: Seq) -> bool {
        self.verdicts.contains(&seq)
    }

    pub fn forget(&mut self, collection: CollectionId, instance: InstanceId) {
        self.replicas.remove(&(collection, instance));
    }

    pub fn diverge(&mut self, collection: CollectionId, instance: InstanceId, cause: Cause) {
        self.replicas.entry((collection, instance)).or_insert(Divergence { cause, known: Known::ToNobody });
    }

    /// Notes that the replica was found equal to one with the same defect.
    pub fn diverge_again(&mut self, collection: CollectionId, instance: InstanceId, divergence: Divergence) {
        self.replicas.insert((collection, instance), Divergence { known: Known::ToNobody, ..divergence });
    }

    fn tell(&mut self, collection: CollectionId, instance: InstanceId, cause: Cause) {
        let divergence =
            self.replicas.entry((collection, instance)).or_insert(Divergence { cause, known: Known::ToNobody });
        divergence.known = Known::ToTheBoard;
    }
}

impl World {
    /// Notes that everything that has changed on the instance since `before` changed without the edge knowing.
    pub fn note_changes(&mut self, instance: InstanceId, before: &Held, cause: Cause) {
        self.divergences.strange.insert(instance);
        let held = &self.instances[instance.0].collections;
        let ids: BTreeSet<Uuid> = before.keys().chain(held.keys()).copied().collect();
        let changed: Vec<_> = ids.into_iter().filter(|id| before.get(id) != held.get(id)).collect();
        for id in changed {
            match self.journal.mapped_to(instance, id) {
                Some(collection) => self.divergences.diverge(collection, instance, cause),
                None => {
                    self.divergences.ids.insert((instance, id), cause);
                }
            }
        }
    }

    /// Notes that the board knows of these replicas: none of them may serve from now on.
    pub fn reported_to_the_board(&mut self, instance: InstanceId, collections: &[CollectionId], cause: Cause) {
        for collection in collections {
            if self.board.catalog().mapping(*collection, instance).is_none() {
                continue;
            }
            if self.board.state_of(*collection, instance) == LaneState::InStep {
                violated("G9", &format!("{collection:?} is not what it was on {instance:?}, and still trusted"));
            }
            self.divergences.tell(*collection, instance, cause);
        }
    }

    /// Forgets what was not durable, since the edge restarts.
    pub fn board_forgets(&mut self) {
        for ((collection, instance), divergence) in &mut self.divergences.replicas {
            if self.journal.step(LaneId::Records(*collection), *instance) == LaneState::InStep {
                divergence.known = Known::ToNobody;
            }
        }
    }

    /// Notes what a replica with wrong content makes durable.
    pub fn note_record(&mut self, lane: LaneId, instance: InstanceId, record: &Record) {
        let astray = match lane {
            LaneId::Records(collection) => self.divergences.of(collection, instance).is_some(),
            LaneId::Catalog => self.divergences.is_strange(instance),
        };
        if lane == LaneId::Catalog && record.diverged.iter().any(|(_, at)| *at == instance) {
            self.divergences.passed.insert(instance);
        }
        if astray {
            let applied = record.verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Applied);
            self.divergences.verdicts.extend(applied.map(|(seq, _)| *seq));
        }
        for change in &record.changes {
            // An adoption maps its own instance's collections, wherever it is executed.
            let CatalogChange::Mapped { collection, instance, id } = change else { continue };
            let Some(at) = self.journal.names.iter().position(|name| name == instance).map(InstanceId) else {
                continue;
            };
            if let Some(cause) = self.divergences.ids.get(&(at, id.uuid())) {
                self.divergences.diverge(*collection, at, *cause);
            }
        }
    }
}
