//! One server is a valid beginning: it serves, and the edge reports that nothing is stored twice. A second server is
//! filled while clients write. A server that was removed from the configuration and comes back is made equal.

use std::time::Duration;

use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, Cluster, TENANT, add, create, ids, record};
use testkit::content::{self, Content};
use testkit::http::{Client, DEFAULT, record_path};
use testkit::place::wait_for;
use testkit::random::seed;
use testkit::workload::{Plan, Workload, acknowledged, added_id, errors};
use testkit::{ChromaServer, Edge};

const HEALED: Duration = Duration::from_secs(120);
const ON: &str = "  heal: { enabled: true }\n  recovery_interval: 1s";
/// The names of the two servers in the last tests.
const BOTH: [&str; 2] = ["primary", "replica"];

fn health(client: &Client) -> Value {
    client.get("/health").expect(200).json()
}

/// Stops the edge as an operator does, and starts it with the first `count` servers.
fn reconfigure(cluster: &mut Cluster, count: usize) {
    let named: Vec<(&str, &ChromaServer)> = BOTH.into_iter().zip(&cluster.servers).take(count).collect();
    cluster.edge.set_instances(&named);
    cluster.edge.term();
    cluster.edge.wait_for_exit(CATCH_UP);
    cluster.edge.restart();
    cluster.edge.announce("diverged");
    cluster.edge.announce("lacks collections");
}

fn await_two_copies(edge: &Edge) {
    wait_for("a second copy of everything", HEALED, || {
        let status = edge.status();
        let whole = status["without_second_copy"]["count"] == 0 && status["diverged"].as_array()?.is_empty();
        (whole && status["instances"].as_array()?.len() == 2).then_some(())
    });
    edge.wait_until_in_sync(HEALED);
    assert_eq!(health(&edge.client())["redundancy"], "complete");
}

/// Checks that both servers hold what clients see.
#[track_caller]
fn assert_both_equal(cluster: &Cluster) -> Content {
    let shown = Content::of(&cluster.client(), TENANT);
    for server in &cluster.servers {
        content::assert_equal("what clients see and a server", &shown, &Content::of(&server.client(), TENANT));
    }
    shown
}

#[test]
fn one_server_alone_serves_and_says_that_nothing_is_kept_twice() {
    let cluster = Cluster::with(1, |edge| edge);
    let client = cluster.client();
    let things = cluster.create("things");
    let path = |verb: &str| record_path(&things, verb);
    client.post(&path("add"), &record("a")).expect(201);
    client.post(&path("upsert"), &record("b")).expect(200);
    client.post(&path("update"), &json!({ "ids": ["a"], "metadatas": [{ "n": 1 }] })).expect(200);
    client.post(&path("add"), &json!({ "ids": ["c"], "embeddings": [[9, 9, 9]] })).expect(201);
    client.post(&path("delete"), &json!({ "where": { "n": 1 }, "limit": 1 })).expect(200);
    assert_eq!(ids(&client, &things), ["b", "c"]);
    let nearest = json!({ "query_embeddings": [[9, 9, 9]], "n_results": 1 });
    assert_eq!(client.post(&path("query"), &nearest).expect(200).json()["ids"], json!([["c"]]));
    let renamed = json!({ "new_name": "others", "new_metadata": { "m": 1 } });
    client.call("PUT", &format!("{DEFAULT}/collections/{things}"), &renamed).expect(200);
    cluster.create("gone");
    client.call("DELETE", &format!("{DEFAULT}/collections/gone"), &json!(null)).expect(200);
    let health = health(&client);
    let said = (&health["status"], &health["redundancy"], &health["collections_without_second_copy"]);
    assert_eq!(said, (&json!("healthy"), &json!("none"), &json!(1)));
    assert_eq!((&health["healthy_instances"], &health["total_instances"]), (&json!("1/1"), &json!(1)));
    let log = cluster.edge.log();
    let warned = |line: &&str| line.contains("WARN") && line.contains("nothing is kept twice");
    assert_eq!(log.lines().filter(warned).count(), 1, "{log}");
    cluster.assert_converged();
}

#[test]
fn one_address_in_the_environment_is_enough() {
    let server = ChromaServer::fresh();
    let edge = Edge::builder().env("PRIMARY_URL", &server.url()).start();
    let client = edge.client();
    add(&client, &create(&client, "things"), "a").expect(201);
    assert_eq!(health(&client)["redundancy"], "none");
}

#[test]
fn one_server_killed_under_load_loses_nothing() {
    let mut cluster = Cluster::with(1, |edge| edge.config("  write_wait: 500ms\n  settle_time: 500ms"));
    let client = cluster.client();
    let things = cluster.create("things");
    let load = Workload::start(&client, seed(), &Plan::unique_adds());
    for round in ["promised-1", "promised-2"] {
        load.await_more(60, CATCH_UP);
        cluster.primary().kill();
        cluster.edge.wait_until_healthy("primary", false, CATCH_UP);
        let down = client.get("/health");
        assert_eq!((down.status, &down.json()["status"]), (503, &json!("unavailable")));
        let promised = add(&client, &things, round);
        assert_eq!((promised.status, &promised.json()["recovery"]), (503, &json!("pending")), "{promised}");
        cluster.primary().restart();
    }
    load.await_more(60, CATCH_UP);
    let events = load.finish();
    let content = cluster.assert_converged();
    let held =
        |event| content.collections.values().any(|one| one.records.iter().any(|record| record.id == added_id(event)));
    assert!(acknowledged(&events).count() > 100);
    let lost: Vec<String> =
        acknowledged(&events).filter(|(event, _)| !held(event)).map(|(event, _)| added_id(event)).collect();
    assert_eq!(lost, Vec::<String>::new());
    assert_eq!(ids(&client, &things), ["promised-1", "promised-2"]);
}

#[test]
fn the_second_server_is_built_while_clients_write() {
    let servers = vec![ChromaServer::fresh(), ChromaServer::fresh()];
    let edge = Edge::builder().instances(&[&servers[0]]).config(ON).start();
    let mut cluster = Cluster { edge, servers };
    let client = cluster.client();
    let bulk = cluster.create("bulk");
    let many: Vec<String> = (0..2000).map(|number| format!("bulk-{number}")).collect();
    let vectors: Vec<Value> = (0..2000).map(|number| json!([number, 1, 2])).collect();
    client.post(&record_path(&bulk, "add"), &json!({ "ids": many, "embeddings": vectors })).expect(201);
    let load = Workload::start(&client, seed(), &Plan::everything());
    load.await_more(60, CATCH_UP);
    reconfigure(&mut cluster, 2);
    wait_for("the new server's copy of the bulk", HEALED, || {
        let mappings = client.get("/collection/mappings").expect(200).json();
        let bulk = mappings["mappings"].as_array()?.iter().find(|one| one["collection_name"] == "bulk")?.clone();
        (bulk["instances"][1]["in_step"] == true).then_some(())
    });
    load.await_more(60, CATCH_UP);
    // A kept connection can be lost with the process that is stopped. The write is executed once, or not at all.
    let mut errors = errors(&load.finish());
    errors.retain(|error| !error.contains("-> unknown: "));
    assert_eq!(errors, Vec::<String>::new());
    await_two_copies(&cluster.edge);
    cluster.assert_converged();
    cluster.primary().kill();
    assert_eq!(client.get(&record_path(&bulk, "count")).expect(200).json(), json!(2000));
    add(&client, &create(&client, "new"), "one").expect(201);
}

/// Makes changes while the second server is not configured: records, and collections created, changed and deleted.
fn change_everything(cluster: &Cluster, kept: &str, changed: &str) {
    let client = cluster.client();
    add(&client, kept, "meanwhile").expect(201);
    client.post(&record_path(kept, "delete"), &json!({ "ids": ["r1"] })).expect(200);
    let renamed = json!({ "new_name": "renamed", "new_metadata": { "m": 2 } });
    client.call("PUT", &format!("{DEFAULT}/collections/{changed}"), &renamed).expect(200);
    client.call("DELETE", &format!("{DEFAULT}/collections/gone"), &json!(null)).expect(200);
    add(&client, &cluster.create("made"), "one").expect(201);
    add(&client, &cluster.create("gone"), "another of that name").expect(201);
}

#[test]
fn a_server_that_was_taken_out_and_comes_back_gets_what_it_missed() {
    let mut cluster = Cluster::with(2, |edge| edge.config(ON));
    let [kept, changed] = ["kept", "changed"].map(|name| cluster.filled(name, 30));
    cluster.filled("gone", 5);
    reconfigure(&mut cluster, 1);
    assert_eq!(health(&cluster.client())["redundancy"], "none");
    change_everything(&cluster, &kept, &changed);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    reconfigure(&mut cluster, 2);
    await_two_copies(&cluster.edge);
    cluster.assert_converged();
    assert_both_equal(&cluster);
}

/// Restarts the edge with only the first server until the journal's catalog lane is empty: retention begins with a
/// round.
fn await_trimmed(cluster: &mut Cluster) {
    wait_for("a journal without what is old", CATCH_UP, || {
        reconfigure(cluster, 1);
        let journal = rusqlite::Connection::open(cluster.edge.journal_path()).expect("the journal");
        let catalog = "SELECT count(*) FROM transactions WHERE lane = 'catalog'";
        let left = || journal.query_row(catalog, [], |row| row.get::<_, i64>(0)).unwrap_or(1);
        (0..20)
            .any(|_| {
                std::thread::sleep(Duration::from_millis(50));
                left() == 0
            })
            .then_some(())
    });
}

/// "One server now, the second next week": by then the journal's beginning is gone.
#[test]
fn the_second_server_is_built_when_the_journals_beginning_is_gone() {
    let servers = vec![ChromaServer::fresh(), ChromaServer::fresh()];
    let edge = Edge::builder().instances(&[&servers[0]]).config(&format!("{ON}\n  retention: 1s")).start();
    let mut cluster = Cluster { edge, servers };
    let client = cluster.client();
    client.post("/api/v2/tenants/default_tenant/databases", &json!({ "name": "library" })).expect(200);
    let things = cluster.filled("things", 30);
    client.post(&format!("{DEFAULT}/collections"), &json!({ "name": "odd", "metadata": { "m": 1 } })).expect(200);
    let books = "/api/v2/tenants/default_tenant/databases/library/collections";
    client.post(books, &json!({ "name": "books" })).expect(200);
    await_trimmed(&mut cluster);
    reconfigure(&mut cluster, 2);
    await_two_copies(&cluster.edge);
    assert_both_equal(&cluster);
    // Both go on together.
    add(&client, &things, "after").expect(201);
    add(&client, &cluster.create("new"), "one").expect(201);
    client.call("DELETE", &format!("{DEFAULT}/collections/odd"), &json!(null)).expect(200);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    assert_both_equal(&cluster);
    cluster.primary().kill();
    assert_eq!(client.get(&record_path(&things, "count")).expect(200).json(), json!(31));
}
