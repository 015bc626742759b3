//! Servers behind an L7 proxy that sometimes answers for them, and reads that always fail.

use std::time::Duration;

use serde_json::json;

use testkit::cluster::{CATCH_UP, Cluster, add, ids, timed};
use testkit::http::{Answer, record_path};
use testkit::relay::Relay;

const UNAVAILABLE: &str = "503 Service Unavailable";

/// Starts a cluster that reads from its replica first, both servers behind relays, with one record.
fn replica_first() -> (Cluster, Vec<Relay>, String) {
    let (cluster, relays) = Cluster::relayed(|edge| edge.config("  read_replica_ratio: 1"));
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "one").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    (cluster, relays, collection)
}

fn query(cluster: &Cluster, collection: &str) -> Answer {
    let body = json!({ "query_embeddings": [[0.5, 0.25, 1.0]], "n_results": 1 });
    cluster.client().post(&record_path(collection, "query"), &body)
}

#[test]
fn a_read_that_a_gateway_answers_goes_to_another_instance() {
    let (cluster, relays, collection) = replica_first();
    for status in ["502 Bad Gateway", UNAVAILABLE, "504 Gateway Timeout", "429 Too Many Requests"] {
        relays[1].answer_as_gateway("/get", status);
        for _ in 0..10 {
            let (shown, wait) = timed(|| ids(&cluster.client(), &collection));
            assert!(shown == ["one"] && wait < Duration::from_secs(1), "{status}: {shown:?} after {wait:?}");
        }
    }
    assert!(!relays[1].seen_at("/get").is_empty(), "it was asked");
}

#[test]
fn a_moment_without_any_server_is_only_a_wait() {
    let (cluster, relays, collection) = replica_first();
    relays.iter().for_each(|relay| relay.answer_as_gateway("/get", UNAVAILABLE));
    let shown = std::thread::scope(|scope| {
        let read = scope.spawn(|| ids(&cluster.client(), &collection));
        testkit::place::wait_for("a read that fails", CATCH_UP, || {
            relays.iter().all(|relay| !relay.seen_at("/get").is_empty()).then_some(())
        });
        relays.iter().for_each(Relay::answer_no_more);
        read.join().expect("a reader")
    });
    assert_eq!(shown, ["one"]);
}

/// A write that a gateway answered may have been executed: it is not lost, not doubled, and is executed elsewhere at
/// once.
#[test]
fn a_write_that_a_gateway_answers_is_executed_once() {
    let (cluster, relays, collection) = replica_first();
    for (number, status) in [(0, "502 Bad Gateway"), (1, UNAVAILABLE), (2, "429 Too Many Requests")] {
        relays[0].answer_as_gateway("/add", status);
        let (answer, wait) = timed(|| add(&cluster.client(), &collection, &format!("w{number}")));
        answer.expect(201);
        assert!(wait < Duration::from_secs(5), "{status}: {wait:?}");
        relays[0].answer_no_more();
    }
    assert_eq!(cluster.assert_converged().record_count(), 4);
}

#[test]
fn an_error_of_every_server_is_passed_on_at_once() {
    let (cluster, relays, collection) = replica_first();
    let asked = || relays.iter().map(|relay| relay.seen_at("/query").len()).sum::<usize>();
    // The second is caused by the request: no other server would answer differently.
    for (message, times) in [("Error executing plan: the index is damaged", 2), ("too many SQL variables", 1)] {
        relays.iter().for_each(|relay| relay.answer_500("/query", message));
        let before = asked();
        let (answer, wait) = timed(|| query(&cluster, &collection));
        assert_eq!(answer.expect(500).json()["message"], message);
        assert!(wait < Duration::from_millis(500), "{wait:?}");
        assert_eq!(asked() - before, times, "{message}: none was asked twice");
    }
    relays
        .iter()
        .for_each(|relay| relay.answer_500("/query", "Error executing plan: Internal error: Error finding id"));
    let before = asked();
    query(&cluster, &collection).expect(500);
    assert!(asked() - before >= 4, "a transient error is tried again");
}

#[test]
fn an_error_of_one_server_alone_is_not_passed_on() {
    let (cluster, relays, collection) = replica_first();
    relays[1].answer_500("/query", "Error executing plan: the index is damaged");
    for _ in 0..10 {
        assert_eq!(query(&cluster, &collection).expect(200).json()["ids"], json!([["one"]]));
    }
    let before = relays[1].seen_at("/query").len();
    let pinned = cluster.client().with_header("chroma-edge-instance", "replica");
    let body = json!({ "query_embeddings": [[0.5, 0.25, 1.0]], "n_results": 1 });
    let (answer, wait) = timed(|| pinned.post(&record_path(&collection, "query"), &body));
    answer.expect(500);
    assert!(wait < Duration::from_millis(500), "{wait:?}");
    assert_eq!(relays[1].seen_at("/query").len() - before, 1, "once");
}
