//! Random writes, by seed: bodies that Chroma accepts, over a small pool of ids so that writes conflict.

use serde_json::{Value, json};

use super::model::{Op, Verb};
use super::random::Random;

pub const DIMENSION: usize = 4;
const WORDS: [&str; 6] = ["amber", "basalt", "copper", "délta", "ebony 🌑", "flint \"quoted\"\n"];
const TAGS: [&str; 3] = ["red", "green", "blue"];

/// Returns a write of records. About one in five is a delete, by ids, by a condition or with a limit.
pub fn records(random: &mut Random, pool: u64) -> (Verb, Value) {
    let verb =
        *random.pick(&[Verb::Add, Verb::Add, Verb::Upsert, Verb::Upsert, Verb::Update, Verb::Update, Verb::Delete]);
    let body = if verb == Verb::Delete { deletion(random, pool) } else { write(random, verb, pool) };
    (verb, body)
}

/// Returns an add, upsert or update of one to five records, possibly with repeated ids.
///
/// Updates bring no embeddings: Chroma can forget the order of an update of a missing id and its later add (see
/// `harness::chroma_may_bring_back_an_update_that_came_before_its_add`). No order of requests prevents that, so
/// comparing such content would test Chroma, not the edge.
pub fn write(random: &mut Random, verb: Verb, pool: u64) -> Value {
    let count = 1 + random.below(5);
    let ids: Vec<String> = (0..count).map(|_| id(random, pool)).collect();
    let mut body = json!({ "ids": ids });
    if verb != Verb::Update {
        body["embeddings"] = (0..count).map(|_| json!(random.vector(DIMENSION))).collect();
    }
    if random.percent(80) {
        body["documents"] = (0..count).map(|_| document(random)).collect();
    }
    if random.percent(80) {
        body["metadatas"] = (0..count).map(|_| metadata(random, verb)).collect();
    }
    if random.percent(20) {
        body["uris"] = (0..count).map(|_| json!(format!("file:///{}", random.below(50)))).collect();
    }
    body
}

fn id(random: &mut Random, pool: u64) -> String {
    format!("id-{}", random.below(pool))
}

fn document(random: &mut Random) -> Value {
    if random.percent(10) {
        return Value::Null;
    }
    json!(format!("{} {}", random.pick(&WORDS), random.pick(&WORDS)))
}

fn metadata(random: &mut Random, verb: Verb) -> Value {
    if random.percent(10) {
        return Value::Null;
    }
    let mut map = json!({ "n": random.below(10), "tag": random.pick(&TAGS) });
    if random.percent(30) {
        map["f"] = json!(f64::from(random.float()));
        map["yes"] = json!(random.percent(50));
    }
    if verb != Verb::Add && random.percent(30) {
        map[*random.pick(&["n", "tag", "f"])] = Value::Null;
    }
    map
}

fn deletion(random: &mut Random, pool: u64) -> Value {
    match random.below(5) {
        0 | 1 => json!({ "ids": [id(random, pool), id(random, pool)] }),
        2 => json!({ "where": condition(random) }),
        3 => json!({ "where": condition(random), "limit": 1 + random.below(3) }),
        _ => json!({ "where_document": { "$contains": random.pick(&WORDS[..3]) }, "where": { "n": random.below(10) } }),
    }
}

fn condition(random: &mut Random) -> Value {
    let n = random.below(10);
    let tag = random.pick(&TAGS);
    match random.below(7) {
        0 => json!({ "n": n }),
        1 => json!({ "n": { "$lt": n / 3 } }),
        2 => json!({ "$and": [{ "tag": tag }, { "n": { "$gte": n } }] }),
        3 => json!({ "$or": [{ "n": { "$eq": n } }, { "n": { "$gt": 8 } }] }),
        4 => json!({ "n": { "$in": [n, (n + 1) % 10] } }),
        5 => json!({ "$and": [{ "tag": { "$ne": tag } }, { "n": { "$lte": n } }, { "n": { "$nin": [1, 2, 3] } }] }),
        _ => json!({ "$and": [{ "yes": true }, { "n": n }] }),
    }
}

/// Returns a write of records or, in one of `catalog_each` cases, of the catalog, over these collection names.
pub fn any(random: &mut Random, names: &[&str], pool: u64, catalog_each: u64) -> Op {
    let name = (*random.pick(names)).to_owned();
    if random.below(catalog_each) > 0 {
        let (verb, body) = records(random, pool);
        return Op::Records { name, verb, body };
    }
    match random.below(6) {
        0..=2 => Op::Create { name, metadata: json!({ "made": random.below(1000) }) },
        3 => Op::Modify { name, metadata: json!({ "changed": random.below(1000) }) },
        4 => Op::Rename { name, to: (*random.pick(names)).to_owned() },
        _ => Op::DeleteCollection { name },
    }
}
