//! Records as an instance shows them, and what makes one page of a copy equal to its source. Pure.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Whether a collection ends with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Reached,
    Beyond,
}

/// One record. The embedding is kept as it was written, and copied in that form.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub id: String,
    pub embedding: Option<Box<RawValue>>,
    pub document: Value,
    pub metadata: Value,
    pub uri: Value,
}

#[derive(Deserialize)]
struct Columns {
    ids: Vec<String>,
    #[serde(default)]
    embeddings: Option<Vec<Option<Box<RawValue>>>>,
    #[serde(default)]
    documents: Option<Vec<Value>>,
    #[serde(default)]
    metadatas: Option<Vec<Value>>,
    #[serde(default)]
    uris: Option<Vec<Value>>,
}

/// Reads the records of an answer to `get`.
pub(crate) fn records_of(answer: &[u8]) -> Result<Vec<Record>, serde_json::Error> {
    let columns: Columns = serde_json::from_slice(answer)?;
    let mut embeddings = columns.embeddings.unwrap_or_default().into_iter();
    let mut documents = columns.documents.unwrap_or_default().into_iter();
    let mut metadatas = columns.metadatas.unwrap_or_default().into_iter();
    let mut uris = columns.uris.unwrap_or_default().into_iter();
    let record = |id| Record {
        id,
        embedding: embeddings.next().flatten(),
        document: documents.next().unwrap_or_default(),
        metadata: metadatas.next().unwrap_or_default(),
        uri: uris.next().unwrap_or_default(),
    };
    Ok(columns.ids.into_iter().map(record).collect())
}

/// How equal two embeddings must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Embeddings {
    Exact,
    /// Under cosine distance, Chroma normalizes once more per copy, and rounds.
    Rounded,
}

/// The most that may be rounding, as a part of the largest number, or of 1 if all are smaller.
const ROUNDING: f32 = 1e-6;

impl Embeddings {
    /// Returns how equal they must be under this Collection object's distance.
    pub fn of(definition: &[u8]) -> Embeddings {
        let Ok(definition) = serde_json::from_slice::<Value>(definition) else { return Embeddings::Exact };
        let space = ["hnsw", "spann"].map(|index| format!("/configuration_json/{index}/space"));
        let cosine = space.iter().any(|path| definition.pointer(path).and_then(Value::as_str) == Some("cosine"));
        if cosine { Embeddings::Rounded } else { Embeddings::Exact }
    }

    /// Two instances of one version write the same number in the same way; others may not.
    fn same(self, one: Option<&RawValue>, other: Option<&RawValue>) -> bool {
        let (Some(one), Some(other)) = (one, other) else { return one.is_none() && other.is_none() };
        if one.get() == other.get() {
            return true;
        }
        let numbers = |raw: &RawValue| serde_json::from_str::<Vec<f32>>(raw.get()).unwrap_or_default();
        self.close(&numbers(one), &numbers(other))
    }

    /// Returns whether these are the numbers of one embedding.
    pub fn close(self, one: &[f32], other: &[f32]) -> bool {
        let longest = one.iter().fold(1.0_f32, |longest, number| longest.max(number.abs()));
        let close = |(one, other): (&f32, &f32)| match self {
            Embeddings::Exact => one == other,
            Embeddings::Rounded => (one - other).abs() <= ROUNDING * longest,
        };
        !one.is_empty() && one.len() == other.len() && one.iter().zip(other).all(close)
    }
}

impl Record {
    /// Returns whether the records are equal, the embeddings as equal as they must be.
    pub fn same(&self, other: &Record, embeddings: Embeddings) -> bool {
        let same = (&self.id, &self.document, &self.metadata, &self.uri)
            == (&other.id, &other.document, &other.metadata, &other.uri);
        same && embeddings.same(self.embedding.as_deref(), other.embedding.as_deref())
    }

    /// Returns what makes the other record equal to this one in an upsert. An upsert merges, so keys that this one
    /// lacks are null. `None`: an upsert cannot remove a document or a URI.
    fn over(&self, other: &Record) -> Option<Record> {
        let kept = |ours: &Value, theirs: &Value| !ours.is_null() || theirs.is_null();
        if !kept(&self.document, &other.document) || !kept(&self.uri, &other.uri) {
            return None;
        }
        let keys = |value: &Value| value.as_object().cloned().unwrap_or_default();
        let mut metadata: Map<String, Value> = keys(&self.metadata);
        for key in keys(&other.metadata).into_iter().map(|(key, _)| key) {
            metadata.entry(key).or_insert(Value::Null);
        }
        let metadata = if metadata.is_empty() { Value::Null } else { Value::Object(metadata) };
        Some(Record { metadata, ..self.clone() })
    }
}

/// Returns the body of an upsert of these records.
pub(super) fn upsert_body(records: &[Record]) -> String {
    let column = |of: &dyn Fn(&Record) -> &Value| {
        let any = records.iter().any(|record| !of(record).is_null());
        any.then(|| records.iter().map(|record| of(record).clone()).collect::<Vec<Value>>())
    };
    #[derive(serde::Serialize)]
    struct Body<'a> {
        ids: Vec<&'a str>,
        embeddings: Vec<Option<&'a RawValue>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        documents: Option<Vec<Value>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        metadatas: Option<Vec<Value>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        uris: Option<Vec<Value>>,
    }
    let body = Body {
        ids: records.iter().map(|record| record.id.as_str()).collect(),
        embeddings: records.iter().map(|record| record.embedding.as_deref()).collect(),
        documents: column(&|record| &record.document),
        metadatas: column(&|record| &record.metadata),
        uris: column(&|record| &record.uri),
    };
    // These strings and numbers were read from JSON, so they can be serialized.
    serde_json::to_string(&body).unwrap_or_default()
}

/// What must be done to a copy's page, in this order.
#[derive(Debug, Default)]
pub(super) struct Repair {
    /// Records that differ, to be upserted over the copy's.
    pub patch: Vec<Record>,
    /// How many records are the same from the page's beginning on, after the patch. Behind them the copy has others.
    pub common: usize,
}

/// Compares two pages that begin at the same place.
pub(super) fn repair(source: &[Record], copy: &[Record], embeddings: Embeddings) -> Repair {
    let mut repair = Repair::default();
    for (ours, theirs) in source.iter().zip(copy).take_while(|(ours, theirs)| ours.id == theirs.id) {
        if !ours.same(theirs, embeddings) {
            let Some(patch) = ours.over(theirs) else { break };
            repair.patch.push(patch);
        }
        repair.common += 1;
    }
    repair
}

/// Returns which of the copy's records must be removed where `source` should follow, so that the rest is in the
/// source's order and the source's other records can be written behind it. `beyond`: whether the source goes on behind
/// these.
pub(super) fn misplaced(source: &[Record], copy: &[Record], beyond: End) -> Vec<String> {
    let same_place = source.first().zip(copy.first()).is_some_and(|(ours, theirs)| ours.id == theirs.id);
    let mut wanted = source.iter().map(|record| record.id.as_str()).peekable();
    if same_place {
        // The first record cannot be patched. Written again, it comes last, and so does everything behind it.
        return copy.iter().map(|record| record.id.clone()).collect();
    }
    let mut gone = Vec::new();
    for theirs in copy {
        match wanted.peek() {
            Some(id) if *id == theirs.id => drop(wanted.next()),
            None if beyond == End::Beyond => break,
            Some(_) | None => gone.push(theirs.id.clone()),
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(records: &[(&str, &str, Value, Value)]) -> Vec<Record> {
        let answer = json!({
            "ids": records.iter().map(|(id, ..)| id).collect::<Vec<_>>(),
            "embeddings": records.iter().map(|(_, e, ..)| serde_json::from_str::<Value>(e).unwrap()).collect::<Vec<_>>(),
            "documents": records.iter().map(|(_, _, document, _)| document).collect::<Vec<_>>(),
            "metadatas": records.iter().map(|(.., metadata)| metadata).collect::<Vec<_>>(),
            "uris": null,
        });
        records_of(answer.to_string().as_bytes()).unwrap()
    }

    fn plain(ids: &[&str]) -> Vec<Record> {
        page(&ids.iter().map(|id| (*id, "[1.0]", Value::Null, Value::Null)).collect::<Vec<_>>())
    }

    /// How many records have to be patched, and how many are the same then.
    fn compared(source: &[Record], copy: &[Record], embeddings: Embeddings) -> (usize, usize) {
        let found = repair(source, copy, embeddings);
        (found.patch.len(), found.common)
    }

    #[test]
    fn equal_pages_need_no_repair() {
        let all = plain(&["a", "b"]);
        assert_eq!(compared(&all, &all, Embeddings::Exact), (0, 2));
        assert_eq!(compared(&all, &plain(&["a"]), Embeddings::Exact), (0, 1));
        assert_eq!(compared(&all, &plain(&["b"]), Embeddings::Exact), (0, 0), "the order counts");
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        let one = page(&[("a", "[0.5, 1.0]", Value::Null, Value::Null)]);
        let other = page(&[("a", "[5e-1,1]", Value::Null, Value::Null)]);
        assert_eq!(compared(&one, &other, Embeddings::Exact), (0, 1));
    }

    #[test]
    fn rounding_counts_unless_the_distance_is_cosine() {
        let one = page(&[("a", "[0.6, 0.8]", Value::Null, Value::Null)]);
        let other = page(&[("a", "[0.6000001, 0.8]", Value::Null, Value::Null)]);
        assert_eq!(compared(&one, &other, Embeddings::Exact), (1, 1));
        assert_eq!(compared(&one, &other, Embeddings::Rounded), (0, 1));
        let tampered = page(&[("a", "[0.601, 0.8]", Value::Null, Value::Null)]);
        assert_eq!(compared(&one, &tampered, Embeddings::Rounded), (1, 1));
        let definition = json!({ "configuration_json": { "hnsw": { "space": "cosine" } } }).to_string();
        assert_eq!(Embeddings::of(definition.as_bytes()), Embeddings::Rounded);
        assert_eq!(Embeddings::of(b"{}"), Embeddings::Exact);
    }

    #[test]
    fn a_key_that_the_source_lacks_is_taken_away() {
        let source = page(&[("a", "[1]", json!("text"), json!({ "k": 1 }))]);
        let copy = page(&[("a", "[1]", json!("older"), json!({ "k": 2, "gone": true }))]);
        let found = repair(&source, &copy, Embeddings::Exact);
        assert_eq!(found.common, 1);
        let body: Value = serde_json::from_str(&upsert_body(&found.patch)).unwrap();
        assert_eq!(body["metadatas"], json!([{ "k": 1, "gone": null }]));
        assert_eq!(body["documents"], json!(["text"]));
        assert_eq!(body.get("uris"), None);
    }

    #[test]
    fn what_is_in_the_way_goes_and_what_is_in_order_stays() {
        let gone = |source: &[&str], copy: &[&str], beyond| misplaced(&plain(source), &plain(copy), beyond);
        assert_eq!(gone(&["b", "c"], &["a", "b", "c"], End::Beyond), ["a"], "it was deleted");
        assert_eq!(gone(&["b", "c", "a"], &["a", "b", "c"], End::Reached), ["a"], "it was written again");
        assert_eq!(gone(&["a", "b", "c"], &["b", "c"], End::Reached), ["b", "c"], "the first one is missing");
        assert_eq!(gone(&["b"], &["a", "b", "c"], End::Beyond), ["a"], "nobody knows yet what follows");
        assert_eq!(gone(&["b"], &["a", "b", "c"], End::Reached), ["a", "c"]);
        assert_eq!(gone(&["a", "b"], &["a", "b"], End::Reached), ["a", "b"], "the first one cannot be patched");
    }

    #[test]
    fn a_document_that_must_vanish_cannot_be_patched() {
        let source = page(&[("a", "[1]", Value::Null, Value::Null), ("b", "[1]", Value::Null, Value::Null)]);
        let copy = page(&[("a", "[1]", json!("text"), Value::Null), ("b", "[1]", Value::Null, Value::Null)]);
        assert_eq!(compared(&source, &copy, Embeddings::Exact), (0, 0));
    }
}
