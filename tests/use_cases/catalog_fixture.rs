//! What a CMS was told is stored, and whether every instance holds exactly that.
//!
//! Embeddings are drawn from the document's name, its version and the chunk's number, so that a chunk of the wrong
//! version is detected bit by bit.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use testkit::ChromaServer;
use testkit::content::{Key, Record};
use testkit::random::Random;

pub const DIMENSION: usize = 8;

/// One document: a group of chunks that are written and deleted together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub name: String,
    pub version: u64,
    pub chunks: u64,
}

impl Document {
    pub fn new(name: &str, chunks: u64) -> Document {
        Document { name: name.to_owned(), version: 1, chunks }
    }

    /// Returns the document after an edit: other texts, and another number of chunks.
    pub fn edited(&self, chunks: u64) -> Document {
        Document { version: self.version + 1, chunks, ..self.clone() }
    }

    /// Returns the chunks' ids. Those of a new version are new, and the old ones are deleted.
    pub fn ids(&self) -> Vec<String> {
        (0..self.chunks).map(|chunk| format!("{}#{}.{chunk}", self.name, self.version)).collect()
    }

    pub fn embedding(&self, chunk: u64) -> Vec<f32> {
        let seed = self.name.bytes().fold(self.version, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        Random::new(seed.wrapping_mul(1009).wrapping_add(chunk)).vector(DIMENSION)
    }

    fn text(&self, chunk: u64) -> String {
        format!("Chunk {chunk} of “{}”, version {}: Käse, 🌍, \"quotes\".", self.name, self.version)
    }

    fn metadata(&self, chunk: u64) -> Value {
        json!({ "document_id": self.name, "chunk": chunk, "version": self.version, "published": chunk.is_multiple_of(2) })
    }

    /// Returns the body that adds all chunks.
    pub fn body(&self) -> Value {
        let all = || 0..self.chunks;
        json!({
            "ids": self.ids(),
            "embeddings": all().map(|chunk| self.embedding(chunk)).collect::<Vec<_>>(),
            "documents": all().map(|chunk| self.text(chunk)).collect::<Vec<_>>(),
            "metadatas": all().map(|chunk| self.metadata(chunk)).collect::<Vec<_>>(),
        })
    }

    /// Returns the chunks as a server must hold them.
    pub fn records(&self) -> Vec<Record> {
        let record = |(id, chunk): (String, u64)| Record {
            id,
            document: Some(self.text(chunk)),
            metadata: self
                .metadata(chunk)
                .as_object()
                .into_iter()
                .flatten()
                .map(|(k, v)| (k.clone(), v.to_string()))
                .collect(),
            uri: None,
            embedding: self.embedding(chunk).into_iter().map(f32::to_bits).collect(),
        };
        self.ids().into_iter().zip(0..).map(record).collect()
    }
}

/// Every collection with its documents, by name.
pub type CatalogFixture = BTreeMap<String, BTreeMap<String, Document>>;

/// Compares what each server holds with what the CMS was answered. Returns how many records were compared on all of
/// them, and every difference.
pub fn compare(catalog_fixture: &CatalogFixture, servers: &[ChromaServer]) -> (usize, Vec<String>) {
    let mut differences = Vec::new();
    let mut compared = 0;
    for (number, server) in servers.iter().enumerate() {
        let held = testkit::Content::of(&server.client(), &["default_tenant"]);
        let names: Vec<&String> = held.collections.keys().map(|key: &Key| &key.name).collect();
        let expected: Vec<&String> = catalog_fixture.keys().collect();
        if names != expected {
            differences.push(format!("instance {number}: collections {names:?} instead of {expected:?}"));
        }
        for (key, collection) in &held.collections {
            let Some(documents) = catalog_fixture.get(&key.name) else { continue };
            let expected: Vec<Record> = documents.values().flat_map(Document::records).collect();
            compared += expected.len();
            differences.extend(unequal(&format!("instance {number}, {}", key.name), &expected, &collection.records));
        }
    }
    (compared, differences)
}

fn unequal(place: &str, expected: &[Record], held: &[Record]) -> Vec<String> {
    let by_id = |records: &[Record]| -> BTreeMap<String, Record> {
        records.iter().map(|record| (record.id.clone(), record.clone())).collect()
    };
    let (expected, found) = (by_id(expected), by_id(held));
    let mut differences = Vec::new();
    if found.len() != held.len() {
        differences.push(format!("{place}: an id twice"));
    }
    for id in expected.keys().chain(found.keys().filter(|id| !expected.contains_key(*id))) {
        if expected.get(id) != found.get(id) {
            differences.push(format!("{place}, {id}: {:?} instead of {:?}", found.get(id), expected.get(id)));
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_found() {
        let expected = Document::new("d", 3).records();
        assert_eq!(unequal("here", &expected, &expected), Vec::<String>::new());
        let mut bit = expected.clone();
        bit[1].embedding[0] ^= 1;
        assert_eq!(unequal("here", &expected, &bit).len(), 1);
        assert_eq!(unequal("here", &expected, &expected[..2]).len(), 1);
        assert_eq!(unequal("here", &expected[..2], &expected).len(), 1);
        let twice: Vec<Record> = expected.iter().chain(&expected[..1]).cloned().collect();
        assert_eq!(unequal("here", &expected, &twice).len(), 1);
        assert_eq!(unequal("here", &expected, &Document::new("d", 3).edited(3).records()).len(), 6);
    }
}
