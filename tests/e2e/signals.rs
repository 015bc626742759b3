//! Signals: only SIGTERM and SIGINT end the process. `reload.rs` tests SIGHUP, and `handover.rs` tests SIGUSR2.

use std::time::Duration;

use nix::sys::signal::Signal;

use testkit::cluster::{Cluster, add, ids};
use testkit::place::wait_for;

#[test]
fn no_other_signal_ends_it_or_gives_its_socket_away() {
    let mut cluster = Cluster::two();
    let collection = cluster.create("things");
    for (number, signal) in [Signal::SIGUSR1, Signal::SIGQUIT].into_iter().enumerate() {
        cluster.edge.signal(signal);
        let name = signal.as_str();
        wait_for("the signal in the log", Duration::from_secs(10), || {
            cluster.edge.log().lines().any(|line| line.contains(name) && line.contains("ignored")).then_some(())
        });
        assert!(!cluster.edge.has_ended(), "{name}");
        add(&cluster.client(), &collection, &format!("after {number}")).expect(201);
    }
    assert_eq!(ids(&cluster.client(), &collection).len(), 2);
    cluster.edge.term();
    assert!(cluster.edge.wait_for_exit(Duration::from_secs(20)).success());
}
