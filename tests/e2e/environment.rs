//! Each environment variable overrides the file, and changes what is visible from outside.
//!
//! READ_REPLICA_RATIO: `reads`; MAX_CONCURRENT_REQUESTS, REQUEST_QUEUE_SIZE and ENABLE_GRANULAR_LOCKING: `crowd`;
//! ENABLE_CONNECTION_POOLING: `operators`.

use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use testkit::cluster::{CATCH_UP, Cluster, add, create, ids_by_name, timed};
use testkit::http::DEFAULT;
use testkit::place::wait_for;
use testkit::{ChromaServer, Edge};

#[test]
fn the_addresses_of_both_instances() {
    let servers = [ChromaServer::fresh(), ChromaServer::fresh()];
    let in_the_file = [ChromaServer::fresh(), ChromaServer::fresh()];
    let edge = Edge::builder()
        .instances(&in_the_file.iter().collect::<Vec<_>>())
        .env("PRIMARY_URL", &servers[0].url())
        .env("REPLICA_URL", &servers[1].url())
        .start();
    let collection = create(&edge.client(), "things");
    add(&edge.client(), &collection, "one").expect(201);
    edge.wait_until_in_sync(CATCH_UP);
    for server in &servers {
        assert_eq!(ids_by_name(server, "things"), ["one"]);
    }
    for server in &in_the_file {
        server.client().get(&format!("{DEFAULT}/collections/things")).expect(404);
    }
    let status = edge.status();
    let urls: Vec<_> = status["instances"].as_array().expect("instances").iter().map(|one| &one["url"]).collect();
    assert_eq!(json!(urls), json!([servers[0].url(), servers[1].url()]));
    // By default, the journal is in the folder where the process was started.
    let log = edge.log();
    let starting = log.lines().find(|line| line.contains("starting listen=")).expect("the first line");
    assert!(starting.contains(&format!("journal={:?}", edge.journal_path())), "{starting}");
}

#[test]
fn one_address_alone() {
    let servers = [ChromaServer::fresh(), ChromaServer::fresh(), ChromaServer::fresh()];
    let edge = Edge::builder().instances(&[&servers[0], &servers[1]]).env("REPLICA_URL", &servers[2].url()).start();
    create(&edge.client(), "things");
    edge.wait_until_in_sync(CATCH_UP);
    let has_it = |server: &ChromaServer| server.client().get(&format!("{DEFAULT}/collections/things")).status;
    assert_eq!(servers.iter().map(has_it).collect::<Vec<_>>(), [200, 404, 200]);
}

/// Returns whether something listens at this address. Every address of 127.0.0.0/8 is this machine.
fn answers(host: [u8; 4], port: u16) -> bool {
    TcpStream::connect_timeout(&(host, port).into(), Duration::from_secs(5)).is_ok()
}

#[test]
fn the_port_is_bound_on_every_address() {
    let servers = [ChromaServer::fresh(), ChromaServer::fresh()];
    let edge = || Edge::builder().instances(&servers.iter().collect::<Vec<_>>());
    let by_environment = edge().listen_by_environment().start();
    by_environment.client().get("/health").expect(200);
    let port = by_environment.client().address.port();
    assert!(answers([127, 0, 0, 2], port), "PORT binds 0.0.0.0");
    let in_the_file = by_environment.configured_port();
    assert_ne!(in_the_file, port);
    assert!(!answers([127, 0, 0, 1], in_the_file), "the file's port is not used");
    drop(by_environment);
    let by_file = edge().start();
    assert!(!answers([127, 0, 0, 2], by_file.client().address.port()), "the file binds what it says");
}

#[test]
fn the_interval_of_the_probes() {
    let (_cluster, relays) =
        Cluster::relayed(|edge| edge.config("  health: { interval: 1m }").env("CHECK_INTERVAL", "1"));
    let probes = wait_for("five probes", CATCH_UP, || {
        let seen = relays[1].seen_at("/heartbeat");
        (seen.len() >= 5).then_some(seen)
    });
    let mut pauses: Vec<Duration> = probes.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    pauses.sort();
    let middle = pauses[pauses.len() / 2];
    assert!((500..3000).contains(&middle.as_millis()), "each second: {pauses:?}");
}

#[test]
fn the_time_limit_of_a_request() {
    let cluster = Cluster::with(2, |edge| edge.env("REQUEST_TIMEOUT", "2"));
    let collection = cluster.create("things");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    // Both hang while their heartbeats stay green: only the time limit ends the wait.
    let locks = [cluster.servers[0].hold_writes(), cluster.servers[1].hold_writes()];
    let (answer, wait) = timed(|| add(&cluster.client(), &collection, "one"));
    assert_eq!(answer.expect(503).json()["recovery"], "pending");
    assert!((1900..8000).contains(&wait.as_millis()), "answered after {wait:?}");
    drop(locks);
    assert_eq!(cluster.assert_converged().record_count(), 1);
}
