//! One transaction, as the application that sent it sees it: pending, waited for, recovered, and never executed twice.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use testkit::Cluster;
use testkit::cluster::{CATCH_UP, add, ids, journaled, record, timed};
use testkit::http::{Answer, Client, DEFAULT, record_path};

const REPLAYED: &str = "idempotent-replayed";

fn impatient() -> Cluster {
    Cluster::with(2, |edge| edge.config("  write_wait: 300ms\n  request_timeout: 2s\n  attempt_timeout: 2s"))
}

#[track_caller]
fn transaction(client: &Client, id: &str) -> Value {
    client.get(&format!("/transaction/safety/transaction/{id}")).expect(200).json()
}

#[track_caller]
fn applied(transaction: &Value) -> Vec<(String, bool)> {
    let instances = transaction["instances"].as_array().expect("instances");
    let one = |value: &Value| (value["name"].as_str().unwrap_or("?").to_owned(), value["applied"] == true);
    instances.iter().map(one).collect()
}

fn both(primary: bool, replica: bool) -> Vec<(String, bool)> {
    vec![("primary".to_owned(), primary), ("replica".to_owned(), replica)]
}

/// Requests `?wait=30` on a thread of its own, and measures how long it takes.
fn wait_for_end(client: &Client, id: &str) -> std::thread::JoinHandle<(Answer, Duration)> {
    let (client, path) = (client.clone(), format!("/transaction/safety/transaction/{id}?wait=30"));
    std::thread::spawn(move || timed(|| client.get(&path)))
}

#[test]
fn a_timing_gap_is_told_waited_for_and_recovered_once() {
    let mut cluster = impatient();
    let collection = cluster.create("things");
    cluster.primary().kill();
    cluster.replica().kill();
    let client = cluster.client().with_header("Transaction-ID", "import/1").with_header("X-Client-Session", "cms");
    let path = record_path(&collection, "add");
    let told = client.post(&path, &record("one")).expect(503);
    assert_eq!(told.header("transaction-id"), Some("import/1"));
    let stored_id = told.json()["transaction_id"].as_str().expect("the edge's id").to_owned();
    let reader = cluster.client();
    let seen = transaction(&reader, "import%2F1");
    assert_eq!(seen, transaction(&reader, &stored_id), "both ids");
    assert_eq!(seen["transaction_id"], stored_id.as_str());
    assert_eq!(seen["client_transaction_id"], "import/1");
    assert_eq!((&seen["status"], &seen["completed"]), (&json!("FAILED"), &json!(false)), "{seen}");
    assert_eq!((&seen["is_timing_gap_failure"], &seen["response_status"]), (&json!(true), &json!(503)), "{seen}");
    assert_eq!((&seen["method"], &seen["operation_type"]), (&json!("POST"), &json!("add")), "{seen}");
    assert_eq!((&seen["client_session"], &seen["completed_at"]), (&json!("cms"), &Value::Null), "{seen}");
    assert!(seen["failure_reason"].is_string() && seen["max_retries"].is_u64() && seen["path"].is_string(), "{seen}");
    assert_eq!(applied(&seen), both(false, false));
    let (still, took) = timed(|| reader.get(&format!("/transaction/safety/transaction/{stored_id}?wait=1")));
    assert_eq!(still.expect(200).json()["status"], "FAILED");
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(3), "{took:?}");
    assert_eq!(reader.get("/admin/transaction_safety_status").expect(200).json()["pending_recovery"], 1);

    let waiting = wait_for_end(&reader, "import%2F1");
    cluster.primary().restart();
    let (ended, _) = waiting.join().expect("who waits");
    let ended = ended.expect(200).json();
    assert_eq!((&ended["status"], &ended["completed"]), (&json!("RECOVERED"), &json!(true)), "{ended}");
    assert_eq!((&ended["response_status"], &ended["target_instance"]), (&json!(201), &json!("primary")), "{ended}");
    assert_eq!(ended["is_timing_gap_failure"], true, "it did happen: {ended}");
    assert_eq!(ended["result"], ended["response_data"]);
    assert_eq!(applied(&ended), both(true, false));
    let again = client.post(&path, &record("one")).expect(201);
    assert_eq!(again.header(REPLAYED), Some("true"), "{again}");
    cluster.replica().restart();
    cluster.assert_converged();
    assert_eq!(applied(&transaction(&reader, &stored_id)), both(true, true));
    assert_eq!(ids(&reader, &collection), ["one"]);
    assert_eq!(journaled(&cluster.edge), 2);
}

#[test]
fn the_id_that_the_edge_gave_is_the_writes_id_too() {
    let mut cluster = impatient();
    let collection = cluster.create("things");
    cluster.primary().kill();
    cluster.replica().kill();
    let path = record_path(&collection, "add");
    let told = cluster.client().post(&path, &record("one")).expect(503);
    let id = told.header("transaction-id").expect("an id").to_owned();
    // In any spelling of the UUID.
    let client = cluster.client().with_header("Idempotency-Key", &id.to_uppercase());
    let running = client.post(&path, &record("one")).expect(409);
    assert_eq!(running.json()["reason"], "transaction_running", "{running}");
    assert!(running.header("retry-after").is_some(), "{running}");
    assert_eq!(running.json()["transaction_id"], id.as_str(), "{running}");
    client.post(&path, &record("two")).expect(422);
    cluster.edge.kill();
    cluster.primary().restart();
    cluster.replica().restart();
    cluster.edge.restart();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let again = client.post(&path, &record("one")).expect(201);
    assert_eq!(again.header(REPLAYED), Some("true"), "{again}");
    assert_eq!(journaled(&cluster.edge), 2);
    assert_eq!(ids(&cluster.client(), &collection), ["one"]);
    cluster.assert_converged();
}

#[test]
fn a_repetition_waits_for_the_outcome_longer_than_a_write_waits_for_an_instance() {
    let mut cluster = Cluster::with(2, |edge| edge.config("  write_wait: 100ms\n  request_timeout: 60s"));
    let collection = cluster.create("things");
    cluster.primary().kill();
    cluster.replica().kill();
    let client = cluster.client().with_header("Transaction-ID", "order-1");
    let path = record_path(&collection, "add");
    client.post(&path, &record("one")).expect(503);
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let (client, path) = (client.clone(), path.clone());
            std::thread::spawn(move || client.post(&path, &record("one")))
        })
        .collect();
    testkit::place::wait_for("eight that wait", CATCH_UP, || {
        let under_way = cluster.edge.status()["requests"]["under_way"].as_u64().unwrap_or(0);
        (under_way >= 8).then_some(())
    });
    cluster.primary().restart();
    cluster.replica().restart();
    for waiting in waiting {
        let answer = waiting.join().expect("who waits").expect(201);
        assert_eq!(answer.header(REPLAYED), Some("true"), "{answer}");
    }
    assert_eq!(journaled(&cluster.edge), 2);
    cluster.assert_converged();
}

#[test]
fn what_was_answered_is_answered_again_whatever_became_of_the_collection() {
    let cluster = Cluster::two();
    let collection = cluster.create("things");
    let client = cluster.client().with_header("Transaction-ID", "order-1");
    let path = record_path(&collection, "add");
    client.post(&path, &record("one")).expect(201);
    cluster.client().call("DELETE", &format!("{DEFAULT}/collections/things"), &Value::Null).expect(200);
    let again = client.post(&path, &record("one")).expect(201);
    assert_eq!((again.header(REPLAYED), again.header("transaction-id")), (Some("true"), Some("order-1")), "{again}");
    client.post(&path, &record("two")).expect(422);
    let gone = cluster.client().with_header("Transaction-ID", "order-2").post(&path, &record("one")).expect(404);
    assert_eq!(gone.header("transaction-id"), Some("order-2"));
    // A refusal before the journal is not a transaction, and does not occupy the id.
    cluster.client().get("/transaction/safety/transaction/order-2").expect(404);
    cluster.assert_converged();
}

#[test]
fn finding_a_collection_with_an_id_is_a_transaction() {
    let cluster = Cluster::two();
    let collections = format!("{DEFAULT}/collections");
    let body = json!({ "name": "things", "get_or_create": true });
    let client = cluster.client().with_header("Transaction-ID", "start-1");
    let first = client.post(&collections, &body).expect(200);
    let again = client.post(&collections, &body).expect(200);
    assert_eq!((again.header(REPLAYED), &again.body), (Some("true"), &first.body));
    let second = cluster.client().with_header("Transaction-ID", "start-2").post(&collections, &body).expect(200);
    assert_eq!((second.header(REPLAYED), &second.json()["id"]), (None, &first.json()["id"]));
    client.post(&collections, &json!({ "name": "others", "get_or_create": true })).expect(422);
    assert_eq!(journaled(&cluster.edge), 2);
    let found = transaction(&cluster.client(), "start-2");
    assert_eq!(found["operation_type"], "create_collection");
    cluster.assert_converged();
}

#[test]
fn ids_are_scoped_by_tenant_and_none_is_guessed() {
    let cluster = Cluster::two();
    cluster.client().post("/api/v2/tenants", &json!({ "name": "other" })).expect(200);
    cluster.client().post("/api/v2/tenants/other/databases", &json!({ "name": "stuff" })).expect(200);
    let client = cluster.client().with_header("Transaction-ID", "same");
    let body = json!({ "name": "things" });
    client.post(&format!("{DEFAULT}/collections"), &body).expect(200);
    client.post("/api/v2/tenants/other/databases/stuff/collections", &body).expect(200);
    let shown = |query: &str| transaction(&cluster.client(), &format!("same{query}"))["path"].clone();
    let unsaid = cluster.client().get("/transaction/safety/transaction/same").expect(409).json();
    assert_eq!(unsaid["reason"], "ambiguous_id");
    assert_eq!(shown("?tenant=other"), "/api/v2/tenants/other/databases/stuff/collections");
    assert_eq!(shown("?tenant=default_tenant"), format!("{DEFAULT}/collections"));
    cluster.client().get("/transaction/safety/transaction/same?tenant=third").expect(404);
}

#[test]
fn what_was_refused_is_applied_nowhere() {
    let cluster = Cluster::two();
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "one").expect(201);
    let wrong = json!({ "ids": ["two"], "embeddings": [[1.0]] });
    let answer = cluster.client().post(&record_path(&collection, "add"), &wrong).expect(400);
    let id = answer.header("transaction-id").expect("an id").to_owned();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let seen = wait_for_end(&cluster.client(), &id).join().expect("who waits").0.expect(200).json();
    assert_eq!((&seen["status"], &seen["response_status"]), (&json!("COMPLETED"), &json!(400)), "{seen}");
    assert_eq!(seen["response_data"], answer.json(), "{seen}");
    assert_eq!(applied(&seen), both(false, false));
}

#[test]
fn a_stop_does_not_wait_for_who_waits() {
    let mut cluster = impatient();
    let collection = cluster.create("things");
    cluster.primary().kill();
    cluster.replica().kill();
    let client = cluster.client();
    let told = add(&client, &collection, "one").expect(503);
    let waiting = wait_for_end(&client, told.header("transaction-id").expect("an id"));
    testkit::place::wait_for("one that waits", CATCH_UP, || {
        (cluster.edge.status()["requests"]["under_way"].as_u64() >= Some(2)).then_some(())
    });
    let began = Instant::now();
    cluster.edge.term();
    let (answer, _) = waiting.join().expect("who waits");
    assert_eq!(answer.expect(200).json()["status"], "FAILED");
    assert!(cluster.edge.wait_for_exit(Duration::from_secs(10)).success());
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

/// Method, path, body, status, and the reason if there is one.
const BAD: &[(&str, &str, &str, u16, &str)] = &[
    ("GET", "/transaction/safety/transaction/unknown", "", 404, "unknown_transaction"),
    ("GET", "/transaction/safety/transaction/0190a5da-c967-774b-bcce-b302099a8057", "", 404, "unknown_transaction"),
    ("GET", "/transaction/safety/transaction/", "", 400, "bad_transaction_id"),
    ("GET", "/transaction/safety/transaction/two%20words", "", 400, "bad_transaction_id"),
    ("GET", "/transaction/safety/transaction/t%C3%A4t", "", 400, "bad_transaction_id"),
    ("GET", "/transaction/safety/transaction/%FF", "", 400, "bad_transaction_id"),
    ("GET", "/transaction/safety/transaction/x?wait=-1", "", 400, "bad_parameter"),
    ("GET", "/transaction/safety/transaction/x?wait=60.1", "", 400, "bad_parameter"),
    ("GET", "/transaction/safety/transaction/x?wait=", "", 400, "bad_parameter"),
    ("GET", "/transaction/safety/transaction/x?wait=soon", "", 400, "bad_parameter"),
    ("GET", "/transaction/safety/transaction/x?wait=1e1", "", 400, "bad_parameter"),
    ("GET", "/transaction/safety/transaction/x?later=1", "", 404, "unknown_transaction"),
    ("GET", "/transaction/safety/transactions?limit=0", "", 400, "bad_parameter"),
    ("GET", "/transaction/safety/transactions?limit=1001", "", 400, "bad_parameter"),
    ("GET", "/transaction/safety/transactions?status=DONE", "", 400, "bad_parameter"),
    ("GET", "/transaction/safety/transactions?operation=x", "", 400, "bad_parameter"),
    ("GET", "/transaction/safety/transactions?since=x", "", 400, "bad_parameter"),
    ("GET", "/transaction/safety/transactions?until=2026-02-30T00:00:00Z", "", 400, "bad_parameter"),
    ("GET", "/transaction/safety/transactions?cursor=x", "", 400, "bad_parameter"),
    ("GET", "/transaction/safety/transactions?session=%00", "", 400, "bad_parameter"),
    ("GET", "/transaction/safety/transactions?unknown=%FF&limit=1", "", 200, ""),
    ("POST", "/transaction/safety/transactions", "", 400, "bad_body"),
    ("POST", "/transaction/safety/transactions", "[]", 400, "bad_body"),
    ("POST", "/transaction/safety/transactions", "{\"method\":\"POST\"}", 400, "bad_body"),
    ("POST", "/transaction/safety/transactions", "{\"method\":\"\",\"path\":\"/x\"}", 400, "bad_body"),
    ("POST", "/transaction/safety/transactions", "{\"method\":\"P\",\"path\":\"/\\u0000\"}", 400, "bad_body"),
    ("POST", "/transaction/safety/transactions", "{\"method\":\"P\",\"path\":\"/\",\"headers\":3}", 400, "bad_body"),
    ("POST", "/transaction/safety/transactions/x/complete", "{}", 404, "unknown_transaction"),
    ("POST", "/transaction/safety/transactions/x/complete", "{\"status\":99}", 400, "bad_body"),
    ("POST", "/transaction/safety/transactions/x/complete", "{\"status\":\"ok\"}", 400, "bad_body"),
    ("POST", "/transaction/safety/transactions/x/fail", "{}", 400, "bad_body"),
    ("POST", "/transaction/safety/transactions/x/fail", "{\"reason\":\"r\"}", 404, "unknown_transaction"),
    ("POST", "/transaction/safety/cleanup", "", 400, "bad_body"),
    ("POST", "/transaction/safety/cleanup", "{\"days_old\":-1}", 400, "bad_body"),
    ("POST", "/transaction/safety/cleanup", "{\"days_old\":1.5}", 400, "bad_body"),
    ("POST", "/transaction/safety/cleanup", "{\"days_old\":99999999}", 400, "bad_body"),
    ("POST", "/transaction/safety/cleanup", "{\"days_old\":\"7\"}", 400, "bad_body"),
    ("POST", "/transaction/safety/transaction/x", "", 405, "method_not_allowed"),
    ("DELETE", "/transaction/safety/transactions", "", 405, "method_not_allowed"),
    ("GET", "/transaction/safety/recovery/trigger", "", 405, "method_not_allowed"),
    ("GET", "/transaction/safety/cleanup", "", 405, "method_not_allowed"),
    ("PUT", "/transaction/safety/status", "{}", 405, "method_not_allowed"),
    ("POST", "/admin/transaction_safety_status", "{}", 405, "method_not_allowed"),
    ("GET", "/transaction/safety/transactions/x/complete", "", 405, "method_not_allowed"),
    ("GET", "/transaction/safety/nothing", "", 404, "no_such_page"),
    ("POST", "/admin/nothing", "{}", 404, "no_such_page"),
];

#[test]
fn bad_input_is_refused_and_changes_nothing() {
    let cluster = Cluster::two();
    let client = cluster.client();
    for (method, path, body, status, reason) in BAD {
        let answer = client.send(method, path, "application/json", body.as_bytes()).expect("an answer");
        assert_eq!(answer.status, *status, "{method} {path} {body}: {answer}");
        assert_eq!(answer.header("allow").is_some(), *status == 405, "{method} {path}: {answer}");
        if *status == 200 {
            continue;
        }
        let json = answer.json();
        assert_eq!(json["reason"], *reason, "{method} {path} {body}: {answer}");
        assert!(json["error"].is_string() && json["message"].is_string(), "{answer}");
    }
    let long = format!("{{\"method\":\"P\",\"path\":\"/\",\"data\":\"{}\"}}", "x".repeat(1 << 20));
    let answer = client.send("POST", "/transaction/safety/transactions", "application/json", long.as_bytes());
    assert_eq!(answer.expect("an answer").status, 413);
    let huge = client.with_header("Transaction-ID", &"k".repeat(256));
    huge.post("/transaction/safety/transactions", &json!({ "method": "P", "path": "/" })).expect(400);
    let head = client.connect().expect("a connection");
    let mut head = head;
    head.send(b"HEAD /transaction/safety/status HTTP/1.1\r\nhost: x\r\n\r\n").expect("sent");
    assert_eq!(head.read_header().expect("an answer").status, 200);
    assert_eq!(journaled(&cluster.edge), 0);
}
