//! Derives what single records should contain from the entries that the journal still has. Pure.
//!
//! It follows Chroma's rules (`add` ignores what exists, `update` what does not, metadata is merged key by key) and
//! claims only what is certain. A record that a delete by a condition may have removed is unknown, and so is whatever
//! existed before the journal's first entry.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::heal::{Embeddings, Record};
use crate::order::Kind;

/// What is known about one record. `None`: unknown.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Expected {
    exists: Option<bool>,
    /// The fields, if the record exists.
    embedding: Option<Vec<f32>>,
    document: Option<Value>,
    uri: Option<Value>,
    metadata: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    ids: Option<Vec<String>>,
    #[serde(default)]
    embeddings: Option<Vec<Option<Box<RawValue>>>>,
    #[serde(default)]
    documents: Option<Vec<Value>>,
    #[serde(default)]
    uris: Option<Vec<Value>>,
    #[serde(default)]
    metadatas: Option<Vec<Value>>,
    #[serde(default, rename = "where")]
    condition: Value,
    #[serde(default)]
    where_document: Value,
}

/// An embedding as a body writes it.
enum Vector {
    NotGiven,
    Unreadable,
    Of(Vec<f32>),
}

/// One record as a body writes it.
struct Written {
    embedding: Vector,
    document: Value,
    uri: Value,
    metadata: Value,
}

/// The examined records, with what is known about each.
#[derive(Debug)]
pub(super) struct Fold {
    records: BTreeMap<String, Expected>,
}

/// Whether the journal has the lane from its beginning. If so, a record that no entry wrote does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    Kept,
    Lost,
}

impl Fold {
    pub fn new(ids: impl Iterator<Item = String>, beginning: Beginning) -> Fold {
        let exists = (beginning == Beginning::Kept).then_some(false);
        let start = Expected { exists, ..Expected::default() };
        Fold { records: ids.map(|id| (id, start.clone())).collect() }
    }

    /// Folds in the next applied entry of the lane.
    pub fn apply(&mut self, kind: Kind, body: &[u8]) {
        // An array has the fields in Chroma's order, which is not guaranteed.
        let object = body.trim_ascii_start().starts_with(b"{");
        let Some(body) = serde_json::from_slice::<Body>(body).ok().filter(|_| object) else {
            // Whatever it wrote is unknown.
            self.records.values_mut().for_each(|record| *record = Expected::default());
            return;
        };
        match kind {
            Kind::Delete | Kind::DeleteLimited => self.delete(body),
            Kind::Add | Kind::Update | Kind::Upsert => self.write(kind, body),
            // No other kind is in a collection's lane.
            _ => {}
        }
    }

    /// Returns what is known about the record.
    pub fn of(&self, id: &str) -> Expected {
        self.records.get(id).cloned().unwrap_or_default()
    }

    fn delete(&mut self, body: Body) {
        let conditional = !body.condition.is_null() || !body.where_document.is_null();
        match body.ids.filter(|ids| !ids.is_empty()) {
            Some(ids) => {
                for id in ids {
                    match self.records.get_mut(&id) {
                        Some(record) if conditional => record.may_be_deleted(),
                        Some(record) => *record = Expected { exists: Some(false), ..Expected::default() },
                        None => {}
                    }
                }
            }
            None => self.records.values_mut().for_each(Expected::may_be_deleted),
        }
    }

    fn write(&mut self, kind: Kind, body: Body) {
        let mut embeddings = body.embeddings.unwrap_or_default().into_iter();
        let mut documents = body.documents.unwrap_or_default().into_iter();
        let mut uris = body.uris.unwrap_or_default().into_iter();
        let mut metadatas = body.metadatas.unwrap_or_default().into_iter();
        for id in body.ids.unwrap_or_default() {
            let (raw, document) = (embeddings.next().flatten(), documents.next().unwrap_or_default());
            let (uri, metadata) = (uris.next().unwrap_or_default(), metadatas.next().unwrap_or_default());
            if let Some(record) = self.records.get_mut(&id) {
                let embedding = match raw {
                    None => Vector::NotGiven,
                    Some(raw) => vector(&raw).map_or(Vector::Unreadable, Vector::Of),
                };
                record.take(kind, Written { embedding, document, uri, metadata });
            }
        }
    }
}

impl Expected {
    /// Notes that the record may have been deleted. If it was not, it is unchanged.
    fn may_be_deleted(&mut self) {
        if self.exists == Some(true) {
            self.exists = None;
        }
    }

    fn take(&mut self, kind: Kind, written: Written) {
        match (kind, self.exists) {
            (Kind::Add, Some(true)) | (Kind::Update, Some(false)) => {}
            (Kind::Add | Kind::Upsert, Some(false)) => *self = Expected::written(written),
            // Either it existed and stays as it was, or it is as written.
            (Kind::Add, None) => *self = Expected { exists: Some(true), ..Expected::default() },
            // Merged with what existed, if anything did: only what the entry itself writes is certain.
            (Kind::Upsert, None) => {
                *self = Expected { exists: Some(true), ..Expected::default() };
                self.merge(written);
            }
            _ => self.merge(written),
        }
    }

    fn written(written: Written) -> Expected {
        let Written { embedding, document, uri, metadata } = written;
        let metadata = match metadata {
            Value::Object(metadata) => merged(Map::new(), metadata),
            _ => Some(Map::new()),
        };
        let embedding = match embedding {
            Vector::Of(vector) => Some(vector),
            Vector::NotGiven | Vector::Unreadable => None,
        };
        Expected { exists: Some(true), embedding, document: Some(document), uri: Some(uri), metadata }
    }

    fn merge(&mut self, written: Written) {
        let Written { embedding, document, uri, metadata } = written;
        match embedding {
            Vector::NotGiven => {}
            Vector::Unreadable => self.embedding = None,
            Vector::Of(vector) => self.embedding = Some(vector),
        }
        for (known, new) in [(&mut self.document, document), (&mut self.uri, uri)] {
            if !new.is_null() {
                *known = Some(new);
            }
        }
        if let Value::Object(new) = metadata {
            self.metadata = self.metadata.take().and_then(|known| merged(known, new));
        }
    }

    /// Returns whether a copy that shows this record, or none, is wrong.
    pub fn contradicts(&self, shown: Option<&Record>, embeddings: Embeddings) -> bool {
        let Some(shown) = shown else { return self.exists == Some(true) };
        let differs = |known: &Option<Value>, shown: &Value| known.as_ref().is_some_and(|known| known != shown);
        let metadata = match &shown.metadata {
            Value::Object(metadata) => merged(Map::new(), metadata.clone()),
            _ => Some(Map::new()),
        };
        let vector = shown.embedding.as_deref().and_then(vector);
        let other_vector = match (&self.embedding, vector) {
            (Some(known), Some(shown)) => !embeddings.close(known, &shown),
            _ => false,
        };
        let other_metadata = matches!((&self.metadata, metadata), (Some(known), Some(shown)) if *known != shown);
        self.exists == Some(false)
            || other_vector
            || other_metadata
            || differs(&self.document, &shown.document)
            || differs(&self.uri, &shown.uri)
    }
}

/// Merges the new keys over the known ones; null removes a key. Returns `None` for a value whose stored form is not
/// known.
fn merged(mut known: Map<String, Value>, new: Map<String, Value>) -> Option<Map<String, Value>> {
    for (key, value) in new {
        match value {
            Value::Null => drop(known.remove(&key)),
            Value::Bool(_) | Value::String(_) => drop(known.insert(key, value)),
            // A number beyond the range of an i64 is stored as a float.
            Value::Number(ref number) if number.is_i64() || number.is_f64() => drop(known.insert(key, value)),
            Value::Number(_) | Value::Array(_) | Value::Object(_) => return None,
        }
    }
    Some(known)
}

/// Parses an embedding, given as JSON numbers or as base64 of little-endian floats.
fn vector(raw: &RawValue) -> Option<Vec<f32>> {
    if let Ok(numbers) = serde_json::from_str::<Vec<f32>>(raw.get()) {
        return Some(numbers);
    }
    let text: String = serde_json::from_str(raw.get()).ok()?;
    let bytes = STANDARD.decode(text).ok()?;
    let (floats, rest) = bytes.as_chunks::<4>();
    rest.is_empty().then(|| floats.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::heal::records_of;

    fn shown(embedding: &Value, document: Value, metadata: Value) -> Record {
        let answer =
            json!({ "ids": ["a"], "embeddings": [embedding], "documents": [document], "metadatas": [metadata] });
        records_of(answer.to_string().as_bytes()).unwrap().remove(0)
    }

    fn folded(beginning: Beginning, entries: &[(Kind, Value)]) -> Expected {
        let mut fold = Fold::new(std::iter::once("a".to_owned()), beginning);
        entries.iter().for_each(|(kind, body)| fold.apply(*kind, body.to_string().as_bytes()));
        fold.of("a")
    }

    fn is_wrong(expected: &Expected, shown: Option<&Record>) -> bool {
        expected.contradicts(shown, Embeddings::Exact)
    }

    #[test]
    fn the_first_add_counts_and_an_upsert_merges() {
        let entries = [
            (Kind::Update, json!({ "ids": ["a"], "documents": ["too early"] })),
            (
                Kind::Add,
                json!({ "ids": ["b", "a"], "embeddings": [[9.0], "AACAPwAAAEA="], "documents": [null, "one"], "metadatas": [null, { "k": 1, "l": true }] }),
            ),
            (Kind::Add, json!({ "ids": ["a"], "embeddings": [[5.0, 5.0]], "documents": ["ignored"] })),
            (
                Kind::Upsert,
                json!({ "ids": ["a"], "embeddings": [[1.0, 0.25]], "metadatas": [{ "k": null, "m": 0.5 }] }),
            ),
        ];
        let expected = folded(Beginning::Kept, &entries);
        let right = shown(&json!([1.0, 0.25]), json!("one"), json!({ "l": true, "m": 0.5 }));
        assert!(!is_wrong(&expected, Some(&right)), "{expected:?}");
        assert!(is_wrong(&expected, None));
        for wrong in [
            shown(&json!([1.0, 2.0]), json!("one"), json!({ "l": true, "m": 0.5 })),
            shown(&json!([1.0, 0.25]), json!("two"), json!({ "l": true, "m": 0.5 })),
            shown(&json!([1.0, 0.25]), json!("one"), json!({ "l": true, "m": 0.5, "k": 1 })),
        ] {
            assert!(is_wrong(&expected, Some(&wrong)), "{wrong:?}");
        }
    }

    #[test]
    fn what_was_deleted_is_gone_and_what_may_have_been_is_unknown() {
        let add = || (Kind::Add, json!({ "ids": ["a"], "embeddings": [[1.0]] }));
        let record = shown(&json!([1.0]), Value::Null, Value::Null);
        let gone = folded(Beginning::Kept, &[add(), (Kind::Delete, json!({ "ids": ["a"] }))]);
        assert!(is_wrong(&gone, Some(&record)) && !is_wrong(&gone, None));
        let perhaps = folded(Beginning::Kept, &[add(), (Kind::Delete, json!({ "where": { "k": 1 } }))]);
        assert!(!is_wrong(&perhaps, Some(&record)) && !is_wrong(&perhaps, None));
        assert!(
            is_wrong(&perhaps, Some(&shown(&json!([2.0]), Value::Null, Value::Null))),
            "if it is there, it is that"
        );
        let both = folded(Beginning::Kept, &[add(), (Kind::Delete, json!({ "ids": ["a"], "where": { "k": 1 } }))]);
        assert!(!is_wrong(&both, Some(&record)) && !is_wrong(&both, None));
    }

    /// The record may have been gone when it was written again. Then nothing of the earlier one is left.
    #[test]
    fn an_upsert_after_a_delete_by_a_condition_is_merged_with_nobody_knows_what() {
        let first =
            json!({ "ids": ["a"], "embeddings": [[1.0]], "documents": ["old"], "metadatas": [{ "k": 1, "gone": 2 }] });
        let again = json!({ "ids": ["a"], "embeddings": [[2.0]], "metadatas": [{ "k": 1 }] });
        let clear = json!({ "where": { "k": 1 } });
        let expected = folded(
            Beginning::Kept,
            &[(Kind::Upsert, first), (Kind::Delete, clear.clone()), (Kind::Upsert, again), (Kind::Delete, clear)],
        );
        assert!(!is_wrong(&expected, Some(&shown(&json!([2.0]), Value::Null, json!({ "k": 1 })))), "{expected:?}");
        assert!(!is_wrong(&expected, Some(&shown(&json!([2.0]), json!("old"), json!({ "k": 1, "gone": 2 })))));
        assert!(is_wrong(&expected, Some(&shown(&json!([1.0]), json!("old"), json!({ "k": 1 })))));
        let unreadable = json!({ "ids": ["a"], "embeddings": ["%"] });
        let add = json!({ "ids": ["a"], "embeddings": [[1.0]] });
        let expected = folded(Beginning::Kept, &[(Kind::Add, add), (Kind::Update, unreadable)]);
        assert!(!is_wrong(&expected, Some(&shown(&json!([7.0]), Value::Null, Value::Null))));
    }

    #[test]
    fn without_the_beginning_only_what_was_written_is_known() {
        let upsert = (Kind::Upsert, json!({ "ids": ["a"], "embeddings": [[1.0]], "metadatas": [{ "k": 1 }] }));
        let expected = folded(Beginning::Lost, &[upsert]);
        assert!(is_wrong(&expected, None));
        assert!(
            !is_wrong(&expected, Some(&shown(&json!([1.0]), json!("older"), json!({ "k": 2 })))),
            "merged with what?"
        );
        assert!(is_wrong(&expected, Some(&shown(&json!([2.0]), json!("older"), json!({ "k": 1 })))));
        let untouched = folded(Beginning::Lost, &[]);
        assert!(!is_wrong(&untouched, None));
        let unreadable = {
            let mut fold = Fold::new(std::iter::once("a".to_owned()), Beginning::Kept);
            fold.apply(Kind::Add, b"[[\"a\"]]");
            fold.of("a")
        };
        assert_eq!(unreadable, Expected::default());
        let huge =
            json!({ "ids": ["a"], "embeddings": [[1.0]], "metadatas": [{ "k": 18_446_744_073_709_551_615_u64 }] });
        let expected = folded(Beginning::Kept, &[(Kind::Upsert, huge)]);
        assert!(!is_wrong(&expected, Some(&shown(&json!([1.0]), Value::Null, json!({ "k": 1.8e19 })))));
    }
}
