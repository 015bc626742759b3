//! `MAX_MEMORY_MB`: while memory is short, requests to the servers hold fewer writes. No write is refused because of
//! that, and the requests grow again.

use std::time::Duration;

use serde_json::json;

use testkit::cluster::{CATCH_UP, Cluster, ids, record};
use testkit::http::record_path;
use testkit::place::wait_for;

const SOON: Duration = Duration::from_secs(60);
const WRITERS: usize = 36;
/// Together 1.8 MB: seven eighths of the memory.
const DOCUMENT: usize = 50_000;

fn metric(cluster: &Cluster, name: &str) -> f64 {
    let page = cluster.client().get("/metrics").expect(200).text();
    let line =
        page.lines().find(|line| line.split(' ').next() == Some(name)).unwrap_or_else(|| panic!("{name}: {page}"));
    line.split(' ').nth(1).and_then(|value| value.parse().ok()).expect("a number")
}

#[test]
fn large_documents_at_a_small_edge_are_written_one_by_one_and_all_of_them() {
    let cluster = Cluster::with(2, |edge| {
        edge.env("MAX_MEMORY_MB", "2").config("  limits: { body_bytes: 128KiB, queue_wait: 30s }\n  write_wait: 60s")
    });
    let collection = cluster.create("things");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let documents = || metric(&cluster, "chroma_edge_batch_documents");
    assert_eq!(documents(), 500.0);
    cluster.servers.iter().for_each(|server| server.stop());
    std::thread::scope(|scope| {
        let write = |number: usize| {
            let (client, path) = (cluster.client(), record_path(&collection, "add"));
            move || {
                let mut body = record(&format!("large-{number:02}"));
                body["documents"] = json!(["x".repeat(DOCUMENT)]);
                client.with_timeout(Duration::from_secs(120)).post(&path, &body).expect(201);
            }
        };
        let writers: Vec<_> = (0..WRITERS).map(|number| scope.spawn(write(number))).collect();
        wait_for("single writes", SOON, || (documents() == 1.0).then_some(()));
        cluster.servers.iter().for_each(|server| server.cont());
        writers.into_iter().for_each(|writer| writer.join().expect("its answer"));
    });
    let requests = metric(&cluster, "chroma_edge_writes_per_request_count{purpose=\"first\"}");
    assert!(requests >= 12.0, "{requests} requests for {WRITERS} writes");
    let status = cluster.edge.status();
    let stats = &status["performance_stats"];
    assert!(stats["memory_pressure_events"].as_u64() >= Some(1), "{stats}");
    assert!(stats["adaptive_batch_reductions"].as_u64() >= Some(8), "{stats}");
    assert_eq!(status["high_volume_config"]["max_memory_mb"], json!(2.0));
    wait_for("large requests again", SOON, || (documents() == 500.0).then_some(()));
    assert_eq!(cluster.edge.status()["high_volume_config"]["current_batch_size"], json!(500));
    let log = cluster.edge.log();
    assert!(log.contains("memory is short") && log.contains("memory suffices"), "{log}");
    cluster.edge.wait_until_in_sync(SOON);
    assert_eq!(ids(&cluster.client(), &collection).len(), WRITERS);
    assert_eq!(cluster.assert_converged().record_count(), WRITERS);
}
