//! The edge itself dies under load: what was acknowledged is there, what was not happened at most once, and
//! nothing is out of order.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::common::Cluster;
use crate::common::cluster::ids;
use crate::common::fold::{Transaction, transactions};
use crate::common::random::seed;
use crate::common::workload::{Outcome, Plan, Workload, acknowledged, added_id, summary};

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
        let body: serde_json::Value = serde_json::from_slice(&transaction.body).expect("JSON");
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
        assert!(entry.is_applied(), "acknowledged, not applied: {entry:?}");
    }
    let open: Vec<&Transaction> = journal.iter().filter(|one| one.verdict.is_none()).collect();
    assert!(open.is_empty(), "left open: {open:#?}");
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
