//! The edge waits for a slow write as long as its connection lives and the probes are green. The write is not repeated
//! on the server that executes it, and no repetition claims a number that only the first execution knew.

use std::time::Duration;

use serde_json::{Value, json};

use testkit::Relay;
use testkit::cluster::{CATCH_UP, Cluster, add, ids, timed};
use testkit::http::{Answer, record_path};
use testkit::place::wait_for;

const RECORDS: usize = 10;
/// Three times the time limit of an attempt.
const SLOW: Duration = Duration::from_secs(3);

fn impatient() -> (Cluster, Vec<Relay>) {
    Cluster::relayed(|edge| edge.config("  attempt_timeout: 1s\n  request_timeout: 60s"))
}

fn delete(cluster: &Cluster, collection: &str, body: &Value) -> Answer {
    cluster.client().post(&record_path(collection, "delete"), body)
}

fn old() -> Value {
    json!({ "where": { "old": true } })
}

/// Makes a call while requests whose path ends like this are held at the relay for `SLOW`.
fn slowly<T: Send>(relay: &Relay, ending: &'static str, call: impl FnOnce() -> T + Send) -> T {
    relay.hold(ending);
    std::thread::scope(|scope| {
        let caller = scope.spawn(call);
        wait_for("the request at the relay", CATCH_UP, || (!relay.seen_at(ending).is_empty()).then_some(()));
        std::thread::sleep(SLOW);
        relay.release();
        caller.join().expect("the caller")
    })
}

#[test]
fn a_slow_delete_is_waited_for_and_not_repeated() {
    let (cluster, relays) = impatient();
    let collection = cluster.filled("things", RECORDS);
    let answer = slowly(&relays[0], "/delete", || delete(&cluster, &collection, &old()));
    assert_eq!(answer.expect(200).json(), json!({ "deleted": RECORDS }));
    assert_eq!(cluster.assert_converged().record_count(), 0);
    assert_eq!(relays[0].seen_at("/delete").len(), 1, "sent once to the server that was at it");
    assert_eq!(relays[1].seen_at("/delete").len(), 1, "and replicated");
}

#[test]
fn any_slow_write_is_waited_for_where_no_other_server_could_take_it() {
    let (mut cluster, relays) = impatient();
    let collection = cluster.filled("things", RECORDS);
    cluster.replica().kill();
    cluster.edge.wait_until_healthy("replica", false, CATCH_UP);
    let before = relays[0].seen_at("/add").len();
    slowly(&relays[0], "/add", || add(&cluster.client(), &collection, "one").expect(201));
    assert_eq!(relays[0].seen_at("/add").len(), before + 1);
    cluster.replica().restart();
    assert_eq!(cluster.assert_converged().record_count(), RECORDS + 1);
}

#[test]
fn a_server_that_is_slow_to_catch_up_is_waited_for() {
    let (cluster, relays) = impatient();
    let collection = cluster.filled("things", RECORDS);
    let upsert = json!({ "ids": ["one"], "embeddings": [[1, 2, 3]] });
    let (answer, wait) =
        slowly(&relays[1], "/upsert", || timed(|| cluster.client().post(&record_path(&collection, "upsert"), &upsert)));
    answer.expect(200);
    assert!(wait < SLOW, "{wait:?}: its client does not wait for that");
    assert_eq!(cluster.assert_converged().record_count(), RECORDS + 1);
    assert_eq!(relays[1].seen_at("/upsert").len(), 1);
}

/// The probes end the wait at once, as fast as for any other write.
#[test]
fn a_slow_delete_on_a_server_that_stops_goes_on_elsewhere() {
    let (cluster, relays) = impatient();
    let collection = cluster.filled("things", RECORDS);
    relays[0].hold("/delete");
    let (answer, wait) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| timed(|| delete(&cluster, &collection, &old())));
        wait_for("the delete under way", CATCH_UP, || (!relays[0].seen_at("/delete").is_empty()).then_some(()));
        cluster.servers[0].stop();
        writer.join().expect("the writer")
    });
    // The other server never got the write before, so its number is true.
    assert_eq!(answer.expect(200).json(), json!({ "deleted": RECORDS }));
    assert!(wait < Duration::from_secs(15), "{wait:?}");
    relays[0].release();
    cluster.servers[0].cont();
    assert_eq!(cluster.assert_converged().record_count(), 0);
}

/// Executed, but its answer is lost: the same server is asked again, and finds nothing left to delete.
#[test]
fn a_repetition_that_cannot_know_the_number_claims_none() {
    let (mut cluster, relays) = impatient();
    let collection = cluster.filled("things", RECORDS);
    cluster.replica().kill();
    cluster.edge.wait_until_healthy("replica", false, CATCH_UP);
    let lost = |body: Value, key: &str| {
        let seen = relays[0].seen_at("/delete").len();
        relays[0].lose_answers(Some("/delete"));
        std::thread::scope(|scope| {
            let client = cluster.client().with_header("Idempotency-Key", key);
            let path = record_path(&collection, "delete");
            let writer = scope.spawn(move || client.post(&path, &body));
            wait_for("it was sent", CATCH_UP, || (relays[0].seen_at("/delete").len() > seen).then_some(()));
            relays[0].lose_answers(None);
            writer.join().expect("the writer").expect(200).json()
        })
    };
    assert_eq!(lost(json!({ "ids": ["r0", "r1"] }), "by-ids"), json!({ "deleted": 2 }), "as many as were sent");
    assert_eq!(lost(old(), "by-condition"), json!({}));
    let again = cluster.client().with_header("Idempotency-Key", "by-condition");
    let again = again.post(&record_path(&collection, "delete"), &old()).expect(200);
    assert_eq!((again.json(), again.header("idempotent-replayed")), (json!({}), Some("true")));
    assert_eq!(ids(&cluster.client(), &collection), Vec::<String>::new());
    cluster.replica().restart();
    assert_eq!(cluster.assert_converged().record_count(), 0);
}
