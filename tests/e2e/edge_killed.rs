//! The edge itself dies under load: what was acknowledged is present, everything else happened at most once, and
//! nothing is out of order.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;

use testkit::Cluster;
use testkit::cluster::{add, ids};
use testkit::fold::{Transaction, transactions};
use testkit::http::{Client, DEFAULT};
use testkit::random::seed;
use testkit::workload::{Outcome, Plan, Workload, acknowledged, added_id, summary};

const PROGRESS: Duration = Duration::from_secs(30);

#[test]
fn acknowledged_once_unknown_at_most_once() {
    let mut cluster = Cluster::two();
    let load = Workload::start(&cluster.client(), seed(), &Plan::unique_adds());
    for _ in 0..3 {
        load.await_more(60, PROGRESS);
        cluster.edge.kill();
        cluster.edge.restart();
    }
    load.await_more(60, PROGRESS);
    let events = load.finish();
    let content = cluster.assert_converged();

    let journal = transactions(&cluster.edge.journal_path());
    let mut journaled: BTreeMap<String, usize> = BTreeMap::new();
    for transaction in
        journal.iter().filter(|one| one.path.split('?').next().is_some_and(|path| path.ends_with("/add")))
    {
        let body: Value = serde_json::from_slice(&transaction.body).expect("JSON");
        *journaled.entry(body["ids"][0].as_str().expect("an id").to_owned()).or_default() += 1;
    }
    let shown: Vec<String> = Plan::unique_adds().names.iter().flat_map(|name| ids(&cluster.client(), name)).collect();
    for event in &events {
        let id = added_id(event);
        let (entries, records) =
            (journaled.get(&id).copied().unwrap_or(0), shown.iter().filter(|one| **one == id).count());
        match &event.outcome {
            Outcome::Acknowledged(_) => assert_eq!((entries, records), (1, 1), "acknowledged: {id}"),
            Outcome::Refused(answer) => assert_eq!((entries, records), (0, 0), "refused: {id}: {answer}"),
            Outcome::Unknown(_) => assert!(entries <= 1 && records == entries, "unknown: {id}: {entries} {records}"),
        }
    }
    assert_eq!(content.record_count(), shown.len());
    assert!(events.iter().any(|event| matches!(event.outcome, Outcome::Unknown(_))), "killed while idle");
    assert!(acknowledged(&events).count() > 100, "{}", summary(&events));
}

#[test]
fn each_acknowledged_write_is_journaled_as_applied() {
    let mut cluster = Cluster::two();
    let load = Workload::start(&cluster.client(), seed(), &Plan::everything());
    for _ in 0..3 {
        load.await_more(60, PROGRESS);
        cluster.edge.kill();
        cluster.edge.restart();
    }
    let events = load.finish();
    cluster.assert_converged();
    let journal = transactions(&cluster.edge.journal_path());
    let by_id: BTreeMap<&str, &Transaction> = journal.iter().map(|one| (one.transaction_id.as_str(), one)).collect();
    for (event, answer) in acknowledged(&events) {
        let id = answer.header("transaction-id").unwrap_or_else(|| panic!("no Transaction-ID: {event:?}"));
        let entry = by_id.get(id).unwrap_or_else(|| panic!("acknowledged, not journaled: {event:?}"));
        // Void if the edge died before the outcome was durable and the collection was dropped before the write was
        // repeated.
        let gone = entry.verdict.as_deref() == Some("void") && entry.status != "ABANDONED";
        assert!(entry.is_applied() || gone, "acknowledged, not applied: {entry:?}");
    }
    let open: Vec<&Transaction> = journal.iter().filter(|one| one.verdict.is_none()).collect();
    assert!(open.is_empty(), "left open: {open:#?}");
}

/// The edge dies when an add is answered but its outcome is not durable. The next edge drops the collection before the
/// add is repeated. A write that may have been acknowledged must not become ABANDONED. One that cannot have been may
/// become so.
#[test]
fn acknowledged_and_then_dropped_with_its_collection_is_not_abandoned() {
    let mut cluster = Cluster::two();
    let collection = cluster.create("dropped");
    let client = cluster.client();
    let told = |client: &Client, id: &str| {
        let answer = add(client, &collection, id).expect(201);
        answer.header("transaction-id").expect("an id").to_owned()
    };
    let done = told(&client, "done");
    let own = told(&client.with_header("Transaction-ID", "its-own"), "own");
    let pending = told(&client, "pending");
    client.call("DELETE", &format!("{DEFAULT}/collections/dropped"), &Value::Null).expect(200);
    cluster.assert_converged();
    cluster.edge.kill();

    // What a journal would hold if the edge had died that early: no progress in the lane, and no verdicts.
    let journal = Connection::open(cluster.edge.journal_path()).expect("the journal");
    let open = "UPDATE transactions SET verdict = NULL, completed_at = NULL, response_status = NULL, \
                answer_status = NULL, answer_body = NULL, status = CASE seq WHEN \
                (SELECT max(seq) FROM transactions WHERE kind = 'add') THEN 'FAILED' ELSE 'ATTEMPTING' END \
                WHERE kind = 'add'";
    assert_eq!(journal.execute(open, []).expect("as if it had died earlier"), 3);
    journal.execute("DELETE FROM progress WHERE lane <> 'catalog'", []).expect("no marks");
    drop(journal);
    cluster.edge.restart();

    let page =
        |id: &str| cluster.client().get(&format!("/transaction/safety/transaction/{id}?wait=30")).expect(200).json();
    let (done, own, pending) = (page(&done), page(&own), page(&pending));
    assert_eq!(done["status"], "RECOVERED", "{done}");
    assert_eq!(done["failure_reason"], "a later write deleted its collection", "{done}");
    let again = client.with_header("Transaction-ID", done["transaction_id"].as_str().expect("an id"));
    let again = add(&again, &collection, "done").expect(200);
    assert_eq!((again.text().as_str(), again.header("idempotent-replayed")), ("{}", Some("true")));
    add(&client.with_header("Transaction-ID", "its-own"), &collection, "own").expect(404);
    assert_eq!(own["status"], "ABANDONED", "its answer would have been durable first: {own}");
    assert_eq!(pending["status"], "ABANDONED", "answered as pending: {pending}");
    assert_eq!(cluster.assert_converged().collections.len(), 0);
}

#[test]
fn killed_with_an_instance_away_nothing_is_forgotten() {
    let mut cluster = Cluster::two();
    let load = Workload::start(&cluster.client(), seed(), &Plan::everything());
    load.await_more(40, PROGRESS);
    cluster.replica().kill();
    load.await_more(80, PROGRESS);
    cluster.edge.kill();
    cluster.edge.restart();
    load.await_more(40, PROGRESS);
    drop(load.finish());
    cluster.replica().restart();
    cluster.assert_converged();
}
