//! What vouches for a write (rule R13), as seen in the journal, where it is part of the write's profile.

use rusqlite::Connection;
use serde_json::{Value, json};

use testkit::chroma::ChromaServer;
use testkit::cluster::{CATCH_UP, Cluster, add, create};
use testkit::http::{Client, DEFAULT};
use testkit::place::wait_for;

/// Adds a record, and returns whether the write was vouched for.
#[track_caller]
fn is_vouched_for(cluster: &Cluster, collection: &str, id: &str) -> bool {
    add(&cluster.client(), collection, id).expect(201);
    let journal = Connection::open(cluster.edge.journal_path()).expect("the journal");
    let sql = "SELECT vouching IS NULL FROM transactions WHERE lane = ?1 ORDER BY seq DESC LIMIT 1";
    journal.query_row(sql, [collection], |row| row.get(0)).expect("the write")
}

#[track_caller]
fn define(client: &Client, name: &str, definition: Value) -> String {
    let mut body = definition;
    body["name"] = json!(name);
    let answer = client.post(&format!("{DEFAULT}/collections"), &body).expect(200);
    answer.json()["id"].as_str().expect("an id").to_owned()
}

fn odd() -> Value {
    json!({ "configuration": { "hnsw": { "max_neighbors": 2 } } })
}

#[test]
fn an_index_out_of_the_ordinary_is_still_known_after_a_restart() {
    let mut cluster = Cluster::two();
    let client = cluster.client();
    let ordinary = create(&client, "ordinary");
    let defined = define(&client, "defined", odd());
    let legacy = define(&client, "legacy", json!({ "metadata": { "hnsw:search_ef": 3 } }));
    let changed = create(&client, "changed");
    assert!(is_vouched_for(&cluster, &changed, "before"));
    let change = json!({ "new_configuration": { "hnsw": { "ef_search": 3 } } });
    client.call("PUT", &format!("{DEFAULT}/collections/{changed}"), &change).expect(200);
    assert!(!is_vouched_for(&cluster, &changed, "after"), "it is another index now");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.edge.kill();
    cluster.edge.restart();
    assert!(is_vouched_for(&cluster, &ordinary, "first"));
    for collection in [&defined, &legacy, &changed] {
        assert!(!is_vouched_for(&cluster, collection, "first"), "{collection}");
        assert!(is_vouched_for(&cluster, collection, "second"), "one like it has succeeded: {collection}");
    }
    cluster.assert_converged();
}

#[test]
fn an_index_out_of_the_ordinary_is_known_when_it_is_adopted() {
    let servers = vec![ChromaServer::fresh(), ChromaServer::fresh()];
    for server in &servers {
        define(&server.client(), "defined", odd());
        create(&server.client(), "ordinary");
    }
    let cluster = Cluster::of(servers, |edge| edge);
    let id = |name: &str| {
        wait_for("adoption", CATCH_UP, || {
            let found = cluster.client().get(&format!("{DEFAULT}/collections/{name}"));
            (found.status == 200).then(|| found.json()["id"].as_str().expect("an id").to_owned())
        })
    };
    assert!(!is_vouched_for(&cluster, &id("defined"), "first"));
    assert!(is_vouched_for(&cluster, &id("ordinary"), "first"));
}
