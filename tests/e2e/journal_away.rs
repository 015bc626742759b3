//! The journal cannot accept a write: the write is refused without effect, reads go on, and writes go on when the
//! journal accepts them again (promises G1 and G7).

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::json;

use testkit::Relay;
use testkit::cluster::{CATCH_UP, Cluster, add, ids, ids_by_name, journaled};
use testkit::http::{Answer, DEFAULT, record_path};
use testkit::place::wait_for;

/// Locks the journal file in another process's transaction: nothing else can write to it until the connection is
/// dropped.
pub fn lock(cluster: &Cluster) -> Connection {
    let other = Connection::open(cluster.edge.journal_path()).expect("the journal");
    other.busy_timeout(Duration::from_secs(10)).expect("a timeout");
    other.execute_batch("BEGIN EXCLUSIVE").expect("the journal's lock");
    other
}

/// Checks what the first write is answered when the disk fails in the middle of a commit. Whether it is durable is
/// found out later. Everything after it is certainly refused.
#[track_caller]
fn assert_refused_or_unknown(answer: &Answer) {
    if answer.status == 503 && answer.json()["reason"] == "journal_in_doubt" {
        assert_eq!(answer.json()["recovery"], "unknown", "{answer}");
        assert!(answer.header("transaction-id").is_some(), "{answer}");
        // Sent again without an id of its own, it would be another write.
        assert!(answer.header("retry-after").is_none(), "{answer}");
    } else {
        assert_refused(answer);
    }
}

#[track_caller]
fn assert_refused(answer: &Answer) {
    assert_eq!(answer.status, 503, "{answer}");
    let body = answer.json();
    assert_eq!(body["reason"], "journal_unavailable", "{answer}");
    assert!(body["error"].is_string() && body["message"].is_string(), "{answer}");
    assert!(body.get("recovery").is_none(), "refused means no effect: {answer}");
    assert!(answer.header("retry-after").is_some(), "{answer}");
}

fn writes_seen(relays: &[Relay]) -> usize {
    relays.iter().map(|relay| relay.seen_at("/add").len() + relay.seen_at("/collections").len()).sum()
}

/// Checks that nothing reaches an instance meanwhile, and that reads and pages go on.
fn assert_refused_without_effect(cluster: &Cluster, relays: &[Relay], collection: &str, shown: &[&str]) {
    let before = writes_seen(relays);
    for number in 0..2 {
        assert_refused(&add(&cluster.client(), collection, &format!("refused-{number}")));
    }
    assert_refused(&cluster.client().post(&format!("{DEFAULT}/collections"), &json!({ "name": "refused" })));
    assert_eq!(writes_seen(relays), before, "no byte of a write that is not durable");
    for _ in 0..10 {
        assert_eq!(ids(&cluster.client(), collection), shown);
    }
    cluster.client().get(&format!("{DEFAULT}/collections/refused")).expect(404);
    cluster.client().get("/health").expect(200);
    cluster.edge.status();
    cluster.client().get("/wal/status").expect(200);
}

/// Waits for recovery without a restart or any other action: the first accepted write shows that the journal is back.
/// Returns how many of the attempted writes the journal may hold: that one, and those in doubt because of a slow disk.
fn await_recovery(cluster: &Cluster, collection: &str) -> RangeInclusive<usize> {
    let mut doubts = 0;
    wait_for("writes taken again", Duration::from_secs(20), || {
        let answer = add(&cluster.client(), collection, "after");
        doubts += usize::from(answer.text().contains("journal_in_doubt"));
        (answer.status == 201).then_some(())
    });
    1..=1 + doubts
}

fn assert_nothing_came_later(
    cluster: &Cluster,
    collection: &str,
    (before, since): (usize, &RangeInclusive<usize>),
    expected: &[&str],
) {
    let content = cluster.assert_converged();
    assert_eq!(ids(&cluster.client(), collection), expected);
    assert_eq!(content.collections.len(), 1);
    let journaled = journaled(&cluster.edge);
    assert!(
        since.contains(&(journaled - before)),
        "{journaled} in the journal, {before} before: {since:?} more expected"
    );
    for server in &cluster.servers {
        assert_eq!(ids_by_name(server, "things"), expected);
    }
}

#[test]
fn another_process_has_locked_it() {
    // Longer than a busy disk takes for the writes that must succeed.
    let (cluster, relays) = Cluster::relayed(|edge| edge.config("  journal_timeout: 3s"));
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "before").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let before = journaled(&cluster.edge);
    let lock = lock(&cluster);
    assert_refused_without_effect(&cluster, &relays, &collection, &["before"]);
    drop(lock);
    let since = await_recovery(&cluster, &collection);
    assert_nothing_came_later(&cluster, &collection, (before, &since), &["before", "after"]);
}

fn size(path: PathBuf) -> u64 {
    std::fs::metadata(path).map_or(0, |data| data.len())
}

/// Ends the growth of the journal's files, as a full disk does.
pub fn fill_up(cluster: &Cluster) {
    let mut wal = cluster.edge.journal_path().into_os_string();
    wal.push("-wal");
    let written = size(wal.into()).max(size(cluster.edge.journal_path()));
    assert!(size(cluster.edge.log_path()) < written, "the log would be cut off too");
    cluster.edge.limit_files(Some(written));
}

#[test]
fn there_is_no_room_for_it() {
    let (mut cluster, relays) = Cluster::relayed(testkit::edge::Builder::limitable_files);
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "before").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let before = journaled(&cluster.edge);
    fill_up(&cluster);
    assert_refused_or_unknown(&add(&cluster.client(), &collection, "first"));
    assert_refused_without_effect(&cluster, &relays, &collection, &["before"]);
    cluster.edge.limit_files(None);
    let since = await_recovery(&cluster, &collection);
    assert_nothing_came_later(&cluster, &collection, (before, &since), &["before", "after"]);
    // What was refused stays refused, whatever the journal's files still hold of it.
    cluster.edge.kill();
    cluster.edge.restart();
    assert_nothing_came_later(&cluster, &collection, (before, &since), &["before", "after"]);
}

#[test]
fn there_is_no_room_while_an_instance_is_away() {
    let (mut cluster, relays) = Cluster::relayed(testkit::edge::Builder::limitable_files);
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "before").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.replica().kill();
    cluster.edge.wait_until_healthy("replica", false, CATCH_UP);
    add(&cluster.client(), &collection, "owed").expect(201);
    let before = journaled(&cluster.edge);
    fill_up(&cluster);
    assert_refused_or_unknown(&add(&cluster.client(), &collection, "first"));
    assert_refused_without_effect(&cluster, &relays, &collection, &["before", "owed"]);
    cluster.replica().restart();
    cluster.edge.limit_files(None);
    let since = await_recovery(&cluster, &collection);
    assert_nothing_came_later(&cluster, &collection, (before, &since), &["before", "owed", "after"]);
    cluster.client().post(&record_path(&collection, "get"), &json!({})).expect(200);
}
