//! A copy with a damaged index fails queries, and shows the damage in no other way. It is noticed and made anew (rule
//! R17).

use std::time::Duration;

use serde_json::{Value, json};

use testkit::ChromaServer;
use testkit::cluster::{CATCH_UP, Cluster};
use testkit::http::{Answer, Client, record_path};
use testkit::place::wait_for;

use crate::healing::fill;

const HEALED: Duration = Duration::from_secs(60);
const ON: &str = "  heal: { enabled: true }\n  read_replica_ratio: 1\n  recovery_interval: 1s";
/// Chroma writes an index to its file every thousand records.
const RECORDS: usize = 2500;

fn query(client: &Client, collection: &str) -> Answer {
    client.post(&record_path(collection, "query"), &json!({ "query_embeddings": [vec![0.5; 16]], "n_results": 3 }))
}

/// Returns the collection's id on a server.
fn id_on(server: &ChromaServer, name: &str) -> String {
    let path = format!("{}/collections/{name}", testkit::http::DEFAULT);
    server.client().get(&path).expect(200).json()["id"].as_str().expect("an id").to_owned()
}

/// Starts a cluster whose `lost` server comes back with a damaged index.
fn damaged(lost: usize) -> (Cluster, String) {
    let mut cluster = Cluster::with(2, |edge| edge.config(ON));
    cluster.edge.announce("fails queries");
    let collection = cluster.create("bulk");
    fill(&cluster.client(), &collection, RECORDS);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.servers[lost].kill();
    assert_eq!(cluster.servers[lost].damage_indexes(), 1);
    cluster.servers[lost].restart();
    (cluster, collection)
}

fn await_made_anew(cluster: &Cluster) {
    wait_for("the copy made anew", HEALED, || cluster.edge.log().contains("the copy is made and serves").then_some(()));
    cluster.edge.wait_until_in_sync(HEALED);
}

fn is_noticed_and_made_anew(lost: usize) {
    let (cluster, collection) = damaged(lost);
    // It is made anew without a request.
    await_made_anew(&cluster);
    let direct = query(&cluster.servers[lost].client(), &id_on(&cluster.servers[lost], "bulk"));
    assert_eq!(direct.expect(200).json()["ids"][0].as_array().map(Vec::len), Some(3));
    query(&cluster.client(), &collection).expect(200);
    cluster.assert_converged();
}

#[test]
fn a_replicas_damaged_index_is_noticed_when_it_returns() {
    is_noticed_and_made_anew(1);
}

#[test]
fn a_primarys_damaged_index_is_noticed_when_it_returns() {
    is_noticed_and_made_anew(0);
}

/// Writes find the damage before any check: the copy leaves its lane, and can be neither compared nor counted.
#[test]
fn a_damaged_index_under_writes_is_made_anew() {
    let (cluster, collection) = damaged(1);
    let client = cluster.client();
    for number in 0.. {
        let body = json!({ "ids": [format!("w{number}")], "embeddings": [vec![0.25; 16]] });
        client.post(&record_path(&collection, "add"), &body).expect(201);
        if cluster.edge.log().contains("the copy is made and serves") {
            break;
        }
    }
    cluster.edge.wait_until_in_sync(HEALED);
    cluster.assert_converged();
}

/// Clients do not notice it at any time.
#[test]
fn queries_are_answered_while_an_index_is_damaged() {
    let (cluster, collection) = damaged(1);
    let client = cluster.client();
    while !cluster.edge.log().contains("the copy is made and serves") {
        let answer = query(&client, &collection).expect(200);
        assert_eq!(answer.json()["ids"][0].as_array().map(Vec::len), Some(3), "{answer}");
        assert_ne!(answer.json()["ids"], Value::Null);
    }
    cluster.edge.wait_until_in_sync(HEALED);
    cluster.assert_converged();
}
