//! Stock clients and raw requests get the same answers from the edge as from a single Chroma, except for ids.

use crate::conformance;
use testkit::chroma::{ChromaServer, Reset};
use testkit::cluster::Cluster;
use testkit::conversation::{Step, compare};
use testkit::scripts;

#[test]
fn python_sync_client() {
    let cluster = Cluster::two();
    scripts::python("drop_in.py", &cluster.edge.url(), &[]);
    cluster.assert_converged();
}

#[test]
fn python_async_client() {
    let cluster = Cluster::two();
    scripts::python("drop_in.py", &cluster.edge.url(), &["--async"]);
    cluster.assert_converged();
}

#[test]
fn js_client() {
    let cluster = Cluster::two();
    scripts::js("drop_in.js", &cluster.edge.url());
    cluster.assert_converged();
}

/// Runs the same requests against a single Chroma and the edge, and compares the answers one by one.
fn same_as_chroma(steps: &[Step]) {
    let single = ChromaServer::fresh();
    let cluster = Cluster::two();
    let differences = compare(&single.client(), &cluster.client(), steps);
    assert!(differences.is_empty(), "{} of {} steps:\n{}", differences.len(), steps.len(), differences.join("\n"));
}

#[test]
fn every_operation_answers_as_chroma_does() {
    same_as_chroma(&conformance::operations());
}

#[test]
fn every_refusal_answers_as_chroma_does() {
    same_as_chroma(&conformance::refusals());
}

#[test]
fn reset_when_allowed() {
    let servers = [ChromaServer::with_reset(Reset::Allowed), ChromaServer::with_reset(Reset::Allowed)];
    let single = ChromaServer::with_reset(Reset::Allowed);
    let edge = testkit::Edge::builder()
        .instances(&[&servers[0], &servers[1]])
        .config("  protection: { allow_reset: true, collections: [] }")
        .start();
    let differences = compare(&single.client(), &edge.client(), &conformance::reset());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    edge.wait_until_in_sync(testkit::cluster::CATCH_UP);
    for server in &servers {
        let held = testkit::Content::of(&server.client(), testkit::cluster::TENANT);
        assert_eq!(held.collections.keys().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["after"]);
    }
}

#[test]
fn the_harness_finds_a_different_answer() {
    let (left, right) = (ChromaServer::fresh(), ChromaServer::fresh());
    assert!(compare(&left.client(), &right.client(), &conformance::operations()).is_empty(), "two equal servers");
    let (one, two) = (ChromaServer::fresh(), ChromaServer::fresh());
    assert!(compare(&one.client(), &two.client(), &conformance::refusals()).is_empty(), "two equal servers");
    let steps = [Step::get("again", "{db}/collections/kept")];
    assert!(compare(&left.client(), &right.client(), &steps).is_empty());
    right.client().call("DELETE", &format!("{}/collections/kept", testkit::http::DEFAULT), &serde_json::Value::Null);
    let found = compare(&left.client(), &right.client(), &steps);
    assert_eq!(found.len(), 2, "status and body: {found:?}");
}
