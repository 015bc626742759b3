//! Events over raw connections: an outage is reported as it happens, a stream resumes where it was left, and a client
//! that does not read is cut off.

use std::time::Duration;

use serde_json::json;

use testkit::Cluster;
use testkit::cluster::{add, timed};
use testkit::events::{Listener, ask};
use testkit::http::Client;
use testkit::place::wait_for;

const SOON: Duration = Duration::from_secs(20);

fn impatient() -> Cluster {
    Cluster::with(2, |edge| edge.config("  write_wait: 300ms"))
}

fn named(client: &Client, session: &str, id: &str) -> Client {
    client.with_header("x-client-session", session).with_header("transaction-id", id)
}

#[test]
fn an_outage_is_told_as_it_happens() {
    let mut cluster = impatient();
    let client = cluster.client();
    let collection = cluster.create("things");
    let mut session = Listener::open(&client, "client=tab%201", None);
    let mut other = Listener::open(&client, "client=tab%202", None);
    add(&named(&client, "tab 1", "quick"), &collection, "quick").expect(201);
    let quick = session.expect("transaction:completed");
    assert_eq!((&quick.data["client_transaction_id"], &quick.data["response_status"]), (&json!("quick"), &json!(201)));
    assert_eq!((&quick.data["completed"], &quick.data["operation_type"]), (&json!(true), &json!("add")));
    cluster.primary().kill();
    cluster.replica().kill();
    let told = add(&named(&client, "tab 1", "late"), &collection, "late").expect(503).json();
    let gap = session.expect("transaction:timing_gap");
    assert_eq!(gap.data["transaction_id"], told["transaction_id"], "{gap:?}");
    assert_eq!((&gap.data["status"], &gap.data["response_status"]), (&json!("FAILED"), &json!(503)));
    assert_eq!((&gap.data["is_timing_gap_failure"], &gap.data["completed_at"]), (&json!(true), &json!(null)));
    // By either name, including past events.
    let id = told["transaction_id"].as_str().expect("an id");
    let mut one = Listener::open(&client, &format!("transaction={id}"), None);
    let mut same = Listener::open(&client, "transaction=late", None);
    assert_eq!(one.expect("transaction:timing_gap").id, gap.id);
    assert_eq!(same.expect("transaction:timing_gap").id, gap.id);
    cluster.primary().restart();
    let recovered = session.expect("transaction:recovered");
    assert_eq!(recovered.data["transaction_id"], told["transaction_id"]);
    assert_eq!((&recovered.data["status"], &recovered.data["response_status"]), (&json!("RECOVERED"), &json!(201)));
    assert!(recovered.data["is_timing_gap_failure"] == true && recovered.data["completed_at"].is_string());
    assert_eq!(one.expect("transaction:recovered").id, recovered.id);
    assert!(one.next().is_none(), "nothing comes after the end");
    assert_eq!(same.expect("transaction:recovered").id, recovered.id);
    assert!(other.is_silent(Duration::from_millis(300)), "another session's affair");
    let (_, over) = ask(&client, "transaction=late", Some(&recovered.id));
    assert_eq!(over.status, 204, "{over}");
    cluster.replica().restart();
    cluster.assert_converged();
}

#[test]
fn a_stream_is_resumed_across_the_end_of_the_edge() {
    let mut cluster = impatient();
    let client = cluster.client();
    let collection = cluster.create("things");
    let mut before = Listener::open(&client, "client=s", None);
    let began = before.last_id.clone();
    add(&named(&client, "s", "one"), &collection, "one").expect(201);
    let one = before.expect("transaction:completed");
    cluster.primary().kill();
    cluster.replica().kill();
    add(&named(&client, "s", "two"), &collection, "two").expect(503);
    before.expect("transaction:timing_gap");
    cluster.edge.kill();
    cluster.primary().restart();
    cluster.replica().restart();
    cluster.edge.restart();
    // The same port, so the same client.
    let mut after = Listener::open(&client, "client=s", Some(&one.id));
    let id = |message: &testkit::events::Message| message.data["client_transaction_id"].clone();
    assert_eq!(id(&after.expect("transaction:timing_gap")), "two", "what came after the last one seen, again");
    assert_eq!(id(&after.expect("transaction:recovered")), "two");
    add(&named(&client, "s", "three"), &collection, "three").expect(201);
    assert_eq!(id(&after.expect("transaction:completed")), "three");
    let mut whole = Listener::open(&client, "client=s", Some(&began));
    let events: Vec<_> = (0..4).filter_map(|_| whole.next()).map(|one| (one.event.clone(), id(&one))).collect();
    let expected = [("completed", "one"), ("timing_gap", "two"), ("recovered", "two"), ("completed", "three")];
    assert_eq!(events, expected.map(|(event, id)| (format!("transaction:{event}"), json!(id))));
    assert!(whole.is_silent(Duration::from_millis(300)), "each once");
    let mut lost = Listener::open(&client, "client=s", Some("no number of ours"));
    lost.expect("stream:reset");
    assert_eq!(id(&lost.expect("transaction:completed")), "one", "what is kept");
    cluster.assert_converged();
}

#[test]
fn what_cannot_be_listened_to_is_refused() {
    let cluster = Cluster::two();
    let client = cluster.client();
    for query in ["", "x=1", "client=a&transaction=b", "client=", "client=%00"] {
        let answer = client.get(&format!("/transaction/safety/events?{query}")).expect(400);
        assert!(answer.json()["error"].is_string(), "{answer}");
    }
    client.get("/transaction/safety/events?transaction=unknown").expect(404);
    client.post("/transaction/safety/events?client=a", &json!({})).expect(405);
    let mut connection = client.connect().expect("a connection");
    connection.send(b"HEAD /transaction/safety/events?client=a HTTP/1.1\r\nhost: x\r\n\r\n").expect("a request");
    let head = connection.read_header().expect("a header");
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    assert!(connection.is_closed());
    assert_eq!(client.metric("event_streams"), 0);
}

#[test]
fn streams_are_limited_and_whoever_goes_makes_room() {
    let cluster = Cluster::with(2, |edge| edge.config("  limits: { event_streams: 2 }"));
    let client = cluster.client();
    let first = Listener::open(&client, "client=a", None);
    let _second = Listener::open(&client, "client=a", None);
    let full = client.get("/transaction/safety/events?client=b").expect(503);
    assert_eq!(full.json()["reason"], "too_many_streams", "{full}");
    assert!(full.header("retry-after").is_some(), "{full}");
    assert_eq!(client.metric("event_streams"), 2);
    first.connection.hang_up();
    wait_for("the place of the one that has gone", SOON, || (client.metric("event_streams") == 1).then_some(()));
    Listener::open(&client, "client=b", None);
}

#[test]
fn a_stop_ends_streams_in_order_and_does_not_wait_for_them() {
    let mut cluster = Cluster::two();
    let mut listener = Listener::open(&cluster.client(), "client=a", None);
    cluster.edge.term();
    let (status, wait) = timed(|| cluster.edge.wait_for_exit(SOON));
    assert!(status.success() && wait < Duration::from_secs(4), "{status} after {wait:?}");
    assert!(listener.next().is_none(), "the stream has an end, not a break");
}

/// Sends events about an application's operations, which contain its text: each has some ten thousand bytes.
fn tell_much(client: &Client, session: &str, operations: usize) {
    let long = "\u{20ac}".repeat(2048);
    let client = client.with_header("x-client-session", session);
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let (client, long) = (client.clone(), long.clone());
            std::thread::spawn(move || {
                for number in 0..operations / 4 {
                    let client = client.with_header("transaction-id", &format!("{thread}-{number}"));
                    let begun = json!({ "method": "POST", "path": long });
                    client.post("/transaction/safety/transactions", &begun).expect(201);
                    let failed = json!({ "reason": long, "is_timing_gap": false, "final": true });
                    client
                        .post(&format!("/transaction/safety/transactions/{thread}-{number}/fail"), &failed)
                        .expect(200);
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("an application"));
}

#[test]
fn whoever_does_not_read_is_cut_and_can_go_on() {
    let cluster = Cluster::two();
    let client = cluster.client();
    let mut slow = Listener::open(&client, "client=slow", None);
    let mut quick = Listener::open(&client, "client=slow", None);
    const MANY: usize = 1600;
    let reader =
        std::thread::spawn(move || (0..MANY).filter_map(|_| quick.next()).map(|one| one.id).collect::<Vec<_>>());
    tell_much(&client, "slow", MANY);
    let all = reader.join().expect("a quick reader");
    assert_eq!(all.len(), MANY, "a slow reader beside it costs the quick one nothing");
    wait_for("the end of the slow one", Duration::from_secs(60), || {
        (client.metric("event_streams") == 0).then_some(())
    });
    let mut seen = Vec::new();
    // The kernel's buffer can still be read. Then the stream breaks off.
    while let Ok(true) = slow.try_read() {
        seen.extend(slow.buffered().into_iter().map(|one| one.id));
    }
    assert!(seen.len() < MANY, "nothing was cut");
    let mut again = Listener::open(&client, "client=slow", seen.last().map(String::as_str));
    seen.extend((seen.len()..MANY).filter_map(|_| again.next()).map(|one| one.id));
    assert_eq!(seen, all, "nothing lost, nothing twice");
}
