//! The edge and an application start before servers that already hold data: nothing waits for ever, and the data is
//! found.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, add, create, ids};
use testkit::http::{Client, DEFAULT, record_path};
use testkit::place::wait_for;
use testkit::{ChromaServer, Cluster, Edge, Relay};

const SOON: Duration = Duration::from_secs(30);
const OTHER: &str = "/api/v2/tenants/acme/databases/library";

/// Starts two servers that hold the same record in a collection with this name.
fn filled(name: &str) -> [ChromaServer; 2] {
    let servers = [ChromaServer::fresh(), ChromaServer::fresh()];
    for server in &servers {
        let id = create(&server.client(), name);
        add(&server.client(), &id, "old").expect(201);
    }
    servers
}

fn get_or_create(client: &Client, database: &str, name: &str) -> testkit::http::Answer {
    client.post(&format!("{database}/collections"), &json!({ "name": name, "get_or_create": true }))
}

/// Acts like an application that starts together with everything else: it repeats its request until it gets its
/// collection.
fn insist(client: &Client, database: &str, name: &str) -> Value {
    let body = json!({ "name": name, "get_or_create": true });
    wait_for("the application's collection", SOON, || {
        // The edge itself may still be starting.
        let answer = client.try_call("POST", &format!("{database}/collections"), &body).ok()?;
        (answer.status == 200).then(|| answer.json())
    })
}

fn kill(servers: &mut [ChromaServer]) {
    servers.iter_mut().for_each(ChromaServer::kill);
}

#[test]
fn a_promised_get_or_create_finds_what_was_there_before_the_edge() {
    let mut servers = filled("notes");
    kill(&mut servers);
    let mut edge = Edge::builder().instances(&[&servers[0], &servers[1]]).config("  write_wait: 500ms").start();
    let client = edge.client();
    let promised = get_or_create(&client, DEFAULT, "notes");
    assert_eq!((promised.status, &promised.json()["recovery"]), (503, &json!("pending")), "{promised}");
    // A restart in between: the journal's entries do not wait either.
    edge.kill();
    edge.relaunch();
    servers[1].restart();
    servers[0].restart();
    let begun = Instant::now();
    let shown = insist(&client, DEFAULT, "notes");
    let collection = shown["id"].as_str().expect("an id").to_owned();
    assert_eq!(ids(&client, &collection), ["old"], "the old data");
    edge.wait_until_in_sync(CATCH_UP);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    add(&client, &collection, "new").expect(201);
    edge.kill();
    edge.restart();
    assert_eq!(ids(&client, "notes"), ["old", "new"], "after another restart");
    create(&client, "another");
}

#[test]
fn servers_that_answer_late_are_looked_at_first() {
    let servers = filled("notes");
    let relays: Vec<Relay> = servers.iter().map(Relay::plain).collect();
    relays.iter().for_each(|relay| relay.hold("heartbeat"));
    let edge = relays.iter().fold(Edge::builder(), |edge, relay| edge.instance_url(&relay.url())).start();
    let client = edge.client();
    let early = get_or_create(&client, DEFAULT, "notes");
    assert_ne!(early.status, 404, "{early}");
    let unknown = client.get(&format!("{DEFAULT}/collections/notes"));
    assert_eq!(unknown.status, 503, "what is not known is not denied: {unknown}");
    for path in ["collections", "collections?limit=10", "collections_count"] {
        let unknown = client.get(&format!("{DEFAULT}/{path}"));
        assert_eq!(unknown.status, 503, "what is not known is not left out: {unknown}");
    }
    relays.iter().for_each(|relay| relay.release());
    let shown = insist(&client, DEFAULT, "notes");
    assert_eq!(ids(&client, shown["id"].as_str().expect("an id")), ["old"]);
    edge.wait_until_in_sync(CATCH_UP);
    assert_eq!(client.get(&format!("{DEFAULT}/collections_count")).expect(200).json(), 1);
    create(&client, "another");
}

/// The edge starts before the servers: a list is unknown until they are inspected, and complete afterwards.
#[test]
fn the_first_list_is_never_a_part() {
    let mut servers = filled("notes");
    kill(&mut servers);
    let edge = Edge::over(&[&servers[0], &servers[1]]);
    let client = edge.client();
    let list = || client.get(&format!("{DEFAULT}/collections"));
    assert_eq!(list().status, 503, "{}", list());
    servers[1].restart();
    let listed = wait_for("a list", SOON, || Some(list()).filter(|answer| answer.status != 503));
    assert_eq!(listed.expect(200).json()[0]["name"], "notes", "the first that is answered");
    servers[0].restart();
    edge.wait_until_in_sync(CATCH_UP);
}

#[test]
fn a_tenant_that_no_configuration_names_is_found_by_asking_for_it() {
    let servers = [ChromaServer::fresh(), ChromaServer::fresh()];
    for server in &servers {
        let client = server.client();
        client.post("/api/v2/tenants", &json!({ "name": "acme" })).expect(200);
        client.post("/api/v2/tenants/acme/databases", &json!({ "name": "library" })).expect(200);
        let made = client.post(&format!("{OTHER}/collections"), &json!({ "name": "books" })).expect(200).json();
        add(&client, made["id"].as_str().expect("an id"), "old").expect(201);
    }
    let edge = Edge::over(&[&servers[0], &servers[1]]);
    let client = edge.client();
    let begun = Instant::now();
    // By a write first, and by a stock client's first reads.
    let shown = get_or_create(&client, OTHER, "books").expect(200).json();
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    client.get("/api/v2/tenants/acme").expect(200);
    client.get(OTHER).expect(200);
    assert_eq!(ids(&client, shown["id"].as_str().expect("an id")), ["old"]);
    edge.wait_until_in_sync(CATCH_UP);
    create(&client, "another");
    client.get("/api/v2/tenants/nobody").expect(404);
}

#[test]
fn a_server_that_lost_its_volume_is_given_its_tenants_and_databases_before_it_serves() {
    let mut cluster = Cluster::two();
    cluster.edge.announce("lacks collections");
    cluster.edge.announce("diverged");
    let client = cluster.client();
    client.post("/api/v2/tenants", &json!({ "name": "acme" })).expect(200);
    client.post("/api/v2/tenants/acme/databases", &json!({ "name": "library" })).expect(200);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.replica().kill();
    cluster.edge.wait_until_healthy("replica", false, CATCH_UP);
    cluster.replica().wipe();
    cluster.replica().restart();
    cluster.edge.wait_until_healthy("replica", true, CATCH_UP);
    let own = cluster.servers[1].client();
    own.get("/api/v2/tenants/acme").expect(200);
    own.get(OTHER).expect(200);
    for _ in 0..20 {
        client.get("/api/v2/tenants/acme").expect(200);
        client.get(OTHER).expect(200);
        let listed = client.get("/api/v2/tenants/acme/databases").expect(200).json();
        assert_eq!(listed[0]["name"], "library");
    }
    // On both servers, since both have its database.
    let made = client.post(&format!("{OTHER}/collections"), &json!({ "name": "books" })).expect(200).json();
    add(&client, made["id"].as_str().expect("an id"), "one").expect(201);
    cluster.assert_converged_in(&["default_tenant", "acme"]);
}

#[test]
fn a_tenant_that_cannot_be_asked_for_keeps_no_server_out() {
    let mut cluster = Cluster::two();
    let client = cluster.client();
    let collection = cluster.create("things");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    // As an earlier version accepted it: its path is longer than any that Chroma reads.
    let name = "t".repeat(66_000);
    cluster.edge.kill();
    let journal = rusqlite::Connection::open(cluster.edge.journal_path()).expect("the journal");
    journal.execute("INSERT INTO tenants (tenant) VALUES (?1)", [&name]).expect("a tenant");
    drop(journal);
    cluster.edge.restart();
    for instance in ["primary", "replica"] {
        cluster.edge.wait_until_healthy(instance, true, CATCH_UP);
    }
    add(&client, &collection, "one").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let status = cluster.edge.status();
    let reported = status["instances"][0]["not_seen"].to_string();
    assert!(reported.contains("tttt") && reported.len() < 200, "{reported}");
    assert!(cluster.edge.log().lines().all(|line| line.len() < 4000), "a log line with the whole name");
    client.get(&record_path(&collection, "count")).expect(200);
}
