//! The checker's [`Semantics`] of real Chroma servers: the model of `model.rs`, lane by lane.
//!
//! Decides what a journaled write means ([`journal`] reads it), and what a read of a collection must show. That the
//! model matches Chroma is tested against a real server, by `harness::model_*`.

pub mod journal;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::checker::history::{Lifetime, Semantics};
use crate::content::{self, Key, Record};
use crate::model::{ModelCollection, Verb};

/// The most differences shown for two contents.
const SHOWN: usize = 12;

/// A journaled write.
#[derive(Clone, Debug)]
pub enum ChromaWrite {
    Records {
        verb: Verb,
        body: Value,
    },
    Create {
        lane: String,
        key: Key,
        metadata: Value,
    },
    /// A change of a collection's definition. `None` leaves a part as it is.
    Modify {
        lane: String,
        name: Option<String>,
        metadata: Option<Value>,
    },
    /// The deletion of a collection, or of everything in a database.
    Delete {
        lanes: Vec<String>,
    },
    /// A change of tenants or databases, which have no content of their own, or a write that was never applied.
    Other {
        request: String,
    },
}

/// A collection as clients find it.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    pub key: Key,
    pub metadata: Value,
}

/// The content of a lane: records, or in the catalog lane the collections by lane.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChromaState {
    pub content: ModelCollection,
    pub definitions: BTreeMap<String, Definition>,
}

impl ChromaState {
    /// Returns the content with these records, in the server's order.
    pub fn of(records: Vec<Record>) -> ChromaState {
        let content = ModelCollection { records, ..ModelCollection::default() };
        ChromaState { content, definitions: BTreeMap::new() }
    }
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct ChromaSemantics;

/// Ids, documents, metadata and URIs, read with one SQLite query.
const TABLES: u8 = 0b01;
/// Embeddings, read later from the vector index.
const VECTORS: u8 = 0b10;

impl Semantics for ChromaSemantics {
    type Write = ChromaWrite;
    type State = ChromaState;

    const PARTS: u8 = TABLES | VECTORS;

    fn apply(&self, state: &mut ChromaState, write: &ChromaWrite) {
        match write {
            ChromaWrite::Records { verb, body } => state.content.apply(*verb, body),
            ChromaWrite::Create { lane, key, metadata } => {
                let definition = Definition { key: key.clone(), metadata: metadata.clone() };
                state.definitions.entry(lane.clone()).or_insert(definition);
            }
            ChromaWrite::Modify { lane, name, metadata } => {
                let Some(definition) = state.definitions.get_mut(lane) else { return };
                if let Some(name) = name {
                    definition.key.name.clone_from(name);
                }
                if let Some(metadata) = metadata {
                    definition.metadata.clone_from(metadata);
                }
            }
            ChromaWrite::Delete { lanes } => state.definitions.retain(|lane, _| !lanes.contains(lane)),
            ChromaWrite::Other { .. } => {}
        }
    }

    fn lifetimes(&self, write: &ChromaWrite) -> Vec<Lifetime> {
        match write {
            ChromaWrite::Create { lane, .. } => vec![Lifetime::Begins(lane.clone())],
            ChromaWrite::Delete { lanes } => lanes.iter().cloned().map(Lifetime::Ends).collect(),
            ChromaWrite::Records { .. } | ChromaWrite::Modify { .. } | ChromaWrite::Other { .. } => Vec::new(),
        }
    }

    fn is_possible(&self, write: &ChromaWrite) -> bool {
        let ChromaWrite::Records { body, .. } = write else { return true };
        let vectors = body["embeddings"].as_array().into_iter().flatten();
        vectors.filter_map(Value::as_array).flatten().all(Value::is_number)
    }

    /// Chroma reads the vectors after the tables. A write may be executed in between.
    fn agreement(&self, content: &ChromaState, shown: &ChromaState) -> u8 {
        let (content, shown) = (&content.content.records, &shown.content.records);
        let tables = content.len() == shown.len() && content.iter().zip(shown).all(|(a, b)| same_row(a, b));
        // Usually both are in the same order, and no search is needed.
        let vector_of = |at: usize, id: &str| match content.get(at) {
            Some(record) if record.id == id => Some(&record.embedding),
            _ => content.iter().find(|record| record.id == id).map(|record| &record.embedding),
        };
        let is_here = |(at, record): (usize, &Record)| vector_of(at, &record.id) == Some(&record.embedding);
        let vectors = shown.iter().enumerate().all(is_here);
        (if tables { TABLES } else { 0 }) | (if vectors { VECTORS } else { 0 })
    }

    /// Chroma's vector index applies an entry record by record, and a read of several vectors does not wait for its
    /// end.
    fn agreement_between(&self, before: &ChromaState, after: &ChromaState, shown: &ChromaState) -> u8 {
        let is_in = |state: &ChromaState, record: &Record| {
            let mut held = state.content.records.iter();
            held.any(|other| other.id == record.id && other.embedding == record.embedding)
        };
        let either = |record: &Record| is_in(before, record) || is_in(after, record);
        if shown.content.records.iter().all(either) { VECTORS } else { 0 }
    }

    fn records(&self, state: &ChromaState) -> BTreeSet<String> {
        let records = state.content.records.iter().map(|record| record.id.clone());
        records.chain(state.definitions.keys().cloned()).collect()
    }

    fn count(&self, state: &ChromaState) -> usize {
        state.content.records.len()
    }

    fn difference(&self, expected: &ChromaState, found: &ChromaState) -> String {
        let mut lines: Vec<String> = Vec::new();
        let lanes: BTreeSet<&String> = expected.definitions.keys().chain(found.definitions.keys()).collect();
        for lane in lanes {
            let (a, b) = (expected.definitions.get(lane), found.definitions.get(lane));
            if a != b {
                lines.push(format!("definition of {lane}: {a:?} | {b:?}"));
            }
        }
        let (a, b) = (&expected.content.records, &found.content.records);
        if let Some(twice) = one_twice(b) {
            lines.push(format!("{twice:?} is there twice"));
        } else {
            let mut differences = Vec::new();
            content::diff_records(&mut differences, "", a, b);
            lines.extend(differences.iter().map(|one| one.to_string().trim().chars().take(400).collect::<String>()));
        }
        let more = lines.len().saturating_sub(SHOWN);
        lines.truncate(SHOWN);
        let more = if more > 0 { format!("\n      ... and {more} more") } else { String::new() };
        format!("{} expected records | {} found:\n      {}{more}", a.len(), b.len(), lines.join("\n      "))
    }
}

fn same_row(a: &Record, b: &Record) -> bool {
    (&a.id, &a.document, &a.metadata, &a.uri) == (&b.id, &b.document, &b.metadata, &b.uri)
}

fn one_twice(records: &[Record]) -> Option<&str> {
    let mut seen = BTreeSet::new();
    records.iter().map(|record| record.id.as_str()).find(|id| !seen.insert(*id))
}
