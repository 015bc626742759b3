//! Which request a client sends next: drawn from its generator and from the collections that clients know.

use serde_json::{Value, json};

use super::history::Kind;
use super::load::Known;
use super::marks::Mark;
use testkit::http::{DEFAULT, record_path};
use testkit::model::Verb;
use testkit::ops;
use testkit::random::Random;

pub const NAMES: [&str; 8] = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"];

/// The mix of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    /// Ids in use per collection: few, so that writes conflict.
    pub pool: u64,
    /// Of a hundred requests, those that create, change, rename or drop a collection.
    pub catalog: u64,
    /// Of a hundred requests, those that bear a mark while one is on.
    pub marked: u64,
}

impl Default for Mix {
    fn default() -> Mix {
        Mix { pool: 50, catalog: 5, marked: 4 }
    }
}

/// One request, and what it is about.
#[derive(Clone, Debug)]
pub struct Request {
    pub kind: Kind,
    pub method: &'static str,
    pub path: String,
    /// Null for none.
    pub body: Value,
    /// The id in its path.
    pub collection: Option<String>,
    /// The name in its path or body.
    pub name: Option<String>,
}

/// Returns the next request of a client.
pub fn draw(random: &mut Random, known: &Known, mix: Mix) -> Request {
    if known.live.len() < 3 {
        return if random.percent(50) { list() } else { catalog_create(random, known) };
    }
    let (id, _) = random.pick(&known.live).clone();
    match random.below(100) {
        0..30 => read(Kind::Read, &id),
        30..33 => {
            if known.gone.is_empty() {
                list()
            } else {
                read(Kind::ReadGone, random.pick::<String>(&known.gone))
            }
        }
        33..37 => read(Kind::ReadAny, &id),
        37..41 => {
            let path = record_path(&id, "count");
            Request { kind: Kind::Count, method: "GET", path, body: Value::Null, collection: Some(id), name: None }
        }
        41..44 => {
            let body = json!({ "query_embeddings": [random.vector(ops::DIMENSION)], "n_results": 3 });
            records(Kind::Query, &id, "query", body)
        }
        44..46 => list(),
        46..49 => bad(random, &id),
        drawn if drawn < 49 + mix.catalog => catalog(random, known),
        _ => {
            let (verb, body) = ops::records(random, mix.pool);
            // Sometimes to a collection that is gone.
            let id = if random.percent(2) && !known.gone.is_empty() { random.pick(&known.gone).clone() } else { id };
            records(kind(verb, &body), &id, verb.as_str(), body)
        }
    }
}

fn kind(verb: Verb, body: &Value) -> Kind {
    match verb {
        Verb::Add => Kind::Add,
        Verb::Upsert => Kind::Upsert,
        Verb::Update => Kind::Update,
        Verb::Delete if !body["limit"].is_null() => Kind::DeleteLimited,
        Verb::Delete if !body["ids"].is_null() => Kind::DeleteByIds,
        Verb::Delete => Kind::DeleteWhere,
    }
}

fn records(kind: Kind, id: &str, operation: &str, body: Value) -> Request {
    let path = record_path(id, operation);
    Request { kind, method: "POST", path, body, collection: Some(id.to_owned()), name: None }
}

fn read(kind: Kind, id: &str) -> Request {
    records(kind, id, "get", json!({ "include": ["embeddings", "documents", "metadatas", "uris"] }))
}

/// Creates a collection with this name and an ordinary index.
pub fn creation(name: &str) -> Request {
    let (path, body) = (format!("{DEFAULT}/collections"), json!({ "name": name }));
    Request { kind: Kind::Create, method: "POST", path, body, collection: None, name: Some(name.to_owned()) }
}

pub fn addition(id: &str, body: Value) -> Request {
    records(Kind::Add, id, "add", body)
}

pub fn list() -> Request {
    let path = format!("{DEFAULT}/collections");
    Request { kind: Kind::List, method: "GET", path, body: Value::Null, collection: None, name: None }
}

/// More than what is vouched for unseen (`edge.vouch`), and below every limit.
const KEYS: u64 = 201;
const TERMS: u64 = 101;
/// The most by which they grow.
const GROWTH: u64 = 800;

/// Returns a write that is not vouched for and bears this mark after its token. Later writes are larger, since a
/// success vouches for writes that are no larger. Chroma ignores a field that it does not know. A condition is sent
/// unchanged, even if the ids that it selects are read first.
pub fn marked(random: &mut Random, known: &Known, (mark, token): (Mark, &str), growth: u64) -> Option<Request> {
    let id = (!known.live.is_empty()).then(|| random.pick(&known.live).0.clone())?;
    let growth = growth % GROWTH;
    let name = format!("{token}{mark}");
    let metadata: serde_json::Map<String, Value> = (0..KEYS + growth).map(|n| (format!("k{n}"), json!(n))).collect();
    let write = |id: &str| json!({ "ids": [id], "metadatas": [metadata], "mark": name });
    let condition = || {
        let terms = (1..TERMS + growth).map(|n| json!({ "nothing": n }));
        json!({ "$or": terms.chain([json!({ "nothing": name })]).collect::<Vec<_>>() })
    };
    let (operation, body) = match random.below(5) {
        // A write that has an effect affects only a record of its own.
        drawn @ 0..2 => {
            let operation = if drawn == 0 { "add" } else { "upsert" };
            let mut body = write("marked");
            body["embeddings"] = json!([random.vector(ops::DIMENSION)]);
            (operation, body)
        }
        2 => ("update", write("nobody")),
        3 => ("delete", json!({ "where": condition() })),
        _ => ("delete", json!({ "where": condition(), "limit": 2 })),
    };
    Some(records(Kind::Marked, &id, operation, body))
}

/// Returns a write that Chroma refuses, whatever it holds. It must have no effect.
fn bad(random: &mut Random, id: &str) -> Request {
    let bodies = [
        ("add", json!({ "ids": ["bad", "worse"], "embeddings": [[0.5, 0.5, 0.5, 0.5]] })),
        ("upsert", json!({ "ids": ["bad"], "embeddings": [["x"]] })),
        ("delete", json!({ "where": {} })),
        ("delete", json!({ "ids": ["bad"], "limit": 2 })),
    ];
    let (operation, body) = random.pick(&bodies);
    records(Kind::BadWrite, id, operation, body.clone())
}

fn catalog_create(random: &mut Random, known: &Known) -> Request {
    // Mostly a name that is free, as far as clients know.
    let free: Vec<&str> = NAMES.into_iter().filter(|name| known.live.iter().all(|(_, taken)| taken != name)).collect();
    let names: &[&str] = if free.is_empty() || random.percent(30) { &NAMES } else { &free };
    let name = (*random.pick(names)).to_owned();
    let kind = if known.dropped.contains(&name) { Kind::Recreate } else { Kind::Create };
    // A definition in the old spelling is copied in two requests. Not `cosine`: Chroma rounds its embeddings.
    let metadata = match random.below(2) {
        0 => json!({ "made": random.below(1000), "hnsw:space": "ip" }),
        _ => json!({ "made": random.below(1000) }),
    };
    let body = json!({ "name": name, "metadata": metadata });
    Request { kind, method: "POST", path: format!("{DEFAULT}/collections"), body, collection: None, name: Some(name) }
}

fn catalog(random: &mut Random, known: &Known) -> Request {
    let (id, name) = random.pick(&known.live).clone();
    let put = |kind, body| Request {
        kind,
        method: "PUT",
        path: format!("{DEFAULT}/collections/{id}"),
        body,
        collection: Some(id.clone()),
        name: None,
    };
    match random.below(10) {
        0..5 => catalog_create(random, known),
        5 => put(Kind::Modify, json!({ "new_metadata": { "changed": random.below(1000) } })),
        6 => put(Kind::Rename, json!({ "new_name": random.pick(&NAMES) })),
        _ => {
            let path = format!("{DEFAULT}/collections/{name}");
            Request { kind: Kind::Drop, method: "DELETE", path, body: Value::Null, collection: None, name: Some(name) }
        }
    }
}
