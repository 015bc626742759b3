//! Collections that existed before the edge and differ: an operator decides (rule R18). If one copy is full and the
//! others are empty or missing, no decision is needed.

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, Cluster, add, create, ids, ids_by_name};
use testkit::http::Client;
use testkit::place::{self, wait_for};
use testkit::{ChromaServer, Edge};

const HEALED: Duration = Duration::from_secs(120);
const ON: &str = "  heal: { enabled: true, marker_interval: 1s }\n  read_wait: 1s\n  recovery_interval: 1s";

fn command(edge: &Edge, words: &[&str]) -> (Output, String) {
    let output = Command::new(place::binary()).args(words).args(["--url", &edge.url()]).output().expect("the program");
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    (output, String::from_utf8_lossy(&text).into_owned())
}

/// Creates a collection with these records.
fn fill(client: &Client, name: &str, records: &[&str]) {
    let collection = create(client, name);
    for id in records {
        add(client, &collection, id).expect(201);
    }
}

fn start(servers: [ChromaServer; 2]) -> Cluster {
    let edge = Edge::builder().instances(&[&servers[0], &servers[1]]).config(ON).start();
    edge.announce("lacks collections");
    Cluster { edge, servers: servers.into() }
}

/// Returns what `/status` reports about the copy that differs.
fn difference(edge: &Edge, name: &str) -> Value {
    wait_for("the difference reported", CATCH_UP, || {
        let status = edge.status();
        let of = |one: &&Value| one["collection_name"] == name && one["difference"].is_object();
        status["diverged"].as_array()?.iter().find(of).map(|one| one["difference"].clone())
    })
}

#[track_caller]
fn assert_both_hold(cluster: &Cluster, name: &str, records: &[&str]) {
    cluster.edge.wait_until_in_sync(HEALED);
    for server in &cluster.servers {
        assert_eq!(ids_by_name(server, name), records, "{name}");
    }
}

/// `notes` differs: the replica's copy has all of the primary's records, and two more.
fn differing() -> Cluster {
    let servers = [ChromaServer::fresh(), ChromaServer::fresh()];
    fill(&servers[0].client(), "notes", &["one"]);
    fill(&servers[1].client(), "notes", &["one", "two", "three"]);
    start(servers)
}

#[test]
fn the_copy_that_is_served_is_kept() {
    let cluster = differing();
    let shown = difference(&cluster.edge, "notes");
    assert_eq!(shown["served_by"], "primary");
    assert_eq!([&shown["served_records"], &shown["records"]], [&json!(1), &json!(3)]);
    assert_eq!([&shown["only_served"], &shown["only_here"], &shown["different"]], [&json!(0), &json!(2), &json!(0)]);
    assert!(cluster.edge.log().contains("this copy has all of the served ones, and 2 more"));
    let client = cluster.client();
    let notes = client.get("/collection/mappings").json()["mappings"][0]["collection_id"].as_str().unwrap().to_owned();
    add(&client, &notes, "since").expect(201);
    let say = |body: Value| client.post("/admin/adopt", &body);
    for (body, status, reason) in [
        (json!({ "collection": "notes" }), 400, "bad_body"),
        (json!({ "collection": "notes", "from": "nobody" }), 404, "unknown_instance"),
        (json!({ "collection": "others", "from": "primary" }), 404, "unknown_collection"),
        (json!({ "collection": "notes", "from": "primary", "database": "else" }), 404, "unknown_collection"),
        // Only the primary has what was acknowledged.
        (json!({ "collection": notes, "from": "replica" }), 409, "lacks_writes"),
    ] {
        assert_eq!(say(body.clone()).expect(status).json()["reason"], reason, "{body}");
    }
    let (output, text) = command(&cluster.edge, &["adopt", "--from", "replica", "--collection", "notes"]);
    assert!(output.status.code() == Some(1) && text.contains("lacks what was written"), "{text}");
    let (output, text) = command(&cluster.edge, &["adopt", "--from", "primary", "--collection", "notes"]);
    assert!(output.status.success() && text.contains("made like it: replica"), "{text}");
    assert_both_hold(&cluster, "notes", &["one", "since"]);
    assert_eq!(
        say(json!({ "collection": "notes", "from": "primary" })).expect(409).json()["reason"],
        "nothing_differs"
    );
}

#[test]
fn the_other_copy_takes_over_and_a_killed_edge_does_not_forget_it() {
    let mut cluster = differing();
    difference(&cluster.edge, "notes");
    let client = cluster.client();
    let word = json!({ "collection": "notes", "from": "replica" });
    assert_eq!(client.post("/admin/adopt", &word).expect(200).json()["condemned"], json!(["primary"]));
    cluster.edge.kill();
    cluster.edge.restart();
    cluster.edge.announce("lacks collections");
    let notes = client.get("/collection/mappings").json()["mappings"][0]["collection_id"].as_str().unwrap().to_owned();
    assert_eq!(ids(&client, &notes), ["one", "two", "three"]);
    add(&client, &notes, "since").expect(201);
    assert_both_hold(&cluster, "notes", &["one", "two", "three", "since"]);
    cluster.servers[1].kill();
    assert_eq!(ids(&client, &notes), ["one", "two", "three", "since"]);
}

#[test]
fn every_difference_is_decided_at_once() {
    let servers = [ChromaServer::fresh(), ChromaServer::fresh()];
    for (server, own) in servers.iter().zip(["ours", "theirs"]) {
        fill(&server.client(), "first", &[own, "common"]);
        fill(&server.client(), "second", &[own]);
        fill(&server.client(), "equal", &["same"]);
    }
    let cluster = start(servers);
    assert_eq!(difference(&cluster.edge, "first")["only_here"], json!(1));
    difference(&cluster.edge, "second");
    let (output, text) = command(&cluster.edge, &["adopt", "--from", "replica", "--all"]);
    assert!(output.status.success() && text.lines().count() == 2, "{text}");
    assert_both_hold(&cluster, "first", &["theirs", "common"]);
    assert_both_hold(&cluster, "second", &["theirs"]);
    assert_both_hold(&cluster, "equal", &["same"]);
    let (output, text) = command(&cluster.edge, &["adopt", "--from", "replica", "--all"]);
    assert!(output.status.success() && text.contains("no collection waits"), "{text}");
    let (output, text) = command(&cluster.edge, &["adopt", "--from", "replica"]);
    assert_eq!(output.status.code(), Some(64), "{text}");
}

/// No operator is involved: what is empty or missing becomes like what is full.
#[test]
fn what_is_empty_or_missing_is_no_conflict_in_either_direction() {
    let servers = [ChromaServer::fresh(), ChromaServer::fresh()];
    let [first, second] = [0, 1].map(|index: usize| servers[index].client());
    fill(&first, "empty-on-the-second", &["a", "b"]);
    fill(&second, "empty-on-the-second", &[]);
    fill(&first, "empty-on-the-first", &[]);
    fill(&second, "empty-on-the-first", &["c", "d"]);
    fill(&first, "missing-on-the-second", &["e"]);
    fill(&second, "missing-on-the-first", &["f"]);
    fill(&first, "empty-on-both", &[]);
    fill(&second, "empty-on-both", &[]);
    let cluster = start(servers);
    for (name, records) in [
        ("empty-on-the-second", &["a", "b"][..]),
        ("empty-on-the-first", &["c", "d"]),
        ("missing-on-the-second", &["e"]),
        ("missing-on-the-first", &["f"]),
        ("empty-on-both", &[]),
    ] {
        wait_for("all five adopted", CATCH_UP, || (cluster.edge.status()["collections"] == 5).then_some(()));
        assert_both_hold(&cluster, name, records);
    }
    let status = cluster.edge.status();
    assert_eq!((&status["diverged"], &status["without_second_copy"]["count"]), (&json!([]), &json!(0)));
}
