//! Merging against field-by-field concatenation.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::chroma::scan_records;

const COLUMNS: [&str; 5] = ["ids", "embeddings", "documents", "metadatas", "uris"];

fn text() -> impl Strategy<Value = Value> {
    prop_oneof![Just(Value::Null), any::<String>().prop_map(Value::from)]
}

fn metadata() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        any::<String>().prop_map(Value::from)
    ];
    let object = prop::collection::btree_map("[a-z]{1,4}", scalar, 0..3).prop_map(|map| json!(map));
    prop_oneof![Just(Value::Null), object]
}

fn body() -> impl Strategy<Value = Value> {
    (1usize..5, any::<[bool; 3]>()).prop_flat_map(|(docs, has)| {
        let column = |present: bool, item: BoxedStrategy<Value>| {
            if present { prop::collection::vec(item, docs).prop_map(Value::from).boxed() } else { Just(Value::Null).boxed() }
        };
        (
            prop::collection::vec("[^\\x00]{1,6}", docs).prop_map(|ids| json!(ids)),
            prop::collection::vec(prop::collection::vec(-1000i32..1000, 1..4), docs).prop_map(|e| json!(e)),
            column(has[0], text().boxed()),
            column(has[1], metadata().boxed()),
            column(has[2], text().boxed()),
        )
            .prop_map(|(ids, embeddings, documents, metadatas, uris)| {
                json!({"ids": ids, "embeddings": embeddings, "documents": documents, "metadatas": metadatas, "uris": uris})
            })
    })
}

proptest! {
    #[test]
    fn a_merge_is_the_concatenation(requests in prop::collection::vec(body(), 1..6)) {
        let texts: Vec<Vec<u8>> = requests.iter().map(|request| serde_json::to_vec(request).unwrap()).collect();
        let slices: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
        let merged: Value = serde_json::from_slice(&merge(Kind::Upsert, &slices).unwrap()).unwrap();
        for column in COLUMNS {
            let expected: Vec<Value> = requests.iter().flat_map(|request| {
                let docs = request["ids"].as_array().unwrap().len();
                request[column].as_array().cloned().unwrap_or(vec![Value::Null; docs])
            }).collect();
            match merged.get(column) {
                Some(found) => prop_assert_eq!(found, &Value::from(expected)),
                None => prop_assert!(expected.iter().all(Value::is_null)),
            }
        }
        let again = scan_records(Kind::Upsert, &merge(Kind::Upsert, &slices).unwrap(), None, None).unwrap();
        let docs: usize = requests.iter().map(|request| request["ids"].as_array().unwrap().len()).sum();
        prop_assert_eq!(again.merge.map(|merge| merge.docs as usize), Some(docs));
    }

    #[test]
    fn a_mergeable_body_always_merges(request in body(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = serde_json::to_vec(&request).unwrap();
        let at = at.index(text.len());
        text[at] = byte;
        let mergeable = scan_records(Kind::Add, &text, None, None).is_ok_and(|scan| scan.merge.is_some());
        // The scan does not look at the bytes inside an embedding.
        if mergeable && std::str::from_utf8(&text).is_ok() {
            prop_assert!(merge(Kind::Add, &[&text]).is_some());
        }
    }

    #[test]
    fn nothing_panics_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[\\[\\]{}\",:a-z0-9]{0,60}") {
        for body in [&bytes[..], text.as_bytes()] {
            for kind in [Kind::Add, Kind::Update, Kind::Upsert, Kind::Delete] {
                let _ = (scan_records(kind, body, None, None), merge(kind, &[body]));
            }
            let _ = crate::chroma::scan_create_collection(body);
            for target in [crate::chroma::CopiedBy::Schema, crate::chroma::CopiedBy::Configuration] {
                let _ = crate::chroma::copy_requests(body, "n", target);
            }
            let _ = (crate::chroma::definition_difference(body, body), crate::chroma::describe(body));
            let _ = (crate::chroma::same_definition(body, body), crate::chroma::route("POST", &String::from_utf8_lossy(body)));
        }
    }
}

#[test]
fn numbers_and_escapes_stay_as_written() {
    let a = br#"{"ids":["\u0061"],"embeddings":[[1.10,-0.0,1e-45]],"metadatas":[{"n":9007199254740993,"f":1.0}]}"#;
    let b = br#" { "embeddings" : ["AA=="] , "ids":["b"], "documents":["d"], "x":1 } "#;
    let merged = merge(Kind::Add, &[a, b]).unwrap();
    assert_eq!(
        String::from_utf8(merged).unwrap(),
        r#"{"ids":["\u0061","b"],"embeddings":[[1.10,-0.0,1e-45],"AA=="],"documents":[null,"d"],"metadatas":[{"n":9007199254740993,"f":1.0},null]}"#
    );
}

#[test]
fn what_must_not_be_merged_is_not() {
    let good: &[u8] = br#"{"ids":["a"],"embeddings":[[1]]}"#;
    for bad in [
        &br#"{"ids":["a"],"embeddings":[[1],[2]]}"#[..],
        br#"{"ids":["a"]}"#,
        br#"{"ids":["a"],"ids":["b"],"embeddings":[[1]]}"#,
        br#"{"ids":["a"],"embeddings":[[1]]} x"#,
        b"",
    ] {
        assert_eq!(merge(Kind::Add, &[good, bad]), None, "{}", String::from_utf8_lossy(bad));
    }
    assert_eq!(merge(Kind::Delete, &[br#"{"ids":["a"]}"#]), None);
    assert_eq!(merge(Kind::Add, &[]), None);
    assert!(merge(Kind::Update, &[br#"{"ids":["a"]}"#, br#"{"ids":["b"],"documents":["d"]}"#]).is_some());
}
