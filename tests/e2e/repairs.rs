//! A copy that is mostly right is repaired in place: a server that comes back a little older, or with a few wrong
//! records, keeps its collection, and gets only the differences (rule R14).

use std::time::Duration;

use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, Cluster, add};
use testkit::content::{self, Content};
use testkit::edge::Builder;
use testkit::http::{Client, DEFAULT, record_path};
use testkit::place::wait_for;
use testkit::postgres::Postgres;
use testkit::random::seed;
use testkit::workload::{Plan, Workload, acknowledged, errors};
use testkit::{ChromaServer, Edge};

use crate::audits::{audit, direct};
use crate::healing::fill;

const HEALED: Duration = Duration::from_secs(120);
const ON: &str = "  heal: { enabled: true, marker_interval: 1s }\n  audit: { interval: 0s }\n  read_wait: 1s\n  recovery_interval: 1s";
const REPAIRED: &str = "the copy is repaired and serves";
const ANEW: &str = "a copy is being made anew";
const MADE: &str = "the copy is made and serves";
const RECORDS: usize = 1500;

fn configured(edge: Builder, heal: &str) -> Builder {
    edge.config(&ON.replace("enabled: true", &format!("enabled: true{heal}")))
}

fn expecting_trouble(edge: &Edge) {
    for text in ["lacks what it was given", "lacks collections", "diverged", "not what was written"] {
        edge.announce(text);
    }
}

/// Returns this server's id of the collection.
fn id_on(server: &ChromaServer, name: &str) -> String {
    let shown = server.client().get(&format!("{DEFAULT}/collections/{name}")).expect(200).json();
    shown["id"].as_str().expect("an id").to_owned()
}

/// Waits until the server's marker covers what was written so far.
fn await_marked(cluster: &Cluster, server: usize) {
    let generation = || {
        let path = "/api/v2/tenants/default_tenant/databases/chroma-edge-marker/collections/marker";
        let answer = cluster.servers[server].client().get(path);
        if answer.status == 200 { answer.json()["metadata"]["generation"].as_u64() } else { None }
    };
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let before = generation().unwrap_or_default();
    add(&cluster.client(), &cluster.create(&format!("mark{server}x{before}")), "one").expect(201);
    wait_for("a newer marker", CATCH_UP, || (generation()? > before).then_some(()));
}

/// Returns the log line with this text about this collection, if it exists.
fn line_of(cluster: &Cluster, text: &str, collection: &str) -> Option<String> {
    let log = cluster.edge.log();
    log.lines().find(|line| line.contains(text) && line.contains(collection)).map(str::to_owned)
}

fn number_in(line: &str, key: &str) -> usize {
    let value = line.split_once(&format!("{key}=")).and_then(|(_, rest)| rest.split(' ').next());
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{key} is not in {line}"))
}

fn await_repaired(cluster: &Cluster, collection: &str) -> String {
    wait_for("the copy repaired", HEALED, || line_of(cluster, REPAIRED, collection))
}

/// Makes a few changes of every kind to the first few hundred records. Fewer than a hundred records differ afterwards.
fn change_a_little(client: &Client, docs: &str) {
    let write = |verb: &str, body: Value| client.post(&record_path(docs, verb), &body);
    let named = |from: usize, to: usize| (from..to).map(|n| format!("bulk-{n}")).collect::<Vec<_>>();
    let updated = named(10, 20);
    write("update", json!({ "ids": updated, "documents": vec!["newer"; updated.len()] })).expect(200);
    // One key is removed, and one is added.
    write("update", json!({ "ids": ["bulk-30"], "metadatas": [{ "n": null, "k": true }] })).expect(200);
    // A document is removed.
    write("delete", json!({ "ids": ["bulk-40"] })).expect(200);
    write("add", json!({ "ids": ["bulk-40"], "embeddings": [vec![0.5; 16]] })).expect(201);
    write("delete", json!({ "ids": named(50, 55) })).expect(200);
    write("add", json!({ "ids": ["new"], "embeddings": [vec![0.25; 16]], "metadatas": [{ "n": 1000 }] })).expect(201);
    write("upsert", json!({ "ids": ["bulk-60", "newer"], "embeddings": vec![vec![0.125; 16]; 2] })).expect(200);
    write("delete", json!({ "where": { "n": 1000 } })).expect(200);
}

/// Puts the server's folder back to its state before a few changes.
fn comes_back_older(cluster: &mut Cluster, lost: usize, docs: &str) {
    await_marked(cluster, lost);
    cluster.servers[lost].kill();
    let saved = cluster.servers[lost].save();
    cluster.servers[lost].restart();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    change_a_little(&cluster.client(), docs);
    await_marked(cluster, lost);
    cluster.servers[lost].kill();
    cluster.servers[lost].put_back(&saved);
    cluster.servers[lost].restart();
}

fn an_older_folder(lost: usize) {
    let mut cluster = Cluster::with(2, |edge| configured(edge, ""));
    expecting_trouble(&cluster.edge);
    let docs = cluster.create("docs");
    fill(&cluster.client(), &docs, RECORDS);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let before = id_on(&cluster.servers[lost], "docs");
    comes_back_older(&mut cluster, lost, &docs);
    let line = await_repaired(&cluster, &docs);
    let (records, written) = (number_in(&line, "records"), number_in(&line, "written"));
    assert!(records > RECORDS - 10 && (1..100).contains(&written), "{line}");
    cluster.edge.wait_until_in_sync(HEALED);
    assert_eq!(id_on(&cluster.servers[lost], "docs"), before, "it is the same collection");
    assert_eq!(line_of(&cluster, MADE, &docs), None);
    let metrics = cluster.client().get("/metrics").expect(200).text();
    for (name, value) in
        [("copies_repaired", 1), ("heal_repaired_records", written), ("heal_compared_records", records)]
    {
        assert!(metrics.lines().any(|line| line == format!("chroma_edge_{name} {value}")), "{name} {value}");
    }
    cluster.assert_converged();
    // Now the other one may die.
    cluster.servers[1 - lost].kill();
    let count = cluster.client().get(&record_path(&docs, "count")).expect(200).json();
    assert_eq!(count, json!(records));
    cluster.servers[1 - lost].restart();
    cluster.assert_converged();
}

#[test]
fn an_older_replica_gets_what_differs_and_keeps_its_collection() {
    an_older_folder(1);
}

#[test]
fn an_older_primary_gets_what_differs_and_keeps_its_collection() {
    an_older_folder(0);
}

#[test]
fn an_older_replica_is_repaired_with_a_journal_in_postgres() {
    let postgres = Postgres::fresh();
    let mut cluster = Cluster::with(2, |edge| configured(edge, "").postgres(&postgres.url()));
    expecting_trouble(&cluster.edge);
    let docs = cluster.create("docs");
    fill(&cluster.client(), &docs, 300);
    let before = id_on(&cluster.servers[1], "docs");
    comes_back_older(&mut cluster, 1, &docs);
    await_repaired(&cluster, &docs);
    cluster.edge.wait_until_in_sync(HEALED);
    assert_eq!(id_on(&cluster.servers[1], "docs"), before);
    cluster.assert_converged_with(&postgres);
}

/// The pause between two rounds of a client that has other things to do.
const PACE: Duration = Duration::from_millis(20);

/// Writers of every kind go on all the while, and no client sees anything older.
#[test]
fn an_older_replica_is_repaired_while_clients_write() {
    // A busy machine holds the lane for long.
    let mut cluster = Cluster::with(2, |edge| configured(edge, ", rate: 1000, hold: 20s"));
    expecting_trouble(&cluster.edge);
    let docs = cluster.create("docs");
    fill(&cluster.client(), &docs, RECORDS);
    comes_back_older(&mut cluster, 1, &docs);
    let load = Workload::start(&cluster.client(), seed(), &Plan::records());
    for number in 0.. {
        let id = format!("meanwhile-{}", number % 40);
        let body = json!({ "ids": [id], "embeddings": [vec![0.5; 16]] });
        cluster.client().post(&record_path(&docs, "upsert"), &body).expect(200);
        // The last ones: a deletion in the middle during a comparison can cause everything after it to be written
        // again.
        let body = json!({ "ids": [format!("meanwhile-{}", (number + 20) % 40)] });
        cluster.client().post(&record_path(&docs, "delete"), &body).expect(200);
        let body = json!({ "ids": ["bulk-10"], "include": ["documents"] });
        let read = cluster.client().post(&record_path(&docs, "get"), &body).expect(200).json();
        assert_eq!(read["documents"], json!(["newer"]), "nobody reads what is older");
        if line_of(&cluster, REPAIRED, &docs).is_some() {
            break;
        }
        assert_eq!(line_of(&cluster, ANEW, &docs), None, "it is repaired, not made anew");
        std::thread::sleep(PACE);
    }
    load.await_more(50, CATCH_UP);
    let events = load.finish();
    assert_eq!(errors(&events), Vec::<String>::new());
    assert!(acknowledged(&events).count() > 100);
    cluster.edge.wait_until_in_sync(HEALED);
    cluster.assert_converged();
}

/// Deletes the oldest records one after the other while the copy is healed, so that later records move up in the
/// source. Returns how many records were deleted, and at least how many were written or removed.
fn deleted_from_the_front(cluster: &Cluster, docs: &str) -> [usize; 2] {
    let client = cluster.client();
    let count = || client.get(&record_path(docs, "count")).expect(200).json().as_u64().expect("a number") as usize;
    let (before, mut written) = (count(), 0);
    let status_of_docs = || {
        let status = cluster.edge.status();
        status["healing"].as_array()?.iter().find(|one| one["collection_name"] == "docs").cloned()
    };
    wait_for("the middle of it", HEALED, || (status_of_docs()?["records"].as_u64()? > 300).then_some(()));
    for number in 0.. {
        // By their ids, and by a condition. With a condition, only the lists of ids show which records are gone.
        let selected = if number % 10 == 0 {
            json!({ "where": { "n": number / 10 } })
        } else {
            json!({ "ids": [format!("bulk-{}", 100 + number)] })
        };
        client.post(&record_path(docs, "delete"), &selected).expect(200);
        written = written.max(status_of_docs().and_then(|one| one["written_records"].as_u64()).unwrap_or_default());
        if [REPAIRED, MADE].iter().any(|healed| line_of(cluster, healed, docs).is_some()) {
            break;
        }
        std::thread::sleep(PACE);
    }
    cluster.edge.wait_until_in_sync(HEALED);
    cluster.assert_converged();
    [before - count(), written as usize]
}

#[test]
fn what_moves_up_while_a_copy_is_repaired_is_not_written_again() {
    let mut cluster = Cluster::with(2, |edge| configured(edge, ", rate: 500, hold: 20s"));
    expecting_trouble(&cluster.edge);
    let docs = cluster.create("docs");
    fill(&cluster.client(), &docs, RECORDS);
    comes_back_older(&mut cluster, 1, &docs);
    let [deleted, seen] = deleted_from_the_front(&cluster, &docs);
    assert_eq!(line_of(&cluster, ANEW, &docs), None);
    let line = line_of(&cluster, REPAIRED, &docs).expect("a line");
    let written = number_in(&line, "written");
    assert!(deleted > 20 && written >= seen && written < 100 + deleted, "{deleted} deleted: {line}");
}

#[test]
fn what_moves_up_while_a_copy_is_made_anew_is_not_written_again() {
    let mut cluster = Cluster::with(2, |edge| configured(edge, ", rate: 500, hold: 20s"));
    expecting_trouble(&cluster.edge);
    let docs = cluster.create("docs");
    fill(&cluster.client(), &docs, RECORDS);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.servers[1].kill();
    cluster.servers[1].wipe();
    cluster.servers[1].restart();
    let [deleted, written] = deleted_from_the_front(&cluster, &docs);
    assert!(deleted > 20 && written < RECORDS + deleted, "{deleted} deleted, {written} written");
}

/// The edge dies during a repair. The next one continues with what has been repaired.
#[test]
fn an_edge_that_is_killed_amid_a_repair_is_followed_by_one_that_repairs() {
    let mut cluster = Cluster::with(2, |edge| configured(edge, ", rate: 300"));
    expecting_trouble(&cluster.edge);
    let docs = cluster.create("docs");
    fill(&cluster.client(), &docs, RECORDS);
    let before = id_on(&cluster.servers[1], "docs");
    comes_back_older(&mut cluster, 1, &docs);
    wait_for("the middle of a repair", HEALED, || {
        let status = cluster.edge.status();
        let of_docs = |one: &&Value| one["collection_name"] == "docs" && one["way"] == "repair";
        let one = status["healing"].as_array()?.iter().find(of_docs)?.clone();
        (one["written_records"].as_u64()? > 0 && one["records"].as_u64()? < RECORDS as u64 - 300).then_some(())
    });
    cluster.edge.kill();
    assert_eq!(line_of(&cluster, REPAIRED, &docs), None);
    cluster.edge.restart();
    let body = json!({ "ids": ["bulk-10"], "include": ["documents"] });
    let read = cluster.client().post(&record_path(&docs, "get"), &body).expect(200).json();
    assert_eq!(read["documents"], json!(["newer"]), "half of it is no copy to be read");
    await_repaired(&cluster, &docs);
    cluster.edge.wait_until_in_sync(HEALED);
    assert_eq!((id_on(&cluster.servers[1], "docs"), line_of(&cluster, MADE, &docs)), (before, None));
    cluster.assert_converged();
}

/// Changes records behind the edge's back, and an audit finds them. A repair can restore their order, or cannot.
fn tampered(change: &dyn Fn(&Client, &str), healed: &str) -> (Cluster, [String; 2]) {
    let cluster = Cluster::with(2, |edge| configured(edge, ""));
    expecting_trouble(&cluster.edge);
    let docs = cluster.create("docs");
    fill(&cluster.client(), &docs, RECORDS);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let server = &cluster.servers[1];
    let before = id_on(server, "docs");
    change(&server.client(), &direct(server, "docs", ""));
    let found = audit(&cluster.client(), &json!({ "collection": docs, "repair": true }), "docs");
    assert_eq!(found["state"], "repaired", "{found}");
    wait_for(healed, HEALED, || line_of(&cluster, healed, &docs));
    cluster.edge.wait_until_in_sync(HEALED);
    cluster.assert_converged();
    let after = id_on(&cluster.servers[1], "docs");
    (cluster, [before, after])
}

#[test]
fn tampered_records_are_repaired_where_they_are() {
    let change = |server: &Client, path: &str| {
        let ids = ["bulk-3", "bulk-700", "bulk-1400"];
        let body = json!({ "ids": ids, "documents": ["x", "y", "z"], "metadatas": vec![json!({ "n": 1000 }); 3] });
        server.post(&format!("{path}update"), &body).expect(200);
        let body = json!({ "ids": ["nobody's"], "embeddings": [vec![0.5; 16]] });
        server.post(&format!("{path}add"), &body).expect(201);
    };
    let (cluster, [before, after]) = tampered(&change, REPAIRED);
    assert_eq!(before, after);
    let line = cluster.edge.log().lines().find(|line| line.contains(REPAIRED)).map(str::to_owned);
    assert_eq!(number_in(&line.expect("a line"), "written"), 4);
}

#[test]
fn an_order_that_cannot_be_repaired_is_made_anew() {
    let change = |server: &Client, path: &str| {
        server.post(&format!("{path}delete"), &json!({ "ids": ["bulk-3"] })).expect(200);
    };
    let (cluster, [before, after]) = tampered(&change, MADE);
    assert_ne!(before, after, "every record behind the one that is missing would have to be written again");
    assert!(!cluster.edge.log().contains("being repaired where it is"));
    let held = Content::of(&cluster.servers[1].client(), testkit::cluster::TENANT);
    content::assert_equal("edge and replica", &Content::of(&cluster.client(), testkit::cluster::TENANT), &held);
}
