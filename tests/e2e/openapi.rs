//! `/openapi.json` matches the pages: each described operation is called, and each answer has a described status and
//! exactly the described fields. (A test beside the description checks that each page is described.)

use std::collections::BTreeSet;

use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, Cluster, add};
use testkit::http::{Client, DEFAULT};

/// Adds the ways in which a value violates its schema.
fn faults(document: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.trim_start_matches("#/components/schemas/");
        return faults(document, &document["components"]["schemas"][name], value, at, found);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        if value.is_null() && any.iter().any(|one| one["type"] == "null") {
            return;
        }
        return faults(document, &any[0], value, at, found);
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return,
    };
    let fits = |kind: &&str| match *kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("a schema of {other}"),
    };
    if !kinds.iter().any(fits) {
        found.push(format!("{at} is {value}, not {kinds:?}"));
    }
    for (number, item) in value.as_array().into_iter().flatten().enumerate() {
        faults(document, &schema["items"], item, &format!("{at}[{number}]"), found);
    }
    let Some(fields) = value.as_object() else { return };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(name) {
            found.push(format!("{at}.{name} is absent"));
        }
    }
    for (name, field) in fields {
        match (schema["properties"].get(name), &schema["additionalProperties"]) {
            (Some(schema), _) => faults(document, schema, field, &format!("{at}.{name}"), found),
            (None, Value::Bool(false)) => found.push(format!("{at}.{name} is not described")),
            (None, more) => faults(document, more, field, &format!("{at}.{name}"), found),
        }
    }
}

#[test]
fn a_value_that_is_not_as_described_is_found() {
    let schema = json!({
        "type": "object", "required": ["a"], "additionalProperties": false,
        "properties": { "a": { "type": "integer" }, "b": { "type": ["string", "null"] } },
    });
    let count = |value: Value| {
        let mut found = Vec::new();
        faults(&Value::Null, &schema, &value, "", &mut found);
        found.len()
    };
    assert_eq!(count(json!({ "a": 1, "b": null })), 0);
    let wrong = [json!({}), json!({ "a": 1.5 }), json!({ "a": 1, "b": 2 }), json!({ "a": 1, "c": 2 }), json!([])];
    assert_eq!(wrong.map(count), [1, 1, 1, 1, 1]);
}

/// A call: the method, the template of its path, the path, the body, and the expected status.
type Call = (&'static str, &'static str, String, Value, u16);

/// Pages that are read with a plain GET.
const READ: [&str; 26] = [
    "/health",
    "/health/live",
    "/health/ready",
    "/status",
    "/wal/status",
    "/collection/mappings",
    "/metrics",
    "/metrics.json",
    "/openapi.json",
    "/transaction/safety/client.js",
    "/transaction/safety/status",
    "/transaction/safety/transactions",
    "/admin/transaction_safety_status",
    "/admin/quarantine",
    "/admin/faults",
    "/admin/switchover",
    "/admin/drain",
    "/admin/heal",
    "/admin/audit",
    "/admin/collection_mappings",
    "/admin/instances",
    "/admin/wal_count",
    "/admin/wal_errors",
    "/admin/wal_debug",
    "/admin/scalability_status",
    "/dashboard",
];
const BUTTONS: [&str; 8] = [
    "sync_collections",
    "force_recovery_restart",
    "force_transaction_reset",
    "clear_wal_errors",
    "reset_stuck_transactions",
    "force_delete_sync",
    "optimize_connection_pool",
    "reset_stats",
];
const UNKNOWN: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

fn at(template: &'static str, method: &'static str, body: Value, status: u16) -> Call {
    (method, template, template.to_owned(), body, status)
}

fn none() -> Value {
    Value::Null
}

/// Returns at least one call for each described operation.
fn calls(collection: &str, write: &str) -> Vec<Call> {
    let read = READ.iter().map(|template| at(template, "get", none(), 200));
    let pressed = BUTTONS.iter().map(|button| ("post", "", format!("/admin/{button}"), json!({}), 200));
    let others = [about_transactions(write), to_operators(collection), about_mappings(collection)].concat();
    read.chain(pressed).chain(others).collect()
}

fn about_transactions(write: &str) -> Vec<Call> {
    let transaction = |end: &str| format!("/transaction/safety/transactions/openapi-1{end}");
    vec![
        at("/transaction/safety/events", "get", none(), 400),
        at("/transaction/safety/recovery/trigger", "post", none(), 200),
        at("/transaction/safety/transactions", "post", json!({ "method": "POST", "path": "/x" }), 201),
        at("/transaction/safety/transactions", "post", json!({ "method": "POST", "path": "/y" }), 422),
        at("/transaction/safety/transactions", "post", json!({}), 400),
        (
            "get",
            "/transaction/safety/transaction/{id}",
            format!("/transaction/safety/transaction/{write}"),
            none(),
            200,
        ),
        (
            "get",
            "/transaction/safety/transaction/{id}",
            format!("/transaction/safety/transaction/{UNKNOWN}"),
            none(),
            404,
        ),
        ("post", "/transaction/safety/transactions/{id}/fail", transaction("/fail"), json!({ "reason": "later" }), 200),
        (
            "post",
            "/transaction/safety/transactions/{id}/complete",
            transaction("/complete"),
            json!({ "status": 200 }),
            200,
        ),
        ("post", "/transaction/safety/transactions/{id}/fail", transaction("/fail"), json!({ "reason": "late" }), 409),
        (
            "post",
            "/transaction/safety/transactions/{id}/complete",
            transaction("/complete"),
            json!({ "status": 7 }),
            400,
        ),
    ]
}

fn to_operators(collection: &str) -> Vec<Call> {
    vec![
        ("post", "/admin/quarantine/{id}", "/admin/quarantine/nothing".to_owned(), json!({ "action": "lift" }), 404),
        ("post", "/admin/quarantine/{id}", "/admin/quarantine/nothing".to_owned(), json!({}), 400),
        ("delete", "/admin/faults/{lane}", "/admin/faults/catalog".to_owned(), none(), 200),
        ("delete", "/admin/faults/{lane}", "/admin/faults/nothing".to_owned(), none(), 404),
        at("/admin/switchover", "post", json!({ "to": "replica" }), 200),
        at("/admin/switchover", "post", json!({ "to": "nobody" }), 400),
        at("/admin/switchover", "get", none(), 200),
        at("/status", "get", none(), 200),
        at("/admin/switchover", "post", json!({ "to": "primary" }), 200),
        at("/admin/drain", "post", json!({ "instance": "replica", "sync": "stop" }), 200),
        at("/admin/drain", "post", json!({ "instance": "primary", "sync": "stop" }), 409),
        at("/admin/drain", "get", none(), 200),
        at("/status", "get", none(), 200),
        at("/admin/undrain", "post", json!({ "instance": "replica" }), 200),
        at("/admin/undrain", "post", json!({}), 400),
        at("/admin/adopt", "post", json!({ "collection": collection, "from": "primary" }), 409),
        at("/admin/adopt", "post", json!({}), 400),
        at("/admin/foreign", "post", json!({ "instance": "replica", "action": "rebuild", "confirm": "replica" }), 409),
        at("/admin/foreign", "post", json!({}), 400),
        at("/admin/heal", "post", json!({ "action": "resume" }), 200),
        at("/admin/audit", "post", json!({ "collection": collection }), 202),
        at("/admin/audit", "post", json!({ "collection": "nothing" }), 404),
        at("/admin/reload", "post", json!({}), 200),
        at("/admin/reload", "post", json!({ "confirm": "nobody" }), 400),
        at("/admin/upgrade", "post", json!({ "restart": "never" }), 400),
        at("/dashboard/live", "get", none(), 503),
    ]
}

fn about_mappings(collection: &str) -> Vec<Call> {
    vec![
        at("/admin/create_mapping", "post", json!({ "collection_name": "openapi", "primary_id": collection }), 200),
        at("/admin/create_mapping", "post", json!({ "collection_name": "openapi", "primary_id": UNKNOWN }), 409),
        at("/admin/complete_mappings", "post", json!({ "collection_name": "openapi" }), 200),
        at("/admin/complete_mappings", "post", json!({ "collection_name": "nothing" }), 404),
        (
            "post",
            "/admin/instances/{name}/health",
            "/admin/instances/x/health".to_owned(),
            json!({ "healthy": true }),
            404,
        ),
        ("post", "/admin/instances/{name}/health", "/admin/instances/replica/health".to_owned(), json!({}), 400),
        (
            "post",
            "/admin/instances/{name}/health",
            "/admin/instances/replica/health".to_owned(),
            json!({ "healthy": true }),
            200,
        ),
        ("delete", "/collection/mappings/{name}", "/collection/mappings/openapi".to_owned(), none(), 409),
        ("delete", "/collection/mappings/{name}", "/collection/mappings/global".to_owned(), none(), 403),
        ("delete", "/collection/mappings/{name}", "/collection/mappings/nothing".to_owned(), none(), 404),
        at("/wal/cleanup", "post", json!({ "max_age_hours": 24 }), 200),
        at("/wal/cleanup", "post", json!({ "max_age_hours": -1 }), 400),
        at("/transaction/safety/cleanup", "post", json!({ "days_old": 3 }), 200),
    ]
}

fn check(client: &Client, document: &Value, call: &Call) -> (String, String) {
    let (method, template, path, body, expected) = call;
    let template = if template.is_empty() { path.as_str() } else { template };
    let answer = client.call(&method.to_uppercase(), path, body);
    assert_eq!(answer.status, *expected, "{method} {path} {body}: {answer}");
    let operation = &document["paths"][template][*method];
    let described = &operation["responses"][answer.status.to_string()];
    assert!(described.is_object(), "{method} {template} does not describe {}: {answer}", answer.status);
    let schema = &described["content"]["application/json"]["schema"];
    if schema.is_object() {
        let mut found = Vec::new();
        faults(document, schema, &answer.json(), "", &mut found);
        assert!(found.is_empty(), "{method} {template} {}: {found:#?}\n{answer}", answer.status);
    } else {
        let (kind, _) = described["content"].as_object().and_then(|kinds| kinds.iter().next()).expect("a media type");
        assert!(
            answer.header("content-type").is_some_and(|sent| sent.starts_with(kind.as_str())),
            "{template}: {answer}"
        );
    }
    if let Some(schema) = operation["requestBody"]["content"]["application/json"]["schema"].as_object()
        && answer.status < 300
    {
        let mut found = Vec::new();
        faults(document, &Value::Object(schema.clone()), body, "body", &mut found);
        assert!(found.is_empty() || body.is_null(), "{method} {template}: {found:#?}");
    }
    (template.to_owned(), (*method).to_owned())
}

#[test]
fn every_operation_answers_as_it_is_described() {
    let cluster = Cluster::with(2, |edge| edge.config("  limits: { dashboards: 0 }"));
    let client = cluster.client().with_header("Transaction-ID", "openapi-1");
    let collection = cluster.create("openapi");
    let write = add(&cluster.client(), &collection, "one").expect(201);
    let write = write.header("transaction-id").expect("an id").to_owned();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let document = client.get("/openapi.json").expect(200).json();
    let own = cluster.servers[0].client().get(&format!("{DEFAULT}/collections/openapi")).expect(200).json();
    assert_eq!(own["id"], json!(collection), "the first one to have it gives it its id");
    let mut seen = BTreeSet::new();
    for call in calls(&collection, &write) {
        seen.insert(check(&client, &document, &call));
    }
    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        described.extend(item.as_object().expect("operations").keys().map(|method| (path.clone(), method.clone())));
    }
    assert_eq!(seen, described, "each operation is called");
    // No page answers any other path.
    for path in ["/admin", "/admin/nothing", "/health/x", "/openapi"] {
        assert_eq!(client.get(path).status, 404, "{path}");
    }
}
