//! A delete with a limit deletes the same records on every instance, whatever happens to the instance that executed it
//! first.

use serde_json::{Value, json};

use testkit::Relay;
use testkit::cluster::{CATCH_UP, Cluster, ids};
use testkit::fold::transactions;
use testkit::http::{Answer, record_path};
use testkit::place::wait_for;

const RECORDS: usize = 10;

fn delete_four(cluster: &Cluster, collection: &str) -> Answer {
    let body = json!({ "where": { "old": true }, "limit": 4 });
    cluster.client().post(&record_path(collection, "delete"), &body)
}

#[track_caller]
fn assert_four_deleted(cluster: &Cluster, collection: &str, relays: &[Relay]) {
    assert_eq!(cluster.assert_converged().record_count(), RECORDS - 4);
    assert_eq!(ids(&cluster.client(), collection), ["r4", "r5", "r6", "r7", "r8", "r9"]);
    let resolved = transactions(&cluster.edge.journal_path()).pop().expect("a transaction").body;
    let resolved: Value = serde_json::from_slice(&resolved).expect("JSON");
    assert_eq!(resolved["ids"], json!(["r0", "r1", "r2", "r3"]), "made durable: {resolved}");
    // A comparison begins with a delete of an id that does not exist. That delete is not the client's.
    for seen in relays.iter().flat_map(|relay| relay.seen_at("/delete")) {
        let body: Value = serde_json::from_slice(&seen.body).expect("JSON");
        assert!(body.get("limit").is_none_or(Value::is_null), "sent as ids, never as a limit: {body}");
        assert!(body["ids"].is_array(), "{body}");
    }
}

#[test]
fn the_replica_is_away() {
    let (mut cluster, relays) = Cluster::relayed(|edge| edge);
    let collection = cluster.filled("things", RECORDS);
    cluster.replica().kill();
    assert_eq!(delete_four(&cluster, &collection).expect(200).json(), json!({ "deleted": 4 }));
    cluster.replica().restart();
    assert_four_deleted(&cluster, &collection, &relays);
}

#[test]
fn the_answer_is_lost_and_another_instance_takes_over() {
    let (cluster, relays) = Cluster::relayed(|edge| edge);
    let collection = cluster.filled("things", RECORDS);
    // Executed by the primary, but its answer is lost: the replica executes it, then the primary once more.
    relays[0].lose_answers(Some("/delete"));
    assert_eq!(delete_four(&cluster, &collection).expect(200).json(), json!({ "deleted": 4 }));
    relays[0].lose_answers(None);
    assert_four_deleted(&cluster, &collection, &relays);
    assert!(relays[0].seen_at("/delete").len() >= 2, "sent again, since its outcome was unknown");
}

#[test]
fn the_primary_dies_with_it_under_way() {
    let (mut cluster, relays) = Cluster::relayed(|edge| edge);
    let collection = cluster.filled("things", RECORDS);
    relays[0].hold("/delete");
    let answer = std::thread::scope(|scope| {
        let writer = scope.spawn(|| delete_four(&cluster, &collection));
        wait_for("the delete under way", CATCH_UP, || (!relays[0].seen_at("/delete").is_empty()).then_some(()));
        cluster.servers[0].stop();
        writer.join().expect("the writer")
    });
    assert_eq!(answer.expect(200).json(), json!({ "deleted": 4 }));
    cluster.primary().kill();
    relays[0].release();
    cluster.primary().restart();
    assert_four_deleted(&cluster, &collection, &relays);
}
