//! A model of what Chroma does with writes, checked against a real server by `harness::model_equals_chroma`.
//!
//! Covers what the tests send: adds, upserts, updates and deletes of records, and creating, changing, renaming and
//! deleting collections. Conditions: equality, `$eq $ne $in $nin $gt $gte $lt $lte $and $or` on whole numbers, strings
//! and booleans; `$contains` and `$not_contains` on documents.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::content::Record;

/// One write, as it is sent.
#[derive(Clone, Debug)]
pub enum Op {
    Create { name: String, metadata: Value },
    Modify { name: String, metadata: Value },
    Rename { name: String, to: String },
    DeleteCollection { name: String },
    Records { name: String, verb: Verb, body: Value },
}

/// A write of records. Its name is the last part of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Add,
    Upsert,
    Update,
    Delete,
}

impl Verb {
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Add => "add",
            Verb::Upsert => "upsert",
            Verb::Update => "update",
            Verb::Delete => "delete",
        }
    }
}

/// A collection of the model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelCollection {
    pub metadata: Value,
    pub records: Vec<Record>,
}

/// All collections of one database, by name.
#[derive(Clone, Debug, Default)]
pub struct Model {
    pub collections: BTreeMap<String, ModelCollection>,
}

impl Model {
    /// Executes a write and returns the status that Chroma answers.
    pub fn apply(&mut self, op: &Op) -> u16 {
        match op {
            Op::Create { name, .. } if self.collections.contains_key(name) => 409,
            Op::Create { name, metadata } => {
                let made = ModelCollection { metadata: metadata.clone(), records: Vec::new() };
                self.collections.insert(name.clone(), made);
                200
            }
            Op::Modify { name, metadata } => self.change(name, |collection| collection.metadata = metadata.clone()),
            Op::Rename { name, to } if self.is_taken(name, to) => 500,
            Op::Rename { name, to } => match self.collections.remove(name) {
                Some(collection) => {
                    self.collections.insert(to.clone(), collection);
                    200
                }
                None => 404,
            },
            Op::DeleteCollection { name } => self.collections.remove(name).map_or(404, |_| 200),
            Op::Records { name, verb, body } => {
                let status = self.change(name, |collection| collection.apply(*verb, body));
                if status == 200 && *verb == Verb::Add { 201 } else { status }
            }
        }
    }

    /// Returns whether the new name is taken. Renaming a collection to its own name is allowed.
    fn is_taken(&self, name: &str, to: &str) -> bool {
        name != to && self.collections.contains_key(name) && self.collections.contains_key(to)
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut ModelCollection)) -> u16 {
        self.collections.get_mut(name).map_or(404, |collection| {
            change(collection);
            200
        })
    }
}

impl ModelCollection {
    /// Executes a write of records that Chroma accepts.
    pub fn apply(&mut self, verb: Verb, body: &Value) {
        match verb {
            Verb::Delete => self.delete(body),
            Verb::Add | Verb::Upsert | Verb::Update => self.write(verb, body),
        }
    }

    fn write(&mut self, verb: Verb, body: &Value) {
        let ids = body["ids"].as_array().expect("ids");
        for (index, id) in ids.iter().enumerate() {
            let id = id.as_str().expect("an id");
            let found = self.records.iter().position(|record| record.id == id);
            let target = match (verb, found) {
                (Verb::Add, Some(_)) | (Verb::Update, None) => continue,
                (_, Some(position)) => &mut self.records[position],
                (_, None) => {
                    self.records.push(Record { id: id.to_owned(), ..Record::default() });
                    self.records.last_mut().expect("just pushed")
                }
            };
            merge(target, body, index);
        }
    }

    fn delete(&mut self, body: &Value) {
        let ids = body["ids"].as_array();
        if ids.is_none() && body["where"].is_null() && body["where_document"].is_null() {
            // No selection selects nothing. A limited delete that found nothing is resolved to this.
            return;
        }
        let mut left = body["limit"].as_u64().unwrap_or(u64::MAX);
        self.records.retain(|record| {
            let chosen = left > 0
                && ids.is_none_or(|ids| ids.iter().any(|id| *id == record.id.as_str()))
                && (body["where"].is_null() || matches(&body["where"], record))
                && (body["where_document"].is_null() || document_matches(&body["where_document"], record));
            left -= u64::from(chosen);
            !chosen
        });
    }
}

/// Applies an upsert or update: it changes what is given and keeps everything else. A null value drops its key.
fn merge(record: &mut Record, body: &Value, index: usize) {
    if let Some(embedding) = body["embeddings"][index].as_array() {
        let float = |value: &Value| (value.as_f64().expect("a float") as f32).to_bits();
        record.embedding = embedding.iter().map(float).collect();
    }
    if let Some(document) = body["documents"][index].as_str() {
        record.document = Some(document.to_owned());
    }
    if let Some(uri) = body["uris"][index].as_str() {
        record.uri = Some(uri.to_owned());
    }
    for (key, value) in body["metadatas"][index].as_object().unwrap_or(&Map::new()) {
        match value {
            Value::Null => record.metadata.remove(key),
            value => record.metadata.insert(key.clone(), as_parsed(value).to_string()),
        };
    }
}

/// Rounds a number as Chroma does: it reads 17 digits as serde_json does by default, so the last bit may be lost.
fn as_parsed(value: &Value) -> Value {
    serde_json::from_str(&value.to_string()).expect("JSON")
}

fn matches(condition: &Value, record: &Record) -> bool {
    let condition = condition.as_object().expect("a condition");
    condition.iter().all(|(key, wanted)| {
        let parts = || wanted.as_array().expect("conditions").iter();
        match key.as_str() {
            "$and" => parts().all(|part| matches(part, record)),
            "$or" => parts().any(|part| matches(part, record)),
            key => {
                let value = record.metadata.get(key).map(|text| serde_json::from_str(text).expect("JSON"));
                key_matches(value.as_ref(), wanted)
            }
        }
    })
}

fn key_matches(value: Option<&Value>, wanted: &Value) -> bool {
    let Some(comparisons) = wanted.as_object() else { return value == Some(wanted) };
    let listed = |list: &Value| list.as_array().expect("a list").iter().any(|item| value == Some(item));
    comparisons.iter().all(|(comparison, wanted)| match comparison.as_str() {
        "$eq" => value == Some(wanted),
        // A record without the key is "not equal" to anything.
        "$ne" => value != Some(wanted),
        "$in" => listed(wanted),
        "$nin" => !listed(wanted),
        comparison => match (value.and_then(Value::as_i64), wanted.as_i64()) {
            (Some(value), Some(wanted)) => match comparison {
                "$gt" => value > wanted,
                "$gte" => value >= wanted,
                "$lt" => value < wanted,
                "$lte" => value <= wanted,
                other => panic!("not in the model: {other}"),
            },
            _ => false,
        },
    })
}

fn document_matches(condition: &Value, record: &Record) -> bool {
    let document = record.document.as_deref();
    condition.as_object().expect("a condition").iter().all(|(comparison, text)| {
        let contains = document.is_some_and(|document| document.contains(text.as_str().expect("a text")));
        match comparison.as_str() {
            "$contains" => contains,
            "$not_contains" => !contains,
            other => panic!("not in the model: {other}"),
        }
    })
}
