//! Instances die, hang and come back while clients write: no client sees more than a short wait.

use std::time::Duration;

use serde_json::json;

use testkit::Cluster;
use testkit::cluster::{CATCH_UP, add, ids, ids_by_name, timed};
use testkit::http::record_path;
use testkit::random::seed;
use testkit::workload::{Plan, Workload, acknowledged, errors, longest_wait, summary};

const PROGRESS: Duration = Duration::from_secs(30);

/// Kills one instance under load, lets the load go on without it, and brings it back. Checks that everything converges.
fn survive_kill_of(victim: usize) {
    let mut cluster = Cluster::two();
    let load = Workload::start(&cluster.client(), seed(), &Plan::everything());
    load.await_more(60, PROGRESS);
    cluster.servers[victim].kill();
    load.await_more(120, PROGRESS);
    cluster.servers[victim].restart();
    load.await_more(60, PROGRESS);
    let events = load.finish();
    assert!(errors(&events).is_empty(), "{}", summary(&events));
    assert!(longest_wait(&events) < Duration::from_secs(4), "{}", summary(&events));
    assert!(cluster.assert_converged().record_count() > 0, "nothing left to compare");
}

#[test]
fn primary_killed_under_load() {
    survive_kill_of(0);
}

#[test]
fn replica_killed_under_load() {
    survive_kill_of(1);
}

#[test]
fn acknowledged_adds_survive_the_primary() {
    let mut cluster = Cluster::two();
    let load = Workload::start(&cluster.client(), seed(), &Plan::unique_adds());
    load.await_more(80, PROGRESS);
    cluster.primary().kill();
    load.await_more(80, PROGRESS);
    let events = load.finish();
    let mut acknowledged: Vec<String> =
        acknowledged(&events).map(|(event, _)| testkit::workload::added_id(event)).collect();
    let mut held: Vec<String> =
        Plan::unique_adds().names.iter().flat_map(|name| ids_by_name(&cluster.servers[1], name)).collect();
    acknowledged.sort();
    held.sort();
    assert!(errors(&events).is_empty(), "{}", summary(&events));
    assert_eq!(acknowledged, held, "the replica alone holds each acknowledged record, once");
}

#[test]
fn hung_primary_is_abandoned_by_the_probes() {
    let cluster = Cluster::two();
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "before").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.servers[0].stop();
    let (answer, wait) = timed(|| add(&cluster.client(), &collection, "while it hangs"));
    answer.expect(201);
    assert!(wait < Duration::from_millis(4500), "answered only after {wait:?}");
    let (answer, wait) = timed(|| cluster.client().get(&record_path(&collection, "count")));
    assert_eq!(answer.expect(200).json(), json!(2));
    assert!(wait < Duration::from_secs(1), "a hung instance still slows reads: {wait:?}");
    cluster.servers[0].cont();
    let content = cluster.assert_converged();
    assert_eq!(content.record_count(), 2);
}

#[test]
fn stopped_under_load_and_continued() {
    let cluster = Cluster::two();
    let load = Workload::start(&cluster.client(), seed(), &Plan::everything());
    for victim in [0, 1] {
        load.await_more(40, PROGRESS);
        cluster.servers[victim].stop();
        load.await_more(60, PROGRESS);
        cluster.servers[victim].cont();
        load.await_more(20, PROGRESS);
        let name = ["primary", "replica"][victim];
        cluster.edge.wait_until_healthy(name, true, CATCH_UP);
    }
    let events = load.finish();
    assert!(errors(&events).is_empty(), "{}", summary(&events));
    cluster.assert_converged();
}

#[test]
fn a_server_that_comes_back_blank_serves_nothing_stale() {
    let mut cluster = Cluster::two();
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "kept").expect(201);
    cluster.edge.announce("lacks collections");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.replica().kill();
    cluster.replica().wipe();
    cluster.replica().restart();
    for step in 0..100 {
        assert_eq!(ids(&cluster.client(), &collection), ["kept"], "read {step}");
    }
    add(&cluster.client(), &collection, "more").expect(201);
    assert_eq!(ids(&cluster.client(), &collection), ["kept", "more"]);
    assert_eq!(ids_by_name(&cluster.servers[0], "things"), ["kept", "more"]);
}

#[test]
fn backlog_is_drained_in_order() {
    let mut cluster = Cluster::two();
    let collection = cluster.create("things");
    cluster.replica().kill();
    // Each step undoes or depends on the previous one: any other order ends in other content.
    let client = cluster.client();
    let send = |verb: &str, body| client.post(&record_path(&collection, verb), &body);
    send("update", json!({ "ids": ["a"], "documents": ["too early"], "embeddings": [[1, 2, 3]] })).expect(200);
    for round in 0..20 {
        send("add", json!({ "ids": ["a", "b"], "embeddings": [[round, 2, 3], [4, 5, 6]] })).expect(201);
        send("upsert", json!({ "ids": ["a"], "embeddings": [[7, 8, round]], "metadatas": [{ "n": round }] }))
            .expect(200);
        send("delete", json!({ "where": { "n": { "$lt": round } } })).expect(200);
        send("add", json!({ "ids": [format!("round-{round}")], "embeddings": [[0, 0, round]] })).expect(201);
        if round % 3 == 0 {
            send("delete", json!({ "ids": ["a"] })).expect(200);
        }
    }
    let shown = ids(&client, &collection);
    cluster.replica().restart();
    cluster.assert_converged();
    assert_eq!(ids_by_name(&cluster.servers[1], "things"), shown);
}

#[test]
fn a_server_that_is_not_there_at_start_catches_up() {
    let mut cluster = Cluster::two();
    let collection = cluster.create("things");
    cluster.edge.kill();
    cluster.replica().kill();
    cluster.edge.restart();
    add(&cluster.client(), &collection, "alone").expect(201);
    cluster.replica().restart();
    assert_eq!(cluster.assert_converged().record_count(), 1);
}
