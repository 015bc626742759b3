//! Mutated requests about records: writes, deletes and searches, drawn from a seed.

use std::fmt::Write as _;

use testkit::http::record_path;
use testkit::random::Random;

use super::odd;
use super::plan::{Attack, Plan, Room};

/// The most keys or items drawn for ordinary metadata (`wide` draws more).
const MOST_KEYS: usize = 6000;

/// Returns a condition on metadata.
pub fn condition(random: &mut Random) -> String {
    let join = *random.pick(&["$or", "$and"]);
    let term = match random.below(9) {
        0 => r#"{"k":{"$ne":"v"}}"#.to_owned(),
        1 => format!(r#"{{"k":{}}}"#, odd::value(random, 2)),
        2 => r#"{"k":{"$in":["a","b"]}}"#.to_owned(),
        3 => {
            format!(
                r#"{{"k":{{"{}":{}}}}}"#,
                *random.pick(&["$gt", "$lte", "$eq", "$nin", "$not"]),
                odd::number(random)
            )
        }
        4 => format!(r#"{{"{}":{{"$contains":{}}}}}"#, odd::field(random), odd::value(random, 3)),
        5 => r##"{"#document":{"$contains":"v"}}"##.to_owned(),
        _ => r#"{"k":"v"}"#.to_owned(),
    };
    match random.below(9) {
        0 if random.percent(50) => odd::value(random, 0),
        1 => {
            let deep = random.index(150);
            format!("{}{term}{}", format!("{{\"{join}\":[{term},").repeat(deep), "]}".repeat(deep))
        }
        2 => format!(r##"{{"#document":{{"$contains":"{}"}}}}"##, "y".repeat(odd::size(random) * 20)),
        3 => {
            let values = vec!["\"v\""; odd::size(random) * 4].join(",");
            format!(r#"{{"k":{{"{}":[{values}]}}}}"#, *random.pick(&["$in", "$nin"]))
        }
        _ => format!("{{\"{join}\":[{}]}}", vec![term; odd::size(random).max(1)].join(",")),
    }
}

/// Returns a condition on documents.
pub fn document_condition(random: &mut Random) -> String {
    let operator = *random.pick(&["$contains", "$not_contains", "$regex", "$not_regex"]);
    let text = match random.below(14) {
        0 => "(a{1000}){1000}".to_owned(),
        1 => "\\\\w{1000}".to_owned(),
        2 => String::new(),
        3 => ".*".to_owned(),
        4 => "(a*)*b".to_owned(),
        5 => "(".repeat(odd::size(random)),
        6 => format!("{}a{}", "(".repeat(200), ")*".repeat(200)),
        7 => "a|".repeat(odd::size(random)),
        8 => "[".to_owned(),
        _ => "a".to_owned(),
    };
    let term = format!(r#"{{"{operator}":"{text}"}}"#);
    match random.below(6) {
        0 => odd::value(random, 0),
        1 | 2 => format!("{{\"$or\":[{}]}}", vec![term; odd::size(random).max(1)].join(",")),
        _ => term,
    }
}

/// Returns metadata of a record or a collection.
pub fn metadata(random: &mut Random) -> String {
    let mut text = "{".to_owned();
    match random.below(5) {
        0 => {
            let items = vec!["1"; odd::size(random).min(MOST_KEYS)].join(",");
            let _ = write!(text, "\"list\":[{items}],");
        }
        1 => {
            for n in 0..odd::size(random).min(MOST_KEYS) {
                let _ = write!(text, "\"k{n}\":null,");
            }
        }
        _ => {
            for n in 0..odd::size(random).min(MOST_KEYS) {
                let _ = write!(text, "\"k{n}\":{n},");
            }
        }
    }
    let (field, value) = match random.percent(40) {
        true => (odd::field(random), odd::value(random, 1)),
        false => ("k", "\"v\"".to_owned()),
    };
    let _ = write!(text, "\"{field}\":{value}}}");
    text
}

/// Returns one embedding.
fn vector(random: &mut Random) -> String {
    let dimension = *random.pick(&[3, 3, 3, 3, 3, 3, 3, 3, 3, 2, 0, 5000]);
    match random.below(24) {
        0 => "null".to_owned(),
        // Chroma accepts floats in base64 as well: three of them, and a torn one.
        1 => "\"AAAAPwAAAD8AAAA/\"".to_owned(),
        2 => "\"AAAAPwA\"".to_owned(),
        3 => format!("[{}]", vec![odd::number(random); dimension].join(",")),
        4 => format!("[{}]", vec!["1e38"; dimension].join(",")),
        5 => format!("[{}]", vec!["0"; dimension].join(",")),
        _ => format!("[{}]", vec!["0.5"; dimension].join(",")),
    }
}

/// Returns the body of an add, an update or an upsert.
fn records(random: &mut Random) -> String {
    let count = *random.pick(&[0, 1, 2, 5, 50, 1200]);
    let ids: Vec<String> = match random.below(8) {
        0 => (0..count).map(|_| odd::value(random, 3)).collect(),
        1 => vec!["\"same\"".to_owned(); count],
        _ => (0..count).map(|n| format!("\"h{}\"", n + random.index(3))).collect(),
    };
    let vector = vector(random);
    let mut body = "{".to_owned();
    // What comes first may hide what follows.
    if random.percent(10) {
        let name = *random.pick(&["limit", "extra", "database", "tenant", "where"]);
        let _ = write!(body, "\"{name}\":{},", odd::value(random, 0));
    }
    let _ = write!(body, r#""ids":[{}],"embeddings":[{}]"#, ids.join(","), vec![vector; count].join(","));
    if random.percent(50) {
        let of_some = (0..count.min(3)).map(|_| metadata(random)).collect::<Vec<_>>().join(",");
        let _ = write!(body, ",\"metadatas\":[{of_some}]");
    }
    if random.percent(40) {
        let name = *random.pick(&["documents", "uris", "limit", "ids", "unknown"]);
        let item = match random.below(3) {
            0 => format!("[{}]", vec!["\"d\""; count].join(",")),
            1 => odd::list(random, count, |random| odd::value(random, 2)),
            _ => odd::value(random, 0),
        };
        let _ = write!(body, ",\"{name}\":{item}");
    }
    body + "}"
}

/// Returns the body of a get, a query or a delete.
fn search(random: &mut Random) -> String {
    let mut body = "{\"n\":0".to_owned();
    if random.percent(70) {
        let vectors = *random.pick(&[1, 1, 1, 0, 2, 300]);
        let _ = write!(body, ",\"query_embeddings\":[{}]", vec![vector(random); vectors].join(","));
    }
    for name in ["n_results", "limit", "offset"] {
        if random.percent(30) {
            let _ = write!(body, ",\"{name}\":{}", odd::number(random));
        }
    }
    if random.percent(70) {
        let _ = write!(body, ",\"where\":{}", condition(random));
    }
    if random.percent(30) {
        let _ = write!(body, ",\"where_document\":{}", document_condition(random));
    }
    match random.below(10) {
        0 | 1 => {
            let _ = write!(body, ",\"ids\":{}", odd::list(random, 5, |random| odd::value(random, 3)));
        }
        2 => {
            let ids: Vec<String> = (0..odd::size(random) * 4).map(|n| format!("\"i{n}\"")).collect();
            let _ = write!(body, ",\"ids\":[{}]", ids.join(","));
        }
        _ => {}
    }
    if random.percent(15) {
        let known = |random: &mut Random| {
            let names = ["documents", "metadatas", "embeddings", "uris", "distances", "data", "x"];
            format!("\"{}\"", random.pick(&names))
        };
        let _ = write!(body, ",\"include\":{}", odd::list(random, 7, known));
    }
    body + "}"
}

/// Returns records that break their collection for good if limits let them through. They use a collection of their own.
fn wide(random: &mut Random, room: &Room) -> Plan {
    let count = *random.pick(&[5450, 5460, 5470, 6000, 11_000, 30_000]);
    let value = *random.pick(&["1", "null", "\"v\"", "1.5", "true"]);
    let metadata = match random.below(2) {
        0 => format!("{{\"list\":[{}]}}", vec!["1"; count].join(",")),
        _ => format!("{{{}}}", (0..count).map(|n| format!("\"k{n}\":{value}")).collect::<Vec<_>>().join(",")),
    };
    let verb = *random.pick(&["add", "update", "upsert"]);
    let body = format!(r#"{{"ids":["a"],"embeddings":[[1,2,3]],"metadatas":[{metadata}]}}"#);
    Plan::apart(room, r#"{"ids":["a","b"],"embeddings":[[1,2,3],[3,2,1]]}"#, verb, body)
}

/// Returns a request about the records of the target.
pub fn plan(random: &mut Random, room: &Room) -> Plan {
    let id = &room.target;
    let path = |verb: &str| record_path(id, verb);
    let attack = match random.below(12) {
        0 => Attack::post(path("add"), records(random)),
        1 => Attack::post(path("upsert"), records(random)),
        2 => Attack::post(path("update"), records(random)),
        3 | 4 => Attack::post(path("delete"), search(random)),
        5 | 6 => Attack::post(path("get"), search(random)),
        7 | 8 => Attack::post(path("query"), search(random)),
        9 => Attack::post(path("search"), odd::value(random, 0)),
        10 => {
            let verb = *random.pick(&["count", "indexing_status", "fork_count", "functions/x", "get", "add"]);
            Attack { method: random.pick::<&str>(&["GET", "PUT", "DELETE", "PATCH"]), ..Attack::post(path(verb), "") }
        }
        _ => return wide(random, room),
    };
    Plan { steps: vec![attack], own: None }
}
