//! Ten thousand requests with one id: one execution, and little work.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use serde_json::json;

use testkit::Cluster;
use testkit::cluster::{add, ids, journaled};
use testkit::http::record_path;

const CONNECTIONS: usize = 50;
const EACH: usize = 200;

/// Returns how often the journal has committed, and failed to.
fn commits(cluster: &Cluster) -> (u64, u64) {
    let page = cluster.client().get("/wal/status").expect(200).json();
    let number = |name: &str| page[name].as_u64().unwrap_or_else(|| panic!("no {name}: {page}"));
    (number("commits"), number("failed_commits"))
}

#[test]
fn a_storm_of_one_id_is_one_execution_and_little_work() {
    let cluster = Cluster::two();
    let collection = cluster.create("things");
    for id in ["a", "b", "c", "d"] {
        add(&cluster.client(), &collection, id).expect(201);
    }
    cluster.edge.wait_until_in_sync(Duration::from_secs(30));
    let (journaled_before, commits_before) = (journaled(&cluster.edge), commits(&cluster));
    let client = cluster.client();
    let path = record_path(&collection, "delete");
    // A second execution would delete one more.
    let body = json!({ "where_document": { "$contains": "document" }, "limit": 1 }).to_string();
    let headers = [("content-type", "application/json"), ("transaction-id", "storm")];
    let gate = Barrier::new(CONNECTIONS);
    let began = Instant::now();
    let one = || {
        let mut connection = client.connect().expect("a connection");
        gate.wait();
        let ask = |_| connection.request("POST", &path, &headers, body.as_bytes()).expect("an answer");
        let answers: Vec<_> = (0..EACH).map(ask).collect();
        let originals = answers.iter().filter(|answer| answer.header("idempotent-replayed").is_none()).count();
        for answer in &answers {
            assert_eq!((answer.status, answer.text().as_str()), (200, "{\"deleted\":1}"), "{answer}");
            assert_eq!(answer.header("transaction-id"), Some("storm"), "{answer}");
        }
        originals
    };
    let originals: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(one)).collect();
        workers.into_iter().map(|worker| worker.join().expect("a client")).sum()
    });
    eprintln!("{} requests with one id: {:?}", CONNECTIONS * EACH, began.elapsed());
    assert_eq!(originals, 1);
    assert_eq!(ids(&cluster.client(), &collection).len(), 3);
    assert_eq!(journaled(&cluster.edge), journaled_before + 1);
    let (commits, failed) = commits(&cluster);
    assert!(commits - commits_before.0 < 20, "{} commits for one write", commits - commits_before.0);
    assert_eq!(failed, commits_before.1);
    cluster.assert_converged();
}
