//! A read that is under way to a copy when the copy's repair begins (rule R14).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, Cluster};
use testkit::http::{Client, record_path};
use testkit::place::wait_for;
use testkit::{ChromaServer, Edge, Relay};

use crate::audits::{audit, direct};
use crate::healing::fill;

const HEALED: Duration = Duration::from_secs(120);
const ON: &str =
    "  heal: { enabled: true }\n  audit: { interval: 0s }\n  recovery_interval: 1s\n  read_replica_ratio: 1.0";
const REPAIRED: &str = "the copy is repaired and serves";

fn expecting_trouble(edge: &Edge) {
    for text in ["diverged", "not what was written"] {
        edge.announce(text);
    }
}

/// Changes a record behind the edge's back.
fn tamper(server: &ChromaServer) {
    let body = json!({ "ids": ["bulk-3"], "documents": ["tampered with"] });
    server.client().post(&direct(server, "docs", "update"), &body).expect(200);
}

fn document(client: &Client, docs: &str) -> Value {
    let body = json!({ "ids": ["bulk-3"], "include": ["documents"] });
    client.post(&record_path(docs, "get"), &body).expect(200).json()["documents"][0].clone()
}

/// The read was answered by a serving copy, and the answer arrives while the copy is being repaired: half of it might
/// be older.
#[test]
fn a_read_that_was_under_way_when_a_repair_began_is_asked_again() {
    let servers = vec![ChromaServer::fresh(), ChromaServer::fresh()];
    let [armed, asked, released] = [(); 3].map(|()| Arc::new(AtomicBool::new(false)));
    let replica = Relay::intercepted(
        servers[1].client(),
        Box::new({
            let (armed, asked, released) = (Arc::clone(&armed), Arc::clone(&asked), Arc::clone(&released));
            move |seen, pass| {
                let body: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
                let answer = pass(&seen);
                if body["include"] == json!(["documents"]) && armed.swap(false, Ordering::SeqCst) {
                    asked.store(true, Ordering::SeqCst);
                    wait_for("the answer let go", HEALED, || released.load(Ordering::SeqCst).then_some(()));
                }
                answer
            }
        }),
    );
    let edge = Edge::builder().instance_url(&servers[0].url()).instance_url(&replica.url()).config(ON);
    let cluster =
        Cluster { edge: edge.config("  attempt_timeout: 110s\n  health: { interval: 60s }").start(), servers };
    expecting_trouble(&cluster.edge);
    let docs = cluster.create("docs");
    fill(&cluster.client(), &docs, 200);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    tamper(&cluster.servers[1]);
    armed.store(true, Ordering::SeqCst);
    let reader = std::thread::spawn({
        let (client, docs) = (cluster.client(), docs.clone());
        move || document(&client, &docs)
    });
    wait_for("the replica asked", CATCH_UP, || asked.load(Ordering::SeqCst).then_some(()));
    let found = audit(&cluster.client(), &json!({ "collection": docs, "repair": true }), "docs");
    assert_eq!(found["state"], "repaired", "{found}");
    wait_for("the copy repaired", HEALED, || cluster.edge.log().contains(REPAIRED).then_some(()));
    released.store(true, Ordering::SeqCst);
    assert_eq!(reader.join().expect("an answer"), "document of bulk-3");
    cluster.edge.wait_until_in_sync(HEALED);
    cluster.assert_converged();
}
