//! The configuration is read again while the edge serves: all of it takes effect, or nothing.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, Cluster, add, ids};
use testkit::http::{Answer, Client, DEFAULT};
use testkit::place::wait_for;
use testkit::relay::Relay;
use testkit::{ChromaServer, Edge};

const SOON: Duration = Duration::from_secs(20);

fn reload(edge: &Edge) -> Answer {
    edge.client().post("/admin/reload", &json!({}))
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, reason: &str) {
    assert_eq!((answer.status, &answer.json()["reason"]), (status, &json!(reason)), "{answer}");
}

/// Sends SIGHUP, and waits until the log reports the result.
fn hang_up(edge: &Edge, line: &str) {
    let lines = |edge: &Edge| edge.log().lines().filter(|one| one.contains(line)).count();
    let before = lines(edge);
    edge.signal(Signal::SIGHUP);
    wait_for("the reload in the log", SOON, || (lines(edge) > before).then_some(()));
}

fn delete(client: &Client, name: &str) -> u16 {
    client.call("DELETE", &format!("{DEFAULT}/collections/{name}"), &json!(null)).status
}

#[test]
fn a_key_takes_effect_with_a_signal_and_with_a_post() {
    let cluster = Cluster::two();
    let (edge, client) = (&cluster.edge, cluster.client());
    for name in ["treasure", "second"] {
        cluster.create(name);
    }
    let nothing = reload(edge).expect(200).json();
    assert_eq!(nothing["changed"], json!([]));
    edge.rewrite(|text| format!("{text}  protection: {{ collections: [treasure] }}\n"));
    hang_up(edge, "configuration reloaded: this key has changed");
    assert_eq!(delete(&client, "treasure"), 403);
    let changed = edge.log();
    assert!(
        changed.lines().any(|line| line.contains("protection.collections") && line.contains("[treasure]")),
        "{changed}"
    );
    edge.rewrite(|text| text.replace("[treasure]", "[second]") + "  limits: { id_bytes: 3B }\n  log: debug\n");
    let answer = reload(edge).expect(200).json();
    let key = |key: &str, from: &str, to: &str| json!({ "key": key, "from": from, "to": to });
    let before = "info,refinery_core=warn,pingora_core=warn,pingora_core::apps=off,pingora_core::connectors=off,pingora_load_balancing=error,pingora_proxy=off";
    let expected = json!([
        key("limits.id_bytes", "64KiB", "3B"),
        key("log", before, "debug"),
        key("protection.collections", "[treasure]", "[second]"),
    ]);
    assert_eq!(answer["changed"], expected);
    assert_eq!((delete(&client, "treasure"), delete(&client, "second")), (200, 403));
    let things = cluster.create("things");
    assert_refused(&add(&client, &things, "long id"), 400, "limit_id_bytes");
    wait_for("a debug line", SOON, || edge.log().contains(" DEBUG ").then_some(()));
    cluster.assert_converged();
}

#[test]
fn a_mistake_or_a_key_that_needs_a_restart_changes_nothing() {
    let cluster = Cluster::two();
    let (edge, client) = (&cluster.edge, cluster.client());
    cluster.create("treasure");
    let original = std::cell::OnceCell::new();
    edge.rewrite(|text| {
        original.get_or_init(|| text.to_owned()).clone()
            + "  protection: { collections: [treasure] }\n  write_wiat: 1s\n"
    });
    let answer = reload(edge);
    assert_refused(&answer, 400, "bad_configuration");
    assert!(answer.json()["message"].as_str().unwrap().contains("did you mean `write_wait`?"), "{answer}");
    hang_up(edge, "not reloaded, and nothing is changed");
    edge.rewrite(|_| {
        original.get().unwrap().clone() + "  protection: { collections: [treasure] }\n  shutdown_grace: 3s\n"
    });
    let answer = reload(edge);
    assert_refused(&answer, 409, "needs_restart");
    assert!(answer.json()["message"].as_str().unwrap().contains("shutdown_grace"), "{answer}");
    edge.rewrite(|_| original.get().unwrap().replace("threads: 2", "threads: 3"));
    assert_refused(&reload(edge), 409, "needs_restart");
    edge.rewrite(|_| "edge: [".to_owned());
    assert_refused(&reload(edge), 400, "bad_configuration");
    std::fs::remove_file(edge.dir().join("edge.yaml")).unwrap();
    assert_refused(&reload(edge), 400, "bad_configuration");
    assert_refused(&edge.client().post("/admin/reload", &json!({ "confirm": 3 })), 400, "bad_body");
    assert_eq!(edge.client().get("/admin/reload").status, 405);
    assert_eq!(delete(&client, "treasure"), 200, "nothing of it has taken effect");
    edge.announce("not reloaded, and nothing is changed");
}

#[test]
fn what_the_environment_sets_is_changed_by_no_file() {
    let server = ChromaServer::fresh();
    let edge = Edge::builder().env("PRIMARY_URL", &server.url()).start();
    // The address comes from the environment: the file's value has no effect.
    edge.rewrite(|text| {
        text.replace("  instances:\n", "  instances:\n    - { name: primary, url: 'http://127.0.0.1:1' }\n")
    });
    let answer = reload(&edge).expect(200).json();
    assert_eq!((&answer["changed"], &answer["instances"]["readdressed"]), (&json!([]), &json!([])));
}

#[test]
fn an_instance_that_moves_is_looked_at_before_it_serves() {
    let servers = vec![ChromaServer::fresh(), ChromaServer::fresh()];
    let relays: Vec<Relay> = servers.iter().map(Relay::plain).collect();
    let edge = relays.iter().fold(Edge::builder(), |edge, relay| edge.instance_url(&relay.url()));
    let cluster = Cluster { edge: edge.start(), servers };
    let things = cluster.filled("things", 10);
    let moved = |number: usize| cluster.servers[number].url();
    cluster.edge.rewrite(|text| text.replace(&relays[0].url(), &moved(0)).replace(&relays[1].url(), &moved(1)));
    let answer = reload(&cluster.edge).expect(200).json();
    assert_eq!(answer["instances"]["readdressed"].as_array().unwrap().len(), 2, "{answer}");
    let urls = |status: &Value| [0, 1].map(|number| status["instances"][number]["url"].as_str().unwrap().to_owned());
    assert_eq!(urls(&cluster.edge.status()), [moved(0), moved(1)]);
    drop(relays);
    cluster.edge.wait_until_healthy("primary", true, CATCH_UP);
    cluster.edge.wait_until_healthy("replica", true, CATCH_UP);
    add(&cluster.client(), &things, "after").expect(201);
    assert_eq!(ids(&cluster.client(), &things).len(), 11);
    cluster.assert_converged();
    // With swapped addresses, neither serves the other's data. Both have their markers by then.
    let markers = "/api/v2/tenants/default_tenant/databases/chroma-edge-marker/collections";
    wait_for("both to be marked", SOON, || {
        let marked =
            |server: &ChromaServer| server.client().get(markers).json().as_array().is_some_and(|all| !all.is_empty());
        cluster.servers.iter().all(marked).then_some(())
    });
    cluster.edge.announce("foreign");
    cluster.edge.announce("holds");
    cluster.edge.rewrite(|text| {
        text.replace(&moved(0), "http://swap").replace(&moved(1), &moved(0)).replace("http://swap", &moved(1))
    });
    reload(&cluster.edge).expect(200);
    wait_for("both to be foreign", SOON, || {
        let status = cluster.edge.status();
        [0, 1].iter().all(|number| status["instances"][number]["state"] == "foreign").then_some(())
    });
}
