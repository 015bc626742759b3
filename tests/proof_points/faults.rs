//! A panic in a step of the board ends the process. The second one in the same lane halts that lane, and nothing else.

use std::time::Duration;

use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, Cluster};
use testkit::edge::Builder;
use testkit::http::{Client, record_path};
use testkit::place::wait_for;
use testkit::postgres::Postgres;

const VARIABLE: &str = "CHROMA_EDGE_PANIC_AT_BYTES";
/// No other body of this test has this many bytes.
const MARKED: usize = 4321;
const END: Duration = Duration::from_secs(30);
/// EX_SOFTWARE of sysexits.h.
const PANICKED: Option<i32> = Some(70);

fn one(id: &str) -> Value {
    json!({ "ids": [id], "embeddings": [[1, 2, 3]], "documents": [id] })
}

/// Returns a write of exactly the marked number of bytes.
fn marked() -> Value {
    let mut body = one("marked");
    let lacking = MARKED - body.to_string().len();
    body["documents"] = json!([format!("marked{}", "x".repeat(lacking))]);
    assert_eq!(body.to_string().len(), MARKED);
    body
}

fn count(client: &Client, collection: &str, consistency: &str) -> (u16, String) {
    let answer = client.with_header("Chroma-Edge-Consistency", consistency).get(&record_path(collection, "count"));
    (answer.status, answer.text())
}

fn story(configure: impl FnOnce(Builder) -> Builder) {
    let mut cluster =
        Cluster::with(2, |edge| configure(edge.config("  settle_time: 300ms").env(VARIABLE, &MARKED.to_string())));
    for text in ["panicked at", "a step of the board panicked", "the lane is halted"] {
        cluster.edge.announce(text);
    }
    let (stricken, other) = (cluster.create("stricken"), cluster.create("other"));
    let client = cluster.client();
    client.post(&record_path(&stricken, "add"), &one("first")).expect(201);
    client.post(&record_path(&other, "add"), &one("first")).expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);

    let _ = client.try_call("POST", &record_path(&stricken, "add"), &marked());
    assert_eq!(cluster.edge.wait_for_exit(END).code(), PANICKED);
    // A single panic may be chance: the next start tries again.
    cluster.edge.relaunch();
    assert_eq!(cluster.edge.wait_for_exit(END).code(), PANICKED);

    cluster.edge.restart();
    wait_for("the edge serves", END, || (client.get("/health").status == 200).then_some(()));
    let health = client.get("/health").expect(200).json();
    assert_eq!((&health["status"], &health["halted_lanes"]), (&json!("degraded"), &json!(1)), "{health}");
    let halted = cluster.edge.status()["halted_lanes"].clone();
    let shown = json!({ "lane": halted[0]["lane"], "name": halted[0]["collection_name"], "times": halted[0]["times"],
        "waiting": halted[0]["waiting_writes"] });
    assert_eq!(shown, json!({ "lane": stricken, "name": "stricken", "times": 2, "waiting": 1 }), "{halted}");
    let refused = client.post(&record_path(&stricken, "add"), &one("refused")).expect(503).json();
    assert_eq!(refused["reason"], "lane_halted", "{refused}");
    assert_eq!(count(&client, &stricken, "fresh").0, 503, "no instance is known to have the marked write");
    assert_eq!(count(&client, &stricken, "any").0, 200);
    client.post(&record_path(&other, "add"), &one("second")).expect(201);
    assert_eq!(count(&client, &other, "fresh"), (200, "2".to_owned()));
    cluster.create("third");

    // The cause of the panic is fixed, and an operator clears the faults.
    let faults = client.get("/admin/faults").expect(200).json();
    assert_eq!(faults["faults"][0]["halted"], true, "{faults}");
    let path = format!("/admin/faults/{stricken}");
    let forgotten = client.try_call("DELETE", &path, &Value::Null).expect("an answer").expect(200).json();
    assert_eq!(forgotten["restart_needed"], true);
    cluster.edge.kill();
    cluster.edge.set_env(VARIABLE, None);
    cluster.edge.restart();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    client.post(&record_path(&stricken, "add"), &one("last")).expect(201);
    assert_eq!(count(&client, &stricken, "fresh"), (200, "3".to_owned()), "the marked write was executed, once");
    assert_eq!(client.get("/health").expect(200).json()["status"], "healthy");
}

#[test]
fn a_lane_that_panics_twice_is_halted_and_the_others_serve() {
    story(|edge| edge);
}

#[test]
fn a_lane_that_panics_twice_is_halted_with_a_shared_journal() {
    let postgres = Postgres::fresh();
    story(|edge| edge.postgres(&postgres.url()));
}
