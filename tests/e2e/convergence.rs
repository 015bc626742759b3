//! The whole promise at once: one process after another dies under a load of every kind of write. At the end all
//! instances hold the same content, which is what the journal produces.

use std::time::Duration;

use testkit::Cluster;
use testkit::cluster::CATCH_UP;
use testkit::random::seed;
use testkit::workload::{Plan, Workload, acknowledged, summary};

const PROGRESS: Duration = Duration::from_secs(60);

#[test]
fn everything_dies_in_turn_and_all_agree() {
    let mut cluster = Cluster::two();
    let load = Workload::start(&cluster.client(), seed(), &Plan::everything());
    load.await_more(60, PROGRESS);
    for victim in [0, 1] {
        cluster.servers[victim].kill();
        load.await_more(60, PROGRESS);
        cluster.edge.kill();
        cluster.edge.restart();
        load.await_more(60, PROGRESS);
        cluster.servers[victim].restart();
        // The other one is next, and an instance that has not caught up cannot take over.
        cluster.edge.wait_until_healthy(["primary", "replica"][victim], true, CATCH_UP);
        load.await_more(60, PROGRESS);
    }
    cluster.edge.kill();
    cluster.edge.restart();
    load.await_more(60, PROGRESS);
    let events = load.finish();
    let content = cluster.assert_converged();
    assert!(acknowledged(&events).count() > 200, "{}", summary(&events));
    assert!(content.record_count() > 0, "nothing left to compare: {}", summary(&events));
}

#[test]
fn both_servers_die_together_and_all_agree() {
    let mut cluster = Cluster::two();
    let load = Workload::start(&cluster.client(), seed(), &Plan::everything());
    load.await_more(80, PROGRESS);
    cluster.primary().kill();
    cluster.replica().kill();
    cluster.replica().restart();
    cluster.primary().restart();
    load.await_more(80, PROGRESS);
    let events = load.finish();
    assert!(cluster.assert_converged().record_count() > 0, "{}", summary(&events));
}

#[test]
fn three_instances_agree_after_each_has_been_away() {
    let mut cluster = Cluster::with(3, |edge| edge);
    let load = Workload::start(&cluster.client(), seed(), &Plan::everything());
    for victim in 0..3 {
        load.await_more(40, PROGRESS);
        cluster.servers[victim].kill();
        load.await_more(60, PROGRESS);
        cluster.servers[victim].restart();
    }
    let events = load.finish();
    let bad = testkit::workload::errors(&events);
    assert!(bad.is_empty(), "{}", summary(&events));
    assert!(cluster.assert_converged().record_count() > 0, "nothing left to compare");
}
