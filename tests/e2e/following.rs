//! The state of an instance under continuous writes: one that follows is up, one that returns catches up and is up
//! again, and one that cannot follow catches up once it can.

use std::time::Duration;

use serde_json::Value;

use testkit::cluster::{CATCH_UP, Cluster};
use testkit::place::wait_for;
use testkit::workload::{Plan, Workload};

const PROGRESS: Duration = Duration::from_secs(60);

fn writers(cluster: &Cluster) -> Workload {
    let plan = Plan { workers: 4, ..Plan::unique_adds() };
    let workload = Workload::start(&cluster.client(), 7, &plan);
    workload.await_more(50, PROGRESS);
    workload
}

fn state(status: &Value, instance: usize) -> &str {
    status["instances"][instance]["state"].as_str().expect("a state")
}

fn await_state(cluster: &Cluster, instance: usize, expected: &str) {
    wait_for(expected, CATCH_UP, || (state(&cluster.edge.status(), instance) == expected).then_some(()));
}

#[test]
fn a_server_that_follows_is_up_however_much_is_written() {
    let mut cluster = Cluster::two();
    let workload = writers(&cluster);
    let mut pending = 0;
    for _ in 0..40 {
        let status = cluster.edge.status();
        assert_eq!((state(&status, 0), state(&status, 1)), ("up", "up"), "{status:#}");
        pending += usize::from(status["pending_writes"].as_u64().expect("a number") > 0);
        workload.await_more(5, PROGRESS);
    }
    assert!(pending > 10, "there is nearly always a write on its way: {pending} of 40");
    cluster.replica().kill();
    cluster.edge.wait_until_healthy("replica", false, CATCH_UP);
    workload.await_more(200, PROGRESS);
    cluster.replica().restart();
    await_state(&cluster, 1, "up");
    workload.await_more(20, PROGRESS);
    workload.finish();
    cluster.assert_converged();
}

#[test]
fn a_server_that_cannot_follow_catches_up() {
    let (cluster, relays) = Cluster::relayed(|edge| edge);
    let workload = writers(&cluster);
    relays[1].lock(&["/add"]);
    await_state(&cluster, 1, "catching_up");
    assert_eq!(state(&cluster.edge.status(), 0), "up", "it executes what has just come");
    relays[1].lock(&[]);
    await_state(&cluster, 1, "up");
    workload.finish();
    cluster.assert_converged();
}
