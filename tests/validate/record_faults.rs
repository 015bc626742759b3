//! Faults in record operations: each is found by the check that is meant to find it, for its own reason.

use std::sync::Arc;

use serde_json::{Value, json};

use super::command::validate;
use super::liar::{Asked, Liar, changed, made_up};
use testkit::Cluster;
use testkit::http::{Answer, Client, DEFAULT, record_path};

/// Runs this check through this lie. It must fail with this reason, and what it left behind can be removed.
#[track_caller]
fn assert_found(
    check: &str,
    why: &str,
    lie: impl Fn(&Asked, &dyn Fn(&Asked) -> Answer) -> Answer + Send + Sync + 'static,
) {
    let cluster = Cluster::two();
    let liar = Liar::before(&cluster.edge, lie);
    let ran = validate(liar.url(), &["--only", check]);
    ran.assert_failed(check, why);
    assert_eq!(ran.left(), 1, "{ran:#?}");
    ran.assert_removable(&[&cluster.client(), &cluster.servers[0].client()]);
}

/// Changes one collection on one server, behind the edge's back.
fn behind_the_back(server: &Client, name: &str, operation: &str, body: &Value) {
    let found = server.get(&format!("{DEFAULT}/collections/{name}")).expect(200).json();
    server.post(&record_path(found["id"].as_str().expect("an id"), operation), body).expect(200);
}

#[test]
fn documents_finds_an_update_that_never_was() {
    assert_found("documents", "after the updates, by id, record \\\"doc::4\\\", document", |asked, pass| {
        let by_name = asked.path.contains("AUTOTEST_");
        if asked.is("POST", "/update", "documents") && by_name { made_up(200, &json!({})) } else { pass(asked) }
    });
}

#[test]
fn documents_finds_an_add_that_never_was_and_a_name_that_leads_nowhere() {
    assert_found("documents", "after the adds, by id, record \\\"doc::5\\\"", |asked, pass| {
        let by_name = asked.path.contains("AUTOTEST_");
        if asked.is("POST", "/add", "documents") && by_name { made_up(201, &json!({})) } else { pass(asked) }
    });
    assert_found("documents", "was answered 400 (no such id)", |asked, pass| {
        let by_name = asked.path.contains("AUTOTEST_");
        let body = json!({ "error": "InvalidArgumentError", "message": "no such id" });
        if asked.is("POST", "/query", "documents") && by_name { made_up(400, &body) } else { pass(asked) }
    });
}

#[test]
fn documents_finds_a_wrong_neighbour() {
    assert_found("documents", "the nearest id to doc::2", |asked, pass| {
        let answer = pass(asked);
        if !asked.is("POST", "/query", "documents") {
            return answer;
        }
        changed(answer, |body| body["ids"][2].as_array_mut().expect("ids").reverse())
    });
}

#[test]
fn documents_finds_an_embedding_that_lost_a_bit() {
    assert_found("documents", "after the upserts, by name, record \\\"doc::1\\\", embedding[0]", |asked, pass| {
        if !asked.is("POST", "/upsert", "documents") {
            return pass(asked);
        }
        let mut body = asked.json();
        let first = &mut body["embeddings"][0][0];
        #[allow(clippy::cast_possible_truncation, reason = "it is an f32 already")]
        let value = f32::from_bits((first.as_f64().expect("a float") as f32).to_bits() + 1);
        *first = json!(value);
        pass(&Asked { body: body.to_string().into_bytes(), ..asked.clone() })
    });
}

#[test]
fn metadata_finds_a_number_that_became_text() {
    assert_found("metadata", "\"expected\":\"-7\",\"found\":\"\\\"-7\\\"\"", |asked, pass| {
        let answer = pass(asked);
        if !asked.is("POST", "/get", "metadata") {
            return answer;
        }
        changed(answer, |body| {
            for one in body["metadatas"].as_array_mut().expect("metadata") {
                if one["integer"] == -7 {
                    one["integer"] = json!("-7");
                }
            }
        })
    });
}

#[test]
fn metadata_finds_a_filter_that_filters_nothing() {
    assert_found("metadata", "found by {\\\"where_document\\\"", |asked, pass| {
        let mut body = asked.json();
        if !asked.is("POST", "/get", "metadata") || body["where_document"].is_null() {
            return pass(asked);
        }
        body["where_document"] = Value::Null;
        pass(&Asked { body: body.to_string().into_bytes(), ..asked.clone() })
    });
}

#[test]
fn metadata_finds_a_key_that_stays() {
    assert_found("metadata", "a merged update, record \\\"meta::0\\\", metadata \\\"even\\\"", |asked, pass| {
        let mut body = asked.json();
        if !asked.is("POST", "/update", "metadata") {
            return pass(asked);
        }
        body["metadatas"][0] = json!({ "new": "key" });
        pass(&Asked { body: body.to_string().into_bytes(), ..asked.clone() })
    });
}

#[test]
fn metadata_finds_a_change_of_a_collection_that_never_was() {
    assert_found("metadata", "the collection's metadata on replica", |asked, pass| {
        let own = asked.collection.as_ref().is_some_and(|name| name.contains("_metadata_"));
        if asked.method == "PUT" && own { made_up(200, &json!({})) } else { pass(asked) }
    });
}

#[test]
fn reads_finds_a_read_that_does_not_show_its_write() {
    assert_found("reads", "after its write was acknowledged, record \\\"fresh::7\\\"", |asked, pass| {
        let answer = pass(asked);
        if asked.is("POST", "/get", "reads") && asked.json()["ids"] == json!(["fresh::7"]) {
            return changed(answer, |body| {
                for column in ["ids", "documents", "metadatas", "uris", "embeddings"] {
                    body[column] = json!([]);
                }
            });
        }
        answer
    });
}

#[test]
fn reads_finds_a_pin_that_pins_nothing() {
    assert_found("reads", "does not serve: ", |asked, pass| {
        let mut asked = asked.clone();
        for (name, value) in &mut asked.headers {
            if name == "chroma-edge-instance" {
                *value = "primary".to_owned();
            }
        }
        pass(&asked)
    });
}

#[test]
fn reads_finds_a_stranger_who_answers() {
    assert_found("reads", "which is no instance of this deployment", |asked, pass| {
        let mut answer = pass(asked);
        let pinned = asked.header("chroma-edge-instance").is_some();
        for (name, value) in &mut answer.headers {
            if name == "chroma-edge-instance" && !pinned {
                *value = "stranger".to_owned();
            }
        }
        answer
    });
}

/// Changes a record of one server while the check runs. No relay lies.
#[track_caller]
fn assert_found_behind_the_back(
    (check, ending, operation, changes): (&'static str, &'static str, &'static str, Value),
    directly: bool,
    why: &str,
) {
    let cluster = Cluster::two();
    let replica = Arc::new(cluster.servers[1].client());
    let liar = Liar::before(&cluster.edge, move |asked, pass| {
        if asked.is("POST", ending, check) {
            let name = asked.collection.as_deref().expect("its name");
            behind_the_back(&replica, name, operation, &changes);
        }
        pass(asked)
    });
    let address = format!("replica={}", cluster.servers[1].url());
    let addresses = if directly { vec!["--instances", address.as_str()] } else { Vec::new() };
    let ran = validate(liar.url(), &[["--only", check].as_slice(), &addresses].concat());
    let place =
        if directly { format!("replica at {}", cluster.servers[1].url()) } else { "replica through the edge".into() };
    ran.assert_failed(check, &place).assert_failed(check, why);
    if check == "sync" {
        assert_eq!(ran.check(check)["differences"]["total"], 1, "{ran:#?}");
    }
    ran.assert_removable(&[&cluster.client(), &cluster.servers[1].client()]);
}

#[test]
fn sync_finds_one_document_on_one_instance() {
    let document = json!({ "ids": ["plain::31"], "documents": ["other"] });
    let why = "record \\\"plain::31\\\", document";
    assert_found_behind_the_back(("sync", "/delete", "update", document), true, why);
    let delete = json!({ "ids": ["plain::30"] });
    assert_found_behind_the_back(("sync", "/delete", "delete", delete), false, "plain::30");
}

#[test]
fn delete_finds_a_survivor_that_did_not_survive() {
    let kept = json!({ "ids": ["kept::2"] });
    assert_found_behind_the_back(("delete", "/delete", "delete", kept), false, "kept::2");
}

#[test]
fn delete_finds_a_group_that_was_not_deleted() {
    assert_found("delete", "record \\\"gone::3\\\"", |asked, pass| {
        let by_where = asked.json()["where"].is_object();
        if asked.is("POST", "/delete", "delete") && by_where {
            made_up(200, &json!({ "deleted": 5 }))
        } else {
            pass(asked)
        }
    });
}

#[test]
fn delete_finds_ids_that_were_not_deleted() {
    assert_found("delete", "record \\\"trimmed::1\\\"", |asked, pass| {
        let by_id = asked.json()["ids"].is_array();
        if asked.is("POST", "/delete", "delete") && by_id {
            made_up(200, &json!({ "deleted": 2 }))
        } else {
            pass(asked)
        }
    });
}
