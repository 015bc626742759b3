//! The requests that once took servers, lanes or the catalog down, and their neighbors: other fields, spellings,
//! depths, sizes and operations, drawn from a seed.

use testkit::http::{DEFAULT, record_path};
use testkit::random::Random;

use super::odd;
use super::plan::{Attack, Plan, Room};

/// A request that was found, and its neighborhood.
pub struct Row {
    pub name: &'static str,
    pub draw: fn(&mut Random, &Room) -> Plan,
}

/// All of them.
pub const ROWS: [Row; 10] = [
    Row { name: "many terms in a condition", draw: terms },
    Row { name: "a deep condition", draw: depth },
    Row { name: "a long text in a condition", draw: text },
    Row { name: "many regular expressions", draw: expressions },
    Row { name: "many values in a condition", draw: values },
    Row { name: "wide metadata of a record", draw: wide_record },
    Row { name: "wide metadata of a collection", draw: wide_collection },
    Row { name: "an index without neighbours", draw: no_neighbors },
    Row { name: "poison behind what cannot be read", draw: hidden },
    Row { name: "a long name", draw: name },
];

/// Returns a neighbor of one of them.
pub fn any(random: &mut Random, room: &Room) -> Plan {
    (random.pick(&ROWS).draw)(random, room)
}

/// Returns a search in the target with these fields: a get, a query or a delete.
fn search(random: &mut Random, room: &Room, fields: &str) -> Plan {
    let (verb, more) = *random.pick(&[
        ("get", ""),
        ("get", r#","limit":3"#),
        ("get", r#","ids":["first","x"]"#),
        ("query", r#","query_embeddings":[[1,2,3]],"n_results":2"#),
        ("delete", ""),
        ("delete", r#","limit":2"#),
        ("delete", r#","ids":["x","y"]"#),
    ]);
    Plan::of(Attack::post(record_path(&room.target, verb), format!("{{{fields}{more}}}")))
}

/// Returns a comparison that no record of the target meets, and its field.
fn term(random: &mut Random) -> (&'static str, &'static str) {
    *random.pick(&[
        ("where", r#"{"source":"s"}"#),
        ("where", r#"{"source":{"$eq":"s"}}"#),
        ("where", r#"{"source":{"$gt":7}}"#),
        ("where", r#"{"source":{"$in":["s","t"]}}"#),
        ("where", r#"{"source":{"$contains":"s"}}"#),
        ("where", r##"{"#document":{"$contains":"zzz"}}"##),
        ("where_document", r#"{"$contains":"zzz"}"#),
        ("where_document", r#"{"$regex":"zzz"}"#),
    ])
}

fn terms(random: &mut Random, room: &Room) -> Plan {
    let (field, term) = term(random);
    let join = *random.pick(&["$or", "$or", "$or", "$and"]);
    let count = *random.pick(&[980, 1_001, 1_600, 4_300, 10_000, 12_000, 30_000]);
    let chain = format!("{{\"{join}\":[{}]}}", vec![term; count].join(","));
    let condition = match random.below(4) {
        0 => format!(r#"{{"$and":[{term},{chain}]}}"#),
        1 => format!(r#"{{"$or":[{chain},{term}]}}"#),
        _ => chain,
    };
    search(random, room, &format!("\"{field}\":{condition}"))
}

fn depth(random: &mut Random, room: &Room) -> Plan {
    let (field, term) = term(random);
    let join = *random.pick(&["$or", "$and"]);
    let deep = *random.pick(&[30, 61, 62, 63, 100, 125, 130, 1_000, 20_000]);
    let (before, after) = match random.below(3) {
        0 => (format!("{{\"{join}\":[{term},"), "]}".to_owned()),
        1 => (format!("{{\"{join}\":["), format!(",{term}]}}")),
        // One operand: Chroma refuses it after reading it.
        _ => (format!("{{\"{join}\":["), "]}".to_owned()),
    };
    let condition = format!("{}{term}{}", before.repeat(deep), after.repeat(deep));
    search(random, room, &format!("\"{field}\":{condition}"))
}

fn text(random: &mut Random, room: &Room) -> Plan {
    let length = *random.pick(&[40_000, 49_998, 49_999, 100_000, 327_000, 2_000_000]);
    let text = match random.below(8) {
        0 => "(a{1000}){1000}".to_owned(),
        1 => r"\\w{1000}".to_owned(),
        2 => "(?:x{500}){500}".to_owned(),
        3 => r"\\p{L}{500}.{500}".to_owned(),
        4 => "z%_".repeat(length / 3),
        _ => "z".repeat(length),
    };
    let operator = *random.pick(&["$contains", "$not_contains", "$regex", "$not_regex"]);
    let fields = match random.below(3) {
        0 => format!(r##""where":{{"#document":{{"{operator}":"{text}"}}}}"##),
        1 => {
            format!(r#""where_document":{{"$and":[{{"{operator}":"{text}"}},{{"$contains":"zzz"}}]}}"#)
        }
        _ => format!(r#""where_document":{{"{operator}":"{text}"}}"#),
    };
    // A condition that matches every record would delete the target, which must stay.
    let fields = fields.replace("$not_", "$");
    search(random, room, &fields)
}

fn expressions(random: &mut Random, room: &Room) -> Plan {
    let pattern = *random.pick(&[r"\\w{100}", r"\\p{L}{200}", r"[\\w\\d]{100}", "(a{1000}){200}", ".{1000}", r"\\w+"]);
    let (join, count) = (*random.pick(&["$or", "$or", "$and"]), *random.pick(&[2, 50, 900]));
    // No record contains this: the target must stay.
    let terms = vec![format!(r#"{{"$regex":"zzz{pattern}"}}"#); count].join(",");
    search(random, room, &format!("\"where_document\":{{\"{join}\":[{terms}]}}"))
}

fn values(random: &mut Random, room: &Room) -> Plan {
    let count = *random.pick(&[16_380, 16_400, 32_766, 32_767, 40_000]);
    let value = *random.pick(&["\"v\"", "7", "7.5", "true"]);
    let list = vec![value; count].join(",");
    match random.below(3) {
        0 => {
            let ids: Vec<String> = (0..count).map(|n| format!("\"i{n}\"")).collect();
            let verb = *random.pick(&["get", "delete"]);
            let more = *random.pick(&["", r#","where":{"source":"s"}"#]);
            let body = format!("{{\"ids\":[{}]{more}}}", ids.join(","));
            Plan::of(Attack::post(record_path(&room.target, verb), body))
        }
        1 => search(random, room, &format!(r#""where":{{"$or":[{{"a":{{"$in":[{list}]}}}},{{"b":"c"}}]}}"#)),
        _ => search(random, room, &format!(r#""where":{{"source":{{"$in":[{list}]}}}}"#)),
    }
}

/// Returns metadata with this many keys, or this many items in one key.
fn metadata(random: &mut Random, sizes: &[usize]) -> String {
    let count = *random.pick(sizes);
    let value = *random.pick(&["1", "\"v\"", "1.5", "true", "null"]);
    if random.percent(30) {
        return format!("{{\"list\":[{}]}}", vec![value; count].join(",")).replace("null", "2");
    }
    let keys: Vec<String> = (0..count).map(|n| format!("\"k{n}\":{value}")).collect();
    format!("{{{}}}", keys.join(","))
}

fn wide_record(random: &mut Random, room: &Room) -> Plan {
    let wide = metadata(random, &[5_400, 5_401, 11_000, 100_000]);
    let verb = *random.pick(&["add", "update", "upsert"]);
    let body = match random.below(2) {
        0 => format!(r#"{{"ids":["first"],"embeddings":[[1,2,3]],"metadatas":[{wide}]}}"#),
        _ => format!(
            r#"{{"metadatas":[null,{wide},{{"a":1}}],"ids":["first","b","c"],"embeddings":[[1,2,3],[1,2,3],[1,2,3]]}}"#
        ),
    };
    Plan::apart(room, r#"{"ids":["zero","b"],"embeddings":[[1,2,3],[3,2,1]]}"#, verb, body)
}

fn wide_collection(random: &mut Random, room: &Room) -> Plan {
    let wide = metadata(random, &[5_000, 5_001, 12_000, 20_000]);
    let name = room.fresh();
    let collections = format!("{DEFAULT}/collections");
    let create = |more: &str| Attack::post(collections.clone(), format!(r#"{{"name":"{name}"{more}}}"#));
    let steps = match random.below(4) {
        0 => vec![create(&format!(r#","metadata":{wide}"#))],
        1 => vec![create(&format!(r#","get_or_create":true,"metadata":{wide}"#))],
        2 => vec![create(&format!(r#","configuration":{{"hnsw":{wide}}}"#))],
        _ => {
            let put = Attack::post(format!("{collections}/{name}"), format!(r#"{{"new_metadata":{wide}}}"#));
            vec![create(""), Attack { method: "PUT", ..put }]
        }
    };
    Plan { steps, own: Some(name) }
}

fn no_neighbors(random: &mut Random, room: &Room) -> Plan {
    let zero = *random.pick(&["0", "-0", "0.0", "0e5", "1e-400", "\"0\"", "null", "-1", "4097", "1e400", "1"]);
    let key = *random.pick(&["max_neighbors", r"max\u005fneighbors", "max_neighbors\":16,\"max_neighbors", "M"]);
    let hnsw = format!(r#"{{"{key}":{zero}}}"#);
    let vector = |hnsw: &str| format!(r#"{{"vector_index":{{"enabled":true,"config":{{"hnsw":{hnsw}}}}}}}"#);
    let more = match random.below(6) {
        0 => format!(r#""configuration":{{"hnsw":{hnsw}}}"#),
        1 => format!(r#""metadata":{{"hnsw:M":{zero}}}"#),
        2 => format!(r#""metadata":{{"hnsw\u003aM":{zero}}}"#),
        3 => format!(r#""schema":{{"defaults":{{"float_list":{}}},"keys":{{}}}}"#, vector(&hnsw)),
        4 => format!(r##""schema":{{"defaults":{{}},"keys":{{"#embedding":{{"float_list":{}}}}}}}"##, vector(&hnsw)),
        _ => format!(r#""configuration":[["l2",100,100,{zero},null,null,null,null],null,null]"#),
    };
    let name = room.fresh();
    let collections = format!("{DEFAULT}/collections");
    let create = Attack::post(collections.clone(), format!(r#"{{"name":"{name}",{more}}}"#));
    let put = format!(r#"{{"new_configuration":{{"hnsw":{hnsw}}}}}"#);
    let put = Attack { method: "PUT", ..Attack::post(format!("{collections}/{name}"), put) };
    let five = r#"{"ids":["a","b","c","d","e"],"embeddings":[[1,2,3],[2,3,4],[3,4,5],[4,5,6],[5,6,7]]}"#;
    let add = Attack::post(record_path(&name, "add"), five);
    let steps = match random.below(4) {
        0 => vec![Attack::create(&name, "{}"), put, add],
        1 => vec![Attack::create(&name, "{}"), add.clone(), put, add],
        _ => vec![create, add],
    };
    Plan { steps, own: Some(name) }
}

/// Chroma skips fields that it does not know, and reads what follows.
fn hidden(random: &mut Random, room: &Room) -> Plan {
    let deep = *random.pick(&[100, 130, 50_000]);
    let value = match random.below(6) {
        0 => "1e400".to_owned(),
        1 => r#""\ud800""#.to_owned(),
        2 => format!("{}{}", "[".repeat(deep), "]".repeat(deep)),
        3 => format!("{}1{}", r#"{"a":"#.repeat(deep), "}".repeat(deep)),
        4 => "{\"a\":1,\"a\":\"\\udc00\"}".to_owned(),
        _ => odd::value(random, 0),
    };
    let field = *random.pick(&["limit", "extra", "", "where", r"\u0069nclude", "id", "Metadatas"]);
    let poison = *random.pick(&[
        r#"{"chroma:document":5}"#,
        r#"{"chroma:uri":null}"#,
        r#"{"\u0063hroma:x":"y"}"#,
        r#"{"a":1,"chroma:document":"d"}"#,
        r#"{"a":{"chroma:document":5}}"#,
    ]);
    let column = *random.pick(&["metadatas", r"\u006detadatas", "metadatas\":null,\"metadatas"]);
    let verb = *random.pick(&["add", "update", "upsert"]);
    let body = match random.below(2) {
        0 => format!(r#"{{"{field}":{value},"ids":["x"],"embeddings":[[1,2,3]],"{column}":[{poison}]}}"#),
        _ => format!(r#"{{"ids":["x"],"{column}":[{poison}],"{field}":{value},"embeddings":[[1,2,3]]}}"#),
    };
    Plan::of(Attack::post(record_path(&room.target, verb), body))
}

fn name(random: &mut Random, room: &Room) -> Plan {
    let length = *random.pick(&[511, 512, 513, 5_000, 66_000, 1_000_000]);
    let letter = *random.pick(&["n", "\u{e9}", "%", " "]);
    let name = letter.repeat(length / letter.len());
    let collections = format!("{DEFAULT}/collections");
    let body = format!(r#"{{"name":"{name}"}}"#);
    let in_path: String = "t".repeat(length.min(60_000));
    Plan::of(match random.below(6) {
        0 => Attack::post("/api/v2/tenants", body),
        1 => Attack::post("/api/v2/tenants/default_tenant/databases", body),
        2 => Attack::post(collections, body),
        3 => Attack::post(format!("/api/v2/tenants/{in_path}/databases"), r#"{"name":"short"}"#),
        4 => Attack::post(format!("/api/v2/tenants/{in_path}/databases/d/collections"), r#"{"name":"short"}"#),
        _ => {
            let put = Attack::post(format!("{collections}/{}", room.target), format!(r#"{{"new_name":"{name}"}}"#));
            Attack { method: "PUT", ..put }
        }
    })
}
