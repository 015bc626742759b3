//! Pages of other origins: refused by default; allowed for the listed origins, on the edge's pages and on Chroma's API.

use serde_json::json;

use testkit::cluster::{journaled, record};
use testkit::http::{Answer, Client, DEFAULT, record_path};
use testkit::{ChromaServer, Cluster, Edge};

const APP: &str = "https://app.example";

fn from(client: &Client, origin: &str) -> Client {
    client.with_header("origin", origin)
}

fn preflight(client: &Client, path: &str) -> Answer {
    let client = client.with_header("access-control-request-method", "POST");
    let headers = "content-type,transaction-id,x-client-session,x-chroma-token,last-event-id";
    client.with_header("access-control-request-headers", headers).send("OPTIONS", path, "", b"").expect("an answer")
}

#[track_caller]
fn said(answer: &Answer) -> Vec<&str> {
    let named = |name: &&(String, String)| name.0.starts_with("access-control-");
    answer.headers.iter().filter(named).map(|(name, _)| name.as_str()).collect()
}

#[test]
fn it_is_closed_by_default() {
    let cluster = Cluster::two();
    let collection = cluster.create("things");
    let write = record_path(&collection, "add");
    let before = journaled(&cluster.edge);
    for origin in [APP, "null", "http://localhost:3000", "http://127.0.0.1:1"] {
        let client = from(&cluster.client(), origin);
        // Without a content type, a browser sends it without a preflight.
        let body = record("a").to_string();
        for (method, path) in [
            ("POST", write.as_str()),
            ("POST", "/api/v2/reset"),
            ("POST", "/wal/cleanup"),
            ("POST", "/admin/heal"),
            ("POST", "/transaction/safety/begin"),
            ("GET", "/status"),
            ("GET", "/metrics"),
            ("GET", "/transaction/safety/events"),
            ("GET", "/transaction/safety/transactions"),
            ("GET", &format!("{DEFAULT}/collections")),
            ("POST", &record_path(&collection, "get")),
            ("GET", "/api/v2/heartbeat"),
            ("GET", "/no/such/page"),
        ] {
            let answer = client.send(method, path, "", body.as_bytes()).expect("an answer").expect(403);
            assert_eq!(answer.json()["reason"], "origin_not_allowed", "{origin} {method} {path}: {answer}");
            assert!(said(&answer).is_empty(), "{path}");
            assert!(said(&preflight(&client, path)).is_empty(), "{path}");
        }
        client.get("/transaction/safety/client.js").expect(200);
    }
    assert_eq!(journaled(&cluster.edge), before, "nothing was written");
    // The host that this client names.
    let own = from(&cluster.client(), "http://127.0.0.1");
    own.post(&write, &record("own")).expect(201);
    own.get("/status").expect(200);
    assert_eq!(cluster.assert_converged().record_count(), 1);
}

/// A foreign name that points at the edge (DNS rebinding): the page has the same origin as its requests.
#[test]
fn a_name_that_is_not_ours_is_not_answered() {
    let cluster = Cluster::with(2, |edge| edge.config("  hosts: [edge.example.com]"));
    let collection = cluster.create("things");
    let write = record_path(&collection, "add");
    let ask = |host: &str, method: &str, path: &str| {
        let mut connection = cluster.client().connect().expect("a connection");
        let body = record("a").to_string();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\norigin: http://{host}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        connection.send(request.as_bytes()).expect("sent");
        connection.read_answer().expect("an answer")
    };
    for path in ["/status", "/metrics", "/api/v2/heartbeat", "/transaction/safety/client.js", &write] {
        let method = if path == write { "POST" } else { "GET" };
        for host in ["evil.example", "evil.example:8000", "127.0.0.1.evil.example"] {
            let answer = ask(host, method, path).expect(421);
            assert_eq!(answer.json()["reason"], "host_not_allowed", "{answer}");
        }
    }
    for host in ["localhost:1", "chroma-edge", "edge.example.com", "[::1]:8000"] {
        ask(host, "GET", "/status").expect(200);
    }
    assert_eq!(cluster.assert_converged().record_count(), 0);
}

#[test]
fn pages_say_what_browsers_may_do_with_them() {
    let cluster = Cluster::two();
    for path in ["/status", "/metrics", "/health", "/transaction/safety/transactions", "/admin/quarantine"] {
        let answer = cluster.client().get(path).expect(200);
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}: {answer}");
        }
        assert!(answer.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'")));
    }
    let script = cluster.client().get("/transaction/safety/client.js").expect(200);
    assert_eq!(script.header("cross-origin-resource-policy"), Some("cross-origin"), "{script}");
}

#[test]
fn listed_origins_may_read_and_write_and_no_others() {
    // Servers with CORS headers of their own, which must not be added to the edge's.
    let servers =
        [ChromaServer::fresh(), ChromaServer::fresh()].map(|one| one.configured("cors_allow_origins: [\"*\"]"));
    let config = format!("  cors: {{ origins: [{APP:?}] }}");
    let edge = Edge::builder().instances(&servers.iter().collect::<Vec<_>>()).config(&config).start();
    let cluster = Cluster { edge, servers: servers.into() };
    let (client, stranger) = (from(&cluster.client(), APP), from(&cluster.client(), "https://evil.example"));
    let collection = cluster.create("things");
    let write = record_path(&collection, "add");
    for path in ["/transaction/safety/status", "/transaction/safety/events?client=a", &write, "/api/v2/heartbeat"] {
        let asked = preflight(&client, path).expect(204);
        assert_eq!(asked.header("access-control-allow-origin"), Some(APP), "{path}: {asked}");
        let allowed = asked.header("access-control-allow-headers").expect("headers").to_ascii_lowercase();
        for name in ["content-type", "transaction-id", "x-client-session", "x-chroma-token", "last-event-id"] {
            assert!(allowed.contains(name), "{name} on {path}: {asked}");
        }
        assert!(
            asked.header("access-control-allow-methods").is_some_and(|methods| methods.contains("POST")),
            "{asked}"
        );
        assert!(asked.header("content-length").is_none() && asked.body.is_empty(), "{asked}");
        let refused = preflight(&stranger, path);
        assert!(said(&refused).is_empty(), "{path}: {refused}");
    }
    let get = record_path(&collection, "get");
    let answers = |client: &Client| {
        vec![
            client.get("/status"),
            client.get("/api/v2/heartbeat"),
            client.post(&write, &record("a")),
            client.post(&get, &json!({})),
            client.get(&format!("{DEFAULT}/collections")),
            client.get("/no/such/page"),
            client.get("/transaction/safety/events"),
        ]
    };
    for answer in answers(&client) {
        let allowed: Vec<_> = answer.headers.iter().filter(|(name, _)| name == "access-control-allow-origin").collect();
        assert_eq!(allowed.len(), 1, "said once: {answer}");
        assert_eq!(allowed[0].1, APP, "{answer}");
        let exposed = answer.header("access-control-expose-headers").expect("exposed headers");
        assert!(exposed.contains("Transaction-ID") && exposed.contains("Retry-After"), "{answer}");
        assert!(answer.headers.iter().any(|(name, value)| name == "vary" && value.contains("Origin")), "{answer}");
    }
    for answer in answers(&stranger) {
        assert_eq!(answer.status, 403, "{answer}");
        assert!(said(&answer).is_empty(), "{answer}");
    }
    let (mut connection, stream) = testkit::events::ask(&client, "client=a", None);
    assert_eq!(stream.status, 200, "{stream}");
    assert!(connection.read_chunk().is_ok());
}

#[test]
fn the_client_for_browsers_is_served() {
    let cluster = Cluster::two();
    let client = cluster.client();
    let first = client.get("/transaction/safety/client.js").expect(200);
    assert!(
        first.header("content-type").is_some_and(|kind| kind.starts_with("text/javascript")),
        "{:?}",
        first.headers
    );
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/js/chroma-edge-client.js");
    assert_eq!(first.body, std::fs::read(file).expect("the file"));
    let tag = first.header("etag").expect("a tag");
    let again = client.with_header("if-none-match", tag).get("/transaction/safety/client.js").expect(304);
    assert!(again.body.is_empty() && again.header("content-length").is_none(), "{again}");
}
