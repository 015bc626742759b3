//! Clients that do not read their answers: they cost little memory and no permits, and are disconnected.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, Cluster};
use testkit::http::{Connection, head, record_path};
use testkit::place::wait_for;

const MIB: u64 = 1024 * 1024;

/// Creates a collection whose records are about 30 MB together.
fn filled(cluster: &Cluster) -> String {
    let collection = cluster.create("things");
    for part in 0..10 {
        let ids: Vec<String> = (0..30).map(|number| format!("{part}-{number}")).collect();
        let documents = vec!["x".repeat(100_000); ids.len()];
        let embeddings = vec![[1.0, 2.0, 3.0]; ids.len()];
        let body = json!({ "ids": ids, "documents": documents, "embeddings": embeddings });
        cluster.client().post(&record_path(&collection, "add"), &body).expect(201);
    }
    cluster.edge.wait_until_in_sync(CATCH_UP);
    collection
}

/// Sends a request, and reads nothing.
fn ask(cluster: &Cluster, method: &str, path: &str, body: &Value) -> Connection {
    let mut connection = cluster.client().connect().expect("a connection");
    let mut request = head(method, path, &[("content-type", "application/json")]);
    let body = if body.is_null() { String::new() } else { body.to_string() };
    request.extend_from_slice(format!("content-length: {}\r\n\r\n{body}", body.len()).as_bytes());
    connection.send(&request).expect("sent");
    connection
}

fn number(cluster: &Cluster, name: &str) -> u64 {
    let page = cluster.client().get("/metrics").expect(200).text();
    let line = page.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("no {name}"));
    line.split(' ').nth(1).and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

#[test]
fn who_does_not_read_costs_no_memory_and_no_place_and_is_disconnected() {
    let cluster = Cluster::with(2, |edge| {
        edge.config("  limits: { client_write_timeout: 4s, concurrent_requests: 20, queue_wait: 2s }")
    });
    let collection = filled(&cluster);
    let before = cluster.edge.peak_memory();
    let everything = json!({ "include": ["documents"] });
    let mut idle: Vec<Connection> =
        (0..20).map(|_| ask(&cluster, "POST", &record_path(&collection, "get"), &everything)).collect();
    let begun = wait_for("an answer to each", CATCH_UP, || {
        let waiting = idle.iter_mut().filter_map(|connection| connection.read_header().ok());
        Some(waiting.filter(|answer| answer.status == 200).count())
    });
    assert_eq!(begun, 20);
    // Each of them takes a permit, and gives it up.
    let started = Instant::now();
    for _ in 0..5 {
        let one = json!({ "ids": ["0-0"] });
        cluster.client().post(&record_path(&collection, "get"), &one).expect(200);
    }
    assert!(number(&cluster, "chroma_edge_buffered_bytes") >= 20 * 64 * 1024, "what they hold is counted");
    let cut = wait_for("them to be disconnected", Duration::from_secs(20), || {
        Some(number(&cluster, "chroma_edge_clients_cut_total")).filter(|cut| *cut == 20)
    });
    assert!(started.elapsed() > Duration::from_secs(2), "not before their time");
    assert_eq!(cut, 20);
    wait_for("nothing to be held", CATCH_UP, || (number(&cluster, "chroma_edge_buffered_bytes") == 0).then_some(()));
    let grown = cluster.edge.peak_memory().saturating_sub(before) / MIB;
    assert!(grown < 100, "{grown} MiB for 20 answers of 30 MB that nobody reads");
}

#[test]
fn one_byte_at_a_time_is_not_reading_and_slow_is_slow() {
    let cluster = Cluster::with(2, |edge| edge.config("  limits: { client_write_timeout: 2s }"));
    let collection = Arc::new(filled(&cluster));
    let everything = json!({ "include": ["documents"] });
    let mut drip = ask(&cluster, "POST", &record_path(&collection, "get"), &everything);
    let mut slow = ask(&cluster, "POST", &record_path(&collection, "get"), &everything);
    // A reference, since the cluster must outlive both threads.
    let cluster = &cluster;
    thread::scope(|scope| {
        // It takes more than 64 KiB in each 2 s, but needs longer than 2 s for everything.
        let slow = scope.spawn(move || {
            let length: usize =
                slow.read_header().expect("a header").header("content-length").expect("one").parse().expect("a number");
            let mut rest = length;
            while rest > 0 {
                let piece = rest.min(1_000_000);
                slow.read_bytes(piece).expect("it goes on");
                rest -= piece;
                thread::sleep(Duration::from_millis(100));
            }
            length
        });
        let drip = scope.spawn(move || {
            drip.read_header().expect("a header");
            let started = Instant::now();
            while drip.read_bytes(1).is_ok() && started.elapsed() < Duration::from_secs(60) {
                thread::sleep(Duration::from_millis(20));
                if number(cluster, "chroma_edge_clients_cut_total") == 1 {
                    return started.elapsed();
                }
            }
            Duration::MAX
        });
        assert!(drip.join().expect("no panic") < Duration::from_secs(20));
        assert!(slow.join().expect("no panic") > 30_000_000);
    });
}
