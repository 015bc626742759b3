//! A transaction id is executed once, however often it is repeated and whatever dies in between (promise G6).

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use testkit::Cluster;
use testkit::cluster::{add, ids, journaled, record};
use testkit::http::{Answer, Client, DEFAULT, record_path};

const NAMES: [&str; 3] = ["Transaction-ID", "X-Transaction-ID", "Idempotency-Key"];
const REPLAYED: &str = "idempotent-replayed";

/// Checks that the same request gets the same answer, declared as a repetition.
#[track_caller]
fn assert_replay(first: &Answer, again: &Answer) {
    assert_eq!((again.status, &again.body), (first.status, &first.body), "{again}");
    assert_eq!(again.header(REPLAYED), Some("true"), "{again}");
    assert_eq!(first.header(REPLAYED), None, "{first}");
    assert_eq!(again.header("transaction-id"), first.header("transaction-id"), "{again}");
}

#[test]
fn the_same_request_again_gets_the_same_answer() {
    for name in NAMES {
        let cluster = Cluster::two();
        let collection = cluster.create("things");
        let client = cluster.client().with_header(name, "order-1");
        let path = record_path(&collection, "add");
        let first = client.post(&path, &record("one")).expect(201);
        assert_eq!(first.header("transaction-id"), Some("order-1"));
        let before = journaled(&cluster.edge);
        assert_replay(&first, &client.post(&path, &record("one")));
        // Deleted in between: a second execution would bring it back.
        cluster.client().post(&record_path(&collection, "delete"), &json!({ "ids": ["one"] })).expect(200);
        assert_replay(&first, &client.post(&path, &record("one")));
        assert_eq!(ids(&cluster.client(), &collection), [""; 0], "{name}");
        assert_eq!(journaled(&cluster.edge), before + 1, "{name}");
        cluster.assert_converged();
    }
}

#[test]
fn answers_with_content_and_refusals_are_kept_too() {
    let cluster = Cluster::two();
    let collections = format!("{DEFAULT}/collections");
    let client = cluster.client();
    let keyed = |key: &str| client.with_header("Transaction-ID", key);
    let create = || keyed("create").post(&collections, &json!({ "name": "things" }));
    let created = create().expect(200);
    assert_eq!(create().json(), created.json());
    assert_replay(&created, &create());
    let collection = created.json()["id"].as_str().expect("an id").to_owned();
    let refused = || keyed("taken").post(&collections, &json!({ "name": "things" }));
    assert_replay(&refused().expect(409), &refused());
    add(&client, &collection, "one").expect(201);
    let delete = || {
        keyed("delete")
            .post(&record_path(&collection, "delete"), &json!({ "where_document": { "$contains": "document" } }))
    };
    let deleted = delete().expect(200);
    assert_eq!(deleted.json(), json!({ "deleted": 1 }));
    add(&client, &collection, "two").expect(201);
    assert_replay(&deleted, &delete());
    let wrong = json!({ "ids": ["three"], "embeddings": [[1.0]] });
    let wrong_dimension = || keyed("wrong").post(&record_path(&collection, "add"), &wrong);
    assert_replay(&wrong_dimension().expect(400), &wrong_dimension());
    assert_eq!(ids(&client, &collection), ["two"]);
    cluster.assert_converged();
}

#[test]
fn the_edge_dies_in_between() {
    let mut cluster = Cluster::two();
    let collection = cluster.create("things");
    let client = cluster.client().with_header("Transaction-ID", "order-1");
    let path = record_path(&collection, "add");
    let first = client.post(&path, &record("one")).expect(201);
    cluster.edge.kill();
    cluster.edge.restart();
    let before = journaled(&cluster.edge);
    assert_replay(&first, &client.post(&path, &record("one")));
    cluster.client().post(&record_path(&collection, "delete"), &json!({ "ids": ["one"] })).expect(200);
    cluster.edge.kill();
    cluster.edge.restart();
    assert_replay(&first, &client.post(&path, &record("one")));
    client.post(&path, &record("two")).expect(422);
    assert_eq!(journaled(&cluster.edge), before + 1);
    cluster.assert_converged();
    assert_eq!(ids(&cluster.client(), &collection), [""; 0]);
}

#[test]
fn another_request_with_the_same_id_is_refused() {
    let cluster = Cluster::two();
    let (one, two) = (cluster.create("one"), cluster.create("two"));
    let client = cluster.client().with_header("Transaction-ID", "order-1");
    client.post(&record_path(&one, "add"), &record("a")).expect(201);
    let before = journaled(&cluster.edge);
    let others = [
        client.post(&record_path(&one, "add"), &record("b")),
        client.post(&record_path(&one, "upsert"), &record("a")),
        client.post(&record_path(&two, "add"), &record("a")),
        client.post(&format!("{DEFAULT}/collections"), &json!({ "name": "three" })),
    ];
    for other in others {
        assert_eq!(other.status, 422, "{other}");
        assert_eq!(other.json()["reason"], "transaction_id_reused", "{other}");
    }
    assert_eq!(journaled(&cluster.edge), before);
    assert_eq!(cluster.assert_converged().record_count(), 1);
}

/// A 503 and the transaction's page show the edge's id of a write that its client named itself. Either id identifies
/// the write.
#[test]
fn the_edges_id_of_a_write_names_it_beside_its_clients() {
    let mut cluster = Cluster::two();
    let collection = cluster.create("things");
    let path = record_path(&collection, "add");
    let named = |cluster: &Cluster, id: &str| cluster.client().with_header("Transaction-ID", id);
    let first = named(&cluster, "order-1").post(&path, &record("one")).expect(201);
    let shown = cluster.client().get("/transaction/safety/transaction/order-1").expect(200).json();
    let id = shown["transaction_id"].as_str().expect("an id").to_uppercase();
    cluster.client().post(&record_path(&collection, "delete"), &json!({ "ids": ["one"] })).expect(200);
    let before = journaled(&cluster.edge);
    for _ in 0..2 {
        let again = named(&cluster, &id).post(&path, &record("one")).expect(201);
        assert_eq!(again.header(REPLAYED), Some("true"), "{again}");
        assert_eq!(again.body, first.body);
        let other = named(&cluster, &id).post(&path, &record("two")).expect(422);
        assert_eq!(other.json()["reason"], "transaction_id_reused", "{other}");
        cluster.edge.kill();
        cluster.edge.restart();
    }
    // In another tenant the id is free.
    named(&cluster, &id).post("/api/v2/tenants", &json!({ "name": "other" })).expect(200);
    assert_eq!(journaled(&cluster.edge), before + 1);
    assert_eq!(ids(&cluster.client(), &collection), [""; 0]);
}

#[test]
fn an_id_is_visible_text_of_bounded_length() {
    let cluster = Cluster::two();
    let collection = cluster.create("things");
    let before = journaled(&cluster.edge);
    let long = "k".repeat(256);
    for name in NAMES {
        for bad in ["two words", "t\u{e4}t", "tab\there", &long] {
            let answer = add(&cluster.client().with_header(name, bad), &collection, "one");
            assert_eq!(answer.status, 400, "{name}: {bad:?}: {answer}");
            assert_eq!(answer.json()["reason"], "bad_transaction_id", "{answer}");
        }
    }
    assert_eq!(journaled(&cluster.edge), before);
    add(&cluster.client().with_header(NAMES[0], &long[1..]), &collection, "one").expect(201);
    add(&cluster.client().with_header(NAMES[0], "!#~"), &collection, "two").expect(201);
}

#[test]
fn every_write_is_told_its_id() {
    let cluster = Cluster::two();
    let client = cluster.client();
    let collections = format!("{DEFAULT}/collections");
    let created = client.post(&collections, &json!({ "name": "things" })).expect(200);
    let collection = created.json()["id"].as_str().expect("an id").to_owned();
    let send = |verb: &str, body: Value| client.post(&record_path(&collection, verb), &body);
    let answers = [
        created,
        send("add", record("one")),
        send("upsert", record("one")),
        send("update", json!({ "ids": ["one"], "documents": ["changed"] })),
        send("delete", json!({ "ids": ["one"] })),
        send("add", json!({ "ids": ["two"], "embeddings": [[1.0]] })),
        client.call("PUT", &format!("{collections}/{collection}"), &json!({ "new_name": "others" })),
        client.call("DELETE", &format!("{collections}/others"), &Value::Null),
    ];
    let given: BTreeSet<&str> = answers
        .iter()
        .map(|answer| answer.header("transaction-id").unwrap_or_else(|| panic!("no Transaction-ID: {answer}")))
        .collect();
    assert_eq!(given.len(), answers.len(), "each its own: {given:?}");
    let kept = testkit::fold::transactions(&cluster.edge.journal_path());
    assert!(given.iter().all(|id| kept.iter().any(|one| one.transaction_id == *id)), "{given:?}");
}

/// Makes all calls at once, and returns the answers.
fn together(clients: usize, call: impl Fn() -> Answer + Sync) -> Vec<Answer> {
    let gate = std::sync::Barrier::new(clients);
    std::thread::scope(|scope| {
        let one = || {
            gate.wait();
            call()
        };
        let workers: Vec<_> = (0..clients).map(|_| scope.spawn(one)).collect();
        workers.into_iter().map(|worker| worker.join().expect("a client")).collect()
    })
}

fn assert_one_execution(client: &Client, collection: &str, answers: &[Answer]) {
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    let deleted: BTreeSet<u64> = answers.iter().filter_map(|answer| answer.json()["deleted"].as_u64()).collect();
    assert_eq!(deleted, BTreeSet::from([2]), "each gets the first one's answer");
    let originals = answers.iter().filter(|answer| answer.header(REPLAYED).is_none()).count();
    assert_eq!(originals, 1, "one is the first: {answers:?}");
    assert_eq!(ids(client, collection), ["c", "d", "e", "f"]);
}

#[test]
fn duplicates_at_once_execute_once() {
    let cluster = Cluster::two();
    let collection = cluster.create("things");
    for id in ["a", "b", "c", "d", "e", "f"] {
        add(&cluster.client(), &collection, id).expect(201);
    }
    let before = journaled(&cluster.edge);
    let client = cluster.client().with_header("Idempotency-Key", "once").with_timeout(Duration::from_secs(30));
    // A second execution would delete two more.
    let body = json!({ "where_document": { "$contains": "document" }, "where": { "x": { "$ne": 1 } }, "limit": 2 });
    let answers = together(12, || client.post(&record_path(&collection, "delete"), &body));
    assert_one_execution(&cluster.client(), &collection, &answers);
    assert_eq!(journaled(&cluster.edge), before + 1);
    cluster.assert_converged();
}

/// A header that a gateway sets to one value for everything: refused, named in the log, and ignored if configured.
#[test]
fn a_constant_header_is_named_and_can_be_left_out() {
    let write = |cluster: &Cluster, number: usize| {
        let client = cluster.client().with_header("X-Transaction-ID", "correlation-7");
        client.post(&record_path("things", "add"), &record(&number.to_string()))
    };
    let cluster = Cluster::two();
    cluster.create("things");
    write(&cluster, 0).expect(201);
    (1..=8).for_each(|number| drop(write(&cluster, number).expect(422)));
    let log = cluster.edge.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("many different writes")).collect();
    assert!(lines.len() == 1 && lines[0].contains("x-transaction-id") && lines[0].contains("WARN"), "{lines:?}");

    let only = Cluster::with(2, |edge| edge.config("  idempotency: { headers: [Idempotency-Key] }"));
    only.create("things");
    (0..8).for_each(|number| drop(write(&only, number).expect(201)));
    let keyed = only.client().with_header("Idempotency-Key", "one");
    let path = record_path("things", "add");
    assert_replay(&keyed.post(&path, &record("last")).expect(201), &keyed.post(&path, &record("last")));
    assert_eq!(ids(&only.client(), "things").len(), 9);
}

/// Gateways set headers for which they have no value: an empty id counts as none.
#[test]
fn an_empty_id_counts_as_none() {
    let cluster = Cluster::two();
    cluster.create("things");
    let empty = cluster.client().with_header("Transaction-ID", "").with_header("Idempotency-Key", "key");
    let path = record_path("things", "add");
    let first = empty.post(&path, &record("one")).expect(201);
    assert_eq!(first.header("transaction-id"), Some("key"));
    assert_replay(&first, &empty.post(&path, &record("one")));
    let none = cluster.client().with_header("Idempotency-Key", "");
    none.post(&path, &record("two")).expect(201);
    none.post(&path, &record("three")).expect(201);
    assert_eq!(ids(&cluster.client(), "things").len(), 3);
}
