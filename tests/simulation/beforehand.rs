//! What existed on the instances before the edge, and how it enters the catalog: proposed, executed and folded by the
//! product's own code (`coordinator/adoption.rs`).
//!
//! Only some seeds have such content. The runs of the others are the same as without it. No client creates or deletes a
//! collection by its name before it is adopted.

use std::collections::BTreeSet;

use chroma_edge::coordinator::adoption::{Adoption, FoundCollection, fold, is_unknown};
use chroma_edge::ids::{CollectionId, InstanceId, LaneId, Scope, Seq};
use chroma_edge::order::{CatalogChange, DEFAULT_DATABASE, DEFAULT_TENANT, Kind, Outcome, Purpose};
use testkit::random::Random;
use uuid::Uuid;

use crate::assumptions::Assumptions;
use crate::body::Body;
use crate::instance::{Answer, Instance, Record, Stored};
use crate::journal::Commit;
use crate::requests::Work;
use crate::workload;
use crate::world::World;

pub struct Beforehand {
    rng: Random,
    /// What the instances held, by their own ids.
    ids: BTreeSet<Uuid>,
    pub adopted: BTreeSet<CollectionId>,
    /// Collections that were adopted after a reset had deleted them: no instance has them.
    pub lost: BTreeSet<CollectionId>,
}

impl Beforehand {
    /// Gives some instances a collection of one name. Some have the same content.
    pub fn new(seed: u64, assumptions: Assumptions, instances: &mut [Instance]) -> Self {
        let mut rng = Random::scattered(seed ^ 0xadb7);
        let mut ids = BTreeSet::new();
        // Not for seeds that once showed a bug: their runs must stay the same.
        if matches!(seed % 7, 0 | 2 | 4) && assumptions.kept() {
            for instance in instances {
                if rng.per_mille(800) {
                    let shift = if rng.per_mille(500) { 0 } else { rng.index(100) as u32 };
                    ids.insert(instance.give(content(shift)));
                }
            }
        }
        Beforehand { rng, ids, adopted: BTreeSet::new(), lost: BTreeSet::new() }
    }
}

fn content(shift: u32) -> Stored {
    let record = |id: u8| {
        let value = u32::from(id) + shift;
        Record { id, value, embedding: Some(value), document: None, metadata: [(0, value)].into() }
    };
    Stored {
        scope: Scope::new(DEFAULT_TENANT, DEFAULT_DATABASE),
        name: "delta".to_owned(),
        metadata: shift,
        dimension: Some(3),
        records: (0..3).map(record).collect(),
    }
}

impl World {
    /// Inspects an instance, and proposes what the catalog does not know of it.
    pub fn some_adoption(&mut self) {
        if self.beforehand.ids.is_empty() || !self.beforehand.rng.per_mille(40) {
            return;
        }
        let instance = InstanceId(self.beforehand.rng.index(self.instances.len()));
        let queued = |commit: &Commit| matches!(commit, Commit::Append(row) if row.profile.kind == Kind::Adopt);
        if !self.there(instance)
            || self.board.adopting()
            || self.journal.queue.iter().any(queued)
            || self.board.catalog_quiescent(instance).is_none()
            || self.board.is_halted(LaneId::Catalog)
        {
            return;
        }
        let collections = self.unknown_on(instance);
        if !collections.is_empty() {
            self.counters.count("adoption proposed");
            let instance = self.journal.names[instance.0].to_string();
            let adoption = Adoption { instance, tenants: Vec::new(), databases: Vec::new(), collections };
            let mut row = workload::adoption(adoption);
            row.number = self.account.begin(self.now);
            self.journal.queue.push_back(Commit::Append(row));
        }
    }

    fn unknown_on(&self, instance: InstanceId) -> Vec<FoundCollection> {
        let held = self.instances[instance.0].collections.iter();
        // A rollback brings back collections that were adopted and deleted. The product withholds them (rule R16).
        let theirs = held.filter(|(id, _)| self.beforehand.ids.contains(*id) && !self.journal.was_mapped(**id));
        let found = theirs.map(|(id, stored)| FoundCollection {
            tenant: stored.scope.tenant.clone(),
            database: stored.scope.database.clone(),
            name: stored.name.clone(),
            id: *id,
            dimension: stored.dimension.map(u64::from),
        });
        found.filter(|found| is_unknown(self.board.catalog(), found, instance)).collect()
    }

    pub fn all_is_adopted(&self) -> bool {
        self.journal.instances().all(|instance| self.unknown_on(instance).is_empty())
    }

    pub fn is_adoption(&self, seq: Seq) -> bool {
        self.journal.rows.get(&seq).is_some_and(|row| row.profile.kind == Kind::Adopt)
    }

    /// The shell executes an adoption itself: the instance gets no request.
    pub fn adopts(&mut self, at: usize) {
        let (lane, instance) = (self.requests[at].lane, self.requests[at].instance);
        let Work::Send { seqs, purpose, .. } = self.requests[at].work.clone() else { return };
        self.requests[at].answer = Some(match purpose {
            Purpose::ExpectRefusal => Answer::Refused,
            Purpose::Execute | Purpose::Replicate => Answer::Done,
        });
        if purpose != Purpose::ExpectRefusal {
            self.check_execution(lane, instance, &seqs);
        }
    }

    /// Sets the initial content of an adopted collection, from which the fold of the journal begins: an operator has
    /// decided which instance's copy is kept.
    pub fn what_was_there_before_is(&mut self, collection: CollectionId, instance: InstanceId) {
        let Some(held) = self.content_of(collection, instance) else { return };
        for row in self.journal.rows.values_mut() {
            if let Body::Adopt { adopted, .. } = &mut row.body {
                adopted.iter_mut().filter(|(id, _)| *id == collection).for_each(|(_, content)| *content = held.clone());
            }
        }
    }

    /// Returns the outcome of an adoption where it is executed first. The fold of the journal gets the content as it is
    /// now.
    pub fn judge_adoption(&mut self, seq: Seq, adoption: Adoption) -> Outcome {
        let home = self.journal.names.iter().position(|name| name.as_str() == adoption.instance);
        let home = InstanceId(home.expect("a configured instance"));
        let others: Vec<_> = self.journal.instances().filter(|other| *other != home).collect();
        let consequences = fold(self.board.catalog(), &adoption, home, &others, seq);
        let mut adopted = Vec::new();
        for change in &consequences.changes {
            match change {
                CatalogChange::CollectionCreated { collection, scope, name, .. } => {
                    self.counters.count("adopted");
                    self.beforehand.adopted.insert(*collection);
                    let held = self.instances[home.0].collections.get(&collection.uuid()).cloned();
                    if held.is_none() {
                        self.counters.count("adopted after a reset");
                        self.beforehand.lost.insert(*collection);
                    }
                    let (scope, name) = (scope.clone(), name.clone());
                    let nothing = Stored { scope, name, metadata: 0, dimension: None, records: Vec::new() };
                    adopted.push((*collection, held.unwrap_or(nothing)));
                }
                CatalogChange::Mapped { collection, .. } if adopted.iter().all(|(new, _)| new != collection) => {
                    self.counters.count("adopted as a copy of what is known");
                }
                _ => {}
            }
        }
        if let Some(row) = self.journal.rows.get_mut(&seq) {
            row.body = Body::Adopt { adoption, adopted };
        }
        Outcome::Applied(consequences)
    }
}
