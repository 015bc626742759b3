//! What must work on every pair of servers, one check each.

use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, Cluster, add, create, ids};
use testkit::content::{self, Content};
use testkit::http::{DEFAULT, record_path};
use testkit::random::{Random, seed};
use testkit::{ChromaServer, ops};

/// A check: it panics if something does not work.
pub type Check = fn(&mut Cluster);

/// Each with its name in the table.
pub const CHECKS: [(&str, Check); 7] = [
    ("definitions are copied exactly", definitions),
    ("a collection is found by name and by id", lookups),
    ("records are equal", records),
    ("changes of the catalog", catalog),
    ("limited deletes", limited_deletes),
    ("failover and catching up", failover),
    ("what existed before is adopted", adoption),
];

/// The parts of a creation that define a collection. Definitions that a server refuses are not part of these checks.
fn definitions_to_copy() -> Vec<(&'static str, Value)> {
    let all = json!({ "space": "ip", "ef_construction": 50, "ef_search": 33, "max_neighbors": 8, "resize_factor": 1.5,
        "sync_threshold": 500, "batch_size": 50, "num_threads": 1 });
    let known = json!({ "type": "known", "name": "default", "config": { "model": "x", "n": 1 } });
    vec![
        ("plain", json!({})),
        ("metadata", json!({ "metadata": { "i": 1, "f": 1.0, "s": "x", "b": true } })),
        ("cosine", json!({ "configuration": { "hnsw": { "space": "cosine" } } })),
        ("every-parameter", json!({ "configuration": { "hnsw": all } })),
        ("threads", json!({ "configuration": { "hnsw": { "num_threads": 7 } } })),
        ("legacy", json!({ "metadata": { "hnsw:space": "cosine", "hnsw:M": 9, "x": 1 } })),
        ("function", json!({ "configuration": { "embedding_function": known } })),
        ("both", json!({ "configuration": { "hnsw": { "space": "cosine" }, "embedding_function": known } })),
        ("function-legacy", json!({ "configuration": { "embedding_function": { "type": "legacy" } } })),
        ("spann", json!({ "configuration": { "spann": { "space": "cosine" } } })),
    ]
}

fn definitions(cluster: &mut Cluster) {
    let client = cluster.client();
    for (name, mut body) in definitions_to_copy() {
        body["name"] = json!(format!("definition-{name}"));
        client.post(&format!("{DEFAULT}/collections"), &body).expect(200);
    }
    assert_equal_everywhere(cluster);
    let shown = client.get(&format!("{DEFAULT}/collections/definition-cosine")).expect(200).json();
    assert_eq!(shown["configuration_json"]["hnsw"]["space"], "cosine", "{shown}");
}

fn lookups(cluster: &mut Cluster) {
    let collection = cluster.create("looked-up");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let by_id = format!("{DEFAULT}/collections/by-id/{collection}");
    let check = |name: &str| {
        for pin in [None, Some("primary"), Some("replica")] {
            let client = pin.map_or(cluster.client(), |pin| cluster.client().with_header("chroma-edge-instance", pin));
            for path in [format!("{DEFAULT}/collections/{name}"), by_id.clone()] {
                let found = client.get(&path).expect(200).json();
                assert_eq!((&found["id"], &found["name"]), (&json!(collection), &json!(name)), "{pin:?} {path}");
            }
        }
    };
    check("looked-up");
    let client = cluster.client();
    let rename = json!({ "new_name": "renamed" });
    client.call("PUT", &format!("{DEFAULT}/collections/{collection}"), &rename).expect(200);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    check("renamed");
    client.get(&format!("{DEFAULT}/collections/looked-up")).expect(404);
    // A new collection with the old name is a different one.
    let other = cluster.create("looked-up");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    check("renamed");
    assert_ne!(other, collection);
    let nobody = uuid::Uuid::from_u128(5);
    client.get(&format!("{DEFAULT}/collections/by-id/{nobody}")).expect(404);
}

fn records(cluster: &mut Cluster) {
    let collection = cluster.create("records");
    let mut random = Random::new(seed());
    for step in 0..150 {
        let (verb, body) = ops::records(&mut random, 30);
        let answer = cluster.client().post(&record_path(&collection, verb.as_str()), &body);
        assert!(answer.status < 300, "step {step}: {body} {answer}");
    }
    assert_equal_everywhere(cluster);
    assert!(ids(&cluster.client(), &collection).len() > 5);
}

fn catalog(cluster: &mut Cluster) {
    let client = cluster.client();
    client.post("/api/v2/tenants/default_tenant/databases", &json!({ "name": "another" })).expect(200);
    let path = "/api/v2/tenants/default_tenant/databases/another/collections";
    let made = client.post(path, &json!({ "name": "inside", "metadata": { "a": 1 } })).expect(200).json();
    let id = made["id"].as_str().expect("an id").to_owned();
    client.call("PUT", &format!("{path}/{id}"), &json!({ "new_metadata": { "b": 2.5 } })).expect(200);
    client.post(path, &json!({ "name": "inside" })).expect(409);
    client.post(path, &json!({ "name": "inside", "get_or_create": true })).expect(200);
    add(&client, &id, "one").expect(201);
    assert_equal_everywhere(cluster);
    client.call("DELETE", &format!("{path}/inside"), &Value::Null).expect(200);
    create(&client, "twice");
    client.call("DELETE", &format!("{DEFAULT}/collections/twice"), &Value::Null).expect(200);
    let again = create(&client, "twice");
    add(&client, &again, "two").expect(201);
    client.call("DELETE", "/api/v2/tenants/default_tenant/databases/another", &Value::Null).expect(200);
    assert_equal_everywhere(cluster);
}

fn limited_deletes(cluster: &mut Cluster) {
    let collection = cluster.create("limited");
    let client = cluster.client();
    let names: Vec<String> = (0..10).map(|n| format!("r{n}")).collect();
    let (embeddings, metadatas) = (vec![[1.0, 2.0]; 10], vec![json!({ "k": 1 }); 10]);
    let body = json!({ "ids": names, "embeddings": embeddings, "metadatas": metadatas });
    client.post(&record_path(&collection, "add"), &body).expect(201);
    client.post(&record_path(&collection, "delete"), &json!({ "where": { "k": 1 }, "limit": 3 })).expect(200);
    assert_eq!(ids(&client, &collection), names[3..]);
    client.post(&record_path(&collection, "delete"), &json!({ "where": { "k": 9 }, "limit": 3 })).expect(200);
    assert_equal_everywhere(cluster);
    assert_eq!(ids(&client, &collection).len(), 7);
}

fn failover(cluster: &mut Cluster) {
    let collection = cluster.create("failover");
    let client = cluster.client();
    add(&client, &collection, "before").expect(201);
    for (victim, name) in [(0, "primary"), (1, "replica")] {
        cluster.edge.wait_until_in_sync(CATCH_UP);
        cluster.servers[victim].kill();
        add(&client, &collection, &format!("without-{name}")).expect(201);
        let hidden = json!({ "name": format!("made-without-{name}"), "configuration": { "hnsw": { "space": "ip" } } });
        client.post(&format!("{DEFAULT}/collections"), &hidden).expect(200);
        client.get(&format!("{DEFAULT}/collections/failover")).expect(200);
        cluster.servers[victim].restart();
        cluster.edge.wait_until_healthy(name, true, CATCH_UP);
        assert_equal_everywhere(cluster);
    }
    cluster.edge.kill();
    cluster.edge.restart();
    add(&cluster.client(), &collection, "after").expect(201);
    assert_equal_everywhere(cluster);
    assert_eq!(ids(&cluster.client(), &collection), ["before", "without-primary", "without-replica", "after"]);
}

/// Twins that each server had before: adopted, compared through what the servers show, and served from both.
fn adoption(cluster: &mut Cluster) {
    cluster.edge.kill();
    for server in &cluster.servers {
        let body =
            json!({ "name": "twin", "metadata": { "t": 1 }, "configuration": { "hnsw": { "space": "cosine" } } });
        let made = server.client().post(&format!("{DEFAULT}/collections"), &body).expect(200).json();
        add(&server.client(), made["id"].as_str().expect("an id"), "old").expect(201);
    }
    cluster.edge.restart();
    let client = cluster.client();
    let found = client.get(&format!("{DEFAULT}/collections/twin")).expect(200).json();
    add(&client, found["id"].as_str().expect("an id"), "new").expect(201);
    assert_equal_everywhere(cluster);
}

/// Checks that both servers hold the same and show it when asked directly, and that nothing is diverged.
#[track_caller]
fn assert_equal_everywhere(cluster: &Cluster) {
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let status = cluster.edge.status();
    assert_eq!(status["diverged"], json!([]), "{status:#}");
    let of = |server: &ChromaServer| Content::of(&server.client(), testkit::cluster::TENANT);
    let mut held: Vec<Content> = cluster.servers.iter().map(of).collect();
    held.push(Content::of(&cluster.client(), testkit::cluster::TENANT));
    // A schema that only one of them can show cannot be compared.
    let schema = |content: &Content| content.collections.values().all(|one| !one.definition.schema.is_null());
    if !held.iter().all(schema) {
        held.iter_mut().flat_map(|content| content.collections.values_mut()).for_each(|one| {
            one.definition.schema = Value::Null;
        });
    }
    content::assert_equal("primary and replica", &held[0], &held[1]);
    content::assert_equal("primary and edge", &held[0], &held[2]);
    assert!(held[0].databases.iter().all(|(_, name)| !name.contains("scratch")), "{:?}", held[0].databases);
}
