//! Records, compared exactly: those sent, and those shown.
//!
//! Decides when two records are the same: id, document, each value of the metadata with its type, uri, and every bit of
//! the embedding. The order of records is not compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The fields that a read must include for complete records.
pub const INCLUDED: [&str; 4] = ["embeddings", "documents", "metadatas", "uris"];

/// A record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    pub id: String,
    pub document: Option<String>,
    pub metadata: BTreeMap<String, Value>,
    pub uri: Option<String>,
    pub embedding: Vec<f32>,
}

/// A place where two records differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where: instance, collection, record, and the part of it.
    pub place: String,
    pub expected: String,
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.place, self.expected, self.found)
    }
}

/// Builds the body of an add or upsert of these records.
pub fn body(records: &[Record]) -> Value {
    let column = |of: fn(&Record) -> Value| records.iter().map(of).collect::<Vec<Value>>();
    json!({
        "ids": column(|one| json!(one.id)),
        "embeddings": column(|one| json!(one.embedding)),
        "documents": column(|one| json!(one.document)),
        "metadatas": column(|one| if one.metadata.is_empty() { Value::Null } else { json!(one.metadata) }),
        "uris": column(|one| json!(one.uri)),
    })
}

#[derive(Deserialize)]
struct Page {
    ids: Vec<String>,
    documents: Vec<Option<String>>,
    metadatas: Vec<Option<BTreeMap<String, Value>>>,
    uris: Vec<Option<String>>,
    embeddings: Vec<Box<RawValue>>,
}

/// Parses the records in the answer of a `get`; the error describes what the answer is instead.
pub fn records(answer: &[u8]) -> Result<Vec<Record>, String> {
    let page: Page = serde_json::from_slice(answer).map_err(|error| format!("what are no records: {error}"))?;
    let lengths = [page.documents.len(), page.metadatas.len(), page.uris.len(), page.embeddings.len()];
    if lengths != [page.ids.len(); 4] {
        return Err("columns of different lengths".to_owned());
    }
    let columns = page.documents.into_iter().zip(page.metadatas).zip(page.uris).zip(page.embeddings);
    let whole = |(id, (((document, metadata), uri), embedding)): (String, (((_, Option<_>), _), Box<RawValue>))| {
        let embedding = floats(embedding.get()).ok_or_else(|| format!("an embedding that is none: {id:?}"))?;
        Ok(Record { id, document, metadata: metadata.unwrap_or_default(), uri, embedding })
    };
    page.ids.into_iter().zip(columns).map(whole).collect()
}

/// Parses floats directly: through an `f64`, a float could be rounded twice.
fn floats(array: &str) -> Option<Vec<f32>> {
    let inner = array.trim().strip_prefix('[')?.strip_suffix(']')?.trim();
    if inner.is_empty() {
        return Some(Vec::new());
    }
    inner.split(',').map(|text| text.trim().parse().ok()).collect()
}

/// Lists everything in which `found` differs from `expected`.
pub fn differences(place: &str, expected: &[Record], found: &[Record]) -> Vec<Difference> {
    let by_id = |records: &'_ [Record]| -> BTreeMap<String, Record> {
        records.iter().map(|one| (one.id.clone(), one.clone())).collect()
    };
    let mut list = Vec::new();
    let (wanted, there) = (by_id(expected), by_id(found));
    if there.len() != found.len() {
        push(&mut list, &format!("{place}, number of records"), &json!(there.len()), &json!(found.len()));
    }
    let ids: BTreeSet<&String> = wanted.keys().chain(there.keys()).collect();
    for id in ids {
        let place = format!("{place}, record {id:?}");
        match (wanted.get(id), there.get(id)) {
            (Some(wanted), Some(there)) => differing(&mut list, &place, wanted, there),
            (wanted, _) => list.push(Difference {
                place,
                expected: presence(wanted.is_some()).to_owned(),
                found: presence(wanted.is_none()).to_owned(),
            }),
        }
    }
    list
}

fn presence(there: bool) -> &'static str {
    if there { "there" } else { "not there" }
}

fn differing(list: &mut Vec<Difference>, place: &str, wanted: &Record, there: &Record) {
    push(list, &format!("{place}, document"), &json!(wanted.document), &json!(there.document));
    push(list, &format!("{place}, uri"), &json!(wanted.uri), &json!(there.uri));
    let keys: BTreeSet<&String> = wanted.metadata.keys().chain(there.metadata.keys()).collect();
    for key in keys {
        let of = |record: &Record| record.metadata.get(key).cloned().unwrap_or_default();
        push(list, &format!("{place}, metadata {key:?}"), &of(wanted), &of(there));
    }
    let dimension = |record: &Record| json!(record.embedding.len());
    push(list, &format!("{place}, dimension"), &dimension(wanted), &dimension(there));
    for (index, (a, b)) in wanted.embedding.iter().zip(&there.embedding).enumerate() {
        if a.to_bits() != b.to_bits() {
            let (expected, found) = (format!("{a:?}"), format!("{b:?}"));
            list.push(Difference { place: format!("{place}, embedding[{index}]"), expected, found });
        }
    }
}

/// Adds a difference of two JSON values; a missing value is null.
fn push(list: &mut Vec<Difference>, place: &str, expected: &Value, found: &Value) {
    if expected != found {
        list.push(Difference { place: place.to_owned(), expected: expected.to_string(), found: found.to_string() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut Record);

    fn record(id: &str) -> Record {
        let metadata = [("n".to_owned(), json!(1))].into();
        Record { id: id.to_owned(), document: Some("text".into()), metadata, uri: None, embedding: vec![0.1, -0.0] }
    }

    fn places(expected: &Record, found: &Record) -> Vec<String> {
        let list = differences("here", std::slice::from_ref(expected), std::slice::from_ref(found));
        list.into_iter().map(|one| one.place).collect()
    }

    #[test]
    fn every_part_of_a_record_counts() {
        let one = record("a");
        assert_eq!(places(&one, &one), Vec::<String>::new());
        let changed: [(&str, Change); 6] = [
            ("document", |one| one.document = None),
            ("uri", |one| one.uri = Some(String::new())),
            ("metadata \"n\"", |one| drop(one.metadata.insert("n".into(), json!(1.0)))),
            ("metadata \"m\"", |one| drop(one.metadata.insert("m".into(), json!(true)))),
            ("dimension", |one| one.embedding.truncate(1)),
            ("embedding[1]", |one| one.embedding[1] = 0.0),
        ];
        for (part, change) in changed {
            let mut other = one.clone();
            change(&mut other);
            assert_eq!(places(&one, &other), [format!("here, record \"a\", {part}")]);
        }
        assert_eq!(places(&one, &record("b")), ["here, record \"a\"", "here, record \"b\""]);
        let twice = differences("here", &[record("a")], &[record("a"), record("a")]);
        assert_eq!(twice.len(), 1, "{twice:?}");
    }

    #[test]
    fn an_answer_reads_as_what_was_sent() {
        let sent =
            [record("a"), Record { id: "b".into(), embedding: vec![f32::MIN_POSITIVE, 1.0e-45], ..Record::default() }];
        assert_eq!(records(body(&sent).to_string().as_bytes()), Ok(sent.to_vec()));
        for wrong in ["{}", "[]", "", r#"{"ids":["a"],"documents":[],"metadatas":[],"uris":[],"embeddings":[]}"#] {
            assert!(records(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
