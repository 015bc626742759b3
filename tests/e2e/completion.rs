//! Once its answer has been given, a transaction is marked complete, with that answer.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use testkit::Cluster;
use testkit::cluster::add;
use testkit::http::{Answer, DEFAULT, record_path};
use testkit::place::wait_for;

#[derive(Clone, Debug, PartialEq)]
struct Row {
    status: String,
    response_status: Option<u16>,
    created_at: i64,
    completed_at: Option<i64>,
}

fn rows(journal: &Path) -> Vec<Row> {
    let store = Connection::open_with_flags(journal, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the journal");
    let sql = "SELECT status, response_status, created_at, completed_at FROM transactions ORDER BY seq";
    let mut statement = store.prepare(sql).expect("the journal's table");
    let read = |row: &rusqlite::Row<'_>| {
        let (status, response_status) = (row.get(0)?, row.get(1)?);
        Ok(Row { status, response_status, created_at: row.get(2)?, completed_at: row.get(3)? })
    };
    let rows = statement.query_map([], read).expect("the journal's rows");
    rows.collect::<Result<_, _>>().expect("a row of the journal")
}

/// Waits until the journal has exactly this many rows, all of them complete.
#[track_caller]
fn await_completed(cluster: &Cluster, count: usize) -> Vec<Row> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let rows = rows(&cluster.edge.journal_path());
        if rows.len() == count && rows.iter().all(|row| row.status == "COMPLETED") {
            return rows;
        }
        assert!(Instant::now() < deadline, "not {count} completed rows: {rows:#?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn each_answer_completes_its_transaction() {
    let cluster = Cluster::two();
    let client = cluster.client();
    let collections = format!("{DEFAULT}/collections");
    let things = json!({ "name": "things" });
    let mut told: Vec<Answer> = vec![client.post(&collections, &things)];
    let collection = told[0].json()["id"].as_str().expect("an id").to_owned();
    let send = |verb: &str, body: Value| client.post(&record_path(&collection, verb), &body);
    told.push(add(&client, &collection, "one"));
    told.push(send("update", json!({ "ids": ["one"], "documents": ["changed"] })));
    told.push(send("add", json!({ "ids": ["wrong dimension"], "embeddings": [[1.0]] })));
    told.push(client.post(&collections, &things));
    told.push(send("delete", json!({ "ids": ["one"] })));
    told.push(client.call("DELETE", &format!("{collections}/nothing"), &Value::Null));
    told.push(client.call("DELETE", &format!("{collections}/things"), &Value::Null));
    let statuses: Vec<u16> = told.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 201, 200, 400, 409, 200, 404, 200]);
    // Marked in the next commit after the answer.
    let rows = await_completed(&cluster, told.len());
    for (row, status) in rows.iter().zip(&statuses) {
        assert_eq!(row.response_status, Some(*status), "{row:?}");
        assert!(row.completed_at.is_some_and(|at| at >= row.created_at), "{row:?}");
    }
}

#[test]
fn no_answer_no_mark() {
    let cluster = Cluster::with(2, |edge| edge.config("  write_wait: 30s"));
    let collection = cluster.create("things");
    let client = cluster.client();
    await_completed(&cluster, 1);
    cluster.servers.iter().for_each(|server| server.stop());
    let writer = std::thread::spawn(move || add(&client, &collection, "one"));
    let row = wait_for("the write in the journal", Duration::from_secs(10), || {
        rows(&cluster.edge.journal_path()).get(1).cloned()
    });
    assert_eq!((row.status.as_str(), row.response_status, row.completed_at), ("ATTEMPTING", None, None));
    cluster.servers.iter().for_each(|server| server.cont());
    writer.join().expect("the writer").expect(201);
    cluster.assert_converged();
}
