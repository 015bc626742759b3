//! The edge shows what a server supports. A copy that is not exact is diverged. A server with which nothing can be done
//! exactly is left alone, with one clear line in the log.

use std::time::Duration;

use serde_json::{Value, json};

use testkit::chroma::Version;
use testkit::cluster::{CATCH_UP, Cluster, timed};
use testkit::http::{Answer, Client, DEFAULT};
use testkit::place::wait_for;
use testkit::relay::{Relay, Seen};
use testkit::{ChromaServer, Edge};

use super::pair;

/// Starts a relay between a server and the edge that changes requests or answers.
fn before(
    server: &ChromaServer,
    lie: impl Fn(Seen, &dyn Fn(&Seen) -> Answer) -> Answer + Send + Sync + 'static,
) -> Relay {
    Relay::intercepted(server.client(), Box::new(lie))
}

fn capabilities(edge: &Edge) -> Vec<Value> {
    let status = edge.status();
    status["instances"].as_array().expect("instances").iter().map(|one| one["capabilities"].clone()).collect()
}

#[test]
fn what_each_server_can_do_is_shown() {
    let cluster = pair([Version::Older("1.0.20"), Version::Current]);
    let expected = [
        json!({ "by_id": false, "copied_by": "configuration", "metadata_arrays": false }),
        json!({ "by_id": true, "copied_by": "schema", "metadata_arrays": true }),
    ];
    assert_eq!(capabilities(&cluster.edge), expected);
}

/// A write that only one of two servers accepts would leave the other one without a copy.
#[test]
fn a_mixed_pair_follows_the_weaker() {
    let cluster = pair([Version::Current, Version::Older("1.3.7")]);
    let client = cluster.client();
    let collection = cluster.create("mixed");
    let path = testkit::http::record_path(&collection, "add");
    let body = json!({ "ids": ["a"], "embeddings": [[1, 2]], "metadatas": [{ "tags": ["x", "y"] }] });
    let refused = client.post(&path, &body).expect(400).json();
    assert_eq!(refused["reason"], "uneven_servers", "{refused}");
    client.post(&path, &json!({ "ids": ["a"], "embeddings": [[1, 2]], "metadatas": [{ "tag": "x" }] })).expect(201);
    cluster.assert_converged();

    let cluster = pair([Version::Current, Version::Older("1.0.20")]);
    let schema =
        cluster.servers[0].client().post(&format!("{DEFAULT}/collections"), &json!({ "name": "of-the-server" }));
    let body = json!({ "name": "defined", "schema": schema.expect(200).json()["schema"] });
    let refused = cluster.client().post(&format!("{DEFAULT}/collections"), &body).expect(400).json();
    assert_eq!(refused["reason"], "uneven_servers", "{refused}");
}

/// A server that is restarted with another version is inspected again, and a pair may be updated one by one.
#[test]
fn a_server_that_becomes_another_version_is_looked_at_again() {
    let mut cluster = pair([Version::Older("1.3.7"); 2]);
    let collection = cluster.create("rolling");
    for (place, name) in [(1, "replica"), (0, "primary")] {
        cluster.servers[place].kill();
        cluster.edge.wait_until_healthy(name, false, CATCH_UP);
        testkit::cluster::add(&cluster.client(), &collection, name).expect(201);
        cluster.servers[place].becomes(Version::Current);
        cluster.servers[place].restart();
        cluster.edge.wait_until_healthy(name, true, CATCH_UP);
        assert_eq!(capabilities(&cluster.edge)[place]["by_id"], true);
    }
    cluster.assert_converged();
}

/// Chroma 1.2.2 did this, whatever version the server reports: a copy by schema silently becomes l2.
#[test]
fn a_copy_that_is_not_exact_is_diverged() {
    let servers = [ChromaServer::fresh(), ChromaServer::fresh()];
    let forgetful = before(&servers[1], |seen, pass| {
        let mut asked: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
        if seen.endpoint().ends_with("/collections")
            && asked.as_object_mut().is_some_and(|body| body.remove("schema").is_some())
        {
            return pass(&Seen { body: asked.to_string().into_bytes(), ..seen });
        }
        pass(&seen)
    });
    let edge = Edge::builder().instance_url(&servers[0].url()).instance_url(&forgetful.url()).start();
    edge.announce("diverged");
    edge.announce("without a second copy");
    let client = edge.client();
    let body = json!({ "name": "sums", "configuration": { "hnsw": { "space": "cosine" } } });
    client.post(&format!("{DEFAULT}/collections"), &body).expect(200);
    let status = wait_for("the divergence", CATCH_UP, || {
        Some(edge.status()).filter(|status| status["diverged"].as_array().is_some_and(|all| !all.is_empty()))
    });
    let diverged = &status["diverged"][0];
    assert_eq!(
        (&diverged["collection_name"], &diverged["instance"]),
        (&json!("sums"), &json!("replica")),
        "{status:#}"
    );
    assert_eq!(client.get("/health").expect(200).json()["status"], "degraded");
    assert!(edge.log().contains("the copy of a definition is not exact"));
    // It stays diverged: a comparison finds the same.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(edge.status()["diverged"].as_array().map(Vec::len), Some(1));
    let pinned = client.with_header("chroma-edge-instance", "replica");
    assert_eq!(pinned.get(&format!("{DEFAULT}/collections/sums")).status, 503);
}

/// Starts a relay that removes this route from the document, as if the server did not have it.
fn without_upsert(server: &ChromaServer) -> Relay {
    before(server, |seen, pass| {
        let mut answer = pass(&seen);
        if seen.endpoint() == "/openapi.json" {
            let mut document = answer.json();
            document["paths"].as_object_mut().expect("paths").retain(|path, _| !path.ends_with("/upsert"));
            answer.body = document.to_string().into_bytes();
        }
        answer
    })
}

fn writes(seen: &[Seen]) -> Vec<&Seen> {
    seen.iter().filter(|seen| seen.method != "GET").collect()
}

#[test]
fn nothing_is_sent_to_a_server_that_is_not_supported() {
    let servers = [ChromaServer::fresh(), ChromaServer::fresh()];
    let relays = [without_upsert(&servers[0]), without_upsert(&servers[1])];
    let edge = Edge::builder().instance_url(&servers[0].url()).instance_url(&relays[1].url()).start();
    edge.announce("not supported");
    edge.announce("without a second copy");
    wait_for("the verdict", CATCH_UP, || edge.log().contains("not supported").then_some(()));
    let health = edge.client().get("/health").expect(200).json();
    assert_eq!(health["status"], "degraded");
    let line = health["unsupported_instances"][0].as_str().expect("a line").to_owned();
    assert!(line.starts_with("replica: it does not know post ") && line.ends_with("/upsert"), "{line}");
    // The other server serves, and nothing waits for the one that is never used.
    let (_, took) = timed(|| testkit::cluster::create(&edge.client(), "alone"));
    assert!(took < Duration::from_secs(2), "it took {took:?}");
    std::thread::sleep(Duration::from_secs(2));
    assert!(writes(&relays[1].seen()).is_empty(), "{:?}", relays[1].seen());
    assert_eq!(edge.log().matches("not supported").count(), 1, "it is said once");

    let edge = Edge::builder().instance_url(&relays[0].url()).instance_url(&relays[1].url()).start();
    edge.announce("not supported");
    wait_for("both verdicts", CATCH_UP, || (edge.log().matches("not supported").count() == 2).then_some(()));
    let never = || edge.client().post(&format!("{DEFAULT}/collections"), &json!({ "name": "never" }));
    let (refused, took) = timed(never);
    assert!(took < Duration::from_secs(2), "it took {took:?}");
    let body = refused.expect(503).json();
    assert_eq!((&body["reason"], &body["recovery"]), (&json!("unsupported_servers"), &Value::Null), "{body}");
    assert_eq!(edge.client().get("/health").status, 503);
    assert!(writes(&relays[0].seen()).is_empty(), "{:?}", relays[0].seen());
}

/// If a gateway hides the document, the edge finds out from the servers' behavior.
#[test]
fn a_hidden_document_is_no_hindrance() {
    let servers = [ChromaServer::fresh(), ChromaServer::of_version(Version::Older("1.0.20"))];
    let hiding = |server: &ChromaServer| {
        before(server, |seen, pass| {
            let mut answer = pass(&seen);
            if seen.endpoint() == "/openapi.json" {
                answer.status = 404;
                answer.body = b"<html>nothing here</html>".to_vec();
            }
            answer
        })
    };
    let relays = [hiding(&servers[0]), hiding(&servers[1])];
    let edge = Edge::builder().instance_url(&relays[0].url()).instance_url(&relays[1].url()).start();
    let by_id: Vec<Value> = capabilities(&edge).iter().map(|can| can["by_id"].clone()).collect();
    assert_eq!(by_id, [json!(true), json!(false)]);
    assert_eq!(capabilities(&edge)[1]["copied_by"], "configuration");
    assert!(writes(&relays[0].seen()).is_empty(), "its route by id tells enough");
}

const SCRATCH: &str = "chroma-edge-scratch";

fn databases(client: &Client) -> Vec<String> {
    let list = client.get("/api/v2/tenants/default_tenant/databases").expect(200).json();
    list.as_array().expect("a list").iter().map(|one| one["name"].as_str().expect("a name").to_owned()).collect()
}

/// The next inspection removes what a crash left of a trial, and clients never see it.
#[test]
fn the_place_of_trials_is_hidden_and_swept() {
    let (old, new) = (ChromaServer::of_version(Version::Older("1.3.7")), ChromaServer::fresh());
    for server in [&old, &new] {
        let client = server.client();
        client.post("/api/v2/tenants/default_tenant/databases", &json!({ "name": SCRATCH })).expect(200);
        let path = format!("/api/v2/tenants/default_tenant/databases/{SCRATCH}/collections");
        client.post(&path, &json!({ "name": "chroma-edge-original" })).expect(200);
    }
    let cluster = Cluster::of(vec![old, new], |edge| edge);
    for server in &cluster.servers {
        assert_eq!(databases(&server.client()), ["default_database"]);
        assert_eq!(server.client().get(&format!("{DEFAULT}/collections_count")).expect(200).json(), json!(0));
    }
    let client = cluster.client();
    let database = format!("/api/v2/tenants/default_tenant/databases/{SCRATCH}");
    let reserved = client.post("/api/v2/tenants/default_tenant/databases", &json!({ "name": SCRATCH })).expect(400);
    assert_eq!(reserved.json()["reason"], "reserved_name");
    client.get(&database).expect(404);
    client.post(&format!("{database}/collections"), &json!({ "name": "mine" })).expect(400);
    assert_eq!(client.get(&format!("{database}/collections")).expect(200).json(), json!([]));
    client.get(&format!("{database}/collections/chroma-edge-original")).expect(404);
    assert_eq!(databases(&client), ["default_database"]);
    cluster.assert_converged();
}
