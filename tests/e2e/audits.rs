//! Audits find records that were changed behind the edge's back. The journal shows which copy is wrong, and that copy
//! is repaired, or made anew. If the journal does not show it, both are kept and an operator is notified.

use std::time::Duration;

use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, Cluster, add, create};
use testkit::http::{Client, DEFAULT, record_path};
use testkit::place::wait_for;
use testkit::random::seed;
use testkit::workload::{Plan, Workload, acknowledged, errors};
use testkit::{ChromaServer, Edge};

use crate::healing::fill;

const HEALED: Duration = Duration::from_secs(60);
const ON: &str = "  heal: { enabled: true }\n  audit: { interval: 0s }\n  recovery_interval: 1s";

/// Returns the path of a request to a server's own copy.
pub fn direct(server: &ChromaServer, name: &str, what: &str) -> String {
    let shown = server.client().get(&format!("{DEFAULT}/collections/{name}")).expect(200).json();
    record_path(shown["id"].as_str().expect("an id"), what)
}

/// Requests an audit and waits for its end. Returns what it found for the collection with this name.
pub fn audit(client: &Client, body: &Value, name: &str) -> Value {
    let request = client.post("/admin/audit", body).expect(202).json()["request"].as_u64().expect("a number");
    let report = wait_for("the audit", HEALED, || {
        let report = client.get("/admin/audit").expect(200).json();
        (report["last_finished_request"].as_u64()? >= request).then_some(report)
    });
    let found = report["collections"].as_array().expect("a list").iter().find(|one| one["collection_name"] == name);
    found.unwrap_or_else(|| panic!("{name} is not in {report}")).clone()
}

/// What the log says when a copy has been healed.
const REPAIRED: &str = "the copy is repaired and serves";
const MADE_ANEW: &str = "the copy is made and serves";

fn await_healed(cluster: &Cluster, how: &str) {
    wait_for(how, HEALED, || cluster.edge.log().contains(how).then_some(()));
}

fn cluster() -> Cluster {
    let cluster = Cluster::with(2, |edge| edge.config(ON));
    cluster.edge.announce("not what was written");
    cluster.edge.announce("diverged");
    cluster
}

/// Applies a change to one server's copy of `docs`, which has the records `a` to `c`, and expects it to be healed.
fn tampered(lost: usize, what: &str, body: &Value, healed: &str) {
    let cluster = cluster();
    let client = cluster.client();
    let collection = cluster.create("docs");
    for id in ["a", "b", "c"] {
        add(&client, &collection, id).expect(201);
    }
    // A key that only the tampered copy ever had would stay in its schema, and nowhere else.
    let known = json!({ "ids": ["a"], "metadatas": [{ "k": "the client's" }] });
    client.post(&record_path(&collection, "update"), &known).expect(200);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let found = audit(&client, &json!({}), "docs");
    assert_eq!(found["state"], "equal", "{found}");
    let server = &cluster.servers[lost];
    let answer = server.client().post(&direct(server, "docs", what), body);
    assert!(answer.status < 300, "{answer}");

    let found = audit(&client, &json!({ "collection": "docs" }), "docs");
    let name = ["primary", "replica"][lost];
    assert_eq!((found["state"].as_str(), found["wrong_on"].as_str()), (Some("wrong"), Some(name)), "{found}");
    assert_eq!(cluster.edge.status()["diverged"], json!([]), "nobody has asked for more");
    let found = audit(&client, &json!({ "collection": collection, "repair": true }), "docs");
    assert_eq!(found["state"], "repaired", "{found}");
    await_healed(&cluster, healed);
    let found = audit(&client, &json!({}), "docs");
    assert_eq!((found["state"].as_str(), found["records"].as_u64()), (Some("equal"), Some(3)), "{found}");
    assert!(found["equal_as_of"].as_u64().is_some());
    cluster.assert_converged();
}

#[test]
fn a_changed_document_on_the_replica() {
    tampered(1, "update", &json!({ "ids": ["b"], "documents": ["somebody else's"] }), REPAIRED);
}

#[test]
fn a_changed_vector_on_the_primary() {
    tampered(0, "update", &json!({ "ids": ["c"], "embeddings": [[9.0, 9.0, 9.0]] }), REPAIRED);
}

#[test]
fn a_record_that_was_removed() {
    // All records after it would have to be written again.
    tampered(0, "delete", &json!({ "ids": ["a"] }), MADE_ANEW);
}

#[test]
fn a_record_that_nobody_wrote() {
    tampered(1, "add", &json!({ "ids": ["z"], "embeddings": [[1.0, 2.0, 3.0]], "documents": ["new"] }), REPAIRED);
}

#[test]
fn a_changed_metadata_value() {
    tampered(1, "update", &json!({ "ids": ["b"], "metadatas": [{ "k": "v" }] }), REPAIRED);
}

/// The background audit finds it without a request, while clients write to the same collection.
#[test]
fn the_background_audit_repairs_under_load() {
    let cluster = Cluster::with(2, |edge| {
        edge.config("  heal: { enabled: true }\n  audit: { interval: 2s }\n  recovery_interval: 1s")
    });
    cluster.edge.announce("not what was written");
    cluster.edge.announce("diverged");
    let client = cluster.client();
    let bulk = cluster.create("bulk");
    fill(&client, &bulk, 2000);
    let load = Workload::start(&client, seed(), &Plan::records());
    load.await_more(50, CATCH_UP);
    let server = &cluster.servers[1];
    let body = json!({ "ids": ["bulk-777"], "documents": ["somebody else's"] });
    server.client().post(&direct(server, "bulk", "update"), &body).expect(200);
    await_healed(&cluster, REPAIRED);
    load.await_more(50, CATCH_UP);
    let events = load.finish();
    assert_eq!(errors(&events), Vec::<String>::new());
    assert!(acknowledged(&events).count() > 100);
    let warned: Vec<String> =
        cluster.edge.log().lines().filter(|l| l.contains("is not what was written")).map(str::to_owned).collect();
    assert_eq!(warned.len(), 1, "writes under way are no differences: {warned:?}");
    cluster.assert_converged();
}

/// The journal cannot judge content from before it: both copies are kept.
#[test]
fn what_the_journal_does_not_know_is_left_to_an_operator() {
    let servers = [ChromaServer::fresh(), ChromaServer::fresh()];
    for server in &servers {
        let made = create(&server.client(), "docs");
        add(&server.client(), &made, "a").expect(201);
    }
    let edge = Edge::builder().instances(&[&servers[0], &servers[1]]).config(ON).start();
    let cluster = Cluster { edge, servers: servers.into() };
    cluster.edge.announce("an operator decides");
    let client = cluster.client();
    wait_for("both adopted", CATCH_UP, || (cluster.edge.status()["without_second_copy"]["count"] == 0).then_some(()));
    let found = audit(&client, &json!({}), "docs");
    assert_eq!(found["state"], "equal", "{found}");
    let server = &cluster.servers[1];
    let body = json!({ "ids": ["a"], "documents": ["another"] });
    server.client().post(&direct(server, "docs", "update"), &body).expect(200);
    let found = audit(&client, &json!({ "repair": true }), "docs");
    assert_eq!((found["state"].as_str(), &found["differing"]["records"]), (Some("undecided"), &json!(1)), "{found}");
    assert_eq!(found["differing"]["first"], json!(["a"]));
    assert_eq!(cluster.edge.status()["diverged"], json!([]), "both are kept");

    cluster.edge.announce("an operator has decided");
    let word = json!({ "collection": "docs", "from": "replica" });
    assert_eq!(client.post("/admin/adopt", &word).expect(200).json()["condemned"], json!(["primary"]));
    await_healed(&cluster, MADE_ANEW);
    cluster.edge.wait_until_in_sync(HEALED);
    assert_eq!(audit(&client, &json!({}), "docs")["state"], "equal");
    let shown = cluster.servers[0].client().post(&direct(&cluster.servers[0], "docs", "get"), &json!({})).expect(200);
    assert_eq!(shown.json()["documents"], json!(["another"]));
}

#[test]
fn bad_requests_for_an_audit_are_refused() {
    let cluster = cluster();
    let client = cluster.client();
    assert_eq!(client.post("/admin/audit", &json!({ "colection": "x" })).expect(400).json()["reason"], "bad_body");
    assert_eq!(client.post("/admin/audit", &json!([])).expect(400).json()["reason"], "bad_body");
    assert_eq!(
        client.post("/admin/audit", &json!({ "collection": "x" })).expect(404).json()["reason"],
        "unknown_collection"
    );
    client.call("PUT", "/admin/audit", &json!({})).expect(405);
}

/// `verify`, as an operator runs it.
#[test]
fn verify_prints_a_table_and_its_exit_code_says_whether_copies_are_equal() {
    let mut cluster = cluster();
    let collection = cluster.create("docs");
    add(&cluster.client(), &collection, "a").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let url = cluster.client().url();
    let verify = |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_chroma-edge"));
        let output = command.args(["verify", "--url", &url]).args(more).output().expect("the command");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, table) = verify(&[]);
    assert_eq!(code, Some(0), "{table}");
    assert!(table.contains("docs") && table.contains("equal"), "{table}");
    let server = &cluster.servers[1];
    server.client().post(&direct(server, "docs", "delete"), &json!({ "ids": ["a"] })).expect(200);
    let (code, table) = verify(&["--collection", "docs", "--repair"]);
    assert!(code == Some(1) && table.contains("the copy of replica is not what was written, first in a"), "{table}");
    await_healed(&cluster, MADE_ANEW);
    cluster.edge.wait_until_in_sync(HEALED);
    assert_eq!(verify(&[]).0, Some(0));
    assert_eq!(verify(&["--collection", "nothing"]).0, Some(1));
    cluster.assert_converged();
    // The content of a server that is away is unknown.
    for (index, left_out) in [(1, "not compared with replica:"), (0, "not compared with primary, replica:")] {
        cluster.servers[index].kill();
        cluster.edge.wait_until_healthy(["primary", "replica"][index], false, CATCH_UP);
        let (code, table) = verify(&[]);
        assert!(code == Some(1) && table.contains(left_out), "{table}");
    }
}
