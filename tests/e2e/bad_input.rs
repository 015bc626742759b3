//! Requests that clients should not send: a clear refusal, nothing journaled, no instance blamed, no lane blocked.

use std::time::Duration;

use serde_json::json;

use testkit::Cluster;
use testkit::cluster::{add, ids, journaled, record};
use testkit::http::{DEFAULT, head, record_path};
use testkit::place::wait_for;

/// Sends this to a collection that has one record, and checks that it has no effect but this status.
#[track_caller]
fn refused_before_the_journal(method: &str, path: &str, body: &str, status: u16) {
    let cluster = Cluster::two();
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "there").expect(201);
    let before = journaled(&cluster.edge);
    let path = path.replace("{id}", &collection).replace("{db}", DEFAULT);
    let answer = cluster.client().send(method, &path, "application/json", body.as_bytes()).expect("an answer");
    assert_eq!(answer.status, status, "{answer}");
    let error = answer.json();
    assert!(error["error"].is_string() && error["message"].is_string(), "{answer}");
    assert_eq!(journaled(&cluster.edge), before, "journaled");
    add(&cluster.client(), &collection, "after").expect(201);
    let status = cluster.edge.status();
    let instances = status["instances"].as_array().expect("instances");
    assert!(instances.iter().all(|one| one["healthy"] == true), "blamed: {status:#}");
    assert_eq!(cluster.assert_converged().record_count(), 2);
}

#[test]
fn reserved_metadata_key() {
    let body = r#"{"ids":["x"],"embeddings":[[1,2,3]],"metadatas":[{"chroma:document":5}]}"#;
    refused_before_the_journal("POST", "{db}/collections/{id}/add", body, 400);
}

#[test]
fn reserved_metadata_key_in_escapes() {
    let body = r#"{"ids":["x"],"embeddings":[[1,2,3]],"metadatas":[{"\u0063hroma\u003auri":5}]}"#;
    refused_before_the_journal("POST", "{db}/collections/{id}/upsert", body, 400);
}

#[test]
fn reserved_metadata_key_under_an_escaped_field_name() {
    let body = r#"{"ids":["there"],"\u006detadatas":[{"chroma:x":"y"}]}"#;
    refused_before_the_journal("POST", "{db}/collections/{id}/update", body, 400);
}

#[test]
fn empty_id() {
    refused_before_the_journal("POST", "{db}/collections/{id}/add", r#"{"ids":[""],"embeddings":[[1,2,3]]}"#, 400);
}

#[test]
fn sparse_vector() {
    let body = r##"{"ids":["x"],"embeddings":[[1,2,3]],
        "metadatas":[{"s":{"#type":"sparse_vector","indices":[1],"values":[0.5]}}]}"##;
    refused_before_the_journal("POST", "{db}/collections/{id}/add", body, 501);
}

#[test]
fn array_in_collection_metadata() {
    refused_before_the_journal("POST", "{db}/collections", r#"{"name":"arrays","metadata":{"a":[1,2]}}"#, 400);
}

#[test]
fn array_in_new_collection_metadata() {
    refused_before_the_journal("PUT", "{db}/collections/{id}", r#"{"new_metadata":{"a":[1,2]}}"#, 400);
}

/// A single Chroma answers this with empty lists or, at times, by closing the connection.
#[test]
fn a_query_for_no_results() {
    let cluster = Cluster::two();
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "there").expect(201);
    let query = json!({ "query_embeddings": [[1, 2, 3]], "n_results": 0 });
    for _ in 0..5 {
        let answer = cluster.client().post(&record_path(&collection, "query"), &query);
        let empty = answer.status == 200 && answer.json()["ids"] == json!([[]]);
        assert!(empty || (answer.status == 400 && answer.json()["error"].is_string()), "{answer}");
    }
    add(&cluster.client(), &collection, "after").expect(201);
    assert_eq!(cluster.assert_converged().record_count(), 2);
}

#[test]
fn a_collection_by_resource_name() {
    let cluster = Cluster::two();
    let answer = cluster.client().get("/api/v2/collections/a:b:c");
    assert!((400..=501).contains(&answer.status) && answer.json()["error"].is_string(), "{answer}");
    cluster.create("goes-on");
    assert_eq!(cluster.assert_converged().collections.len(), 1);
}

#[test]
fn unknown_collection_and_unreadable_bodies_change_nothing() {
    let cluster = Cluster::two();
    let collection = cluster.create("things");
    let path = record_path(&collection, "add");
    let client = cluster.client();
    for (body, status) in [
        ("", 400),
        ("not JSON", 400),
        ("[]", 422),
        (r#"{"ids":["x"],"embeddings":[[1,2,3]]"#, 400),
        (r#"{"ids":["x"],"ids":["y"],"embeddings":[[1,2,3]]}"#, 422),
        (r#"{"ids":["x"],"embeddings":"text"}"#, 422),
        (r#"{"ids":["x","y"],"embeddings":[[1,2,3]]}"#, 400),
        (r#"{"ids":["x"],"embeddings":[[1,2,3]],"documents":["a","b"]}"#, 400),
    ] {
        let answer = client.send("POST", &path, "application/json", body.as_bytes()).expect("an answer");
        // Chroma refuses an empty or unreadable body in more than one way, but never with an effect.
        assert!(answer.status == status || matches!(answer.status, 400 | 422), "{body}: {answer}");
    }
    add(&client, "3f2504e0-4f89-41d3-9a0c-0305e82c3301", "x").expect(404);
    add(&client, "no-such-name", "x");
    assert_eq!(ids(&client, &collection), Vec::<String>::new());
    add(&client, &collection, "first").expect(201);
    client.post(&path, &json!({ "ids": ["wrong"], "embeddings": [[1]] })).expect(400);
    assert_eq!(cluster.assert_converged().record_count(), 1);
}

#[test]
fn reserved_text_inside_a_document_is_fine() {
    let cluster = Cluster::two();
    let collection = cluster.create("things");
    let text = r#""metadatas":[{"chroma:document":5}] chroma: "ids":[""] {"#;
    let body = json!({
        "ids": ["chroma:id"], "embeddings": [[1, 2, 3]], "documents": [text], "metadatas": [{ "k": "chroma:value", "x chroma:": text }],
    });
    cluster.client().post(&record_path(&collection, "add"), &body).expect(201);
    let content = cluster.assert_converged();
    let record = &content.collections.values().next().expect("things").records[0];
    assert_eq!(record.document.as_deref(), Some(text));
    assert_eq!(record.metadata["k"], r#""chroma:value""#);
}

#[test]
fn chunked_bodies_of_every_size() {
    let cluster = Cluster::two();
    let collection = cluster.create("things");
    let path = record_path(&collection, "add");
    let mut expected = Vec::new();
    for (size, chunk) in [(0, 1), (0, 7), (70_000, 1024), (5_000_000, 65_536), (39_000_000, 1_000_000)] {
        let id = format!("{size}-{chunk}");
        let mut body = record(&id);
        // Chroma ignores unknown fields.
        body["padding"] = "p".repeat(size).into();
        let mut connection = cluster.client().connect().expect("a connection");
        let answer = connection.request_chunked(&path, body.to_string().as_bytes(), chunk).expect("an answer");
        assert_eq!(answer.status, 201, "{id}: {answer}");
        expected.push(id);
    }
    assert_eq!(ids(&cluster.client(), &collection), expected);
    assert_eq!(cluster.assert_converged().record_count(), expected.len());
}

#[test]
fn expect_continue() {
    let cluster = Cluster::two();
    let collection = cluster.create("things");
    let body = record("patient").to_string();
    let length = body.len().to_string();
    let headers =
        [("content-type", "application/json"), ("content-length", length.as_str()), ("expect", "100-continue")];
    let mut request = head("POST", &record_path(&collection, "add"), &headers);
    request.extend_from_slice(b"\r\n");
    let mut connection = cluster.client().connect().expect("a connection");
    connection.send(&request).expect("sent");
    assert_eq!(connection.read_one().expect("an interim answer").status, 100);
    connection.send(body.as_bytes()).expect("sent");
    assert_eq!(connection.read_one().expect("an answer").status, 201);
    assert_eq!(cluster.assert_converged().record_count(), 1);
}

#[test]
fn http_1_0() {
    let cluster = Cluster::two();
    let collection = cluster.create("things");
    let body = record("old").to_string();
    let path = record_path(&collection, "add");
    let request = format!(
        "POST {path} HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut connection = cluster.client().connect().expect("a connection");
    connection.send(request.as_bytes()).expect("sent");
    assert_eq!(connection.read_answer().expect("an answer").status, 201);
    assert!(connection.is_closed(), "HTTP/1.0 closes");
    let mut connection = cluster.client().connect().expect("a connection");
    connection.send(format!("GET {} HTTP/1.0\r\n\r\n", record_path(&collection, "count")).as_bytes()).expect("sent");
    assert_eq!(connection.read_answer().expect("an answer").text(), "1");
    assert_eq!(cluster.assert_converged().record_count(), 1);
}

#[test]
fn one_connection_for_everything() {
    let cluster = Cluster::two();
    let collection = cluster.create("things");
    let (path, count) = (record_path(&collection, "add"), record_path(&collection, "count"));
    let mut connection = cluster.client().connect().expect("a connection");
    let kind = [("content-type", "application/json")];
    for round in 0..5 {
        let mut call =
            |method: &str, path: &str, body: &[u8]| connection.request(method, path, &kind, body).expect("an answer");
        assert_eq!(call("POST", &path, record(&format!("plain-{round}")).to_string().as_bytes()).status, 201);
        assert_eq!(call("GET", &count, b"").text(), (2 * round + 1).to_string());
        assert_eq!(call("POST", &path, b"not JSON").status, 400);
        assert_eq!(call("GET", "/api/v2/nothing", b"").status, 404);
        let body = record(&format!("chunked-{round}")).to_string();
        assert_eq!(connection.request_chunked(&path, body.as_bytes(), 5).expect("an answer").status, 201);
        let page = json!({ "ids": [format!("chunked-{round}")] }).to_string();
        let answer =
            connection.request_chunked(&record_path(&collection, "get"), page.as_bytes(), 3).expect("an answer");
        assert_eq!(answer.json()["ids"], json!([format!("chunked-{round}")]));
    }
    assert_eq!(cluster.assert_converged().record_count(), 10);
}

#[test]
fn a_client_gone_mid_body_leaves_nothing() {
    let cluster = Cluster::two();
    let collection = cluster.create("things");
    let path = record_path(&collection, "add");
    let body = record("half").to_string();
    let before = journaled(&cluster.edge);
    let length = (body.len() + 1).to_string();
    let framings: [(&str, &str); 2] = [("content-length", length.as_str()), ("transfer-encoding", "chunked")];
    for (name, value) in framings {
        let mut request = head("POST", &path, &[("content-type", "application/json"), (name, value)]);
        request.extend_from_slice(b"\r\n");
        let mut connection = cluster.client().connect().expect("a connection");
        connection.send(&request).expect("sent");
        // The whole JSON, but not the whole body.
        if name == "content-length" {
            connection.send(body.as_bytes())
        } else {
            connection.send_chunk(body.as_bytes())
        }
        .expect("sent");
        connection.hang_up();
    }
    add(&cluster.client(), &collection, "whole").expect(201);
    assert_eq!(cluster.assert_converged().record_count(), 1);
    assert_eq!(journaled(&cluster.edge), before + 1);
}

#[test]
fn a_client_gone_after_the_body_is_still_served() {
    let cluster = Cluster::two();
    let collection = cluster.create("things");
    for number in 0..20 {
        let body = record(&format!("gone-{number}")).to_string();
        let length = body.len().to_string();
        let headers = [("content-type", "application/json"), ("content-length", length.as_str())];
        let mut request = head("POST", &record_path(&collection, "add"), &headers);
        request.extend_from_slice(format!("\r\n{body}").as_bytes());
        let mut connection = cluster.client().connect().expect("a connection");
        connection.send(&request).expect("sent");
        if number % 2 == 0 {
            connection.hang_up();
        }
    }
    let count = || cluster.client().get(&record_path(&collection, "count")).json();
    wait_for("all writes", Duration::from_secs(20), || (count() == 20).then_some(()));
    assert_eq!(cluster.assert_converged().record_count(), 20);
}
