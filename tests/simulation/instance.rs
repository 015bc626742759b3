//! A model of one Chroma server: what its API does to records, collections and databases.
//!
//! As measured on real servers: an add keeps the first record, upsert and update merge, an update of a missing record
//! does nothing, a refused write may have set the collection's dimension, and each server assigns its own ids.

use std::collections::{BTreeMap, BTreeSet};

use chroma_edge::ids::{Scope, Seq};
use chroma_edge::order::{DEFAULT_DATABASE, DEFAULT_TENANT, Generation, Kind};
use uuid::Uuid;

use crate::body::{Doc, Flaw, OnExisting};

#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub id: u8,
    pub value: u32,
    pub embedding: Option<u32>,
    pub document: Option<u32>,
    pub metadata: BTreeMap<u8, u32>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub scope: Scope,
    pub name: String,
    pub metadata: u32,
    pub dimension: Option<u8>,
    /// In insertion order, as Chroma returns them.
    pub records: Vec<Record>,
}

impl Stored {
    /// Applies a write to these records.
    pub fn put(records: &mut Vec<Record>, kind: Kind, docs: &[Doc]) {
        for doc in docs {
            let at = records.iter().position(|record| record.id == doc.id);
            match (kind, at) {
                (Kind::Add, Some(_)) | (Kind::Update, None) => {}
                (_, None) => records.push(merged(None, doc)),
                (_, Some(at)) => records[at] = merged(Some(&records[at]), doc),
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Power {
    Up,
    /// Accepts connections and answers nothing.
    Hung,
    Down,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answer {
    Done,
    Created(Uuid),
    /// A `get_or_create` that found its collection.
    Found(Uuid),
    Refused,
    NotFound,
    Conflict,
    /// An unexplained failure: 500.
    Failed,
}

pub struct Instance {
    pub power: Power,
    pub databases: BTreeSet<Scope>,
    pub collections: BTreeMap<Uuid, Stored>,
    /// Its marker, if it has been marked.
    pub marker: Option<(Generation, Seq)>,
    index: u128,
    given: u128,
}

impl Instance {
    pub fn new(index: usize) -> Self {
        let mut instance = Instance {
            power: Power::Up,
            databases: BTreeSet::new(),
            collections: BTreeMap::new(),
            marker: None,
            index: index as u128 + 1,
            given: 0,
        };
        instance.reset();
        instance
    }

    pub fn reset(&mut self) -> Answer {
        self.collections.clear();
        self.databases = BTreeSet::from([Scope::new(DEFAULT_TENANT, DEFAULT_DATABASE)]);
        Answer::Done
    }

    pub fn find(&self, scope: &Scope, name: &str) -> Option<Uuid> {
        self.collections.iter().find(|(_, c)| c.scope == *scope && c.name == name).map(|(id, _)| *id)
    }

    pub fn create_database(&mut self, scope: &Scope) -> Answer {
        if self.databases.insert(scope.clone()) { Answer::Done } else { Answer::Conflict }
    }

    pub fn delete_database(&mut self, scope: &Scope) -> Answer {
        if !self.databases.remove(scope) {
            return Answer::NotFound;
        }
        self.collections.retain(|_, collection| collection.scope != *scope);
        Answer::Done
    }

    pub fn create_collection(&mut self, scope: &Scope, name: &str, existing: OnExisting) -> Answer {
        if !self.databases.contains(scope) {
            return Answer::Refused;
        }
        if let Some(id) = self.find(scope, name) {
            return if existing == OnExisting::Get { Answer::Found(id) } else { Answer::Conflict };
        }
        self.given += 1;
        let id = Uuid::from_u128((self.index << 64) | self.given);
        let (scope, name) = (scope.clone(), name.to_owned());
        self.collections.insert(id, Stored { scope, name, metadata: 0, dimension: None, records: Vec::new() });
        Answer::Created(id)
    }

    /// Adds a copy of another instance's collection, under an id of its own.
    pub fn give(&mut self, copy: Stored) -> Uuid {
        self.given += 1;
        let id = Uuid::from_u128((self.index << 64) | self.given);
        self.collections.insert(id, copy);
        id
    }

    pub fn update_collection(&mut self, id: Uuid, new_name: Option<&str>, metadata: u32) -> Answer {
        let Some(stored) = self.collections.get(&id) else { return Answer::NotFound };
        if let Some(name) = new_name
            && self.find(&stored.scope, name).is_some_and(|other| other != id)
        {
            return Answer::Conflict;
        }
        if let Some(stored) = self.collections.get_mut(&id) {
            stored.metadata = metadata;
            if let Some(name) = new_name {
                stored.name = name.to_owned();
            }
        }
        Answer::Done
    }

    pub fn delete_collection(&mut self, scope: &Scope, name: &str) -> Answer {
        match self.find(scope, name) {
            Some(id) => {
                self.collections.remove(&id);
                Answer::Done
            }
            None => Answer::NotFound,
        }
    }

    /// Executes writes of one kind as one request: all of them in order, or none.
    pub fn write(&mut self, id: Uuid, kind: Kind, writes: &[(&[Doc], Flaw)]) -> Answer {
        let Some(stored) = self.collections.get_mut(&id) else { return Answer::NotFound };
        if writes.iter().any(|(_, flaw)| *flaw == Flaw::Malformed) {
            return Answer::Refused;
        }
        let docs = || writes.iter().flat_map(|(docs, _)| docs.iter());
        stored.dimension = stored.dimension.or(docs().find_map(|doc| doc.dimension));
        let dimension = stored.dimension;
        let fits = |doc: &Doc| doc.dimension.is_none() || doc.dimension == dimension;
        if !docs().all(fits) || writes.iter().any(|(_, flaw)| *flaw == Flaw::RefusedLate) {
            return Answer::Refused;
        }
        for (docs, _) in writes {
            Stored::put(&mut stored.records, kind, docs);
        }
        Answer::Done
    }

    pub fn delete(&mut self, id: Uuid, hit: impl Fn(&Record) -> bool) -> Answer {
        let Some(stored) = self.collections.get_mut(&id) else { return Answer::NotFound };
        stored.records.retain(|record| !hit(record));
        Answer::Done
    }

    /// Returns the ids that a limited delete would delete now.
    pub fn resolve(&self, id: Uuid, remainder: u32, limit: usize) -> Option<Vec<u8>> {
        let stored = self.collections.get(&id)?;
        let hit = stored.records.iter().filter(|record| record.value % 3 == remainder);
        Some(hit.take(limit).map(|record| record.id).collect())
    }
}

fn merged(old: Option<&Record>, doc: &Doc) -> Record {
    let mut record = old.cloned().unwrap_or(Record {
        id: doc.id,
        value: 0,
        embedding: None,
        document: None,
        metadata: BTreeMap::new(),
    });
    record.value = doc.value;
    if doc.dimension.is_some() {
        record.embedding = Some(doc.value);
    }
    record.document = doc.document.or(record.document);
    match doc.metadata {
        Some((key, Some(value))) => {
            record.metadata.insert(key, value);
        }
        Some((key, None)) => {
            record.metadata.remove(&key);
        }
        None => {}
    }
    record
}
