//! Mutated requests about tenants, databases and collections, drawn from a seed. Each uses names of its own.

use std::fmt::Write as _;

use testkit::http::{DEFAULT, record_path};
use testkit::random::Random;

use super::odd;
use super::plan::{Attack, Plan, Room};
use super::records::metadata;

const SETTINGS: [&str; 7] =
    ["max_neighbors", "ef_construction", "ef_search", "num_threads", "batch_size", "sync_threshold", "resize_factor"];
const SPANN: [&str; 6] =
    ["search_nprobe", "write_nprobe", "ef_construction", "max_neighbors", "split_threshold", "merge_threshold"];
const LEGACY: [&str; 9] = [
    "hnsw:M",
    "hnsw:construction_ef",
    "hnsw:search_ef",
    "hnsw:num_threads",
    "hnsw:batch_size",
    "hnsw:sync_threshold",
    "hnsw:resize_factor",
    "hnsw:space",
    "hnsw:unknown",
];

/// Returns an index setting.
fn setting(random: &mut Random) -> String {
    match random.below(4) {
        0 => odd::value(random, 2),
        1 => (*random.pick(&["\"l2\"", "\"cosine\"", "\"ip\"", "4096", "1024", "2", "1000000"])).to_owned(),
        _ => odd::number(random).to_owned(),
    }
}

/// Returns an index, as a configuration names it.
fn index(random: &mut Random) -> String {
    let (kind, names): (_, &[&str]) =
        if random.percent(75) { ("hnsw", SETTINGS.as_slice()) } else { ("spann", SPANN.as_slice()) };
    let mut text = format!("{{\"{kind}\":{{\"{}\":{}", random.pick(names), setting(random));
    if random.percent(50) {
        let _ = write!(text, ",\"{}\":{}", random.pick(names), setting(random));
    }
    if random.percent(30) {
        let _ = write!(text, ",\"space\":{}", setting(random));
    }
    text.push('}');
    if random.percent(15) {
        let _ = write!(text, ",\"embedding_function\":{}", odd::value(random, 1));
    }
    text + "}"
}

/// Returns a schema with such an index.
fn schema(random: &mut Random) -> String {
    let config = format!(r#"{{"space":"l2","hnsw":{{"{}":{}}}}}"#, random.pick(&SETTINGS), setting(random));
    let types = format!(r#"{{"float_list":{{"vector_index":{{"enabled":true,"config":{config}}}}}}}"#);
    match random.below(3) {
        0 => format!(r##"{{"defaults":{{}},"keys":{{"#embedding":{types}}}}}"##),
        1 => format!(r#"{{"defaults":{types},"keys":{}}}"#, odd::value(random, 1)),
        _ => format!(r#"{{"defaults":{types},"keys":{{}}}}"#),
    }
}

/// Returns what defines a collection besides its name.
fn definition(random: &mut Random) -> String {
    match random.below(8) {
        0 => format!(r#""metadata":{}"#, metadata(random)),
        1 | 2 => format!(r#""configuration":{},"get_or_create":true"#, index(random)),
        3 => format!(r#""schema":{}"#, schema(random)),
        4 => format!(r#""metadata":{{"{}":{}}}"#, random.pick(&LEGACY), setting(random)),
        5 => format!(r#""configuration":{},"schema":{}"#, odd::value(random, 0), odd::value(random, 0)),
        6 => format!(r#""configuration":{},"metadata":{{"{}":1}}"#, index(random), random.pick(&LEGACY)),
        _ => format!(r#""metadata":{},"get_or_create":{}"#, odd::value(random, 0), odd::value(random, 3)),
    }
}

/// Defines a collection, and uses it: only then does Chroma create its index.
fn define(random: &mut Random, room: &Room) -> Plan {
    let name = room.fresh();
    let body = format!(r#"{{"name":"{name}",{}}}"#, definition(random));
    let mut steps = vec![Attack::post(format!("{DEFAULT}/collections"), body)];
    steps.extend(used(random, &name));
    Plan { steps, own: Some(name) }
}

/// Changes an ordinary collection, and uses it.
fn redefine(random: &mut Random, room: &Room) -> Plan {
    let name = room.fresh();
    let change = match random.below(5) {
        0 => format!(r#"{{"new_metadata":{}}}"#, metadata(random)),
        1 | 2 => format!(r#"{{"new_configuration":{}}}"#, index(random)),
        3 => format!(r#"{{"new_configuration":{}}}"#, odd::value(random, 0)),
        _ => format!(r#"{{"new_metadata":{},"new_configuration":{}}}"#, odd::value(random, 0), index(random)),
    };
    let put = Attack { method: "PUT", ..Attack::post(format!("{DEFAULT}/collections/{name}"), change) };
    let mut steps = vec![Attack::create(&name, "{}")];
    if random.percent(50) {
        steps.extend(used(random, &name));
    }
    steps.push(put);
    steps.extend(used(random, &name));
    Plan { steps, own: Some(name) }
}

/// Uses a collection with so few records that only its definition can be to blame.
fn used(random: &mut Random, name: &str) -> Vec<Attack> {
    let count = *random.pick(&[1, 5, 150]);
    let ids: Vec<String> = (0..count).map(|n| format!("\"u{n}\"")).collect();
    let vectors: Vec<String> = (0..count).map(|n| format!("[{n},1,2]")).collect();
    let add = format!(r#"{{"ids":[{}],"embeddings":[{}]}}"#, ids.join(","), vectors.join(","));
    let query = r#"{"query_embeddings":[[1,2,3]],"n_results":3}"#;
    vec![Attack::post(record_path(name, "upsert"), add), Attack::post(record_path(name, "query"), query)]
}

/// Returns a request about the catalog.
pub fn plan(random: &mut Random, room: &Room) -> Plan {
    let databases = "/api/v2/tenants/default_tenant/databases";
    let attack = match random.below(16) {
        0..=4 => return define(random, room),
        5..=7 => return redefine(random, room),
        8 => {
            let body = format!(r#"{{"name":{},"metadata":{}}}"#, odd::value(random, 0), odd::value(random, 0));
            Attack::post(format!("{DEFAULT}/collections"), body)
        }
        9 => Attack::post("/api/v2/tenants", format!(r#"{{"name":{}}}"#, odd::value(random, 0))),
        10 => Attack::post(databases, format!(r#"{{"name":{}}}"#, odd::value(random, 0))),
        11 => {
            let path = format!("/api/v2/tenants/{}/databases/{}", odd::segment(random), odd::segment(random));
            let end = *random.pick(&["", "/collections", "/collections_count"]);
            Attack {
                method: random.pick::<&str>(&["GET", "POST", "DELETE"]),
                ..Attack::post(path + end, odd::value(random, 0))
            }
        }
        12 => {
            let path = format!("{DEFAULT}/collections/{}", odd::segment(random));
            let body = format!(r#"{{"new_name":{}}}"#, odd::value(random, 0));
            Attack { method: random.pick::<&str>(&["GET", "PUT", "DELETE"]), ..Attack::post(path, body) }
        }
        13 => Attack { method: "GET", ..Attack::post(format!("{DEFAULT}/collections{}", odd::page(random)), "") },
        14 => Attack { method: "GET", ..Attack::post(format!("{databases}{}", odd::page(random)), "") },
        _ => {
            let path = format!("/api/v2/tenants/{}", odd::segment(random));
            Attack { method: random.pick::<&str>(&["GET", "PATCH"]), ..Attack::post(path, odd::value(random, 0)) }
        }
    };
    Plan { steps: vec![attack], own: None }
}
