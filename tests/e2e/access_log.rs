//! The access log: one line for each request, in both formats, without any secret.

use serde_json::{Value, json};

use testkit::cluster::CATCH_UP;
use testkit::cluster::{Cluster, record};
use testkit::http::{DEFAULT, record_path};
use testkit::place::wait_for;

const TRACE: &str = "00ab5f3c9d2e4f61a7b8c9d0e1f20304";
const SECRETS: [&str; 4] = ["hush-bearer", "hush-token", "hush-cookie", "hush-query"];

/// Sends a write, a read and a refused request, each with secrets where clients put them.
fn requests(cluster: &Cluster) {
    let collection = cluster.create("things");
    let client = cluster
        .client()
        .with_header("Chroma-Trace-ID", TRACE)
        .with_header("Authorization", "Bearer hush-bearer")
        .with_header("X-Chroma-Token", "hush-token")
        .with_header("Cookie", "session=hush-cookie");
    client.with_header("Transaction-ID", "mine-1").post(&record_path(&collection, "add"), &record("one")).expect(201);
    client.post(&record_path(&collection, "get?token=hush-query"), &json!({})).expect(200);
    client.post("/api/v2/reset", &json!(null)).expect(403);
}

/// Waits for this many lines with this trace id, and returns them.
fn lines(cluster: &Cluster, count: usize) -> Vec<String> {
    wait_for("the lines", CATCH_UP, || {
        let log = cluster.edge.log();
        let found: Vec<_> = log.lines().filter(|line| line.contains(TRACE)).map(str::to_owned).collect();
        (found.len() >= count).then_some(found)
    })
}

#[track_caller]
fn assert_no_secret(cluster: &Cluster) {
    let log = cluster.edge.log();
    let told: Vec<_> = SECRETS.iter().filter(|secret| log.contains(*secret)).collect();
    assert!(told.is_empty(), "{told:?} in\n{log}");
}

#[test]
fn each_request_has_one_json_line_with_its_ids_and_no_secret() {
    let cluster = Cluster::with(2, |edge| edge.config("  access_log: true\n  log_format: json"));
    requests(&cluster);
    let lines = lines(&cluster, 3);
    let parsed: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(parsed.len(), 3, "{lines:#?}");
    for (line, [operation, outcome, instance]) in
        parsed.iter().zip([["add", "ok", "primary"], ["record_read", "ok", ""], ["reset", "refused", ""]])
    {
        assert_eq!(
            (&line["target"], &line["level"], &line["message"]),
            (&json!("access"), &json!("INFO"), &json!("request"))
        );
        assert_eq!(
            (&line["trace"], &line["operation"], &line["outcome"]),
            (&json!(TRACE), &json!(operation), &json!(outcome))
        );
        assert!(line["millis"].as_f64().is_some_and(|millis| millis > 0.0) && line["client"] == "127.0.0.1", "{line}");
        assert!(instance.is_empty() || line["instance"] == instance, "{line}");
    }
    assert_eq!((&parsed[0]["transaction"], &parsed[0]["status"]), (&json!("mine-1"), &json!(201)));
    assert_eq!((&parsed[2]["failure"], &parsed[2]["status"]), (&json!("reset_disabled"), &json!(403)));
    assert!(parsed[1]["path"].as_str().is_some_and(|path| path.starts_with(DEFAULT) && path.ends_with("/get")));
    assert!(parsed[1].get("transaction").is_none(), "a read has none: {}", parsed[1]);
    let log = cluster.edge.log();
    let other = log.lines().find(|line| serde_json::from_str::<Value>(line).is_err());
    assert_eq!(other, None, "every line is JSON");
    assert_no_secret(&cluster);
}

#[test]
fn a_text_line_says_the_same_and_there_is_none_unless_asked_for() {
    let cluster = Cluster::with(2, |edge| edge.config("  access_log: true"));
    requests(&cluster);
    let lines = lines(&cluster, 3);
    assert!(
        lines.len() == 3 && lines[0].contains(" INFO access: request") && lines[0].contains("transaction=\"mine-1\""),
        "{lines:#?}"
    );
    assert_no_secret(&cluster);
    let cluster = Cluster::two();
    requests(&cluster);
    cluster.client().get("/health").expect(200);
    assert!(!cluster.edge.log().contains(TRACE), "{}", cluster.edge.log());
}
