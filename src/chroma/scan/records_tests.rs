//! The scan of record writes, compared with what a real server does with the same bodies.

use super::*;

fn scan(kind: Kind, body: &str) -> Result<Scan, Refusal> {
    scan_records(kind, body.as_bytes(), Some("application/json"), None)
}

fn merge(kind: Kind, body: &str) -> Option<Merge> {
    scan(kind, body).unwrap_or_else(|refusal| panic!("{body}: {refusal}")).merge
}

const E: &str = r#""embeddings":[[1,2]]"#;
const ALL: [Kind; 3] = [Kind::Add, Kind::Update, Kind::Upsert];

#[test]
fn ordinary_bodies_are_mergeable() {
    let floats = Some(Merge { docs: 2, encoding: Encoding::Floats });
    let full = r#"{"ids":["a","b"],"embeddings":[[1,2],[]],"documents":["",null],"metadatas":[{"k":[1],"":1},null],
        "uris":null,"other":{"other":1,"other":2},"zz":1e999}  "#;
    for kind in ALL {
        assert_eq!(merge(kind, full), floats);
        assert_eq!(
            merge(kind, r#"{"\u0069ds":["a"],"embeddings":["AACAPw=="]}"#),
            Some(Merge { docs: 1, encoding: Encoding::Base64 })
        );
    }
    let absent = Some(Merge { docs: 1, encoding: Encoding::Absent });
    assert_eq!(merge(Kind::Update, r#"{"ids":["a"],"documents":["d"]}"#), absent);
    assert_eq!(merge(Kind::Update, r#"{"ids":["a"],"embeddings":null}"#), absent);
}

#[test]
fn what_chroma_may_refuse_is_never_merged() {
    for body in [
        r#"{"ids":["a"],"embeddings":[[1]],"ids":["b"]}"#,
        r#"{"ids":["a"],"embeddings":[[1]],"documents":null,"documents":null}"#,
        r#"{"ids":[],"embeddings":[]}"#,
        r#"{"ids":[1],"embeddings":[[1]]}"#,
        r#"{"ids":"a","embeddings":[[1]]}"#,
        r#"{"ids":null,"embeddings":[[1]]}"#,
        r#"{"ids":["a"],"embeddings":[null]}"#,
        r#"{"ids":["a","b"],"embeddings":[[1],"AACAPw=="]}"#,
        r#"{"ids":["a"],"embeddings":[{"indices":[1],"values":[1]}]}"#,
        r#"{"ids":["a"],"embeddings":[1]}"#,
        r#"{"ids":["a"],"embeddings":[[1]],"documents":[5]}"#,
        r#"{"ids":["a"],"embeddings":[[1]],"documents":"d"}"#,
        r#"{"ids":["a"],"embeddings":[[1]],"metadatas":[["k",1]]}"#,
        r#"{"ids":["a"],"embeddings":[[1]],"metadatas":{"k":1}}"#,
        "{}",
    ] {
        for kind in ALL {
            assert_eq!(merge(kind, body), None, "{kind:?} {body}");
        }
    }
    for kind in [Kind::Add, Kind::Upsert] {
        assert_eq!(merge(kind, r#"{"ids":["a"]}"#), None);
        assert_eq!(merge(kind, r#"{"ids":["a"],"embeddings":null}"#), None);
    }
    let deep = format!(r#"{{"ids":["a"],{E},"metadatas":[{{"k":{}1{}}}]}}"#, "[".repeat(5000), "]".repeat(5000));
    assert!(scan(Kind::Add, &deep).is_ok());
}

#[test]
fn what_cannot_be_read_to_its_end_is_refused() {
    let deeper = format!(r#"{{"ids":{}"#, "[".repeat(100_000));
    for body in [
        r#"{"ids":["a"],"embeddings":[[1]]} x"#,
        r#"{"ids":["a"],"embeddings":[[1]]"#,
        r#"{"ids":["\ud800"],"embeddings":[[1]]}"#,
        r#"{"ids":["a"],"embeddings":[[1]],"metadatas":[{"k":NaN}]}"#,
        r#"{"ids":["a"],"embeddings":[[1]],"\ud800":1}"#,
        "",
        "{",
        "\u{feff}{}",
        &deeper,
    ] {
        for kind in [Kind::Add, Kind::Update, Kind::Upsert, Kind::Delete] {
            assert!(matches!(scan(kind, body), Err(Refusal::NotJson { .. })), "{kind:?} {body}");
        }
    }
    for kind in ALL {
        let infinite = scan(kind, r#"{"ids":["a"],"embeddings":[[1]],"metadatas":[{"k":1e400}]}"#);
        assert!(matches!(infinite, Err(Refusal::NotJson { .. })), "{kind:?}");
    }
    for body in ["null", "1", "\"x\"", "true"] {
        for kind in [Kind::Add, Kind::Update, Kind::Upsert, Kind::Delete] {
            let refusal = scan(kind, body).unwrap_err();
            assert_eq!((refusal.answer().status, refusal.reason()), (422, "wrong_type"), "{body}");
        }
    }
    let invalid = [b"{\"ids\":[\"".as_slice(), &[0xff, 0xfe], b"\"],\"embeddings\":[[1]]}"].concat();
    assert!(matches!(scan_records(Kind::Add, &invalid, None, None), Err(Refusal::NotJson { .. })));
}

#[test]
fn an_unknown_field_hides_nothing_whatever_it_holds() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    for value in ["1e400", r#""\ud800""#, &deep, "-1e999", r#"{"\ud800":1,"\ud800":2}"#] {
        for name in ["limit", "where", "where_document", "other", "Metadatas"] {
            for kind in ALL {
                let body = |metadata: &str| format!(r#"{{"{name}":{value},"ids":["a"],{E},"metadatas":[{metadata}]}}"#);
                let poisoned = scan(kind, &body(r#"{"chroma:document":5}"#));
                assert_eq!(poisoned, Err(Refusal::ReservedKey { key: "chroma:document".into() }), "{name}");
                assert!(scan(kind, &body(r#"{"k":5}"#)).is_ok(), "{name}");
            }
        }
    }
}

#[test]
fn sizes_are_measured_of_each_record() {
    use crate::chroma::limit_table::Limit;
    let items = vec!["7"; 30].join(",");
    let body = format!(
        r#"{{"ids":["a","bcd"],{E}],"documents":["four",null],"metadatas":[{{"k":[{items}],"l":["x","yy"]}},{{"a":1,"b":2,"c":"z"}}]}}"#
    )
    .replace("[[1,2]]]", "[[1,2],[1,2]]");
    let measured = scan(Kind::Add, &body).unwrap().measured;
    let of = |limit| measured.get(limit);
    assert_eq!((of(Limit::IdBytes), of(Limit::DocumentBytes)), (3, 4));
    assert_eq!((of(Limit::RecordMetadataKeys), of(Limit::RecordMetadataItems)), (3, 32));
    assert_eq!(of(Limit::RecordMetadataBytes), 30 * 8 + 3 + 2);
}

#[test]
fn headers_decide_whether_a_body_may_be_merged() {
    let body = format!(r#"{{"ids":["a"],{E}}}"#);
    let merges =
        |content_type, coding| scan_records(Kind::Add, body.as_bytes(), content_type, coding).unwrap().merge.is_some();
    for good in [None, Some("application/json"), Some("APPLICATION/JSON; charset=utf-8"), Some("application/json;")] {
        assert!(merges(good, None), "{good:?}");
    }
    for other in ["text/plain", "", "application/jsonx", "application/vnd.x+json", ";application/json"] {
        assert!(!merges(Some(other), None), "{other}");
    }
    assert!(merges(None, Some("")));
    assert!(!merges(None, Some("gzip")) && !merges(None, Some("identity")));
}

#[test]
fn the_dimension_is_set_by_any_embedding() {
    let dimension = |kind, body| scan(kind, body).unwrap().dimension;
    assert_eq!(dimension(Kind::Add, r#"{"ids":["a"],"embeddings":[[1]]}"#), Dimension::Sets);
    assert_eq!(dimension(Kind::Update, r#"{"ids":["a","b"],"embeddings":[null,"AACAPw=="]}"#), Dimension::Sets);
    for body in [r#"{"ids":["a"],"embeddings":[null]}"#, r#"{"ids":["a"]}"#, r#"{"ids":[],"embeddings":[]}"#] {
        assert_eq!(dimension(Kind::Update, body), Dimension::Leaves, "{body}");
    }
}

#[test]
fn reserved_keys_are_refused_however_they_are_hidden() {
    let key = |key: &str| Err(Refusal::ReservedKey { key: key.into() });
    for kind in ALL {
        for (metadatas, expected) in [
            (r#"[{"chroma:document":5}]"#, key("chroma:document")),
            (r#"[{"\u0063hroma:x":1}]"#, key("chroma:x")),
            (r#"[null,{"a":1,"chroma\u003adocument":null}]"#, key("chroma:document")),
            (r#"[{"a":1,"chroma:":1,"chroma:":2}]"#, key("chroma:")),
        ] {
            let body = format!(r#"{{"ids":["a"],{E},"metadatas":{metadatas}}}"#);
            assert_eq!(scan(kind, &body), expected, "{body}");
            // Regardless of other mistakes, and in any occurrence.
            let twice = format!(r#"{{"metadatas":{metadatas},"ids":[5],"metadatas":[]}}"#);
            assert_eq!(scan(kind, &twice), expected, "{twice}");
            assert_eq!(scan(kind, &format!("{body} trailing")), expected);
        }
        let harmless = format!(
            r#"{{"ids":["chroma:a"],{E},"documents":["{{\"chroma:document\":5}}"],"uris":["chroma:"],
            "metadatas":[{{"k":"chroma:document","Chroma:x":"chroma:","xchroma:":["chroma:"]}}]}}"#
        );
        assert!(merge(kind, &harmless).is_some());
    }
}

#[test]
fn what_leaves_a_trace_though_refused_is_refused_here() {
    for kind in ALL {
        assert_eq!(scan(kind, &format!(r#"{{"ids":["",""],{E}}}"#)), Err(Refusal::EmptyId));
        for rest in [
            r#""ids":["a","b"],"embeddings":[[1,2]]"#,
            r#""ids":["a"],"embeddings":[[1,2],[1,2]]"#,
            r#""ids":["a"],"embeddings":[[1,2]],"documents":["x","y"]"#,
            r#""ids":["a"],"embeddings":[[1,2]],"metadatas":[]"#,
            r#""ids":["a"],"embeddings":["AACAPw=="],"uris":[]"#,
            r#""ids":[],"embeddings":[[1,2]]"#,
        ] {
            assert_eq!(scan(kind, &format!("{{{rest}}}")), Err(Refusal::Inconsistent), "{rest}");
        }
        for value in [
            r##"{"#type":"sparse_vector","indices":[1],"values":[0.5]}"##,
            r#"{"indices":[1],"values":[0.5]}"#,
            r#"{"values":[1],"zz":1,"indic\u0065s":[1],"tokens":["a"]}"#,
        ] {
            let body = format!(r#"{{"ids":["a"],{E},"metadatas":[{{"k":{value}}}]}}"#);
            assert_eq!(scan(kind, &body), Err(Refusal::SparseVector { key: "k".into() }), "{body}");
        }
        // Chroma answers these itself, without a trace.
        for value in [r#"{"a":1}"#, "{}", r#"{"indices":[1]}"#, "[[1],[0.5]]", r#"[{"indices":[1],"values":[1]}]"#] {
            assert!(scan(kind, &format!(r#"{{"ids":["a"],{E},"metadatas":[{{"k":{value}}}]}}"#)).is_ok(), "{value}");
        }
    }
}

#[test]
fn array_bodies_are_refused_as_chroma_refuses_them_elsewhere() {
    let refusal = scan(Kind::Add, " \n[[\"a\"],[[1]],null,null,[{\"chroma:document\":5}]]").unwrap_err();
    let answer = refusal.answer();
    assert_eq!(answer.status, 422);
    assert_eq!(
        String::from_utf8(answer.body.to_vec()).unwrap(),
        r#"{"error":"ChromaError","message":"Failed to deserialize the JSON body into the target type: invalid type: sequence, expected struct AddCollectionRecordsPayload at line 1 column 0"}"#
    );
}

#[test]
fn deletes() {
    let kind = |body: &str| scan(Kind::Delete, body).unwrap();
    for body in [
        r#"{"where":{"k":1},"limit":1}"#,
        r#"{"limit":null,"limit":0,"where_document":{}}"#,
        r#"{"\u006cimit":1,"where":{"k":1},"other":1e400}"#,
        r#"{"limit":"x","where":1}"#,
    ] {
        assert_eq!(kind(body).kind, Kind::DeleteLimited, "{body}");
    }
    for body in [
        r#"{"ids":["a",""],"limit":null}"#,
        r#"{"where":{"limit":1}}"#,
        "{}",
        r#"{"limit":1}"#,
        r#"{"limit":1,"where":null}"#,
    ] {
        let scan = kind(body);
        assert_eq!((scan.kind, scan.merge, scan.dimension), (Kind::Delete, None, Dimension::Leaves), "{body}");
    }
}

#[test]
fn refusals_answer_in_chromas_words() {
    let answer = |refusal: Refusal| {
        let answer = refusal.answer();
        (answer.status, String::from_utf8(answer.body.to_vec()).unwrap())
    };
    let body = |text: &str| format!(r#"{{"error":"InvalidArgumentError","message":"{text}"}}"#);
    assert_eq!(answer(Refusal::EmptyId), (400, body("Empty ID, ID must have at least one character")));
    assert_eq!(
        answer(Refusal::Inconsistent),
        (400, body("Inconsistent number of IDs, embeddings, documents, URIs and metadatas"))
    );
    assert_eq!(
        answer(Refusal::SparseVector { key: "k".into() }),
        (
            501,
            r#"{"error":"ChromaError","message":"Unimplemented: Sparse vector is not supported for local chroma: k"}"#
                .into()
        )
    );
}
