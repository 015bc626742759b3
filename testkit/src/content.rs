//! Everything a server holds, in a form in which two servers can be compared. Ids that each server assigns itself are
//! left out; everything else is exact. Embeddings are compared bit by bit, metadata values and documents by their JSON
//! text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::http::{Answer, Client};
use super::place::wait_for;

const PAGE: usize = 1000;
const LISTED: usize = 100_000;
/// How long to repeat a read that Chroma fails for a transient reason.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub tenant: String,
    pub database: String,
    pub name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant, self.database, self.name)
    }
}

/// How a collection is defined: what `GET` shows of it, without its id, tenant and database.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    pub metadata: Value,
    pub configuration: Value,
    pub schema: Value,
    pub dimension: Value,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub id: String,
    pub document: Option<String>,
    /// Each value's JSON text. Chroma treats no metadata and empty metadata as the same.
    pub metadata: BTreeMap<String, String>,
    pub uri: Option<String>,
    /// Each float's bits.
    pub embedding: Vec<u32>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Collection {
    pub definition: Definition,
    /// In the server's order, which is the order of insertion.
    pub records: Vec<Record>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Content {
    pub databases: BTreeSet<(String, String)>,
    pub collections: BTreeMap<Key, Collection>,
}

impl Content {
    /// Reads everything that this server holds in these tenants.
    pub fn of(client: &Client, tenants: &[&str]) -> Content {
        let mut content = Content::default();
        for tenant in tenants {
            let databases =
                read(client, "GET", &format!("/api/v2/tenants/{tenant}/databases?limit={LISTED}"), &Value::Null);
            // The edge's own databases, which differ on each server.
            let own = |name: &String| name.starts_with("chroma-edge-");
            for database in names(&databases.json()).into_iter().filter(|name| !own(name)) {
                content.add_database(client, tenant, &database);
            }
        }
        content
    }

    fn add_database(&mut self, client: &Client, tenant: &str, database: &str) {
        let path = format!("/api/v2/tenants/{tenant}/databases/{database}/collections");
        let list = read(client, "GET", &format!("{path}?limit={LISTED}"), &Value::Null).json();
        self.databases.insert((tenant.to_owned(), database.to_owned()));
        for mut found in list.as_array().cloned().unwrap_or_else(|| panic!("a list of collections: {list}")) {
            let name = found["name"].as_str().expect("a name").to_owned();
            let id = found["id"].as_str().expect("an id").to_owned();
            let key = Key { tenant: tenant.to_owned(), database: database.to_owned(), name };
            let definition = Definition {
                metadata: found["metadata"].take(),
                configuration: found["configuration_json"].take(),
                schema: found["schema"].take(),
                dimension: found["dimension"].take(),
            };
            let records = records(client, &format!("{path}/{id}"));
            assert!(self.collections.insert(key.clone(), Collection { definition, records }).is_none(), "{key} twice");
        }
    }

    /// Returns the number of records in all collections.
    pub fn record_count(&self) -> usize {
        self.collections.values().map(|collection| collection.records.len()).sum()
    }
}

/// Reads every record of the collection at this path, page by page, and checks the number against `count`.
pub fn records(client: &Client, path: &str) -> Vec<Record> {
    let mut all = Vec::new();
    loop {
        let body =
            json!({"limit": PAGE, "offset": all.len(), "include": ["embeddings", "documents", "metadatas", "uris"]});
        let page = parse_page(&read(client, "POST", &format!("{path}/get"), &body));
        let full = page.len() == PAGE;
        all.extend(page);
        if !full {
            break;
        }
    }
    let count = read(client, "GET", &format!("{path}/count"), &Value::Null).json();
    assert_eq!(count, json!(all.len()), "{path}: count and get disagree");
    all
}

#[derive(Deserialize)]
struct Page {
    ids: Vec<String>,
    documents: Vec<Option<String>>,
    metadatas: Vec<Option<BTreeMap<String, Box<RawValue>>>>,
    uris: Vec<Option<String>>,
    embeddings: Vec<Box<RawValue>>,
}

/// Parses the records in an answer to `get` that includes everything.
pub fn parse_page(answer: &Answer) -> Vec<Record> {
    let page: Page = serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer}"));
    let count = page.ids.len();
    let lengths = [page.documents.len(), page.metadatas.len(), page.uris.len(), page.embeddings.len()];
    assert_eq!(lengths, [count; 4], "arrays of one length");
    let columns = page.documents.into_iter().zip(page.metadatas).zip(page.uris).zip(page.embeddings);
    let record = |(id, (((document, metadata), uri), embedding)): (_, (((_, Option<_>), _), Box<RawValue>))| Record {
        id,
        document,
        metadata: texts(metadata.unwrap_or_default()),
        uri,
        embedding: bits(embedding.get()),
    };
    page.ids.into_iter().zip(columns).map(record).collect()
}

fn texts(metadata: BTreeMap<String, Box<RawValue>>) -> BTreeMap<String, String> {
    metadata.into_iter().map(|(key, value)| (key, value.get().to_owned())).collect()
}

/// Returns the bits of each float in this JSON array. Parsing by way of an `f64` could round a float twice.
pub fn bits(array: &str) -> Vec<u32> {
    let inner = array.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let inner = inner.unwrap_or_else(|| panic!("an array of floats: {array}"));
    let parse = |text: &str| text.trim().parse::<f32>().unwrap_or_else(|error| panic!("{text}: {error}")).to_bits();
    if inner.trim().is_empty() { Vec::new() } else { inner.split(',').map(parse).collect() }
}

/// Performs a read that must succeed, repeated while Chroma fails it for a transient reason.
pub fn read(client: &Client, method: &str, path: &str, body: &Value) -> Answer {
    wait_for(&format!("{method} {}{path}", client.url()), PATIENCE, || {
        let answer = client.call(method, path, body);
        let passing = answer.status == 500
            && ["Error finding id", "database is locked"].iter().any(|text| answer.text().contains(text));
        (!passing).then(|| answer.expect(200))
    })
}

fn names(list: &Value) -> Vec<String> {
    let list = list.as_array().unwrap_or_else(|| panic!("a list: {list}"));
    list.iter().map(|item| item["name"].as_str().expect("a name").to_owned()).collect()
}

/// One difference between two servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub place: String,
    pub left: String,
    pub right: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} | {}", self.place, self.left, self.right)
    }
}

/// Returns everything in which `left` and `right` differ.
pub fn diff(left: &Content, right: &Content) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(&mut found, "databases", &left.databases, &right.databases);
    let keys: BTreeSet<&Key> = left.collections.keys().chain(right.collections.keys()).collect();
    for key in keys {
        match (left.collections.get(key), right.collections.get(key)) {
            (Some(a), Some(b)) => diff_collection(&mut found, key, a, b),
            (a, b) => compare(&mut found, &key.to_string(), &a.is_some(), &b.is_some()),
        }
    }
    found
}

fn diff_collection(found: &mut Vec<Difference>, key: &Key, left: &Collection, right: &Collection) {
    let place = |part: &str| format!("{key} definition {part}");
    let (a, b) = (&left.definition, &right.definition);
    diff_json(found, &place("metadata"), &a.metadata, &b.metadata);
    diff_json(found, &place("configuration"), &a.configuration, &b.configuration);
    diff_json(found, &place("schema"), &a.schema, &b.schema);
    diff_json(found, &place("dimension"), &a.dimension, &b.dimension);
    diff_records(found, &key.to_string(), &left.records, &right.records);
}

/// Descends into objects, so that a difference names the smallest part that differs.
fn diff_json(found: &mut Vec<Difference>, place: &str, left: &Value, right: &Value) {
    if let (Value::Object(a), Value::Object(b)) = (left, right) {
        let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        for key in keys {
            diff_json(found, &format!("{place}.{key}"), &left[key], &right[key]);
        }
        return;
    }
    compare(found, place, left, right);
}

/// Adds everything in which two lists of records differ, by id, then by order.
pub fn diff_records(found: &mut Vec<Difference>, place: &str, left: &[Record], right: &[Record]) {
    let (a, b) = (by_id(place, left), by_id(place, right));
    let ids: BTreeSet<&str> = a.keys().chain(b.keys()).copied().collect();
    let before = found.len();
    for id in ids {
        compare(found, &format!("{place} record {id:?}"), &a.get(id), &b.get(id));
    }
    if found.len() == before {
        let order = |records: &[Record]| records.iter().map(|record| record.id.clone()).collect::<Vec<_>>();
        compare(found, &format!("{place} order"), &order(left), &order(right));
    }
}

fn by_id<'a>(place: &str, records: &'a [Record]) -> BTreeMap<&'a str, &'a Record> {
    let map: BTreeMap<_, _> = records.iter().map(|record| (record.id.as_str(), record)).collect();
    assert_eq!(map.len(), records.len(), "{place}: an id twice");
    map
}

fn compare<T: PartialEq + fmt::Debug>(found: &mut Vec<Difference>, place: &str, left: &T, right: &T) {
    if left != right {
        let (left, right) = (format!("{left:?}"), format!("{right:?}"));
        found.push(Difference { place: place.to_owned(), left, right });
    }
}

/// Panics with every difference, if there is any.
#[track_caller]
pub fn assert_equal(what: &str, left: &Content, right: &Content) {
    let found = diff(left, right);
    let shown: Vec<String> = found.iter().take(20).map(Difference::to_string).collect();
    assert!(found.is_empty(), "{what}: {} differences:\n{}", found.len(), shown.join("\n"));
}
