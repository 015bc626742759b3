//! Chroma behind a proxy that requires credentials: every request of the edge carries the credentials of that instance,
//! and nothing that a client sent for the edge.

use serde_json::json;

use testkit::cluster::{CATCH_UP, Cluster, add};
use testkit::http::{Answer, record_path};
use testkit::relay::Seen;
use testkit::{ChromaServer, Edge, Relay};

const SECRET: &str = "opens-the-server";

/// Passes on only requests that carry the secret.
fn asking(server: &ChromaServer) -> Relay {
    let may = |seen: &Seen| seen.headers.iter().any(|(name, value)| name == "x-api-key" && value == SECRET);
    let closed = || Answer { status: 401, headers: Vec::new(), body: Vec::new() };
    Relay::intercepted(server.client(), Box::new(move |seen, pass| if may(&seen) { pass(&seen) } else { closed() }))
}

#[test]
fn every_request_brings_what_the_instance_asks_for() {
    let servers = vec![ChromaServer::fresh(), ChromaServer::fresh()];
    let relays: Vec<Relay> = servers.iter().map(asking).collect();
    let edge = relays.iter().fold(Edge::builder(), |edge, relay| {
        edge.instance_with(&relay.url(), "headers: { X-Api-Key: \"env:SERVER_KEY\" }")
    });
    let edge = edge.env("SERVER_KEY", SECRET).config("  heal: { enabled: true }").start();
    let mut cluster = Cluster { edge, servers };
    let client = cluster.client().with_header("authorization", "Bearer mine").with_header("x-chroma-token", "mine");
    let collection = cluster.create("things");
    add(&client, &collection, "one").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    for name in ["primary", "replica"] {
        let pinned = client.with_header("chroma-edge-instance", name).with_header("cookie", "mine=1");
        let answer = pinned.post(&record_path(&collection, "get"), &json!({ "ids": ["one"] })).expect(200);
        assert_eq!(answer.json()["ids"], json!(["one"]));
        // Read whole, and sent by the edge's own client.
        let mut connection = pinned.connect().expect("a connection");
        let body = json!({ "ids": ["one"], "padding": "p".repeat(100_000) }).to_string();
        let answer = connection.request_chunked(&record_path(&collection, "get"), body.as_bytes(), 4096);
        assert_eq!(answer.expect("an answer").expect(200).json()["ids"], json!(["one"]));
    }
    client.post("/admin/audit", &json!({})).expect(202);
    // A blank server is inspected, copied to and marked.
    cluster.replica().kill();
    cluster.replica().wipe();
    cluster.replica().restart();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    for relay in &relays {
        let seen = relay.seen();
        assert!(seen.len() > 8, "{}", seen.len());
        for request in seen {
            let has =
                |name: &str| request.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
            assert_eq!(has("x-api-key"), Some(SECRET), "{request:?}");
            assert_eq!([has("authorization"), has("x-chroma-token"), has("cookie")], [None; 3], "{request:?}");
        }
    }
    let pages = ["/status", "/metrics", "/wal/status"].map(|path| client.get(path).expect(200).text()).concat();
    assert!(!pages.contains(SECRET) && !cluster.edge.log().contains(SECRET));
}
