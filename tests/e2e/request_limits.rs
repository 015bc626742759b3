//! Requests that would make Chroma fail, break a collection for good, or kill the process are refused before they are
//! sent anywhere: the request is answered, no server dies, and the collection and its neighbors go on.

use serde_json::{Value, json};

use testkit::Cluster;
use testkit::cluster::{add, journaled};
use testkit::http::{Answer, Client, DEFAULT, record_path};

/// A cluster with a collection and a bystander, each with one record.
struct Scene {
    cluster: Cluster,
    client: Client,
    collection: String,
    bystander: String,
    journaled: usize,
}

impl Scene {
    fn new() -> Scene {
        let cluster = Cluster::two();
        let client = cluster.client();
        let (collection, bystander) = (cluster.create("things"), cluster.create("bystander"));
        for id in [&collection, &bystander] {
            add(&client, id, "there").expect(201);
        }
        let journaled = journaled(&cluster.edge);
        Scene { cluster, client, collection, bystander, journaled }
    }

    #[track_caller]
    fn refused(&self, what: &str, answer: &Answer, reason: &str) {
        assert_eq!(answer.status, 400, "{what}: {answer}");
        assert_eq!(answer.json()["reason"], reason, "{what}: {answer}");
        let limit = reason.trim_start_matches("limit_");
        assert!(limit == reason || answer.text().contains(&format!("edge.limits.{limit}")), "{what}: {answer}");
    }

    /// Checks that nothing was journaled, no server died, and everything goes on.
    #[track_caller]
    fn goes_on(self) {
        assert_eq!(journaled(&self.cluster.edge), self.journaled, "journaled");
        for id in [&self.collection, &self.bystander] {
            add(&self.client, id, "after").expect(201);
        }
        let status = self.cluster.edge.status();
        let instances = status["instances"].as_array().expect("instances");
        assert!(instances.iter().all(|one| one["healthy"] == true), "blamed: {status:#}");
        assert_eq!(self.cluster.assert_converged().record_count(), 4);
    }
}

fn terms(count: usize) -> Value {
    json!({ "$or": (0..count).map(|n| json!({ "k": format!("v{n}") })).collect::<Vec<_>>() })
}

fn keys(count: usize) -> Value {
    (0..count).map(|n| (format!("k{n}"), json!(n))).collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn conditions_that_chroma_cannot_take() {
    let scene = Scene::new();
    let long = "z".repeat(60_000);
    let conditions = [
        (json!({ "where": terms(1_600) }), "limit_condition_terms"),
        (json!({ "where": terms(12_000) }), "limit_condition_terms"),
        (json!({ "where": { "$and": [{ "n": 1 }, terms(5_000)] } }), "limit_condition_terms"),
        (json!({ "where": { "$or": vec![terms(100); 30] } }), "limit_condition_comparisons"),
        (json!({ "where_document": { "$contains": long } }), "limit_condition_pattern_bytes"),
        (json!({ "where": { "#document": { "$not_contains": long } } }), "limit_condition_pattern_bytes"),
        (json!({ "where_document": { "$regex": "z".repeat(200_000) } }), "limit_condition_regex_bytes"),
        (
            json!({ "where_document": { "$or": vec![json!({ "$regex": r"\w{100}" }); 100] } }),
            "limit_condition_regex_work",
        ),
        (json!({ "where": { "k": { "$in": (0..40_000).collect::<Vec<_>>() } } }), "limit_condition_values"),
    ];
    for (condition, reason) in conditions {
        for operation in ["get", "query", "delete"] {
            let mut body = condition.clone();
            if operation == "query" {
                body["query_embeddings"] = json!([[1, 2, 3]]);
            }
            let answer = scene.client.post(&record_path(&scene.collection, operation), &body);
            scene.refused(operation, &answer, reason);
        }
    }
    scene.goes_on();
}

#[test]
fn what_chroma_executes_is_executed() {
    let scene = Scene::new();
    let post = |operation: &str, body: Value| scene.client.post(&record_path(&scene.collection, operation), &body);
    post("get", json!({ "where": terms(980) })).expect(200);
    // Balanced, so that the expression is shallow: 1,000 terms. (10,000 are executed too, but take a minute.)
    let balanced = json!({ "$or": vec![terms(100); 10] });
    post("get", json!({ "where": balanced })).expect(200);
    post("get", json!({ "ids": (0..32_000).map(|n| n.to_string()).collect::<Vec<_>>() })).expect(200);
    let deleted = post("delete", json!({ "where": terms(980) })).expect(200);
    assert_eq!(deleted.json()["deleted"], 0);
    post("delete", json!({ "ids": (0..40_000).map(|n| n.to_string()).collect::<Vec<_>>() })).expect(200);
    let wide = json!({ "ids": ["wide"], "embeddings": [[1, 2, 3]], "metadatas": [keys(5_400)] });
    post("add", wide).expect(201);
    assert_eq!(scene.cluster.assert_converged().record_count(), 3);
}

#[test]
fn conditions_that_only_chroma_can_judge_get_its_answer() {
    let scene = Scene::new();
    for pattern in ["(a{1000}){1000}", r"\w{1000}"] {
        for operation in ["get", "delete"] {
            let body = json!({ "where_document": { "$regex": pattern } });
            let answer = scene.client.post(&record_path(&scene.collection, operation), &body).expect(500);
            assert!(answer.text().contains("size limit") || answer.text().contains("code: 1043"), "{answer}");
        }
    }
    add(&scene.client, &scene.collection, "after").expect(201);
    assert_eq!(scene.cluster.assert_converged().record_count(), 3);
}

#[test]
fn records_that_break_their_collection() {
    let scene = Scene::new();
    let items: Vec<u32> = (0..3_000).collect();
    let metadatas = [
        (keys(11_000), "limit_record_metadata_keys"),
        (keys(5_600), "limit_record_metadata_keys"),
        (json!({ "k": (0..100_000).collect::<Vec<_>>() }), "limit_record_metadata_items"),
        (json!({ "k": items, "l": items }), "limit_record_metadata_items"),
    ];
    for (metadata, reason) in metadatas {
        for operation in ["add", "update", "upsert"] {
            let body = json!({ "ids": ["there"], "embeddings": [[1, 2, 3]], "metadatas": [metadata] });
            let answer = scene.client.post(&record_path(&scene.collection, operation), &body);
            scene.refused(operation, &answer, reason);
        }
    }
    let body = json!({ "ids": ["i".repeat(70_000)], "embeddings": [[1, 2, 3]] });
    let answer = scene.client.post(&record_path(&scene.collection, "add"), &body);
    scene.refused("an id", &answer, "limit_id_bytes");
    scene.goes_on();
}

#[test]
fn a_field_that_chroma_skips_hides_nothing() {
    let scene = Scene::new();
    for value in ["1e400", r#""\ud800""#, &"[".repeat(50_000)] {
        let body = format!(
            r#"{{"limit":{value}{},"ids":["x"],"embeddings":[[1,2,3]],"metadatas":[{{"chroma:document":5}}]}}"#,
            "]".repeat(if value.starts_with('[') { 50_000 } else { 0 })
        );
        for operation in ["add", "update", "upsert"] {
            let path = record_path(&scene.collection, operation);
            let answer = scene.client.send("POST", &path, "application/json", body.as_bytes()).expect("an answer");
            assert_eq!(answer.status, 400, "{operation}: {answer}");
        }
    }
    scene.goes_on();
}

#[test]
fn definitions_and_names_that_no_server_should_hold() {
    let scene = Scene::new();
    let collections = format!("{DEFAULT}/collections");
    let create = |more: Value| {
        let mut body = json!({ "name": "doomed" });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        scene.client.post(&collections, &body)
    };
    let hnsw = json!({ "hnsw": { "max_neighbors": 0 } });
    let index = json!({ "enabled": true, "config": { "space": "l2", "hnsw": { "max_neighbors": 0 } } });
    let types = json!({ "float_list": { "vector_index": index } });
    for (more, reason) in [
        (json!({ "configuration": hnsw }), "index_no_neighbors"),
        (json!({ "metadata": { "hnsw:M": 0 } }), "index_no_neighbors"),
        (json!({ "schema": { "defaults": types, "keys": {} } }), "index_no_neighbors"),
        (json!({ "configuration": [["l2", 100, 100, 0, null, null, null, null], null, null] }), "index_positional"),
        (json!({ "configuration": { "hnsw": { "max_neighbors": 1_000_000 } } }), "limit_hnsw_max_neighbors"),
        (json!({ "metadata": keys(12_000) }), "limit_collection_metadata_keys"),
        (json!({ "metadata": { "k": "v".repeat(2_000_000) } }), "limit_collection_metadata_bytes"),
        (json!({ "name": "n".repeat(600) }), "limit_name_bytes"),
    ] {
        scene.refused("create", &create(more), reason);
    }
    let put = |body: Value| scene.client.call("PUT", &format!("{collections}/{}", scene.collection), &body);
    scene.refused("put", &put(json!({ "new_configuration": hnsw })), "index_no_neighbors");
    scene.refused("put", &put(json!({ "new_metadata": keys(20_000) })), "limit_collection_metadata_keys");
    scene.refused("put", &put(json!({ "new_name": "n".repeat(600) })), "limit_name_bytes");
    let tenant = scene.client.post("/api/v2/tenants", &json!({ "name": "t".repeat(66_000) }));
    scene.refused("a tenant", &tenant, "limit_name_bytes");
    let database = "/api/v2/tenants/default_tenant/databases";
    let answer = scene.client.post(database, &json!({ "name": "d".repeat(66_000) }));
    scene.refused("a database", &answer, "limit_name_bytes");
    scene.goes_on();
}

#[test]
fn a_limit_is_a_matter_of_configuration() {
    let cluster = Cluster::with(2, |edge| edge.config("  limits: { condition_terms: 3 }"));
    let collection = cluster.create("things");
    let get = |count| cluster.client().post(&record_path(&collection, "get"), &json!({ "where": terms(count) }));
    get(3).expect(200);
    let answer = get(4).expect(400);
    assert!(answer.text().contains("4, and the limit is 3 (edge.limits.condition_terms)"), "{answer}");
    let metrics = cluster.client().get("/metrics").expect(200).text();
    assert!(metrics.contains(r#"reason="limit_condition_terms"} 1"#), "{metrics}");
}
