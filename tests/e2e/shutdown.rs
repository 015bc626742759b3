//! Ending and starting: SIGTERM finishes what is in flight and exits with 0 soon, and a journal has one edge at a time.

use std::time::Duration;

use testkit::cluster::{CATCH_UP, Cluster, add, ids, timed};
use testkit::place::wait_for;
use testkit::random::seed;
use testkit::workload::{Plan, Workload, acknowledged};
use testkit::{ChromaServer, Edge};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn an_idle_edge_exits_0_soon() {
    let mut cluster = Cluster::two();
    cluster.create("things");
    // An open connection without a request must not delay it.
    let _idle = cluster.client().connect().expect("a connection");
    cluster.edge.term();
    let (status, wait) = timed(|| cluster.edge.wait_for_exit(Duration::from_secs(20)));
    assert!(status.success(), "{status}");
    assert!(wait < SOON, "{wait:?}");
}

#[test]
fn what_is_in_flight_is_finished() {
    let mut cluster = Cluster::two();
    let collection = cluster.create("things");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.servers.iter().for_each(ChromaServer::stop);
    let before = testkit::cluster::journaled(&cluster.edge);
    let client = cluster.client();
    let writer = {
        let collection = collection.clone();
        std::thread::spawn(move || add(&client, &collection, "in flight"))
    };
    wait_for("the write in the journal", SOON, || (testkit::cluster::journaled(&cluster.edge) > before).then_some(()));
    cluster.edge.term();
    cluster.servers.iter().for_each(ChromaServer::cont);
    writer.join().expect("the writer").expect(201);
    assert!(cluster.edge.wait_for_exit(SOON).success());
    cluster.edge.restart();
    assert_eq!(ids(&cluster.client(), &collection), ["in flight"]);
    cluster.assert_converged();
}

#[test]
fn under_load_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::two();
    let load = Workload::start(&cluster.client(), seed(), &Plan::unique_adds());
    load.await_more(60, Duration::from_secs(30));
    cluster.edge.term();
    let (status, wait) = timed(|| cluster.edge.wait_for_exit(Duration::from_secs(20)));
    assert!(status.success(), "{status}");
    assert!(wait < SOON, "{wait:?}");
    let events = load.finish();
    cluster.edge.restart();
    cluster.assert_converged();
    let held: Vec<String> = Plan::unique_adds().names.iter().flat_map(|name| ids(&cluster.client(), name)).collect();
    for (event, _) in acknowledged(&events) {
        assert!(held.contains(&testkit::workload::added_id(event)), "acknowledged and lost: {event:?}");
    }
}

#[test]
fn a_second_edge_on_the_same_journal_is_refused() {
    let cluster = Cluster::two();
    let journal = cluster.edge.journal_path();
    let servers: Vec<&ChromaServer> = cluster.servers.iter().collect();
    let mut second = Edge::builder().instances(&servers).journal(journal.clone()).launch();
    second.announce("journal");
    let status = second.wait_for_exit(Duration::from_secs(10));
    assert!(!status.success(), "{status}");
    let name = journal.to_string_lossy().into_owned();
    assert!(second.log().contains(&name), "it names the file: {}", second.log());
    cluster.create("undisturbed");
    assert_eq!(cluster.assert_converged().collections.len(), 1);
}

#[test]
fn after_the_first_has_gone_another_takes_over_the_journal() {
    let mut cluster = Cluster::two();
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "one").expect(201);
    cluster.edge.kill();
    let servers: Vec<&ChromaServer> = cluster.servers.iter().collect();
    let second = Edge::builder().instances(&servers).journal(cluster.edge.journal_path()).start();
    assert_eq!(ids(&second.client(), &collection), ["one"], "the same ids");
    add(&second.client(), &collection, "two").expect(201);
    second.wait_until_in_sync(CATCH_UP);
}
