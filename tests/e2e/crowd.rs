//! Many clients at once: permits and queue count requests to Chroma, one for each collection that is written to, and
//! not the clients that wait for them.

use std::sync::Barrier;
use std::time::Duration;

use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, Cluster, add, ids};
use testkit::edge;
use testkit::http::record_path;
use testkit::place::wait_for;

const CLIENTS: usize = 200;

/// Permits and queue as in deployments of the earlier system.
fn as_deployed(edge: edge::Builder) -> edge::Builder {
    edge.env("MAX_CONCURRENT_REQUESTS", "30").env("REQUEST_QUEUE_SIZE", "100")
}

fn documents(body: &[u8]) -> usize {
    let body: Value = serde_json::from_slice(body).expect("a JSON body");
    body["ids"].as_array().map_or(0, Vec::len)
}

#[test]
fn two_hundred_clients_at_once_meet_no_error_and_share_requests() {
    let (cluster, relays) = Cluster::relayed(as_deployed);
    let collections: Vec<String> = (0..2).map(|number| cluster.create(&format!("things-{number}"))).collect();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let start = Barrier::new(CLIENTS);
    relays[0].hold("/add");
    std::thread::scope(|scope| {
        let client = |number: usize| {
            let (client, start, collection) = (cluster.client(), &start, &collections[number % 2]);
            move || {
                start.wait();
                add(&client, collection, &format!("c{number}"))
            }
        };
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(client(number))).collect();
        wait_for("all of them in the edge", CATCH_UP, || {
            let details = cluster.edge.status()["concurrency_details"].clone();
            assert!(details["lanes_with_clients"].as_u64()? <= 2, "{details}");
            (details["clients"] == CLIENTS).then_some(())
        });
        relays[0].release();
        for client in clients {
            client.join().expect("a client").expect(201);
        }
    });
    let merged = relays[0].seen_at("/add").iter().map(|seen| documents(&seen.body)).max();
    assert!(merged > Some(30), "merging is not held down to the number of permits: {merged:?}");
    assert_eq!(collections.iter().map(|id| ids(&cluster.client(), id).len()).sum::<usize>(), CLIENTS);
    cluster.assert_converged();
}

#[test]
fn what_is_too_much_is_refused_with_the_limits_and_without_effect() {
    let (cluster, relays) =
        Cluster::relayed(|edge| edge.env("MAX_CONCURRENT_REQUESTS", "3").env("REQUEST_QUEUE_SIZE", "2"));
    let collections: Vec<String> = (0..8).map(|number| cluster.create(&format!("things-{number}"))).collect();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    relays[0].hold("/add");
    let answers = std::thread::scope(|scope| {
        let writers: Vec<_> = collections
            .iter()
            .map(|collection| {
                let client = cluster.client();
                scope.spawn(move || add(&client, collection, "one"))
            })
            .collect();
        wait_for("three refused", CATCH_UP, || {
            let refused = writers.iter().filter(|writer| writer.is_finished()).count();
            (refused == 3 && relays[0].seen_at("/add").len() == 3).then_some(())
        });
        wait_for("three counted", CATCH_UP, || {
            (cluster.edge.status()["performance_stats"]["queue_full_rejections"] == 3).then_some(())
        });
        relays[0].release();
        writers.into_iter().map(|writer| writer.join().expect("a writer")).collect::<Vec<_>>()
    });
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert_eq!(refused.len(), 3);
    for answer in refused {
        let body = answer.json();
        assert_eq!(
            (&body["reason"], &body["concurrent_limit"], &body["queue_size"]),
            (&json!("queue_full"), &json!(3), &json!(2))
        );
        assert!(body["error"].is_string() && body.get("transaction_id").is_none(), "nothing was journaled: {body}");
        assert!(answer.header("retry-after").is_some() && answer.header("transaction-id").is_none(), "{answer}");
    }
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let held: usize = collections.iter().map(|id| ids(&cluster.client(), id).len()).sum();
    assert_eq!(held, 5, "what was refused had no effect");
}

/// Returns how many requests the primary has when each of six collections is written to and no request is let through.
fn side_by_side(variables: &[(&str, &str)]) -> (usize, Value) {
    let (cluster, relays) =
        Cluster::relayed(|edge| variables.iter().fold(edge, |edge, (name, value)| edge.env(name, value)));
    let collections: Vec<String> = (0..6).map(|number| cluster.create(&format!("things-{number}"))).collect();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    relays[0].hold("/add");
    let (held, stats) = std::thread::scope(|scope| {
        let writers: Vec<_> = collections
            .iter()
            .map(|collection| {
                let client = cluster.client();
                scope.spawn(move || add(&client, collection, "one").expect(201))
            })
            .collect();
        wait_for("all six in the edge", CATCH_UP, || {
            (cluster.edge.status()["concurrency_details"]["lanes_with_clients"] == 6).then_some(())
        });
        // Whatever may be sent is sent at once. A moment is enough to see that no more follow.
        let first =
            wait_for("the first one", CATCH_UP, || Some(relays[0].seen_at("/add").len()).filter(|count| *count > 0));
        std::thread::sleep(Duration::from_millis(500));
        let held = relays[0].seen_at("/add").len().max(first);
        relays[0].release();
        writers.into_iter().for_each(|writer| drop(writer.join().expect("a writer")));
        cluster.edge.wait_until_in_sync(CATCH_UP);
        (held, cluster.client().get("/admin/scalability_status").expect(200).json())
    });
    cluster.assert_converged();
    (held, stats)
}

#[test]
fn record_writes_go_side_by_side_or_one_by_one_over_all_collections() {
    let (held, stats) = side_by_side(&[]);
    assert_eq!(held, 6);
    assert_eq!(stats["scalability_features"]["granular_locking"]["enabled"], true);
    assert!(stats["performance_impact"]["lock_contention_avoided"].as_u64() >= Some(5), "{stats}");
    let (held, stats) = side_by_side(&[("ENABLE_GRANULAR_LOCKING", "false")]);
    assert_eq!(held, 1);
    assert_eq!(stats["scalability_features"]["granular_locking"]["enabled"], false);
}

/// Turned off with a backlog: entries in the lanes keep their order, and new writes come after them.
#[test]
fn a_toggle_with_a_backlog_lets_no_write_overtake() {
    let mut cluster = Cluster::two();
    let client = cluster.client();
    let collections: Vec<String> = (0..3).map(|number| cluster.create(&format!("things-{number}"))).collect();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.replica().kill();
    let write = |round: usize| {
        for collection in &collections {
            let body = json!({ "ids": ["one"], "embeddings": [[1, 2, 3]], "documents": [format!("round {round}")] });
            client.post(&record_path(collection, "upsert"), &body).expect(200);
        }
    };
    (0..20).for_each(write);
    cluster.edge.set_env("ENABLE_GRANULAR_LOCKING", Some("false"));
    cluster.edge.term();
    cluster.edge.wait_for_exit(CATCH_UP);
    cluster.edge.restart();
    cluster.servers[1].restart();
    wait_for("an edge that serves", CATCH_UP, || (client.get("/health/ready").status == 200).then_some(()));
    (20..30).for_each(write);
    let content = cluster.assert_converged();
    assert_eq!(content.record_count(), 3);
    for collection in &collections {
        let shown = client.post(&record_path(collection, "get"), &json!({})).expect(200).json();
        assert_eq!(shown["documents"], json!(["round 29"]));
    }
}
