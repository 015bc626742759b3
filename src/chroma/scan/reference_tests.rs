//! The scan compared with a strict reading of the same bodies: the types that Chroma declares, parsed by the parser it uses.
//!
//! The edge refuses any body that Chroma would accept with a reserved key, an empty id or a sparse vector, and
//! understands any other body that Chroma would accept.

use std::collections::HashMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::order::Kind;

#[derive(Deserialize)]
#[serde(untagged)]
#[allow(dead_code, reason = "only whether a body fits these types matters")]
enum Embeddings {
    Json(Vec<Option<Vec<f32>>>),
    Base64(Vec<Option<String>>),
}

#[derive(Deserialize)]
#[serde(untagged)]
#[allow(dead_code, reason = "only whether a body fits these types matters")]
enum Value {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Sparse { indices: Vec<u32>, values: Vec<f32> },
    Bools(Vec<bool>),
    Ints(Vec<i64>),
    Floats(Vec<f64>),
    Texts(Vec<String>),
    None,
}

/// The fields of add, update and upsert; the least strict of the three if they differ.
#[derive(Deserialize)]
struct Records {
    ids: Vec<String>,
    embeddings: Option<Embeddings>,
    documents: Option<Vec<Option<String>>>,
    uris: Option<Vec<Option<String>>>,
    metadatas: Option<Vec<Option<HashMap<String, Value>>>>,
}

impl Records {
    fn metadata(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.metadatas.iter().flatten().flatten().flatten()
    }

    fn is_harmful(&self) -> bool {
        self.ids.iter().any(String::is_empty)
            || self.metadata().any(|(key, value)| key.starts_with("chroma:") || matches!(value, Value::Sparse { .. }))
    }

    fn is_consistent(&self) -> bool {
        let embeddings = self.embeddings.as_ref().map(|embeddings| match embeddings {
            Embeddings::Json(all) => all.len(),
            Embeddings::Base64(all) => all.len(),
        });
        let texts = [&self.documents, &self.uris].map(|texts| texts.as_ref().map(Vec::len));
        let metadatas = self.metadatas.as_ref().map(Vec::len);
        [embeddings, metadatas].into_iter().chain(texts).flatten().all(|length| length == self.ids.len())
    }
}

const NAMES: [&str; 16] = [
    "ids",
    r"\u0069ds",
    "embeddings",
    "documents",
    "metadatas",
    "metadatas",
    r"metad\u0061tas",
    "uris",
    "limit",
    "where",
    "where_document",
    "other",
    "",
    "IDS",
    r"\ud83d\ude00",
    r"\ud800",
];

const VALUES: [&str; 34] = [
    r#"["a"]"#,
    r#"[""]"#,
    r#"["a","b"]"#,
    "[]",
    "null",
    "[null]",
    "[[1,2]]",
    "[[1,2],[3]]",
    r#"["AACAPw=="]"#,
    "[[1e39]]",
    r#"[{"k":1}]"#,
    r#"[{"chroma:document":5}]"#,
    r#"[{"\u0063hroma:x":null}]"#,
    r#"[{"k":1,"k":2,"chroma:":[1]}]"#,
    r#"[{"k":{"indices":[1],"values":[0.5]}}]"#,
    r#"[{"k":[1,2.5]}]"#,
    r#"[{"k":["x"]},null]"#,
    r#"[{}]"#,
    r#"[{"k":1e400}]"#,
    r#"[{"k":"\ud800"}]"#,
    r#"[{"\ud800":1}]"#,
    r#"[{"k":18446744073709551616}]"#,
    "1e400",
    "-1e400",
    r#""\ud800""#,
    r#""text""#,
    "true",
    "NaN",
    "-0",
    "0",
    "[[[[[[[[1]]]]]]]]",
    r#"{"a":{"b":[1]}}"#,
    "01",
    "\u{1}",
];

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let field = (prop::sample::select(&NAMES[..]), prop::sample::select(&VALUES[..]));
    let plain = prop::collection::vec(field, 0..6).prop_map(|fields| {
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!(r#""{name}":{value}"#)).collect();
        format!("{{{}}}", fields.join(",")).into_bytes()
    });
    // In the shape that Chroma accepts, so that most of them are read to the end.
    let (ids, metadatas) = (prop::sample::select(&VALUES[..2]), prop::sample::select(&VALUES[10..22]));
    let extra = (prop::sample::select(&NAMES[8..15]), prop::sample::select(&VALUES[..32]));
    let fitting = (ids, metadatas, extra, any::<bool>()).prop_map(|(ids, metadatas, (name, value), first)| {
        let known = format!(r#""ids":{ids},"embeddings":[[1,2]],"metadatas":{metadatas}"#);
        let other = format!(r#""{name}":{value}"#);
        let (first, second) = if first { (&other, &known) } else { (&known, &other) };
        format!("{{{first},{second}}}").into_bytes()
    });
    let whole = prop_oneof![plain, fitting.clone(), fitting];
    let mutation = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..4_u8, any::<u8>());
    (whole, prop::collection::vec(mutation, 0..3)).prop_map(|(mut body, mutations)| {
        for (from, to, kind, byte) in mutations {
            let (from, to) = (from.index(body.len() + 1), to.index(body.len() + 1));
            let (from, to) = (from.min(to), from.max(to));
            match kind {
                0 => drop(body.drain(from..to.min(from + 3))),
                1 => body.insert(from, byte),
                2 => {
                    let piece = body[from..to].to_vec();
                    body.splice(to..to, piece);
                }
                _ => {}
            }
        }
        body
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn the_edge_reads_what_chroma_reads(body in bodies()) {
        let Ok(records) = serde_json::from_slice::<Records>(&body) else { return Ok(()) };
        // Fields by position: refused, whatever it contains.
        let positional = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
        for kind in [Kind::Add, Kind::Update, Kind::Upsert] {
            let scanned = scan_records(kind, &body, None, None);
            let text = String::from_utf8_lossy(&body);
            if positional || records.is_harmful() {
                prop_assert!(scanned.is_err(), "{:?} passes {}", kind, text);
            } else if records.is_consistent() {
                prop_assert!(scanned.is_ok(), "{:?} of {}: {:?}", kind, text, scanned);
            }
        }
    }
}
