//! Instances behind TLS: probes, writes and reads work, and nothing is sent to an instance that cannot prove its
//! identity.

use std::path::PathBuf;

use serde_json::json;
use tempfile::TempDir;

use testkit::authority::{Authority, Certified, Files, certified};
use testkit::cluster::{CATCH_UP, Cluster, add, create, ids_by_name};
use testkit::http::{DEFAULT, record_path};
use testkit::place::{data_dir, wait_for};
use testkit::{ChromaServer, Edge, Relay};

/// Writes the authority's certificate to a file.
fn trusted(certified: &Certified) -> (TempDir, PathBuf) {
    let dir = data_dir("authority");
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, &certified.authority).expect("the authority's file");
    (dir, file)
}

#[test]
fn everything_goes_through() {
    let servers = vec![ChromaServer::fresh(), ChromaServer::fresh()];
    let certified = certified("localhost");
    let (_dir, ca_file) = trusted(&certified);
    let relays: Vec<Relay> = servers.iter().map(|server| Relay::tls(server, &certified.server)).collect();
    let edge = relays.iter().fold(Edge::builder(), |edge, relay| edge.instance_trusting(&relay.url(), &ca_file));
    let cluster = Cluster { edge: edge.start(), servers };
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "one").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    for (name, relay) in ["primary", "replica"].iter().zip(&relays) {
        let pinned = cluster.client().with_header("chroma-edge-instance", name);
        let answer = pinned.post(&record_path(&collection, "get"), &json!({ "ids": ["one"] })).expect(200);
        assert_eq!(
            (answer.json()["ids"].clone(), answer.header("chroma-edge-instance")),
            (json!(["one"]), Some(*name))
        );
        // Too large and chunked: read whole and sent by the edge's own client.
        let body = json!({ "ids": ["one"], "padding": "p".repeat(100_000) }).to_string();
        let mut request = pinned.connect().expect("a connection");
        let answer = request.request_chunked(&record_path(&collection, "get"), body.as_bytes(), 4096);
        assert_eq!(answer.expect("an answer").expect(200).json()["ids"], json!(["one"]));
        let authority = relay.url().replace("https://", "");
        for ending in ["/heartbeat", "/add", "/get"] {
            let seen = relay.seen_at(ending);
            assert!(!seen.is_empty(), "no request to {ending} at {name}");
            for one in seen {
                assert_eq!(one.server_name.as_deref(), Some("localhost"), "{one:?}");
                assert!(one.headers.contains(&("host".to_owned(), authority.clone())), "{one:?}");
            }
        }
    }
    assert_eq!(cluster.assert_converged().record_count(), 1);
}

#[test]
fn another_authority_keeps_an_instance_down() {
    let servers = [ChromaServer::fresh(), ChromaServer::fresh()];
    let (genuine, stranger) = (certified("localhost"), certified("localhost"));
    let (_dir, ca_file) = trusted(&stranger);
    let relay = Relay::tls(&servers[0], &genuine.server);
    let edge = Edge::builder().instance_trusting(&relay.url(), &ca_file).instance_url(&servers[1].url()).start();
    let primary = wait_for("a failed probe of the primary", CATCH_UP, || {
        let primary = edge.status()["instances"][0].clone();
        primary["last_error"].is_string().then_some(primary)
    });
    assert_eq!(primary["healthy"], false, "{primary}");
    assert!(
        primary["last_error"].as_str().is_some_and(|text| text.to_lowercase().contains("certificate")),
        "{primary}"
    );
    let collection = create(&edge.client(), "things");
    add(&edge.client(), &collection, "one").expect(201);
    assert_eq!(ids_by_name(&servers[1], "things"), ["one"]);
    servers[0].client().get(&format!("{DEFAULT}/collections/things")).expect(404);
    assert!(relay.seen().is_empty(), "not a byte to a server that cannot prove who it is: {:?}", relay.seen());
    assert_eq!(edge.status()["instances"][0]["healthy"], false);
}

/// Two servers that require a client certificate, and what the edge needs to pass.
struct Asking {
    servers: Vec<ChromaServer>,
    relays: Vec<Relay>,
    folder: TempDir,
    clients: Authority,
}

impl Asking {
    fn new() -> Asking {
        let servers = vec![ChromaServer::fresh(), ChromaServer::fresh()];
        let (authority, clients) = (Authority::new(), Authority::new());
        let server = authority.server("localhost", Some(&clients));
        let relays = servers.iter().map(|one| Relay::tls(one, &server)).collect();
        let folder = data_dir("certificates");
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).expect("a file");
        Asking { servers, relays, folder, clients }
    }

    /// Returns the keys of an instance with this client certificate.
    fn keys(&self, own: Option<&Files>) -> String {
        let own = own.map_or(String::new(), |own| format!(", cert_file: {:?}, key_file: {:?}", own.cert, own.key));
        format!("ca_file: {:?}{own}", self.folder.path().join("ca.pem"))
    }
}

#[test]
fn a_server_that_asks_for_a_certificate_is_shown_it_whatever_is_sent() {
    let asking = Asking::new();
    // Created before the edge starts, on one server only.
    let old = create(&asking.servers[0].client(), "old");
    add(&asking.servers[0].client(), &old, "before").expect(201);
    let keys = asking.keys(Some(&asking.clients.issue("edge", asking.folder.path())));
    let edge = asking.relays.iter().fold(Edge::builder(), |edge, relay| edge.instance_with(&relay.url(), &keys));
    let edge = edge.config("  heal: { enabled: true }").start();
    let cluster = Cluster { edge, servers: asking.servers };
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "one").expect(201);
    wait_for("the copy", CATCH_UP, || {
        let there = cluster.servers[1].client().get(&format!("{DEFAULT}/collections/old")).status == 200;
        (there && ids_by_name(&cluster.servers[1], "old") == ["before"]).then_some(())
    });
    cluster.edge.wait_until_in_sync(CATCH_UP);
    for name in ["primary", "replica"] {
        let pinned = cluster.client().with_header("chroma-edge-instance", name);
        let answer = pinned.post(&record_path(&collection, "get"), &json!({ "ids": ["one"] })).expect(200);
        assert_eq!(answer.json()["ids"], json!(["one"]), "{name}");
    }
    // Content from before the edge is not in its journal, so contents are compared directly.
    assert!(cluster.servers.iter().all(|server| ids_by_name(server, "things") == ["one"]));
}

#[test]
fn without_the_right_certificate_a_server_that_asks_for_one_stays_down_until_a_reload_brings_it() {
    let asking = Asking::new();
    let own = Authority::new().issue("edge", asking.folder.path());
    let edge = Edge::builder()
        .instance_with(&asking.relays[0].url(), &asking.keys(Some(&own)))
        .instance_with(&asking.relays[1].url(), &asking.keys(None))
        .launch();
    wait_for("failed probes of both", CATCH_UP, || {
        let answer = edge.client().try_call("GET", "/status", &json!(null)).ok()?;
        let instances = if answer.status == 200 { answer.json()["instances"].clone() } else { json!([]) };
        let failed = |one: &serde_json::Value| one["last_error"].is_string() && one["healthy"] == false;
        (instances.as_array().is_some_and(|all| all.len() == 2 && all.iter().all(failed))).then_some(())
    });
    assert!(asking.relays.iter().all(|relay| relay.seen().is_empty()), "no request from whom they do not know");
    // An unusable file changes nothing.
    std::fs::write(&own.key, "no key").expect("a file");
    edge.client().post("/admin/reload", &json!({})).expect(400);
    asking.clients.issue("edge", asking.folder.path());
    let reloaded = edge.client().post("/admin/reload", &json!({})).expect(200);
    edge.wait_until_healthy("primary", true, CATCH_UP);
    assert_eq!(edge.status()["instances"][1]["healthy"], false, "{reloaded}");
    let collection = create(&edge.client(), "things");
    add(&edge.client(), &collection, "one").expect(201);
}
