//! The fold of the journal: what its applied entries make of a blank instance, one after the other.
//!
//! An entry that cannot be applied breaks G3, unless a diverged instance applied it first.

use std::collections::{HashMap, HashSet};

use chroma_edge::ids::{CollectionId, LaneId};
use uuid::Uuid;

use crate::body::Body;
use crate::instance::{Answer, Instance};
use crate::invariants::violated;
use crate::journal::Row;

/// Applies entries to a blank instance.
pub struct Fold {
    pub reference: Instance,
    pub ids: HashMap<CollectionId, Uuid>,
    pub astray: Astray,
}

/// What a diverged instance applied first, although no other instance could.
#[derive(Default)]
pub struct Astray {
    pub catalog: bool,
    pub records: HashSet<CollectionId>,
}

impl Default for Fold {
    fn default() -> Self {
        Fold { reference: Instance::new(900), ids: HashMap::new(), astray: Astray::default() }
    }
}

impl Fold {
    pub fn apply(&mut self, row: &Row, from_elsewhere: bool) {
        let target = match row.lane {
            LaneId::Records(collection) => self.ids.get(&collection).copied().unwrap_or_default(),
            LaneId::Catalog => Uuid::nil(),
        };
        let answer = self.execute(row, target);
        if matches!(answer, Answer::Done | Answer::Created(_)) {
            return;
        }
        match row.lane {
            LaneId::Catalog if from_elsewhere || self.astray.catalog => {
                self.astray.catalog = true;
                if let Body::UpdateCollection { collection, .. } = &row.body {
                    self.astray.records.insert(*collection);
                }
            }
            LaneId::Records(collection) if from_elsewhere || self.astray.catalog => {
                self.astray.records.insert(collection);
            }
            LaneId::Records(collection) if self.astray.records.contains(&collection) => {}
            _ => violated(
                "G3",
                &format!("the fold of the journal cannot apply {}: {answer:?} to {:?}", row.seq, row.body),
            ),
        }
    }

    fn execute(&mut self, row: &Row, target: Uuid) -> Answer {
        let reference = &mut self.reference;
        match &row.body {
            Body::Write { docs, flaw } => reference.write(target, row.profile.kind, &[(docs, *flaw)]),
            Body::DeleteIds(deleted) => reference.delete(target, |record| deleted.contains(&record.id)),
            Body::DeleteWhere(remainder) => reference.delete(target, |record| record.value % 3 == *remainder),
            Body::DeleteLimited { .. } => {
                let deleted = row.resolved.clone().unwrap_or_default();
                reference.delete(target, |record| deleted.contains(&record.id))
            }
            Body::CreateDatabase(scope) => reference.create_database(scope),
            Body::DeleteDatabase(scope) => reference.delete_database(scope),
            Body::CreateCollection { scope, name, existing } => {
                let answer = reference.create_collection(scope, name, *existing);
                if let (Answer::Created(id), Some(collection)) = (answer, row.created) {
                    self.ids.insert(collection, id);
                }
                answer
            }
            Body::UpdateCollection { collection, new_name, metadata } => {
                let id = self.ids.get(collection).copied().unwrap_or_default();
                reference.update_collection(id, new_name.as_deref(), *metadata)
            }
            Body::DeleteCollection { scope, name } => reference.delete_collection(scope, name),
            Body::Adopt { adopted, .. } => {
                self.ids.extend(adopted.iter().map(|(id, held)| (*id, reference.give(held.clone()))));
                Answer::Done
            }
            Body::Reset => reference.reset(),
        }
    }
}
