//! A lasting state is logged once when it begins, once a minute, and once when it ends, however often it occurs
//! meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::json;

use testkit::cluster::{CATCH_UP, add};
use testkit::http::{DEFAULT, record_path};
use testkit::place::wait_for;
use testkit::{Cluster, Edge, Supervised};

const WRITERS: usize = 8;
/// A dead server is restarted after this pause.
const PAUSE: Duration = Duration::from_millis(300);
/// How long a state lasts: far longer than any pause between two attempts.
const LASTS: Duration = Duration::from_secs(8);

/// Returns warnings and errors by their text, without time, level and fields.
fn complaints(edge: &Edge) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let log = edge.log();
    for line in log.lines().filter(|line| line.contains(" WARN ") || line.contains(" ERROR ")) {
        let said = line.split_once(": ").map_or(line, |(_, said)| said);
        let words = said.split(' ').take_while(|word| !word.contains('=')).collect::<Vec<_>>().join(" ");
        *found.entry(words).or_default() += 1;
    }
    found
}

/// Writes from many clients for a while, and returns how many writes were refused.
fn write_meanwhile(cluster: &Cluster, collection: &str) -> usize {
    let until = Instant::now() + LASTS;
    let refused = |writer: usize| {
        let mut refused = 0;
        while Instant::now() < until {
            let answer = add(&cluster.client(), collection, &format!("{writer}-{refused}"));
            refused += usize::from(answer.status == 503);
        }
        refused
    };
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || refused(writer))).collect();
        writers.into_iter().map(|writer| writer.join().expect("a writer")).sum()
    })
}

#[track_caller]
fn assert_few(edge: &Edge) {
    let found = complaints(edge);
    let many: Vec<_> = found.iter().filter(|(_, times)| **times > 4).collect();
    assert!(many.is_empty(), "{many:#?} of {found:#?}");
}

#[test]
fn writes_that_wait_for_servers_that_are_away() {
    let mut cluster = Cluster::with(2, |edge| edge.config("  write_wait: 100ms\n  recovery_interval: 100ms"));
    let collection = cluster.create("things");
    cluster.primary().kill();
    cluster.replica().kill();
    assert!(write_meanwhile(&cluster, &collection) > 20);
    cluster.primary().restart();
    cluster.replica().restart();
    cluster.assert_converged();
    assert_few(&cluster.edge);
}

#[test]
fn writes_that_a_server_answers_as_locked() {
    let (cluster, relays) =
        Cluster::relayed(|edge| edge.config("  write_wait: 100ms\n  request_timeout: 1s\n  attempt_timeout: 500ms"));
    let collection = cluster.create("things");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    relays.iter().for_each(|relay| relay.lock(&["/add"]));
    assert!(write_meanwhile(&cluster, &collection) > 20);
    relays.iter().for_each(|relay| relay.lock(&[]));
    cluster.assert_converged();
    assert_few(&cluster.edge);
}

#[test]
fn writes_that_the_journal_refuses() {
    let cluster = Cluster::with(2, |edge| edge.config("  journal_timeout: 500ms"));
    let collection = cluster.create("things");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let other = Connection::open(cluster.edge.journal_path()).expect("the journal");
    other.busy_timeout(Duration::from_secs(10)).expect("a timeout");
    other.execute_batch("BEGIN EXCLUSIVE").expect("the journal's lock");
    let refused = write_meanwhile(&cluster, &collection);
    assert!(refused > 20, "{refused}");
    drop(other);
    wait_for("a write that is taken", CATCH_UP, || {
        (add(&cluster.client(), &collection, "after").status == 201).then_some(())
    });
    cluster.assert_converged();
    assert_few(&cluster.edge);
    let begun = complaints(&cluster.edge).get("the journal refused a commit").copied().unwrap_or_default();
    let over = cluster.edge.log().matches("the journal takes commits again").count();
    assert!(begun >= 1 && over >= 1, "it began {begun} times and ended {over} times");
}

#[test]
fn a_server_that_dies_again_and_again() {
    let servers = [Supervised::fresh(PAUSE), Supervised::fresh(PAUSE)];
    let edge = servers.iter().fold(Edge::builder(), |edge, server| edge.instance_url(&server.url()));
    let edge = edge.config("  health: { interval: 100ms, timeout: 90ms, failures: 1 }").start();
    let until = Instant::now() + LASTS;
    let mut deaths = 0;
    while Instant::now() < until {
        servers[1].kill();
        edge.wait_until_healthy("replica", false, CATCH_UP);
        edge.wait_until_healthy("replica", true, CATCH_UP);
        deaths += 1;
    }
    assert!(deaths > 4, "{deaths}");
    assert_few(&edge);
    let told = |text: &str| edge.log().matches(text).count();
    // Both are up once at the start.
    let lines = ["instance is down", "instance has returned", "instance is up"].map(told);
    assert_eq!(lines, [3, 3, 5], "after {deaths} deaths");
}

#[test]
fn a_copy_that_differs_while_its_collection_is_written_to() {
    let cluster = Cluster::with(2, |edge| edge.config("  heal: { enabled: false }"));
    cluster.edge.announce("diverged");
    let collection = cluster.create("things");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    // From now on the replica refuses what the primary accepts.
    let replica = cluster.servers[1].client();
    let there = replica.get(&format!("{DEFAULT}/collections/things")).expect(200).json();
    let id = there["id"].as_str().expect("an id");
    replica.post(&record_path(id, "add"), &json!({ "ids": ["stranger"], "embeddings": [[1.0]] })).expect(201);
    let until = Instant::now() + LASTS;
    let mut written = 0;
    while Instant::now() < until {
        add(&cluster.client(), &collection, &format!("r{written}")).expect(201);
        written += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(written > 20, "{written}");
    assert_few(&cluster.edge);
    assert_eq!(cluster.edge.log().matches("still diverged: content differs").count(), 1);
}
