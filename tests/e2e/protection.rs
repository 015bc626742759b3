//! What clients may not do, and how the refusal says that an operator can allow it.

use serde_json::{Value, json};

use testkit::chroma::Reset;
use testkit::cluster::{Cluster, add};
use testkit::http::{Answer, DEFAULT};
use testkit::{ChromaServer, Edge};

#[track_caller]
fn assert_forbidden(answer: Answer) {
    let answer = answer.expect(403);
    assert!(answer.json()["message"].as_str().expect("a message").contains("protection"), "how to allow it: {answer}");
}

#[test]
fn the_protected_collection_is_not_deleted() {
    let cluster = Cluster::two();
    let client = cluster.client();
    let id = cluster.create("global");
    add(&client, &id, "kept").expect(201);
    assert_forbidden(client.call("DELETE", &format!("{DEFAULT}/collections/global"), &Value::Null));
    assert_forbidden(client.call("DELETE", DEFAULT, &Value::Null));
    assert_forbidden(client.call("POST", "/api/v2/reset", &Value::Null));
    // Under another name it could be deleted.
    let path = format!("{DEFAULT}/collections/{id}");
    assert_forbidden(client.call("PUT", &path, &json!({ "new_name": "unprotected" })));
    client.call("PUT", &path, &json!({ "new_metadata": { "k": 1 } })).expect(200);
    assert_eq!(cluster.assert_converged().record_count(), 1);
}

#[test]
fn a_reset_that_is_allowed_still_spares_what_is_protected() {
    let servers = [ChromaServer::with_reset(Reset::Allowed), ChromaServer::with_reset(Reset::Allowed)];
    let edge = Edge::builder()
        .instances(&[&servers[0], &servers[1]])
        .config("  protection: { allow_reset: true, collections: [precious] }")
        .start();
    let client = edge.client();
    client.post(&format!("{DEFAULT}/collections"), &json!({ "name": "precious" })).expect(200);
    assert_forbidden(client.call("POST", "/api/v2/reset", &Value::Null));
    client.get(&format!("{DEFAULT}/collections/precious")).expect(200);
}
