//! Every limit refuses by name, at once, and without effect.

use std::time::Duration;

use serde_json::json;

use testkit::Cluster;
use testkit::cluster::{CATCH_UP, add, ids, journaled, record};
use testkit::http::{Answer, head, record_path};

/// Chroma's own limit, 40 MiB, and ours.
const LIMIT: usize = 40 * 1024 * 1024;

#[test]
fn an_announced_body_over_the_limit() {
    let cluster = Cluster::two();
    let collection = cluster.create("things");
    let length = (LIMIT + 1).to_string();
    let headers = [("content-type", "application/json"), ("content-length", length.as_str())];
    let mut request = head("POST", &record_path(&collection, "add"), &headers);
    request.extend_from_slice(b"\r\n");
    let before = journaled(&cluster.edge);
    let mut connection = cluster.client().connect().expect("a connection");
    connection.send(&request).expect("sent");
    // Refused by its length, before its body is read.
    let answer = connection.read_answer().expect("an answer").expect(413);
    assert!(answer.json()["reason"].is_string() && answer.json()["error"].is_string(), "{answer}");
    assert_eq!(journaled(&cluster.edge), before);
}

#[test]
fn a_chunked_body_over_the_limit() {
    let cluster = Cluster::two();
    let collection = cluster.create("things");
    let mut request = head("POST", &record_path(&collection, "add"), &[("content-type", "application/json")]);
    request.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
    let mut connection = cluster.client().connect().expect("a connection");
    connection.send(&request).expect("sent");
    let chunk = vec![b' '; 1_000_000];
    // The connection may be cut before everything is sent. The request is answered all the same.
    let sent = (0..=LIMIT / chunk.len()).take_while(|_| connection.send_chunk(&chunk).is_ok()).count();
    assert!(sent >= 40, "cut off far below the limit, after {sent} MB");
    let answer = connection.read_answer().expect("an answer").expect(413);
    assert!(answer.json()["reason"].is_string(), "{answer}");
    add(&cluster.client(), &collection, "after").expect(201);
    assert_eq!(cluster.assert_converged().record_count(), 1);
}

#[test]
fn too_many_requests_are_refused_without_effect() {
    let cluster = Cluster::with(2, |edge| {
        edge.config("  limits: { concurrent_requests: 3, queued_requests: 2, queue_wait: 60s }\n  write_wait: 30s")
    });
    let collection = cluster.create("things");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.servers.iter().for_each(|server| server.stop());
    let answers: Vec<(String, Answer)> = std::thread::scope(|scope| {
        let worker = |number: usize| {
            let (client, collection) = (cluster.client(), collection.clone());
            move || {
                let id = format!("crowd-{number}");
                let answer = add(&client, &collection, &id);
                (id, answer)
            }
        };
        let workers: Vec<_> = (0..20).map(|number| scope.spawn(worker(number))).collect();
        testkit::place::wait_for("refusals while nothing can be executed", Duration::from_secs(20), || {
            (workers.iter().filter(|worker| worker.is_finished()).count() >= 15).then_some(())
        });
        cluster.servers.iter().for_each(|server| server.cont());
        workers.into_iter().map(|worker| worker.join().expect("a worker")).collect()
    });
    let (good, bad): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(_, answer)| answer.status == 201);
    assert_eq!((good.len(), bad.len()), (5, 15), "three at work, two waiting");
    for (_, answer) in &bad {
        assert_eq!(answer.status, 503, "{answer}");
        assert!(answer.header("retry-after").is_some() && answer.json()["reason"].is_string(), "{answer}");
        assert!(answer.json().get("recovery").is_none(), "refused means no effect: {answer}");
    }
    cluster.assert_converged();
    let mut held = ids(&cluster.client(), &collection);
    let mut acknowledged: Vec<String> = good.into_iter().map(|(id, _)| id).collect();
    held.sort();
    acknowledged.sort();
    assert_eq!(held, acknowledged);
}

#[test]
fn a_body_at_the_limit_is_taken() {
    let cluster = Cluster::two();
    let collection = cluster.create("things");
    let mut body = record("large");
    body["padding"] = json!("");
    body["padding"] = "p".repeat(LIMIT - body.to_string().len()).into();
    assert_eq!(body.to_string().len(), LIMIT);
    cluster.client().post(&record_path(&collection, "add"), &body).expect(201);
    assert_eq!(cluster.assert_converged().record_count(), 1);
}

#[test]
fn a_full_backlog_refuses_writes_until_the_instance_is_back() {
    let mut cluster = Cluster::with(2, |edge| edge.config("  limits: { backlog_entries: 5 }"));
    let collection = cluster.create("things");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.replica().kill();
    let mut answers: Vec<_> = (0..8).map(|n| add(&cluster.client(), &collection, &n.to_string())).collect();
    let refused = answers.split_off(5);
    answers.into_iter().for_each(|answer| drop(answer.expect(201)));
    for answer in refused {
        let answer = answer.expect(503);
        assert_eq!(answer.json()["reason"], "backlog_full", "{answer}");
        assert!(answer.header("retry-after").is_some(), "{answer}");
    }
    cluster.replica().restart();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    add(&cluster.client(), &collection, "after").expect(201);
    assert_eq!(cluster.assert_converged().record_count(), 6);
}
