//! The edge's own pages report the truth (promise G10).

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, Cluster, add, record};
use testkit::http::{DEFAULT, record_path};
use testkit::place::wait_for;

fn metric(cluster: &Cluster, name: &str) -> i64 {
    let page = cluster.client().get("/metrics").expect(200).text();
    let line = page.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}:\n{page}"));
    line.trim().parse().unwrap_or_else(|error| panic!("{name}{line}: {error}"))
}

fn wal_status(cluster: &Cluster) -> Value {
    cluster.client().get("/wal/status").expect(200).json()
}

/// Returns every number that reports how much the replica has yet to apply.
fn pending(cluster: &Cluster) -> [i64; 6] {
    let (status, wal) = (cluster.edge.status(), wal_status(cluster));
    let number = |value: &Value| value.as_i64().unwrap_or_else(|| panic!("a number: {status} {wal}"));
    [
        number(&status["pending_writes"]),
        number(&status["instances"][1]["pending_writes"]),
        number(&wal["pending_writes"]),
        number(&wal["pending_by_instance"]["replica"]),
        metric(cluster, "chroma_edge_pending_writes"),
        metric(cluster, "chroma_edge_instance_pending_writes{instance=\"replica\"}"),
    ]
}

fn by_status(journal: &Path) -> BTreeMap<String, i64> {
    let store = Connection::open_with_flags(journal, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the journal");
    let mut statement = store.prepare("SELECT status, count(*) FROM transactions GROUP BY status").expect("a query");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("the journal's rows");
    rows.collect::<Result<_, _>>().expect("a row of the journal")
}

const STATUSES: [&str; 5] = ["ATTEMPTING", "COMPLETED", "FAILED", "RECOVERED", "ABANDONED"];

/// Waits until these statuses are in the journal, then compares every page with them.
#[track_caller]
fn assert_statuses(cluster: &Cluster, expected: &[(&str, i64)]) {
    let expected: BTreeMap<String, i64> =
        expected.iter().map(|(status, count)| ((*status).to_owned(), *count)).collect();
    wait_for(&format!("{expected:?} in the journal"), CATCH_UP, || {
        (by_status(&cluster.edge.journal_path()) == expected).then_some(())
    });
    let wal = wal_status(cluster);
    assert_eq!(wal["transactions"], expected.values().sum::<i64>(), "{wal}");
    for status in STATUSES {
        let count = expected.get(status).copied().unwrap_or(0);
        assert_eq!(wal["by_status"][status], count, "{status}: {wal}");
        assert_eq!(metric(cluster, &format!("chroma_edge_transactions{{status=\"{status}\"}}")), count, "{status}");
    }
}

#[test]
fn what_is_pending_is_counted_exactly() {
    let mut cluster = Cluster::two();
    let (one, two) = (cluster.create("one"), cluster.create("two"));
    add(&cluster.client(), &one, "before").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    assert_eq!(pending(&cluster), [0; 6]);
    cluster.replica().kill();
    cluster.edge.wait_until_healthy("replica", false, CATCH_UP);
    for number in 1..=5 {
        add(&cluster.client(), &one, &format!("r{number}")).expect(201);
        assert_eq!(pending(&cluster), [number; 6], "after {number} writes");
    }
    for number in 1..=3 {
        add(&cluster.client(), &two, &format!("r{number}")).expect(201);
    }
    cluster.create("three");
    assert_eq!(pending(&cluster), [9; 6], "two lanes and the catalog");
    // A refused write has no effect: the replica has nothing to apply.
    let wrong = json!({ "ids": ["wrong"], "embeddings": [[1.0]] });
    cluster.client().post(&record_path(&one, "add"), &wrong).expect(400);
    assert_eq!(pending(&cluster), [9; 6], "and a refused write");
    let status = cluster.edge.status();
    assert_eq!(status["instances"][0]["pending_writes"], 0, "the primary has applied all: {status}");
    assert_eq!((&status["healthy_instances"], &status["total_instances"]), (&json!(1), &json!(2)));
    assert_eq!(metric(&cluster, "chroma_edge_instance_up{instance=\"replica\"}"), 0);
    assert_eq!(metric(&cluster, "chroma_edge_instance_up{instance=\"primary\"}"), 1);
    assert_statuses(&cluster, &[("COMPLETED", 13)]);
    cluster.replica().restart();
    cluster.assert_converged();
    assert_eq!(pending(&cluster), [0; 6]);
    assert_eq!(metric(&cluster, "chroma_edge_instance_up{instance=\"replica\"}"), 1);
    assert_eq!(cluster.edge.status()["collections"], 3);
}

#[test]
fn pending_survives_a_restart_of_the_edge() {
    let mut cluster = Cluster::two();
    let collection = cluster.create("things");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.replica().kill();
    for number in 0..4 {
        add(&cluster.client(), &collection, &format!("r{number}")).expect(201);
    }
    cluster.edge.wait_until_healthy("replica", false, CATCH_UP);
    assert_eq!(pending(&cluster), [4; 6]);
    cluster.edge.kill();
    cluster.edge.restart();
    // The primary's last progress may have been lost with the edge. In that case the edge repeats what it covered.
    wait_for("the primary's repetition", CATCH_UP, || {
        (cluster.edge.status()["instances"][0]["pending_writes"] == 0).then_some(())
    });
    assert_eq!(pending(&cluster), [4; 6]);
    cluster.replica().restart();
    cluster.assert_converged();
    assert_eq!(pending(&cluster), [0; 6]);
}

#[test]
fn statuses_are_those_of_the_journal() {
    let mut cluster = Cluster::with(2, |edge| edge.config("  write_wait: 300ms"));
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "one").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    assert_statuses(&cluster, &[("COMPLETED", 2)]);
    cluster.primary().kill();
    cluster.replica().kill();
    let wrong = json!({ "ids": ["wrong"], "embeddings": [[1.0]] });
    for body in [record("two"), wrong, record("three")] {
        cluster.client().post(&record_path(&collection, "add"), &body).expect(503);
    }
    assert_statuses(&cluster, &[("COMPLETED", 2), ("FAILED", 3)]);
    assert_eq!(cluster.edge.status()["pending_writes"], 3);
    cluster.client().get("/health").expect(503);
    cluster.primary().restart();
    cluster.replica().restart();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    assert_statuses(&cluster, &[("COMPLETED", 2), ("RECOVERED", 2), ("ABANDONED", 1)]);
    cluster.client().get("/health").expect(200);
    cluster.assert_converged();
}

#[test]
fn mappings_are_those_of_the_instances() {
    let mut cluster = Cluster::two();
    let ids = [cluster.create("one"), cluster.create("two")];
    cluster.replica().kill();
    cluster.edge.wait_until_healthy("replica", false, CATCH_UP);
    let half = cluster.create("half");
    let mappings = || cluster.client().get("/collection/mappings").expect(200).json();
    let find = |list: &Value, id: &str| {
        let all = list["mappings"].as_array().expect("mappings").clone();
        all.into_iter().find(|one| one["collection_id"] == id).unwrap_or_else(|| panic!("{id} is not in {list}"))
    };
    let list = mappings();
    assert_eq!(list["count"], 3);
    assert_eq!(find(&list, &half)["complete"], false);
    assert_eq!(find(&list, &half)["instances"][1]["collection_id"], Value::Null);
    assert_eq!(find(&list, &half)["instances"][1]["in_step"], false);
    assert!(ids.iter().all(|id| find(&list, id)["complete"] == true), "{list}");
    cluster.servers[1].restart();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let list = cluster.client().get("/collection/mappings").expect(200).json();
    for (name, id) in ["one", "two", "half"].iter().zip(ids.iter().chain([&half])) {
        let mapping = find(&list, id);
        assert_eq!(mapping["collection_name"], *name);
        assert_eq!((&mapping["tenant"], &mapping["database"]), (&json!("default_tenant"), &json!("default_database")));
        assert_eq!(mapping["complete"], true, "{mapping}");
        for (index, server) in cluster.servers.iter().enumerate() {
            let own = server.client().get(&format!("{DEFAULT}/collections/{name}")).expect(200).json();
            assert_eq!(mapping["instances"][index]["collection_id"], own["id"], "{mapping}");
            assert_eq!(mapping["instances"][index]["in_step"], true, "{mapping}");
        }
    }
    let deleted = cluster.client().call("DELETE", &format!("{DEFAULT}/collections/half"), &Value::Null);
    deleted.expect(200);
    assert_eq!(cluster.client().get("/collection/mappings").expect(200).json()["count"], 2);
}
