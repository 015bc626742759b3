//! The journal over its byte limit: what can be removed is removed, what holds it back is named, and nothing is lost
//! that fewer than two instances have.

use std::time::Duration;

use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, Cluster, TENANT};
use testkit::content::{self, Content};
use testkit::http::record_path;
use testkit::place::wait_for;

const WRITES: usize = 40;
/// Retention runs every five seconds.
const LOOK: Duration = Duration::from_secs(30);

/// Writes four megabytes of records.
fn write(cluster: &Cluster, collection: &str) {
    let document = "a hundred kilobytes ".repeat(5000);
    for index in 0..WRITES {
        let record = json!({ "ids": [index.to_string()], "embeddings": [[0.5, 1.0]], "documents": [document] });
        cluster.client().post(&record_path(collection, "add"), &record).expect(201);
    }
}

/// Returns the number of record writes in the journal. The journal has been trimmed, so it has no fold.
fn kept(cluster: &Cluster) -> u64 {
    let journal = rusqlite::Connection::open(cluster.edge.journal_path()).expect("the journal");
    let sql = "SELECT count(*) FROM transactions WHERE lane <> 'catalog'";
    journal.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("a count").unsigned_abs()
}

fn await_holder(cluster: &Cluster, name: &Value) {
    wait_for(&format!("held back by {name}"), LOOK, || {
        (cluster.edge.status()["journal_held_back_by"] == *name).then_some(())
    });
    let journal = cluster.client().get("/wal/status").expect(200).json();
    assert_eq!(journal["held_back_by"], *name);
}

fn await_room(cluster: &Cluster) {
    wait_for("a journal within its limit", LOOK, || {
        let journal = cluster.client().get("/wal/status").expect(200).json();
        (journal["used_bytes"].as_u64()? <= journal["max_bytes"].as_u64()?).then_some(())
    });
}

#[test]
fn of_two_the_one_that_is_away_is_named_and_nothing_it_needs_goes() {
    let mut cluster = Cluster::with(2, |edge| edge.journal_keys("max_bytes: 1MiB"));
    cluster.edge.announce("the journal is over its limit, and kept for this instance");
    let collection = cluster.create("things");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.replica().kill();
    write(&cluster, &collection);
    await_holder(&cluster, &json!("replica"));
    let metrics = cluster.client().get("/metrics").expect(200).text();
    let line = "chroma_edge_instance_holds_journal{instance=\"replica\"} 1";
    assert!(metrics.lines().any(|one| one == line), "{metrics}");
    assert_eq!(kept(&cluster), WRITES as u64);
    cluster.replica().restart();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    await_room(&cluster);
    await_holder(&cluster, &Value::Null);
    assert!(kept(&cluster) < WRITES as u64 / 2, "the journal has shrunk");
    let held = cluster.servers.iter().map(|server| Content::of(&server.client(), TENANT)).collect::<Vec<_>>();
    assert_eq!(held[0].record_count(), WRITES);
    content::assert_equal("the primary and the replica", &held[0], &held[1]);
}

#[test]
fn of_three_the_one_that_is_away_is_left_behind_and_the_others_are_equal() {
    let mut cluster = Cluster::with(3, |edge| edge.journal_keys("max_bytes: 1MiB"));
    for announced in ["over its limit", "left behind", "diverged"] {
        cluster.edge.announce(announced);
    }
    let collection = cluster.create("things");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.servers[2].kill();
    write(&cluster, &collection);
    let diverged = wait_for("the third left behind", LOOK, || {
        cluster.edge.status()["diverged"].as_array().filter(|list| !list.is_empty()).cloned()
    });
    assert_eq!((diverged.len(), &diverged[0]["instance"]), (1, &json!("third")));
    await_room(&cluster);
    let reason = rusqlite::Connection::open(cluster.edge.journal_path()).expect("the journal").query_row(
        "SELECT reason FROM progress WHERE standing = 'diverged'",
        [],
        |row| row.get::<_, String>(0),
    );
    assert!(reason.expect("a reason").contains("byte limit"));
    cluster.servers[2].restart();
    cluster.edge.wait_until_healthy("third", true, CATCH_UP);
    let held = cluster.servers[..2].iter().map(|server| Content::of(&server.client(), TENANT)).collect::<Vec<_>>();
    assert_eq!(held[0].record_count(), WRITES);
    content::assert_equal("the primary and the replica", &held[0], &held[1]);
    // The journal no longer holds what it lacks: it stays diverged, and never serves reads.
    let pinned = cluster.client().with_header("chroma-edge-instance", "third");
    assert_eq!(pinned.get(&record_path(&collection, "count")).status, 503);
    assert_eq!(cluster.edge.status()["diverged"], json!(diverged));
}
