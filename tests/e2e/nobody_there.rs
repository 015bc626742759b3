//! No instance is available: writes wait for a while, then are promised. When one returns, they are executed in order.

use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};

use testkit::Cluster;
use testkit::cluster::{add, ids, timed};
use testkit::edge::Builder;
use testkit::fold::transactions;
use testkit::http::{Answer, DEFAULT, record_path};

fn impatient() -> Cluster {
    Cluster::with(2, |edge| edge.config("  write_wait: 500ms"))
}

#[track_caller]
fn assert_pending(answer: &Answer) -> String {
    assert_eq!(answer.status, 503, "{answer}");
    let body = answer.json();
    assert_eq!(body["recovery"], "pending", "{answer}");
    assert!(body["error"].is_string() && body["message"].is_string() && body["reason"].is_string(), "{answer}");
    let id = answer.header("transaction-id").expect("Transaction-ID").to_owned();
    // Sent again, it would be another write. Nothing advises that, and the message that clients show says so first.
    assert_eq!(answer.header("retry-after"), None, "{answer}");
    let outcome =
        format!("journaled; its outcome will be at /transaction/safety/transaction/{id}; do not send it again");
    assert!(body["message"].as_str().is_some_and(|message| message.starts_with(&outcome)), "{answer}");
    assert_eq!(body["transaction_id"], id.as_str(), "{answer}");
    id
}

/// A rename that was promised after the deletion of its collection is refused on execution. As the last entry of the
/// catalog lane, it may have been sent to the other instance too, as far as the next edge can tell. Repeated there, it
/// finds nothing, and nothing waits for it.
#[test]
fn a_change_of_what_was_deleted_before_it_holds_nobody_up() {
    let mut cluster = impatient();
    let collection = cluster.create("gone");
    cluster.create("kept");
    cluster.assert_converged();
    cluster.primary().kill();
    cluster.replica().kill();
    let path = format!("{DEFAULT}/collections");
    assert_pending(&cluster.client().call("DELETE", &format!("{path}/gone"), &Value::Null));
    assert_pending(&cluster.client().call("PUT", &format!("{path}/{collection}"), &json!({ "new_name": "back" })));
    cluster.replica().restart();
    cluster.primary().restart();
    cluster.assert_converged();
    let journal = transactions(&cluster.edge.journal_path());
    assert_eq!(journal.last().and_then(|last| last.verdict.as_deref()), Some("rejected"));
    cluster.edge.kill();
    // If it had died a moment earlier, the other instance would have no durable record of skipping the entry.
    let journal = Connection::open(cluster.edge.journal_path()).expect("the journal");
    let moved = "UPDATE progress SET through = through - 1 WHERE lane = 'catalog' AND instance <> \
                 (SELECT executed_on FROM transactions ORDER BY seq DESC LIMIT 1)";
    assert_eq!(journal.execute(moved, []).expect("as if it had died earlier"), 1);
    drop(journal);
    cluster.edge.restart();
    cluster.create("after");
    assert_eq!(cluster.assert_converged().collections.len(), 2);
}

/// Both servers have lost a collection while a change of it was promised: no server can execute it, and nothing waits
/// for it.
#[test]
fn a_change_of_what_every_server_has_lost_is_given_up() {
    let mut cluster = impatient();
    cluster.edge.announce("lacks collections");
    cluster.edge.announce("diverged");
    let collection = cluster.create("lost");
    cluster.assert_converged();
    for server in &cluster.servers {
        server.client().call("DELETE", &format!("{DEFAULT}/collections/lost"), &Value::Null).expect(200);
    }
    cluster.primary().kill();
    cluster.replica().kill();
    let change = json!({ "new_metadata": { "changed": true } });
    let path = format!("{DEFAULT}/collections/{collection}");
    let promised = assert_pending(&cluster.client().call("PUT", &path, &change));
    cluster.replica().restart();
    cluster.primary().restart();
    let page = cluster.client().get(&format!("/transaction/safety/transaction/{promised}?wait=60")).expect(200).json();
    assert_eq!(page["status"], "ABANDONED", "{page}");
    cluster.create("after");
}

#[test]
fn writes_are_promised_and_executed_in_order() {
    let mut cluster = impatient();
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "before").expect(201);
    cluster.primary().kill();
    cluster.replica().kill();
    let update = json!({ "ids": ["b"], "documents": ["changed"] });
    let mut promised = Vec::new();
    for (verb, body) in [
        ("add", json!({ "ids": ["b"], "embeddings": [[1, 2, 3]], "documents": ["first"] })),
        ("update", update),
        ("delete", json!({ "ids": ["before"] })),
        ("add", json!({ "ids": ["before"], "embeddings": [[3, 2, 1]], "documents": ["again"] })),
    ] {
        promised.push(assert_pending(&cluster.client().post(&record_path(&collection, verb), &body)));
    }
    let created = cluster.client().post("/api/v2/tenants/default_tenant/databases", &json!({ "name": "later" }));
    promised.push(assert_pending(&created));
    cluster.replica().restart();
    cluster.primary().restart();
    let content = cluster.assert_converged();
    assert_eq!(ids(&cluster.client(), &collection), ["b", "before"], "the re-added record comes last");
    assert!(content.databases.contains(&("default_tenant".to_owned(), "later".to_owned())));
    let things = content.collections.values().next().expect("a collection");
    let documents: Vec<_> = things.records.iter().map(|record| record.document.as_deref()).collect();
    assert_eq!(documents, [Some("changed"), Some("again")]);
    let journal = transactions(&cluster.edge.journal_path());
    for id in promised {
        let entry = journal.iter().find(|one| one.transaction_id == id).expect("promised, not journaled");
        assert!(entry.is_applied(), "{entry:?}");
        assert_eq!(entry.status, "RECOVERED", "{entry:?}");
    }
}

/// A write with its client's own id can be sent again as the same write, and its client is told when.
#[test]
fn a_write_with_an_id_of_its_own_is_told_when_to_come_again() {
    let mut cluster = impatient();
    let collection = cluster.create("things");
    cluster.primary().kill();
    cluster.replica().kill();
    let client = cluster.client().with_header("Idempotency-Key", "mine");
    let answer = add(&client, &collection, "one").expect(503);
    assert_eq!((&answer.json()["recovery"], answer.header("retry-after")), (&json!("pending"), Some("5")), "{answer}");
    cluster.replica().restart();
    cluster.primary().restart();
    cluster.assert_converged();
    assert_eq!(add(&client, &collection, "one").expect(201).header("idempotent-replayed"), Some("true"));
    assert_eq!(ids(&cluster.client(), &collection), ["one"]);
}

#[test]
fn a_short_absence_is_only_a_wait() {
    let mut cluster = Cluster::two();
    let collection = cluster.create("things");
    cluster.primary().kill();
    cluster.replica().kill();
    let client = cluster.client();
    let writer = {
        let collection = collection.clone();
        std::thread::spawn(move || add(&client, &collection, "patient"))
    };
    cluster.replica().restart();
    writer.join().expect("the writer").expect(201);
    cluster.primary().restart();
    assert_eq!(cluster.assert_converged().record_count(), 1);
}

#[test]
fn reads_are_refused_at_once_not_answered_stale() {
    let mut cluster = impatient();
    let collection = cluster.create("things");
    cluster.primary().kill();
    cluster.replica().kill();
    cluster.edge.wait_until_healthy("primary", false, Duration::from_secs(20));
    cluster.edge.wait_until_healthy("replica", false, Duration::from_secs(20));
    let (answer, wait) = timed(|| cluster.client().post(&record_path(&collection, "get"), &json!({})));
    assert_eq!(answer.status, 503, "{answer}");
    assert!(answer.header("retry-after").is_some() && answer.json()["reason"].is_string(), "{answer}");
    assert!(wait < Duration::from_secs(10), "{wait:?}");
}

#[test]
fn the_edge_dies_too_and_keeps_its_word() {
    let mut cluster = impatient();
    let collection = cluster.create("things");
    cluster.primary().kill();
    cluster.replica().kill();
    for id in ["one", "two", "three"] {
        assert_pending(&add(&cluster.client(), &collection, id));
    }
    cluster.edge.kill();
    cluster.edge.restart();
    cluster.primary().restart();
    cluster.replica().restart();
    cluster.assert_converged();
    assert_eq!(ids(&cluster.client(), &collection), ["one", "two", "three"]);
}

#[test]
fn recovery_comes_within_seconds() {
    let mut cluster = impatient();
    let collection = cluster.create("things");
    cluster.primary().kill();
    cluster.replica().kill();
    assert_pending(&add(&cluster.client(), &collection, "promised"));
    cluster.replica().restart();
    let client = cluster.client();
    // One instance is enough. The read waits for it, and shows what was promised.
    testkit::place::wait_for("recovery on the replica alone", Duration::from_secs(15), || {
        let answer = client.post(&record_path(&collection, "get"), &json!({}));
        (answer.status == 200 && answer.json()["ids"] == json!(["promised"])).then_some(())
    });
    cluster.primary().restart();
    assert_eq!(cluster.assert_converged().record_count(), 1);
}

/// `promise: with_id`: a write without an id of its own that was sent nowhere is withdrawn, so its client may send it
/// again.
#[test]
fn without_an_id_of_its_own_a_write_that_was_sent_nowhere_is_withdrawn() {
    let mut cluster = Cluster::with(2, |edge| edge.config("  write_wait: 500ms\n  promise: with_id"));
    let collection = cluster.create("things");
    cluster.assert_converged();
    cluster.primary().kill();
    cluster.replica().kill();
    let mut refused = Vec::new();
    for _ in 0..3 {
        // A stock client makes a new id for each repetition.
        refused.push(add(&cluster.client(), &collection, "one"));
        refused.push(cluster.client().post(&format!("{DEFAULT}/collections"), &json!({ "name": "later" })));
    }
    for answer in refused {
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{answer}");
        let body = answer.json();
        assert_eq!((&body["reason"], body.get("recovery")), (&json!("withdrawn"), None), "{answer}");
    }
    let own = cluster.client().with_header("Idempotency-Key", "mine");
    assert_eq!(add(&own, &collection, "two").expect(503).json()["recovery"], "pending", "its client can come again");
    let journal = transactions(&cluster.edge.journal_path());
    let withdrawn = journal.iter().filter(|entry| entry.verdict.as_deref() == Some("abandoned"));
    assert_eq!(withdrawn.map(|entry| entry.status.as_str()).collect::<Vec<_>>(), ["ABANDONED"; 6]);
    // Durable: the next edge does not execute them either.
    cluster.edge.kill();
    cluster.edge.restart();
    cluster.primary().restart();
    cluster.replica().restart();
    let content = cluster.assert_converged();
    assert_eq!(content.collections.len(), 1);
    assert_eq!(ids(&cluster.client(), &collection), ["two"]);
    add(&cluster.client(), &collection, "one").expect(201);
}

/// A write that may have been sent stays: it is executed, and its client is told not to send it again.
#[test]
fn without_an_id_of_its_own_a_write_that_may_have_been_sent_stays() {
    let configure = |edge: Builder| {
        edge.config("  write_wait: 500ms\n  request_timeout: 3s\n  attempt_timeout: 1s\n  promise: with_id")
    };
    let (cluster, relays) = Cluster::relayed(configure);
    let collection = cluster.create("things");
    cluster.assert_converged();
    relays.iter().for_each(|relay| relay.lose_answers(Some("/add")));
    let answer = add(&cluster.client(), &collection, "one").expect(503);
    let body = answer.json();
    assert_eq!((&body["recovery"], answer.header("retry-after")), (&json!("unknown"), None), "{answer}");
    let id = body["transaction_id"].as_str().expect("an id").to_owned();
    let words = format!("journaled; its outcome will be at /transaction/safety/transaction/{id}; do not send it again");
    assert!(body["message"].as_str().is_some_and(|message| message.starts_with(&words)), "{answer}");
    relays.iter().for_each(|relay| relay.lose_answers(None));
    let page = cluster.client().get(&format!("/transaction/safety/transaction/{id}?wait=60")).expect(200).json();
    assert_eq!(page["status"], "RECOVERED", "{page}");
    assert_eq!(cluster.assert_converged().record_count(), 1);
}
