//! The audit trail, its numbers and its queries: all equal to what the journal holds.

use std::collections::BTreeSet;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use testkit::Cluster;
use testkit::cluster::{CATCH_UP, TENANT, add, ids_by_name, record};
use testkit::content::{self, Content};
use testkit::http::{Client, record_path};
use testkit::place::wait_for;

fn count(cluster: &Cluster, condition: &str) -> u64 {
    let path = cluster.edge.journal_path();
    let store = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the journal");
    let sql = format!("SELECT count(*) FROM transactions WHERE {condition}");
    store.query_row(&sql, [], |row| row.get::<_, i64>(0)).expect("a count").unsigned_abs()
}

#[track_caller]
fn page(client: &Client, query: &str) -> Value {
    client.get(&format!("/transaction/safety/transactions?{query}")).expect(200).json()
}

/// Returns every transaction of the filter, in pages of this length.
#[track_caller]
fn all(client: &Client, filter: &str, limit: usize) -> Vec<Value> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = page(client, &format!("{filter}&limit={limit}{cursor}"));
        found.extend(page["transactions"].as_array().expect("transactions").iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

fn completed(cluster: &Cluster, number: u64) {
    wait_for("every transaction's end in the journal", CATCH_UP, || {
        (count(cluster, "status = 'COMPLETED'") == number).then_some(())
    });
}

#[test]
fn n_writes_of_one_session_are_n_transactions() {
    let cluster = Cluster::two();
    let collection = cluster.create("things");
    let (one, other) = (
        cluster.client().with_header("X-Client-Session", "upload 7"),
        cluster.client().with_header("X-Session-ID", "upload 8"),
    );
    let mut told = BTreeSet::new();
    std::thread::scope(|scope| {
        let write = |worker: usize| {
            let (one, collection) = (&one, &collection);
            scope.spawn(move || {
                let id = |number: usize| format!("w{worker}n{number}");
                let answer = |number| add(one, collection, &id(number)).expect(201);
                (0..5)
                    .map(|number| answer(number).header("transaction-id").expect("an id").to_owned())
                    .collect::<Vec<_>>()
            })
        };
        let workers: Vec<_> = (0..5).map(write).collect();
        workers.into_iter().for_each(|worker| told.extend(worker.join().expect("a writer")));
    });
    add(&other, &collection, "x").expect(201);
    one.post(&record_path(&collection, "add"), &json!({ "ids": ["y"], "embeddings": [[1.0]] })).expect(400);
    completed(&cluster, 28);
    let client = cluster.client();
    for limit in [1, 4, 26, 1000] {
        let listed = all(&client, "session=upload+7", limit);
        let shown: BTreeSet<_> = listed.iter().filter_map(|one| one["transaction_id"].as_str()).collect();
        assert_eq!((listed.len(), shown.len()), (26, 26), "by {limit}");
        assert!(told.iter().all(|id| shown.contains(id.as_str())), "each id that a client was answered is listed");
        let times: Vec<_> = listed.iter().map(|one| one["created_at"].as_str().expect("a time")).collect();
        assert!(times.is_sorted_by(|newer, older| newer >= older), "newest first: {times:?}");
    }
    let first = page(&client, "session=upload%207&limit=1");
    assert_eq!((&first["total"], &first["counts"]["COMPLETED"]), (&json!(26), &json!(26)), "{first}");
    assert_eq!(page(&client, "session=upload%208")["total"], 1);
    assert_eq!(page(&client, "session=nobody")["total"], 0);
    assert_eq!(page(&client, "")["total"], 28);
    assert_eq!(page(&client, "operation=create_collection")["total"], 1);
    assert_eq!(page(&client, "operation=add&session=upload%207&status=COMPLETED,FAILED")["total"], 26);
    assert_eq!(page(&client, "status=FAILED")["total"], 0);
    let middle = all(&client, "session=upload%207", 100)[10]["created_at"].as_str().expect("a time").to_owned();
    let (before, since) = (page(&client, &format!("until={middle}")), page(&client, &format!("since={middle}")));
    assert_eq!(before["total"].as_u64().zip(since["total"].as_u64()).map(|(a, b)| a + b), Some(28));
    assert!(before["total"] != 0 && since["total"] != 0, "{before} {since}");
    assert_eq!(page(&client, "since=4000000000")["total"], 0);
    cluster.assert_converged();
}

#[test]
fn the_numbers_are_those_of_the_journal() {
    let mut cluster = Cluster::with(2, |edge| edge.config("  write_wait: 300ms\n  recovery_interval: 1500ms"));
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "one").expect(201);
    completed(&cluster, 2);
    cluster.primary().kill();
    cluster.replica().kill();
    for id in ["two", "three"] {
        add(&cluster.client(), &collection, id).expect(503);
    }
    wait_for("two that failed", CATCH_UP, || (count(&cluster, "status = 'FAILED'") == 2).then_some(()));
    let client = cluster.client();
    let status = client.get("/transaction/safety/status").expect(200).json();
    assert_eq!((&status["available"], &status["service_running"]), (&json!(true), &json!(true)), "{status}");
    assert_eq!((&status["recovery_service_running"], &status["recovery_interval"]), (&json!(true), &json!(1.5)));
    let of = |page: &Value, name: &str| {
        let list = page["summary_by_status"].as_array().expect("a summary").clone();
        list.into_iter().find(|one| one["status"] == name).unwrap_or_default()
    };
    let failed = of(&status, "FAILED");
    assert_eq!((&failed["count"], &failed["timing_gap_failures"]), (&json!(2), &json!(2)), "{status}");
    assert!(failed["oldest_transaction"].as_str() < failed["newest_transaction"].as_str(), "{status}");
    assert_eq!(failed["avg_completion_time_seconds"], Value::Null, "{status}");
    let done = of(&status, "COMPLETED");
    assert_eq!(
        (&done["count"], &done["timing_gap_failures"], &done["avg_retries"]),
        (&json!(2), &json!(0), &json!(0.0))
    );
    assert!(done["avg_completion_time_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{status}");
    let expected = json!({ "total_transactions": 4, "timing_gap_failures": 2, "recovered_transactions": 0 });
    assert_eq!(status["metrics"], expected);
    let admin = client.get("/admin/transaction_safety_status").expect(200).json();
    let service = json!({ "available": true, "running": true, "table_exists": true });
    assert_eq!(admin["transaction_safety_service"], service, "{admin}");
    assert_eq!(admin["recent_transactions"]["total_last_2_hours"], 4, "{admin}");
    assert_eq!(admin["timing_gap_failures_24h"], 2, "{admin}");
    for name in ["pending_recovery", "pending_recovery_transactions", "pending_recovery_operations"] {
        assert_eq!(admin[name], 2, "{admin}");
    }
    let recent = admin["recent_transactions"]["by_status"].as_array().expect("a list");
    assert_eq!(recent.len(), 2, "{admin}");
    assert!(recent.iter().all(|one| one["count"] == 2 && one["latest"].is_string()), "{admin}");
    cluster.primary().restart();
    cluster.replica().restart();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    wait_for("both recovered", CATCH_UP, || (count(&cluster, "status = 'RECOVERED'") == 2).then_some(()));
    let status = client.get("/transaction/safety/status").expect(200).json();
    let expected = json!({ "total_transactions": 4, "timing_gap_failures": 2, "recovered_transactions": 2 });
    assert_eq!((&status["metrics"], &status["pending_recovery"]), (&expected, &json!(0)), "{status}");
    cluster.assert_converged();
}

#[test]
fn a_trigger_says_what_waits_and_changes_nothing_while_nobody_is_there() {
    let mut cluster = Cluster::with(2, |edge| edge.config("  write_wait: 300ms"));
    let collection = cluster.create("things");
    cluster.primary().kill();
    cluster.replica().kill();
    let told = add(&cluster.client(), &collection, "one").expect(503);
    let id = told.header("transaction-id").expect("an id").to_owned();
    let client = cluster.client();
    let path = format!("/transaction/safety/transaction/{id}");
    let trigger = || client.post("/transaction/safety/recovery/trigger", &json!({})).expect(200).json();
    let triggered = trigger();
    assert_eq!((&triggered["success"], &triggered["pending"]), (&json!(true), &json!(1)), "{triggered}");
    assert_eq!(client.get(&path).expect(200).json()["status"], "FAILED");
    cluster.primary().restart();
    cluster.replica().restart();
    trigger();
    let ended = client.get(&format!("{path}?wait=20")).expect(200).json();
    assert_eq!(ended["status"], "RECOVERED", "{ended}");
    cluster.assert_converged();
    assert_eq!(trigger()["pending"], 0);
}

/// Otherwise a repetition would be executed a second time.
#[test]
fn a_cleanup_leaves_ids_that_a_client_may_repeat() {
    let cluster = Cluster::two();
    let collection = cluster.create("things");
    let client = cluster.client().with_header("transaction-id", "mine");
    add(&client, &collection, "a").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    completed(&cluster, 2);
    let cleaned = cluster.client().post("/transaction/safety/cleanup", &json!({ "days_old": 0 })).expect(200).json();
    assert_eq!(cleaned["deleted_transactions"], 0, "{cleaned}");
    let cleaned = cluster.client().post("/wal/cleanup", &json!({ "max_age_hours": 0 })).expect(200).json();
    assert_eq!(cleaned["deleted_entries"], 0, "{cleaned}");
    let why = cleaned["message"].as_str().unwrap_or_default();
    assert!(why.starts_with("2 left: 2 newer than ") && why.contains("idempotency.keep"), "{cleaned}");
    let again = add(&client, &collection, "a").expect(201);
    assert_eq!(again.header("idempotent-replayed"), Some("true"), "{again}");
}

#[test]
fn a_cleanup_deletes_nothing_that_an_instance_still_needs() {
    let mut cluster = Cluster::with(2, |edge| edge.config("  idempotency: { keep: 0s }"));
    let collection = cluster.create("things");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.replica().kill();
    cluster.edge.wait_until_healthy("replica", false, CATCH_UP);
    for number in 0..6 {
        add(&cluster.client(), &collection, &format!("r{number}")).expect(201);
    }
    completed(&cluster, 7);
    let client = cluster.client();
    let cleanup =
        |days: u32| client.post("/transaction/safety/cleanup", &json!({ "days_old": days })).expect(200).json();
    assert_eq!(cleanup(1)["deleted_transactions"], 0, "they are of today");
    let deleted = cleanup(0);
    assert_eq!((&deleted["success"], &deleted["deleted_transactions"]), (&json!(true), &json!(1)), "{deleted}");
    assert_eq!(count(&cluster, "TRUE"), 6, "what the replica has yet to execute stays");
    cluster.replica().restart();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let held: Vec<Content> = cluster.servers.iter().map(|server| Content::of(&server.client(), TENANT)).collect();
    content::assert_equal("both servers", &held[0], &held[1]);
    assert_eq!(ids_by_name(&cluster.servers[1], "things").len(), 6);
    wait_for("everything has gone", Duration::from_secs(10), || {
        cleanup(0);
        (count(&cluster, "TRUE") == 0).then_some(())
    });
    assert_eq!(page(&client, "")["total"], 0);
    assert_eq!(client.get("/transaction/safety/status").expect(200).json()["metrics"]["total_transactions"], 0);
    client.post(&record_path(&collection, "add"), &record("after")).expect(201);
}
