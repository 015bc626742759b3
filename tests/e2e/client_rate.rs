//! `limits.client_rate`: a client that sends too much is told when to retry, and no other client notices.

use std::time::Duration;

use serde_json::json;

use testkit::cluster::{Cluster, add, journaled};
use testkit::http::{Answer, Client, DEFAULT};
use testkit::place::wait_for;

/// In a window this long, nothing that was used expires during the test.
const SIX_HUNDRED_AT_ONCE: &str =
    "  limits: { client_rate: 1, client_rate_window: 10m }\n  trusted_proxies: [127.0.0.1]";
const AT_ONCE: usize = 600;

fn from(cluster: &Cluster, address: &str) -> Client {
    cluster.client().with_header("x-forwarded-for", address)
}

fn list(client: &Client) -> Answer {
    client.get(&format!("{DEFAULT}/collections"))
}

/// Returns how many of the client's requests pass before one is refused, and that refusal.
fn until_refused(client: &Client) -> (usize, Answer) {
    let answers = (0..2 * AT_ONCE).map(|count| (count, list(client)));
    let refused = answers.into_iter().find(|(_, answer)| answer.status != 200).expect("a refusal");
    assert_eq!(refused.1.status, 429, "{}", refused.1);
    refused
}

#[test]
fn who_asks_for_too_much_is_refused_without_effect_and_others_are_not() {
    let cluster = Cluster::with(2, |edge| edge.config(SIX_HUNDRED_AT_ONCE));
    let collection = {
        let body = json!({ "name": "things" });
        let created = from(&cluster, "203.0.113.1").post(&format!("{DEFAULT}/collections"), &body).expect(200);
        created.json()["id"].as_str().expect("an id").to_owned()
    };
    let greedy = from(&cluster, "203.0.113.2, 127.0.0.1");
    let (passed, refusal) = until_refused(&greedy);
    assert_eq!(passed, AT_ONCE);
    assert_eq!(refusal.json()["reason"], "rate_limited", "{refusal}");
    assert_eq!(refusal.json()["error"], "RateLimitError", "{refusal}");
    let seconds: u64 = refusal.header("retry-after").expect("a time").parse().expect("a number");
    assert!((1..=601).contains(&seconds), "{refusal}");
    let before = journaled(&cluster.edge);
    add(&greedy, &collection, "a").expect(429);
    assert_eq!(journaled(&cluster.edge), before, "nothing is journaled");
    // Monitoring is not limited, and a heartbeat costs nothing.
    for path in ["/health", "/status", "/metrics", "/api/v2/heartbeat", "/api/v2/version"] {
        cluster.client().get(path).expect(200);
        greedy.get(path);
    }
    greedy.get("/api/v2/heartbeat").expect(200);
    greedy.get("/health").expect(200);
    add(&from(&cluster, "203.0.113.3"), &collection, "b").expect(201);
    let metrics = cluster.client().get("/metrics").expect(200).text();
    assert!(metrics.contains("chroma_edge_client_rate_limit 1\n"), "{metrics}");
    assert!(metrics.contains("chroma_edge_refused_total{reason=\"rate_limited\"} 2\n"), "{metrics}");
    assert_eq!(cluster.assert_converged().record_count(), 1);
}

#[test]
fn a_network_is_one_client_and_so_is_a_token() {
    let cluster = Cluster::with(2, |edge| edge.config(SIX_HUNDRED_AT_ONCE));
    assert_eq!(until_refused(&from(&cluster, "2001:db8::1")).0, AT_ONCE);
    list(&from(&cluster, "2001:db8::2:3")).expect(429);
    list(&from(&cluster, "2001:db8:0:1::1")).expect(200);
    drop(cluster);

    let token = |name: &str| format!("a-secret-of-{name}");
    let line = |name: &str| {
        let sha256 = chroma_edge::auth::Digest::of(token(name).as_bytes()).hex();
        format!("      - {{ name: {name}, role: writer, sha256: {sha256} }}\n")
    };
    let tokens = format!("{SIX_HUNDRED_AT_ONCE}\n  auth:\n    tokens:\n{}{}", line("cms"), line("shop"));
    let servers = vec![testkit::ChromaServer::fresh()];
    let edge = testkit::Edge::builder().instances(&[&servers[0]]).config(&tokens).launch();
    let cluster = Cluster { edge, servers };
    cluster.edge.wait_for_health();
    let holding = |name: &str, address: &str| from(&cluster, address).with_header("x-chroma-token", &token(name));
    assert_eq!(until_refused(&holding("cms", "203.0.113.1")).0, AT_ONCE);
    list(&holding("cms", "203.0.113.2")).expect(429);
    list(&holding("shop", "203.0.113.1")).expect(200);
    list(&from(&cluster, "203.0.113.1")).expect(401);
}

#[test]
fn it_begins_and_ends_with_a_reload_and_who_waits_as_told_is_served() {
    let cluster = Cluster::with(2, |edge| edge.config("  limits: { client_rate: 0 }"));
    let (edge, client) = (&cluster.edge, cluster.client());
    let reload = |from: &str, to: &str| {
        edge.rewrite(|text| text.replace(from, to));
        client.post("/admin/reload", &json!({})).expect(200);
    };
    (0..20).for_each(|_| drop(list(&client).expect(200)));
    let limited = "client_rate: 1, client_rate_window: 2s";
    reload("client_rate: 0", limited);
    let refusal = wait_for("a refusal", Duration::from_secs(20), || {
        let answer = list(&client);
        (answer.status == 429).then_some(answer)
    });
    assert!(["1", "2", "3"].contains(&refusal.header("retry-after").expect("a time")), "{refusal}");
    wait_for("its turn", Duration::from_secs(20), || (list(&client).status == 200).then_some(()));
    reload(limited, "client_rate: 0");
    (0..20).for_each(|_| drop(list(&client).expect(200)));
}

#[test]
fn the_official_python_client_says_so() {
    let cluster = Cluster::with(2, |edge| {
        edge.config("  limits: { client_rate: 1, client_rate_window: 30s }\n  trusted_proxies: [127.0.0.1]")
    });
    testkit::scripts::python("rate.py", &cluster.edge.url(), &[]);
}
