//! Refused by one instance and applied by another: not served by the one that refused it, reported, and healed when
//! equal.

use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, Cluster, TENANT, add, ids, ids_by_name, record};
use testkit::content::{self, Content};
use testkit::http::{Client, DEFAULT, record_path};
use testkit::place::wait_for;

/// Starts a cluster whose servers will be changed behind the edge's back.
fn meddled_with() -> Cluster {
    let cluster = Cluster::with(2, |edge| edge.config("  read_wait: 1s\n  health: { failures: 10 }"));
    cluster.edge.announce("lacks collections");
    cluster.edge.announce("diverged");
    cluster
}

/// Checks that a new collection is created on the replica too.
#[track_caller]
fn assert_catalog_goes_on(cluster: &Cluster) {
    cluster.create("other");
    wait_for("the other collection on the replica", CATCH_UP, || {
        let found = cluster.servers[1].client().get(&format!("{DEFAULT}/collections/other"));
        (found.status == 200).then_some(())
    });
}

/// Waits until the edge reports the collection as diverged on the replica, and nothing else.
fn await_report(cluster: &Cluster, collection: &str) -> Value {
    let found = wait_for("the divergence reported", CATCH_UP, || {
        let status = cluster.edge.status();
        // A collection that has just been created may not be on the replica yet.
        let settled = status["without_second_copy"]["count"] == 1;
        (settled && status["diverged"].as_array().is_some_and(|list| !list.is_empty())).then_some(status)
    });
    assert_eq!(cluster.client().get("/health").expect(200).json()["status"], "degraded");
    assert_eq!(found["without_second_copy"]["count"], 1, "{found:#}");
    let list = found["diverged"].as_array().expect("a list").clone();
    assert_eq!(list.len(), 1, "{list:?}");
    assert_eq!((&list[0]["collection_id"], &list[0]["instance"]), (&json!(collection), &json!("replica")));
    assert_eq!(list[0]["collection_name"], "things");
    let diverged: Vec<_> =
        found["instances"].as_array().expect("instances").iter().map(|one| &one["diverged_collections"]).collect();
    assert_eq!(json!(diverged), json!([0, 1]));
    let metrics = cluster.client().get("/metrics").expect(200).text();
    let line = "chroma_edge_instance_diverged_collections{instance=\"replica\"} 1";
    assert!(metrics.lines().any(|one| one == line), "{metrics}");
    list[0].clone()
}

#[track_caller]
fn assert_never_served_by_the_replica(client: &Client, collection: &str, expected: &[&str]) {
    for consistency in ["fresh", "any"] {
        let client = client.with_header("chroma-edge-consistency", consistency);
        for _ in 0..30 {
            let answer = client.post(&record_path(collection, "get"), &json!({ "include": [] })).expect(200);
            assert_eq!(answer.header("chroma-edge-instance"), Some("primary"), "{consistency}: {answer}");
            assert_eq!(answer.json()["ids"], json!(expected));
        }
        let pinned = client.with_header("chroma-edge-instance", "replica");
        let answer = pinned.get(&record_path(collection, "count"));
        assert_eq!(answer.status, 503, "{consistency} and pinned: {answer}");
    }
}

fn on_replica(cluster: &Cluster, verb: &str, body: &Value) {
    let client = cluster.servers[1].client();
    let id = client.get(&format!("{DEFAULT}/collections/things")).expect(200).json()["id"].clone();
    let answer = client.post(&record_path(id.as_str().expect("an id"), verb), body);
    assert!(answer.status < 300, "{answer}");
}

#[test]
fn another_dimension_behind_our_back() {
    let cluster = Cluster::with(2, |edge| edge.config("  read_wait: 1s\n  health: { failures: 10 }"));
    cluster.edge.announce("diverged");
    let collection = cluster.create("things");
    let other = cluster.create("untouched");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    // From now on the replica refuses what the primary accepts.
    on_replica(&cluster, "add", &json!({ "ids": ["stranger"], "embeddings": [[1.0]] }));
    add(&cluster.client(), &collection, "one").expect(201);
    await_report(&cluster, &collection);
    add(&cluster.client(), &collection, "two").expect(201);
    assert_never_served_by_the_replica(&cluster.client(), &collection, &["one", "two"]);
    // Nothing more is sent to the replica, nothing waits for it, and other collections go on.
    assert_eq!(cluster.edge.status()["pending_writes"], 0);
    assert_eq!(ids_by_name(&cluster.servers[1], "things"), ["stranger"]);
    add(&cluster.client(), &other, "three").expect(201);
    wait_for("another collection on both", CATCH_UP, || {
        (ids_by_name(&cluster.servers[1], "untouched") == ["three"]).then_some(())
    });
}

#[test]
fn a_restart_of_the_edge_does_not_forget_it() {
    let mut cluster = Cluster::with(2, |edge| edge.config("  read_wait: 1s\n  health: { failures: 10 }"));
    cluster.edge.announce("diverged");
    let collection = cluster.create("things");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    on_replica(&cluster, "add", &json!({ "ids": ["stranger"], "embeddings": [[1.0]] }));
    add(&cluster.client(), &collection, "one").expect(201);
    await_report(&cluster, &collection);
    cluster.edge.kill();
    cluster.edge.restart();
    await_report(&cluster, &collection);
    assert_never_served_by_the_replica(&cluster.client(), &collection, &["one"]);
}

#[test]
fn equal_again_is_served_again() {
    let (cluster, relays) = Cluster::relayed(|edge| edge.config("  read_wait: 1s\n  health: { failures: 10 }"));
    cluster.edge.announce("diverged");
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "zero").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    relays[1].refuse(Some("/add"));
    add(&cluster.client(), &collection, "one").expect(201);
    await_report(&cluster, &collection);
    relays[1].refuse(None);
    assert_never_served_by_the_replica(&cluster.client(), &collection, &["zero", "one"]);
    // An operator makes the replica equal to what the primary will hold after the next write.
    on_replica(&cluster, "add", &record("one"));
    on_replica(&cluster, "add", &record("two"));
    add(&cluster.client(), &collection, "two").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let pinned = cluster.client().with_header("chroma-edge-instance", "replica");
    assert_eq!(ids(&pinned, &collection), ["zero", "one", "two"]);
    add(&cluster.client(), &collection, "three").expect(201);
    assert_eq!(cluster.assert_converged().record_count(), 4);
}

#[test]
fn deleted_behind_our_back() {
    let cluster = meddled_with();
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "one").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let deleted = cluster.servers[1].client().call("DELETE", &format!("{DEFAULT}/collections/things"), &Value::Null);
    deleted.expect(200);
    add(&cluster.client(), &collection, "two").expect(201);
    await_report(&cluster, &collection);
    assert_never_served_by_the_replica(&cluster.client(), &collection, &["one", "two"]);
    let held = Content::of(&cluster.servers[0].client(), TENANT);
    content::assert_equal("the primary and the edge", &held, &Content::of(&cluster.client(), TENANT));
}

/// The collection is diverged on that server, and the server's catalog lane goes on.
#[test]
fn a_change_of_what_was_deleted_behind_our_back_stops_no_other_collection() {
    let cluster = meddled_with();
    let collection = cluster.create("things");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let deleted = cluster.servers[1].client().call("DELETE", &format!("{DEFAULT}/collections/things"), &Value::Null);
    deleted.expect(200);
    let change = json!({ "new_metadata": { "changed": true } });
    cluster.client().call("PUT", &format!("{DEFAULT}/collections/{collection}"), &change).expect(200);
    assert_catalog_goes_on(&cluster);
    await_report(&cluster, &collection);
}

/// A database that one server has lost is created again on it when a collection needs it.
#[test]
fn what_is_created_in_a_lost_database_is_created_there_with_it() {
    let cluster = Cluster::two();
    let databases = "/api/v2/tenants/default_tenant/databases";
    cluster.client().post(databases, &json!({ "name": "lost" })).expect(200);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.servers[1].client().call("DELETE", &format!("{databases}/lost"), &Value::Null).expect(200);
    let made =
        cluster.client().post(&format!("{databases}/lost/collections"), &json!({ "name": "things" })).expect(200);
    add(&cluster.client(), made.json()["id"].as_str().expect("an id"), "one").expect(201);
    assert_catalog_goes_on(&cluster);
    assert_eq!(cluster.assert_converged().record_count(), 1);
}

/// A client's malformed request while an instance's answers are lost: both are errors, and neither takes the instance
/// out.
#[test]
fn a_malformed_write_whose_answer_is_lost_takes_nobody_out() {
    let (cluster, relays) = Cluster::relayed(|edge| edge.config("  settle_time: 500ms"));
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "before").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    relays[0].lose_answers(Some("/upsert"));
    let malformed = json!({ "ids": ["bad"], "embeddings": [["x"]] });
    let answer = cluster.client().post(&record_path(&collection, "upsert"), &malformed).expect(422);
    assert_eq!(answer.header("chroma-edge-instance"), Some("replica"), "{answer}");
    for number in 0..5 {
        cluster.client().post(&record_path(&collection, "upsert"), &record(&format!("after-{number}"))).expect(200);
    }
    relays[0].lose_answers(None);
    assert_eq!(cluster.assert_converged().record_count(), 6);
    assert!(!cluster.edge.log().contains("diverged"), "{}", cluster.edge.log());
}
