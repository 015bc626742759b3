//! On a healthy deployment every check passes, the run leaves nothing behind, and no other content has changed.

use serde_json::json;

use super::command::{MUCH, held, own, validate, validate_plainly};
use super::liar::Liar;
use testkit::Cluster;
use testkit::cluster::add;
use testkit::http::{DEFAULT, record_path};

/// A collection that another run has left.
const OTHER: &str = "AUTOTEST_0ddba11abc_documents_one";

/// Starts a cluster with content of other clients, including one collection of another run.
fn inhabited() -> Cluster {
    let cluster = Cluster::two();
    let customers = cluster.create("customers");
    (0..5).for_each(|n| drop(add(&cluster.client(), &customers, &format!("c{n}")).expect(201)));
    let other = cluster.create(OTHER);
    // A client's collections, which no run has made.
    cluster.create("AUTOTEST_customers");
    cluster.create("AUTOTEST_0ddba11abc_wishes_one");
    add(&cluster.client(), &other, "kept").expect(201);
    cluster.edge.wait_until_in_sync(testkit::cluster::CATCH_UP);
    cluster
}

#[test]
fn all_checks_pass_and_nothing_else_is_touched() {
    let cluster = inhabited();
    let before = held(&cluster.servers);
    let liar = Liar::before(&cluster.edge, |asked, pass| pass(asked));
    let addresses = [("primary", 0), ("replica", 1)].map(|(name, n)| format!("{name}={}", cluster.servers[n].url()));
    let ran = validate(liar.url(), &["--instances", &addresses.join(","), MUCH]);
    ran.assert_passed();
    assert_eq!(ran.report["checks"].as_array().map(Vec::len), Some(9));
    assert_eq!(ran.check("sync")["figures"]["asked_directly"], 2);
    assert_eq!(ran.check("concurrency")["figures"]["logged"], 30);
    assert!(ran.stdout.contains("9 passed, 0 failed, 0 skipped"), "{}", ran.stdout);
    assert_eq!(ran.stderr, "", "no progress where there is no terminal");
    assert_eq!(held(&cluster.servers), before);

    assert_eq!(ran.left(), 0);
    let others = json!([{ "collection": OTHER, "remove": removal(liar.url()) }]);
    assert_eq!(ran.report["left_by_other_runs"], others);
    assert_eq!(own(&cluster.client()).len(), 3, "it and two that only begin alike");

    let run = ran.report["run"].as_str().expect("a run");
    assert_written_to_own_alone(&liar, &format!("AUTOTEST_{run}_"));
}

fn removal(url: &str) -> String {
    format!("curl -fsS -X DELETE '{url}{DEFAULT}/collections/{OTHER}'")
}

/// Checks that every request other than reads was about a collection with this prefix.
fn assert_written_to_own_alone(liar: &Liar, prefix: &str) {
    let mut writes = 0;
    for asked in liar.seen() {
        let path = asked.path.split('?').next().unwrap_or_default();
        if asked.method == "GET" || path.ends_with("/get") || path.ends_with("/query") {
            continue;
        }
        let name = match path.ends_with("/collections") {
            true => asked.json()["name"].as_str().map(str::to_owned),
            false => asked.collection.clone(),
        };
        assert!(name.is_some_and(|name| name.starts_with(prefix)), "{} {}", asked.method, asked.path);
        writes += 1;
    }
    assert!(writes > 100, "too few to say anything: {writes}");
}

#[test]
fn without_addresses_instances_are_read_through_the_edge() {
    let cluster = inhabited();
    let before = held(&cluster.servers);
    let ran = validate(&cluster.edge.url(), &["--only", "health,sync,delete", MUCH]);
    ran.assert_passed();
    let compared = &ran.check("sync")["figures"];
    assert_eq!((&compared["asked_directly"], &compared["instances"]), (&json!(0), &json!(2)));
    assert_eq!(ran.report["checks"].as_array().map(Vec::len), Some(3));
    assert_eq!(held(&cluster.servers), before);
}

#[test]
fn a_token_is_sent_both_ways_and_shown_nowhere() {
    let cluster = Cluster::two();
    let liar = Liar::before(&cluster.edge, |asked, pass| {
        let bearer = asked.header("authorization") == Some("Bearer s3cret");
        match bearer && asked.header("x-chroma-token") == Some("s3cret") {
            true => pass(asked),
            false => super::liar::made_up(401, &json!({ "error": "AuthError", "message": "who are you?" })),
        }
    });
    let refused = validate(liar.url(), &["--only", "health"]);
    refused.assert_failed("health", "is --token right?");
    let ran = validate(liar.url(), &["--only", "documents", "--token", "s3cret", MUCH]);
    ran.assert_passed();
    assert!(!format!("{ran:?}").contains("s3cret"), "{ran:#?}");
    assert!(!ran.stdout.contains("curl"), "{ran:#?}");
    cluster.create(OTHER);
    let ran = validate(liar.url(), &["--only", "health", "--token", "s3cret", MUCH]);
    ran.assert_passed();
    assert!(ran.stdout.contains("(CHROMA_EDGE_TOKEN must be set to the token)"), "{ran:#?}");
}

#[test]
fn another_database_is_worked_in_alone() {
    let cluster = Cluster::two();
    cluster.client().post("/api/v2/tenants/default_tenant/databases", &json!({ "name": "other" })).expect(200);
    let liar = Liar::before(&cluster.edge, |asked, pass| pass(asked));
    validate(liar.url(), &["--only", "documents", "--database", "other", MUCH]).assert_passed();
    let elsewhere = |path: &str| path.starts_with("/api/v2/tenants/") && !path.contains("/databases/other/");
    assert!(liar.seen().iter().all(|asked| !elsewhere(&asked.path)));
}

#[test]
fn the_table_goes_to_a_text_file_too() {
    let cluster = Cluster::two();
    let (_folder, path) = super::command::file("report.txt", &"older and longer ".repeat(1000));
    let output = path.display().to_string();
    let ran = validate_plainly(&cluster.edge.url(), &["--only", "health", "--output", &output]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert_eq!(std::fs::read_to_string(path).expect("the report"), ran.stdout);
}

#[test]
fn what_another_run_has_left_is_neither_read_nor_written() {
    let cluster = inhabited();
    let liar = Liar::before(&cluster.edge, |asked, pass| pass(asked));
    validate(liar.url(), &["--only", "documents,delete", MUCH]).assert_passed();
    let other = cluster.client().get(&format!("{DEFAULT}/collections/{OTHER}")).expect(200);
    let id = other.json()["id"].as_str().expect("an id").to_owned();
    assert!(liar.seen().iter().all(|asked| !asked.path.contains(&id) && !asked.path.contains("0ddba11abc")));
    assert_eq!(cluster.client().get(&record_path(&id, "count")).expect(200).json(), 1);
}
