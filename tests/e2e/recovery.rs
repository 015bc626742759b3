//! Recovery: what is counted and announced while a write waits for it, what is given up, and which lane goes first.

use std::collections::BTreeSet;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension};
use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, Cluster, add, ids, ids_by_name, journaled, record};
use testkit::http::{Answer, DEFAULT, record_path};
use testkit::place::wait_for;
use testkit::relay::Relay;

/// How often each healthy instance may leave an entry unanswered.
const MAX_RETRIES: i64 = 3;

#[derive(Clone, Debug)]
struct Row {
    status: String,
    timing_gap: bool,
    retry_count: i64,
    created_at: i64,
    next_retry_at: Option<i64>,
    failure_reason: Option<String>,
}

/// Returns the newest transaction, as the journal has it.
fn newest(cluster: &Cluster) -> Row {
    let journal = cluster.edge.journal_path();
    let store = Connection::open_with_flags(journal, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the journal");
    let sql = "SELECT status, timing_gap, retry_count, created_at, next_retry_at, failure_reason
        FROM transactions ORDER BY seq DESC LIMIT 1";
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Row {
            status: row.get(0)?,
            timing_gap: row.get(1)?,
            retry_count: row.get(2)?,
            created_at: row.get(3)?,
            next_retry_at: row.get(4)?,
            failure_reason: row.get(5)?,
        })
    };
    store.query_row(sql, [], read).optional().expect("the journal's rows").expect("a transaction")
}

#[track_caller]
fn await_newest(cluster: &Cluster, what: &str, is: impl Fn(&Row) -> bool) -> Row {
    wait_for(what, CATCH_UP, || Some(newest(cluster)).filter(&is))
}

fn impatient(more: &str) -> (Cluster, Vec<Relay>) {
    let lines = format!("  write_wait: 300ms\n  settle_time: 100ms\n  catalog_wait: 300ms\n{more}");
    Cluster::relayed(|edge| edge.config(&lines))
}

#[track_caller]
fn assert_pending(answer: &Answer) {
    assert_eq!(answer.status, 503, "{answer}");
    assert_eq!(answer.json()["recovery"], "pending", "{answer}");
}

fn create(cluster: &Cluster, name: &str) -> Answer {
    cluster.client().post(&format!("{DEFAULT}/collections"), &json!({ "name": name }))
}

#[test]
fn failover_is_completed_and_says_that_there_was_a_gap() {
    let (cluster, relays) = impatient("");
    let collection = cluster.create("things");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    relays[0].swallow(Some("/add"));
    add(&cluster.client(), &collection, "one").expect(201);
    let row = await_newest(&cluster, "its completion", |row| row.status == "COMPLETED" && row.retry_count > 0);
    assert!(row.timing_gap, "{row:?}");
    assert!(row.failure_reason.as_ref().is_some_and(|reason| reason.starts_with("primary")), "{row:?}");
    assert_eq!(row.next_retry_at, None, "{row:?}");
    relays[0].swallow(None);
    add(&cluster.client(), &collection, "two").expect(201);
    let row = await_newest(&cluster, "its completion", |row| row.status == "COMPLETED");
    assert_eq!((row.timing_gap, row.retry_count), (false, 0), "{row:?}");
    assert_eq!(cluster.assert_converged().record_count(), 2);
}

#[test]
fn a_primary_that_dies_under_a_write_is_a_gap_too() {
    let mut cluster = Cluster::two();
    let collection = cluster.create("things");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.primary().kill();
    add(&cluster.client(), &collection, "one").expect(201);
    let row = await_newest(&cluster, "its completion", |row| row.status == "COMPLETED" && row.timing_gap);
    assert!(row.retry_count >= 1, "{row:?}");
}

#[test]
fn a_locked_database_is_asked_again_after_pauses_that_grow_and_is_no_reason_to_give_up() {
    let (cluster, relays) = impatient("");
    cluster.create("before");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    relays.iter().for_each(|relay| relay.lock(&["/collections"]));
    assert_pending(&create(&cluster, "things"));
    let row = await_newest(&cluster, "more retries than the entry has", |row| row.retry_count > 4 * MAX_RETRIES);
    assert_eq!((row.status.as_str(), row.timing_gap), ("FAILED", true), "{row:?}");
    assert!(row.next_retry_at.is_some_and(|next| next > row.created_at), "{row:?}");
    assert!(row.failure_reason.as_ref().is_some_and(|reason| reason.contains("database is locked")), "{row:?}");
    let seen = relays[0].seen_at("/collections");
    let asked: Vec<_> = seen.iter().filter(|seen| !seen.body.is_empty()).map(|seen| seen.at).collect();
    // The first request created an earlier collection.
    let pauses: Vec<Duration> = asked[1..].windows(2).map(|pair| pair[1] - pair[0]).collect();
    // Not all of them: any other check of the instance may end a pause early.
    assert!(pauses.len() >= 5 && pauses.iter().any(|pause| *pause > pauses[0] * 3), "{pauses:?}");
    relays.iter().for_each(|relay| relay.lock(&[]));
    let row = await_newest(&cluster, "recovery", |row| row.status == "RECOVERED");
    assert!(row.timing_gap && row.next_retry_at.is_none(), "{row:?}");
    assert_eq!(cluster.assert_converged().collections.len(), 2);
}

#[test]
fn what_is_executed_and_never_answered_is_not_given_up() {
    let (cluster, relays) = impatient("");
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "before").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    relays.iter().for_each(|relay| relay.lose_answers(Some("/add")));
    assert_pending(&add(&cluster.client(), &collection, "promised"));
    let row = await_newest(&cluster, "more retries than it has", |row| row.retry_count > 2 * 2 * MAX_RETRIES);
    assert_eq!(row.status, "FAILED", "every instance may have it: {row:?}");
    relays.iter().for_each(|relay| relay.lose_answers(None));
    await_newest(&cluster, "recovery", |row| row.status == "RECOVERED");
    cluster.assert_converged();
    assert_eq!(ids(&cluster.client(), &collection), ["before", "promised"]);
}

#[test]
fn what_healthy_instances_leave_unanswered_and_nobody_has_is_given_up() {
    let (cluster, relays) = impatient("");
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "before").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    relays.iter().for_each(|relay| relay.swallow(Some("/add")));
    let answer = add(&cluster.client(), &collection, "poison");
    // On a slow machine it is given up while its client still waits, so the client gets the final answer.
    let in_time = answer.status == 500;
    if !in_time {
        assert_pending(&answer);
    }
    let end = if in_time { "COMPLETED" } else { "ABANDONED" };
    let row = await_newest(&cluster, "the end of it", |row| row.status == end);
    assert!(row.retry_count >= 2 * MAX_RETRIES, "each instance was asked that often: {row:?}");
    assert!(row.timing_gap && row.next_retry_at.is_none() && row.failure_reason.is_some(), "{row:?}");
    relays.iter().for_each(|relay| relay.swallow(None));
    add(&cluster.client(), &collection, "after").expect(201);
    cluster.assert_converged();
    assert_eq!(ids_by_name(&cluster.servers[0], "things"), ["before", "after"]);
}

#[test]
fn instances_that_cannot_be_reached_never_count() {
    let mut cluster = Cluster::with(2, |edge| edge.config("  write_wait: 300ms\n  recovery_interval: 100ms"));
    let collection = cluster.create("things");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    for (index, name) in ["primary", "replica"].into_iter().enumerate() {
        cluster.servers[index].kill();
        cluster.edge.wait_until_healthy(name, false, CATCH_UP);
    }
    assert_pending(&add(&cluster.client(), &collection, "one"));
    // Probes go on, and the recovery interval passes many times.
    std::thread::sleep(Duration::from_secs(3));
    let row = newest(&cluster);
    assert_eq!((row.status.as_str(), row.retry_count, row.next_retry_at), ("FAILED", 0, None), "{row:?}");
    cluster.servers.iter_mut().for_each(testkit::chroma::ChromaServer::restart);
    let row = await_newest(&cluster, "recovery", |row| row.status == "RECOVERED");
    assert_eq!(row.retry_count, 0, "{row:?}");
    cluster.assert_converged();
}

/// Returns the record of each `add` that passed, in the order of first appearance.
fn order(relay: &Relay) -> Vec<String> {
    let mut known = BTreeSet::new();
    let id = |body: &[u8]| {
        let body: Value = serde_json::from_slice(body).expect("JSON");
        body["ids"][0].as_str().expect("an id").to_owned()
    };
    relay.seen_at("/add").iter().map(|seen| id(&seen.body)).filter(|id| known.insert(id.clone())).collect()
}

#[test]
fn who_is_waited_for_goes_first_then_the_urgent_then_the_oldest() {
    let (mut cluster, relays) = impatient("  limits: { concurrent_attempts: 1 }");
    let names = ["low", "normal-1", "normal-2", "high", "hint", "waited-for"];
    let collections = names.map(|name| cluster.create(name));
    cluster.edge.wait_until_in_sync(CATCH_UP);
    for (index, name) in ["primary", "replica"].into_iter().enumerate() {
        cluster.servers[index].kill();
        cluster.edge.wait_until_healthy(name, false, CATCH_UP);
    }
    for (index, priority) in ["low", "normal", "normal", "HIGH", "at once!"].into_iter().enumerate() {
        let client = cluster.client().with_header("x-transaction-priority", priority);
        assert_pending(&add(&client, &collections[index], names[index]));
    }
    // After a restart, the edge knows only what the journal knows.
    cluster.edge.kill();
    cluster.edge.restart();
    relays[0].hold("/add");
    cluster.primary().restart();
    // One has the only permit, and the others wait for it.
    wait_for("the first one", CATCH_UP, || (!relays[0].seen_at("/add").is_empty()).then_some(()));
    let before = journaled(&cluster.edge);
    let client = cluster.client().with_header("x-transaction-priority", "low");
    let path = record_path(&collections[5], "add");
    let writer = std::thread::spawn(move || client.post(&path, &record("waited-for")));
    wait_for("the client's write", CATCH_UP, || (journaled(&cluster.edge) > before).then_some(()));
    std::thread::sleep(Duration::from_millis(300));
    relays[0].release();
    writer.join().expect("the writer").expect(201);
    let seen = wait_for("all of them", CATCH_UP, || Some(order(&relays[0])).filter(|seen| seen.len() == names.len()));
    // The lane that came first had no competition.
    let rest: Vec<&str> = seen[1..].iter().map(String::as_str).collect();
    let expected = ["waited-for", "high", "normal-1", "normal-2", "hint", "low"];
    let expected: Vec<&str> = expected.into_iter().filter(|name| *name != seen[0]).collect();
    assert_eq!(rest, expected, "after {}", seen[0]);
    cluster.replica().restart();
    assert_eq!(cluster.assert_converged().record_count(), names.len());
}
