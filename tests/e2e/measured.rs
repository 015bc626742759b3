//! The metrics agree with the tests' own counts, while an instance is away and after it has returned.

use std::time::Instant;

use serde_json::json;

use testkit::cluster::{CATCH_UP, Cluster, record};
use testkit::http::record_path;
use testkit::place::wait_for;

struct Page(String);

impl Page {
    fn of(cluster: &Cluster) -> Page {
        Page(cluster.client().get("/metrics").expect(200).text())
    }

    /// Returns the sum of the series with this name whose labels contain all of these.
    fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let lines = self.0.lines().filter(|line| {
            let (series, _) = line.rsplit_once(' ').unwrap_or((line, ""));
            series.split('{').next() == Some(name) && labels.iter().all(|label| series.contains(label))
        });
        lines.map(|line| line.rsplit_once(' ').expect("a value").1.parse::<f64>().expect("a number")).sum()
    }

    fn number(&self, name: &str, labels: &[&str]) -> u64 {
        self.sum(name, labels).round() as u64
    }
}

const REPLICA: &str = "instance=\"replica\"";
const PRIMARY: &str = "instance=\"primary\"";

#[test]
fn lag_is_counted_in_writes_bytes_and_seconds_and_ends_with_it() {
    let mut cluster = Cluster::two();
    let collection = cluster.create("things");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let rest = Page::of(&cluster);
    assert_eq!(rest.number("chroma_edge_instance_lag_bytes", &[]), 0);
    assert_eq!(rest.sum("chroma_edge_oldest_unreplicated_seconds", &[]), 0.0);
    cluster.replica().kill();
    cluster.edge.wait_until_healthy("replica", false, CATCH_UP);
    let began = Instant::now();
    let bodies: Vec<_> = (0..5).map(|number| record(&format!("r{number}"))).collect();
    for body in &bodies {
        cluster.client().post(&record_path(&collection, "add"), body).expect(201);
    }
    let bytes: usize = bodies.iter().map(|body| body.to_string().len()).sum();
    let since_the_first = began.elapsed().as_secs_f64();
    let page = wait_for("an age that has grown", CATCH_UP, || {
        let page = Page::of(&cluster);
        // The primary's progress for the last write becomes durable a moment after the answer.
        let primary = page.number("chroma_edge_instance_pending_writes", &[PRIMARY]);
        let grown = page.sum("chroma_edge_instance_lag_seconds", &[REPLICA]) > since_the_first;
        (grown && primary == 0).then_some(page)
    });
    assert_eq!(page.number("chroma_edge_instance_pending_writes", &[REPLICA]), 5);
    assert_eq!(page.number("chroma_edge_instance_lag_bytes", &[REPLICA]), bytes as u64);
    let lag = page.sum("chroma_edge_instance_lag_seconds", &[REPLICA]);
    assert!(lag <= began.elapsed().as_secs_f64() + 1.0, "{lag}");
    assert_eq!(page.sum("chroma_edge_oldest_unreplicated_seconds", &[]), lag, "nobody else lags");
    assert_eq!(page.number("chroma_edge_instance_lag_bytes", &[PRIMARY]), 0);
    assert_eq!(page.number("chroma_edge_collections_without_second_copy", &[]), 0, "it lags, and is in step");
    cluster.replica().restart();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let page = Page::of(&cluster);
    assert_eq!(page.sum("chroma_edge_instance_lag_seconds", &[]), 0.0);
    assert_eq!(page.number("chroma_edge_instance_lag_bytes", &[]), 0);
}

#[test]
fn requests_appends_and_attempts_are_counted_once_each() {
    let cluster = Cluster::two();
    let collection = cluster.create("things");
    for number in 0..7 {
        cluster.client().post(&record_path(&collection, "add"), &record(&format!("r{number}"))).expect(201);
    }
    cluster
        .client()
        .post(&record_path(&collection, "add"), &json!({ "ids": ["x"], "embeddings": [[1.0]] }))
        .expect(400);
    cluster.client().post("/api/v2/reset", &json!(null)).expect(403);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let page = Page::of(&cluster);
    let requests = |labels: &[&str]| page.number("chroma_edge_request_seconds_count", labels);
    assert_eq!(requests(&["operation=\"add\"", PRIMARY, "outcome=\"ok\""]), 7, "{}", page.0);
    assert_eq!(requests(&["operation=\"add\"", PRIMARY, "outcome=\"rejected\""]), 1, "{}", page.0);
    assert_eq!(requests(&["operation=\"reset\"", "instance=\"edge\"", "outcome=\"refused\""]), 1, "{}", page.0);
    assert_eq!(page.number("chroma_edge_requests_total", &["operation=\"add\"", "status=\"201\""]), 7);
    assert_eq!(page.number("chroma_edge_refused_total", &["reason=\"reset_disabled\""]), 1);
    // The creation, and eight writes.
    assert_eq!(page.number("chroma_edge_journal_append_seconds_count", &[]), 9);
    assert_eq!(page.number("chroma_edge_journal_commit_appends_sum", &[]), 9);
    let attempts = |labels: &[&str]| page.number("chroma_edge_attempts_total", labels);
    assert_eq!(attempts(&[PRIMARY, "purpose=\"execute\"", "outcome=\"applied\""]), 8, "{}", page.0);
    assert_eq!(attempts(&[PRIMARY, "purpose=\"execute\"", "outcome=\"rejected\""]), 1, "{}", page.0);
    // Only record writes that were applied. Neighbors may have shared a request.
    assert_eq!(page.number("chroma_edge_writes_per_request_sum", &["purpose=\"replicated\""]), 7, "{}", page.0);
    assert_eq!(page.number("chroma_edge_recoveries_total", &[]), 0);
    assert!(page.0.contains("chroma_edge_recoveries_total{outcome=\"recovered\"} 0"), "there from the start");
}

#[test]
fn recovery_is_counted_and_timed() {
    let mut cluster = Cluster::with(2, |edge| edge.config("  write_wait: 300ms"));
    let collection = cluster.create("things");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    assert_eq!(Page::of(&cluster).number("chroma_edge_recovery_running", &[]), 1);
    cluster.primary().kill();
    cluster.replica().kill();
    let began = Instant::now();
    let wrong = json!({ "ids": ["wrong"], "embeddings": [[1.0]] });
    for body in [record("one"), record("two"), wrong] {
        // The first fixes the dimension, so that the last is rejected.
        cluster.client().post(&record_path(&collection, "add"), &body).expect(503);
    }
    let page = Page::of(&cluster);
    assert_eq!(page.number("chroma_edge_timing_gaps_total", &[]), 3);
    assert_eq!(page.number("chroma_edge_awaiting_recovery", &[]), 3);
    cluster.primary().restart();
    cluster.replica().restart();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let page = Page::of(&cluster);
    assert_eq!(page.number("chroma_edge_recoveries_total", &["outcome=\"recovered\""]), 2, "{}", page.0);
    assert_eq!(page.number("chroma_edge_recoveries_total", &["outcome=\"abandoned\""]), 1, "{}", page.0);
    assert_eq!(page.number("chroma_edge_awaiting_recovery", &[]), 0);
    let (seconds, most) = (page.sum("chroma_edge_recovery_seconds_sum", &[]), 3.0 * began.elapsed().as_secs_f64());
    assert!(seconds > 0.0 && seconds <= most, "{seconds} of {most}");
    // For what a restarted edge finds, the time runs from the edge's start.
    cluster.primary().kill();
    cluster.replica().kill();
    cluster.client().post(&record_path(&collection, "add"), &record("three")).expect(503);
    cluster.edge.kill();
    cluster.edge.relaunch();
    cluster.primary().restart();
    cluster.replica().restart();
    let began = Instant::now();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let page = wait_for("the recovery counted", CATCH_UP, || {
        let page = Page::of(&cluster);
        (page.number("chroma_edge_recoveries_total", &["outcome=\"recovered\""]) == 1).then_some(page)
    });
    let seconds = page.sum("chroma_edge_recovery_seconds_sum", &[]);
    assert!(seconds > 0.0 && seconds < began.elapsed().as_secs_f64() + 30.0, "{seconds}");
}
