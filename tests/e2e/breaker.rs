//! Reads avoid an instance that answers its heartbeat but fails reads, as long as another one can serve. They return to
//! it when it answers again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use testkit::Edge;
use testkit::cluster::{CATCH_UP, Cluster, add};
use testkit::http::{Answer, Client, record_path};
use testkit::place::wait_for;

const INSTANCE: &str = "chroma-edge-instance";
const SOON: Duration = Duration::from_secs(30);
/// Every read prefers the replica.
const QUICK: &str =
    "  read_replica_ratio: 1\n  health: { breaker_reads: 10, breaker_window: 2s, breaker_pause: 500ms }";
/// Once open, it stays open for the whole test.
const LASTING: &str =
    "  read_replica_ratio: 1\n  health: { breaker_reads: 10, breaker_window: 2s, breaker_pause: 10m }";

fn read(client: &Client, collection: &str) -> Answer {
    client.post(&record_path(collection, "get"), &json!({ "ids": ["one"] }))
}

fn served_by(answer: Answer) -> String {
    let answer = answer.expect(200);
    assert_eq!(answer.json()["ids"], json!(["one"]), "{answer}");
    answer.header(INSTANCE).expect("an instance").to_owned()
}

fn breaker(edge: &Edge, instance: usize) -> Value {
    edge.status()["instances"][instance]["breaker"].clone()
}

fn filled(cluster: &Cluster) -> String {
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "one").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    collection
}

#[test]
fn an_instance_that_fails_reads_is_avoided_until_it_answers_again() {
    let (cluster, relays) = Cluster::relayed(|edge| edge.config(QUICK));
    let (collection, client) = (filled(&cluster), cluster.client());
    assert_eq!(served_by(read(&client, &collection)), "replica");
    relays[1].answer_as_gateway("/get", "502 Bad Gateway");
    wait_for("the breaker to open", SOON, || {
        assert_eq!(served_by(read(&client, &collection)), "primary", "its client notices nothing");
        (breaker(&cluster.edge, 1)["state"] != "closed").then_some(())
    });
    let asked = || relays[1].seen_at("/get").len();
    let before = asked();
    (0..100).for_each(|_| assert_eq!(served_by(read(&client, &collection)), "primary"));
    assert!(asked() - before < 20, "{} of 100 reads found out", asked() - before);
    assert_eq!(breaker(&cluster.edge, 0)["state"], "closed");
    let metrics = client.get("/metrics").expect(200).text();
    assert!(metrics.contains("chroma_edge_instance_breaker_opened{instance=\"replica\"} 1\n"), "{metrics}");
    assert!(metrics.contains("chroma_edge_instance_breaker{instance=\"primary\"} 0\n"), "{metrics}");
    // It accepts writes all the while.
    add(&client, &collection, "two").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    relays[1].answer_no_more();
    wait_for("reads to come back", SOON, || {
        served_by(read(&client, &collection));
        (breaker(&cluster.edge, 1)["state"] == "closed").then_some(())
    });
    assert_eq!(served_by(read(&client, &collection)), "replica");
    let log = cluster.edge.log();
    for line in ["reads avoid it", "single reads find out", "reads no longer avoid this instance"] {
        assert!(log.contains(line), "{line}: {log}");
    }
    assert_eq!(cluster.assert_converged().record_count(), 2);
}

#[test]
fn the_last_one_serves_whatever_it_failed_before() {
    let (mut cluster, relays) = Cluster::relayed(|edge| edge.config(LASTING));
    let (collection, client) = (filled(&cluster), cluster.client());
    relays[1].swallow(Some("/get"));
    wait_for("the breaker to open", SOON, || {
        assert_eq!(served_by(read(&client, &collection)), "primary");
        (breaker(&cluster.edge, 1)["state"] == "open").then_some(())
    });
    relays[1].swallow(None);
    assert_eq!(served_by(read(&client, &collection)), "primary", "nobody finds out yet");
    let named = client.with_header(INSTANCE, "replica");
    assert_eq!(served_by(read(&named, &collection)), "replica", "whoever names an instance means it");
    cluster.primary().kill();
    assert_eq!(served_by(read(&client, &collection)), "replica");
    cluster.primary().restart();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.assert_converged();
}

fn assert_never_opened(edge: &Edge) {
    for instance in 0..2 {
        let shown = breaker(edge, instance);
        assert_eq!((&shown["state"], &shown["opened"]), (&json!("closed"), &json!(0)), "{shown}");
    }
}

#[test]
fn a_death_opens_nothing() {
    let mut cluster = Cluster::with(2, |edge| edge.config(LASTING));
    let (collection, client) = (filled(&cluster), cluster.client());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    served_by(read(&client, &collection));
                }
            });
        }
        cluster.servers[1].kill();
        cluster.edge.wait_until_healthy("replica", false, CATCH_UP);
        cluster.servers[1].restart();
        cluster.edge.wait_until_healthy("replica", true, CATCH_UP);
        stop.store(true, Ordering::Relaxed);
    });
    assert_never_opened(&cluster.edge);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.assert_converged();
}

#[test]
fn what_everybody_fails_opens_nothing() {
    let (cluster, relays) = Cluster::relayed(|edge| edge.config(LASTING));
    let (collection, client) = (filled(&cluster), cluster.client());
    for relay in &relays {
        relay.answer_500("/query", "Error executing plan: it is the request's own fault");
    }
    let query = json!({ "query_embeddings": [[1, 2, 3]] });
    for _ in 0..20 {
        client.post(&record_path(&collection, "query"), &query).expect(500);
    }
    assert_never_opened(&cluster.edge);
    relays.iter().for_each(|relay| relay.answer_no_more());
    cluster.assert_converged();
}
