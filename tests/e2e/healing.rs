//! A server that lost its content, or never had it, is made whole automatically while clients read and write (rule
//! R14).

use std::time::Duration;

use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, Cluster, TENANT, add, create, ids};
use testkit::content::{self, Content};
use testkit::http::{Client, DEFAULT, record_path};
use testkit::place::wait_for;
use testkit::random::{Random, seed};
use testkit::workload::{Plan, Workload, acknowledged, errors};
use testkit::{ChromaServer, Edge};

const HEALED: Duration = Duration::from_secs(120);
/// The recovery interval is also the interval between two spot checks of an idle instance's content.
const ON: &str = "  heal: { enabled: true }\n  read_wait: 1s\n  recovery_interval: 1s";

/// Adds this many records of some size to one collection.
pub fn fill(client: &Client, collection: &str, count: usize) {
    let mut random = Random::new(seed());
    for first in (0..count).step_by(500) {
        let ids: Vec<String> = (first..count.min(first + 500)).map(|number| format!("bulk-{number}")).collect();
        let body = json!({
            "embeddings": ids.iter().map(|_| random.vector(16)).collect::<Vec<_>>(),
            "documents": ids.iter().map(|id| format!("document of {id}")).collect::<Vec<_>>(),
            "metadatas": ids.iter().map(|_| json!({ "n": random.below(100) })).collect::<Vec<_>>(),
            "ids": ids,
        });
        client.post(&record_path(collection, "add"), &body).expect(201);
    }
}

/// Returns another record of the same size.
fn wide(id: &str) -> Value {
    json!({ "ids": [id], "embeddings": [vec![0.5; 16]], "documents": [null] })
}

fn expecting_trouble(edge: &Edge) {
    edge.announce("lacks collections");
    edge.announce("diverged");
}

/// Waits until no copy is diverged and nothing is pending.
fn await_healed(edge: &Edge) {
    edge.wait_until_in_sync(HEALED);
}

/// Returns the names of a server's collections that no client should see.
fn hidden(server: &ChromaServer) -> Vec<String> {
    let listed = server.client().get(&format!("{DEFAULT}/collections")).expect(200).json();
    let names = listed.as_array().expect("a list").iter().filter_map(|one| one["name"].as_str().map(str::to_owned));
    names.filter(|name| name.starts_with("chroma-edge.")).collect()
}

#[track_caller]
fn assert_nothing_hidden(cluster: &Cluster) {
    for server in &cluster.servers {
        wait_for("hidden collections gone", CATCH_UP, || hidden(server).is_empty().then_some(()));
    }
}

fn lose_the_disk_of(lost: usize) {
    let mut cluster = Cluster::with(2, |edge| edge.config(ON));
    expecting_trouble(&cluster.edge);
    let client = cluster.client();
    let bulk = cluster.create("bulk");
    fill(&client, &bulk, 3000);
    let load = Workload::start(&client, seed(), &Plan::records());
    load.await_more(100, CATCH_UP);
    wait_for("every collection on both", CATCH_UP, || {
        (cluster.edge.status()["without_second_copy"]["count"] == 0).then_some(())
    });
    cluster.servers[lost].kill();
    cluster.servers[lost].wipe();
    load.await_more(50, CATCH_UP);
    cluster.servers[lost].restart();
    // The loss is noticed before the server serves: no read ever misses a record of the bulk.
    for _ in 0..50 {
        let count = client.get(&record_path(&bulk, "count")).expect(200);
        assert_eq!(count.json(), json!(3000), "{count}");
    }
    wait_for("the loss noticed", CATCH_UP, || {
        let log = cluster.edge.log();
        log.contains("lacks collections").then_some(())
    });
    wait_for("every collection whole again, under load", HEALED, || {
        let status = cluster.edge.status();
        let whole = status["without_second_copy"]["count"] == 0 && status["diverged"].as_array()?.is_empty();
        whole.then_some(())
    });
    load.await_more(50, CATCH_UP);
    let events = load.finish();
    assert_eq!(errors(&events), Vec::<String>::new());
    assert!(acknowledged(&events).count() > 200);
    cluster.assert_converged();
    assert_nothing_hidden(&cluster);
    // Now the other one may die.
    let before = Content::of(&client, TENANT);
    cluster.servers[1 - lost].kill();
    content::assert_equal("before and after the other's end", &before, &Content::of(&client, TENANT));
    client.post(&record_path(&bulk, "add"), &wide("after")).expect(201);
    cluster.servers[1 - lost].restart();
    cluster.assert_converged();
}

#[test]
fn a_replica_that_lost_its_disk_is_made_whole_under_load() {
    lose_the_disk_of(1);
}

#[test]
fn a_primary_that_lost_its_disk_is_made_whole_under_load() {
    lose_the_disk_of(0);
}

/// Every user's first day: one server with data, a new one, and the edge in front.
#[test]
fn a_second_server_that_is_new_gets_everything() {
    let servers = [ChromaServer::fresh(), ChromaServer::fresh()];
    let first = servers[0].client();
    let odd = json!({
        "name": "odd",
        "metadata": { "team": "search", "n": 1 },
        "configuration": { "hnsw": { "space": "cosine", "ef_construction": 120, "max_neighbors": 24 } }
    });
    let odd = first.post(&format!("{DEFAULT}/collections"), &odd).expect(200).json()["id"].as_str().unwrap().to_owned();
    fill(&first, &odd, 1200);
    let plain = create(&first, "plain");
    fill(&first, &plain, 700);
    create(&first, "empty");
    let edge = Edge::builder().instances(&[&servers[0], &servers[1]]).config(ON).start();
    expecting_trouble(&edge);
    let mut cluster = Cluster { edge, servers: servers.into() };
    wait_for("every collection on the new server", HEALED, || {
        let status = cluster.edge.status();
        let whole = status["collections"] == 3 && status["without_second_copy"]["count"] == 0;
        (whole && status["diverged"].as_array().is_some_and(Vec::is_empty)).then_some(())
    });
    assert_nothing_hidden(&cluster);
    let [ours, theirs] = [0, 1].map(|index| Content::of(&cluster.servers[index].client(), TENANT));
    let names = |content: &Content| content.collections.keys().map(|key| key.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&ours), ["empty", "odd", "plain"]);
    for (key, collection) in &ours.collections {
        let copy = &theirs.collections[key];
        assert_eq!(collection.definition, copy.definition, "{key}");
        let ids = |one: &content::Collection| one.records.iter().map(|record| record.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(collection), ids(copy), "{key}");
        if key.name != "odd" {
            assert_eq!(collection.records, copy.records, "{key}: under cosine, a copy is rounded once more");
        }
    }
    cluster.servers[0].kill();
    let client = cluster.client();
    assert_eq!(client.get(&record_path(&odd, "count")).expect(200).json(), json!(1200));
    let nearest = json!({ "query_embeddings": [vec![0.25; 16]], "n_results": 3 });
    let found = client.post(&record_path(&odd, "query"), &nearest).expect(200).json();
    assert_eq!(found["ids"][0].as_array().map(Vec::len), Some(3));
    add(&client, &create(&client, "new"), "one").expect(201);
}

#[test]
fn an_edge_killed_in_the_middle_begins_again_and_leaves_nothing_behind() {
    let mut cluster = Cluster::with(2, |edge| edge.config(ON));
    expecting_trouble(&cluster.edge);
    let client = cluster.client();
    let bulk = cluster.create("bulk");
    fill(&client, &bulk, 6000);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.replica().kill();
    cluster.replica().wipe();
    cluster.replica().restart();
    for _ in 0..2 {
        wait_for("a copy half made", HEALED, || {
            let status = cluster.edge.status();
            let healing = status["healing"].as_array()?.first()?.clone();
            (healing["records"].as_u64()? > 0 && healing["state"] == "healing").then_some(())
        });
        cluster.edge.kill();
        assert_eq!(hidden(&cluster.servers[1]).len(), 1);
        cluster.edge.restart();
        expecting_trouble(&cluster.edge);
        client.post(&record_path(&bulk, "add"), &wide("meanwhile")).expect(201);
    }
    await_healed(&cluster.edge);
    cluster.assert_converged();
    assert_nothing_hidden(&cluster);
    assert_eq!(ids(&client, &bulk).len(), 6001);
}

/// It is unknown which one is right.
#[test]
fn what_differed_before_the_edge_came_is_left_alone() {
    let servers = [ChromaServer::fresh(), ChromaServer::fresh()];
    for (server, id) in servers.iter().zip(["ours", "theirs"]) {
        let client = server.client();
        add(&client, &create(&client, "notes"), id).expect(201);
        add(&client, &create(&client, "equal"), "same").expect(201);
    }
    let edge = Edge::builder().instances(&[&servers[0], &servers[1]]).config(ON).start();
    expecting_trouble(&edge);
    let report = |status: &Value| status["diverged"].as_array().map_or(0, Vec::len);
    wait_for("the difference reported", CATCH_UP, || (report(&edge.status()) == 1).then_some(()));
    let why = wait_for("the reason", CATCH_UP, || {
        let healing = edge.status()["healing"].as_array()?.first()?.clone();
        healing["last_error"].as_str().map(str::to_owned)
    });
    assert!(why.contains("left alone"), "{why}");
    // Longer than the edge waits before it compares a copy of its own.
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(report(&edge.status()), 1);
    assert_eq!(testkit::cluster::ids_by_name(&servers[0], "notes"), ["ours"]);
    assert_eq!(testkit::cluster::ids_by_name(&servers[1], "notes"), ["theirs"]);
}

/// Runs the command `heal` and returns its output.
fn heal(edge: &Edge, word: &str) -> String {
    let output =
        std::process::Command::new(testkit::place::binary()).args(["heal", word, "--url", &edge.url()]).output();
    let output = output.expect("the program");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn an_operator_has_it_paused_and_go_on() {
    let mut cluster = Cluster::with(2, |edge| edge.config(ON));
    expecting_trouble(&cluster.edge);
    let client = cluster.client();
    let bulk = cluster.create("bulk");
    fill(&client, &bulk, 4000);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    assert_eq!(heal(&cluster.edge, "status"), "healing: on\nnothing is being healed\n");
    cluster.replica().kill();
    cluster.replica().wipe();
    cluster.replica().restart();
    wait_for("a copy half made", HEALED, || {
        let healing = cluster.edge.status()["healing"].as_array()?.first()?.clone();
        (healing["records"].as_u64()? > 0 && healing["state"] == "healing").then_some(())
    });
    assert!(heal(&cluster.edge, "pause").starts_with("healing: paused"));
    let page = client.get("/admin/heal").json();
    assert_eq!((&page["paused"], &cluster.edge.status()["healing_paused"]), (&json!(true), &json!(true)));
    // A page that was being copied may finish.
    std::thread::sleep(Duration::from_secs(1));
    let records = || client.get("/admin/heal").json()["healing"][0]["records"].as_u64();
    let before = records().expect("a copy that waits");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!((records(), before < 4000), (Some(before), true), "nothing is copied meanwhile");
    assert!(client.get("/metrics").text().contains("chroma_edge_heal_paused 1"));
    assert!(heal(&cluster.edge, "status").contains("bulk"));
    add(&client, &bulk, "bad-dimension").expect(400);
    client.post(&record_path(&bulk, "add"), &wide("meanwhile")).expect(201);
    assert!(heal(&cluster.edge, "resume").starts_with("healing: on"));
    await_healed(&cluster.edge);
    cluster.assert_converged();
    let log = cluster.edge.log();
    assert!(
        log.contains("a copy is being made anew") && log.contains("percent=") && log.contains("records_per_second")
    );
    for bad in [json!({ "action": "stop" }), json!({}), json!(null)] {
        assert_eq!(client.post("/admin/heal", &bad).expect(400).json()["reason"], "bad_body");
    }
    assert_eq!(client.call("DELETE", "/admin/heal", &json!(null)).status, 405);
}

#[test]
fn names_of_the_edges_own_are_nobodys() {
    let cluster = Cluster::two();
    let client = cluster.client();
    let refused = client.post(&format!("{DEFAULT}/collections"), &json!({ "name": "chroma-edge.copy.1" }));
    assert_eq!(refused.status, 400, "{refused}");
    let mine = cluster.create("mine");
    let renamed = client.call("PUT", &format!("{DEFAULT}/collections/{mine}"), &json!({ "new_name": "chroma-edge.x" }));
    assert_eq!(renamed.status, 400, "{renamed}");
    create(&client, "chroma-edges");
}
