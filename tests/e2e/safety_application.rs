//! An application's own operations: remembered like writes, but never executed.

use serde_json::{Value, json};

use testkit::Cluster;
use testkit::cluster::{CATCH_UP, add};
use testkit::http::{Answer, Client};

const TRANSACTIONS: &str = "/transaction/safety/transactions";

fn begin(client: &Client) -> Answer {
    let headers =
        json!({ "Authorization": "Bearer secret", "Api-Key": "secret", "X-Auth-Token": "secret", "X-Request-Id": "7" });
    let body = json!({ "method": "POST", "path": "/import", "data": { "file": "a.pdf" }, "headers": headers });
    client.post(TRANSACTIONS, &body)
}

#[track_caller]
fn report(client: &Client, id: &str, how: &str, body: Value) -> Answer {
    client.post(&format!("{TRANSACTIONS}/{id}/{how}"), &body)
}

#[track_caller]
fn shown(client: &Client, id: &str) -> Value {
    client.get(&format!("/transaction/safety/transaction/{id}")).expect(200).json()
}

#[test]
fn an_operation_is_remembered_and_never_executed() {
    let mut cluster = Cluster::two();
    let client = cluster.client().with_header("X-Client-Session", "cms");
    let begun = begin(&client).expect(201);
    let id = begun.header("transaction-id").expect("an id").to_owned();
    let page = begun.json();
    assert_eq!(page, shown(&client, &id));
    assert_eq!((&page["status"], &page["operation_type"]), (&json!("ATTEMPTING"), &json!("application")), "{page}");
    assert_eq!((&page["method"], &page["path"]), (&json!("POST"), &json!("/import")), "{page}");
    assert_eq!((&page["client_session"], &page["instances"]), (&json!("cms"), &json!([])), "{page}");
    assert_eq!(page["application"], json!({ "data": { "file": "a.pdf" }, "headers": { "X-Request-Id": "7" } }));
    assert!(!page.to_string().contains("secret"), "{page}");
    assert_eq!(
        cluster.edge.status()["pending_writes"],
        0,
        "an application's operation is no pending write of the edge"
    );
    assert_eq!(client.get("/admin/transaction_safety_status").expect(200).json()["pending_recovery"], 0);
    let collection = cluster.create("things");
    add(&client, &collection, "one").expect(201);

    let failed =
        report(&client, &id, "fail", json!({ "reason": "no answer", "is_timing_gap": true })).expect(200).json();
    assert_eq!((&failed["status"], &failed["failure_reason"]), (&json!("FAILED"), &json!("no answer")), "{failed}");
    assert_eq!((&failed["is_timing_gap_failure"], &failed["retry_count"]), (&json!(true), &json!(1)), "{failed}");
    cluster.edge.kill();
    cluster.edge.restart();
    assert_eq!(shown(&client, &id), failed, "a start finishes nothing of it");
    let list = client.get(&format!("{TRANSACTIONS}?operation=application&status=FAILED,ATTEMPTING")).expect(200).json();
    assert_eq!((&list["total"], &list["transactions"][0]["transaction_id"]), (&json!(1), &json!(id)), "{list}");

    let waiting = {
        let (client, path) = (client.clone(), format!("/transaction/safety/transaction/{id}?wait=30"));
        std::thread::spawn(move || client.get(&path))
    };
    let done = report(&client, &id, "complete", json!({ "status": 200, "result": { "pages": 3 } })).expect(200).json();
    assert_eq!((&done["status"], &done["completed"]), (&json!("RECOVERED"), &json!(true)), "{done}");
    assert_eq!((&done["result"], &done["response_status"]), (&json!({ "pages": 3 }), &json!(200)), "{done}");
    assert_eq!(waiting.join().expect("who waits").expect(200).json(), done);
    let again = report(&client, &id, "complete", json!({ "status": 200, "result": { "pages": 3 } })).expect(200);
    assert_eq!(again.json(), done);
    let refused = report(&client, &id, "fail", json!({ "reason": "too late" })).expect(409);
    assert_eq!(refused.json()["reason"], "transaction_final", "{refused}");
    assert_eq!(shown(&client, &id), done);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.assert_converged();
}

#[test]
fn an_id_of_its_own_is_journaled_once() {
    let mut cluster = Cluster::two();
    let client = cluster.client().with_header("Transaction-ID", "import-1");
    let first = begin(&client).expect(201);
    assert_eq!(first.header("transaction-id"), Some("import-1"));
    cluster.edge.kill();
    cluster.edge.restart();
    let again = begin(&client).expect(201);
    assert_eq!((again.header("idempotent-replayed"), again.json()), (Some("true"), first.json()));
    // The id that the edge assigned identifies the same operation.
    let given = first.json()["transaction_id"].as_str().expect("an id").to_owned();
    let under = begin(&cluster.client().with_header("Transaction-ID", &given)).expect(201);
    assert_eq!((under.header("idempotent-replayed"), under.json()), (Some("true"), first.json()));
    let other = client.post(TRANSACTIONS, &json!({ "method": "POST", "path": "/other" })).expect(422);
    assert_eq!(other.json()["reason"], "transaction_id_reused", "{other}");
    let done = report(&client, "import-1", "complete", json!({})).expect(200).json();
    assert_eq!((&done["status"], &done["result"]), (&json!("COMPLETED"), &Value::Null), "{done}");
    let given_up = begin(&cluster.client()).expect(201).json()["transaction_id"].as_str().expect("an id").to_owned();
    let ended = report(&client, &given_up, "fail", json!({ "reason": "never", "final": true })).expect(200).json();
    assert_eq!((&ended["status"], &ended["completed"]), (&json!("ABANDONED"), &json!(false)), "{ended}");
    let total = client.get(TRANSACTIONS).expect(200).json();
    assert_eq!((&total["total"], &total["counts"]["ABANDONED"]), (&json!(2), &json!(1)), "{total}");
}

#[test]
fn a_write_is_not_ended_by_an_application() {
    let cluster = Cluster::two();
    let collection = cluster.create("things");
    let written = add(&cluster.client(), &collection, "one").expect(201);
    let id = written.header("transaction-id").expect("an id");
    for (how, body) in [("complete", json!({})), ("fail", json!({ "reason": "x" }))] {
        let refused = report(&cluster.client(), id, how, body).expect(409);
        assert_eq!(refused.json()["reason"], "not_an_application_operation", "{refused}");
    }
    cluster.assert_converged();
}

/// A client that never ends its operations fills the share of applications, and takes nothing from other clients.
#[test]
fn operations_that_nobody_ends_take_a_part_of_the_journal_and_no_more() {
    let cluster = Cluster::with(2, |edge| {
        edge.journal_keys("max_bytes: 8MiB, application_bytes: 1MiB").config("  trusted_proxies: [127.0.0.1]")
    });
    let client = cluster.client();
    let collection = cluster.create("things");
    let first = client.with_header("transaction-id", "mine");
    let body = json!({ "ids": ["one"], "embeddings": [[1, 2, 3]] });
    let path = testkit::http::record_path(&collection, "add");
    let written = first.post(&path, &body).expect(201);
    // Each from its own address, so that none exceeds its share.
    let begin_with = |id: &str, size: usize| {
        let data = "x".repeat(size);
        let body = json!({ "method": "POST", "path": "/import", "data": data });
        let last = id.bytes().fold(7_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
        let client = client.with_header("x-forwarded-for", &format!("203.0.113.{last}"));
        client.with_header("transaction-id", id).post(TRANSACTIONS, &body)
    };
    let begin = |id: &str| begin_with(id, 190_000);
    let number = |name: &str| {
        let page = client.get("/metrics").expect(200).text();
        let line = page.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.and_then(|value| value.parse::<f64>().ok()).unwrap_or_else(|| panic!("no metric {name}"))
    };
    assert_eq!(number("chroma_edge_journal_application_bytes_limit"), f64::from(1 << 20));
    let mut begun = 0;
    let refused = (0..80)
        .map(|number| begin(&format!("import-{number}")))
        .find(|answer| {
            begun += usize::from(answer.status == 201);
            answer.status != 201
        })
        .expect("an end");
    assert_eq!(refused.expect(507).json()["reason"], "applications_full");
    assert_eq!(begun, 5);
    assert_eq!(begin("import-0").expect(201).header("idempotent-replayed"), Some("true"), "a repetition takes nothing");
    assert!(number("chroma_edge_applications_refused") >= 1.0);
    // The result of an operation takes room, too.
    let result = json!({ "result": "y".repeat(200_000) });
    let refused = report(&client, "import-0", "complete", result).expect(507);
    assert_eq!(refused.json()["reason"], "applications_full");
    let small = (0..40).take_while(|number| begin_with(&format!("small-{number}"), 100).status == 201).count();
    assert!((1..40).contains(&small), "no room is left for the shortest, either: {small}");
    // Operations that could begin can end.
    report(&client, "import-0", "complete", json!({ "result": "z".repeat(4_000) })).expect(200);
    report(&client, "import-1", "fail", json!({ "reason": "lost" })).expect(200);
    assert!(number("chroma_edge_journal_application_bytes") > 1e6);
    let again = first.post(&path, &body).expect(201);
    assert_eq!(again.header("idempotent-replayed"), Some("true"), "nobody's finished writes had to go");
    assert_eq!(again.text(), written.text());
}
