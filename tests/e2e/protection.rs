//! What clients may not do, and how the refusal explains that an operator can allow it.

use serde_json::{Value, json};

use testkit::chroma::Reset;
use testkit::cluster::{CATCH_UP, Cluster, add, journaled};
use testkit::http::{Answer, DEFAULT};
use testkit::place::wait_for;
use testkit::{ChromaServer, Edge, Relay};

#[track_caller]
fn assert_forbidden(answer: Answer) {
    let answer = answer.expect(403);
    assert!(answer.json()["message"].as_str().expect("a message").contains("protection"), "how to allow it: {answer}");
}

#[test]
fn the_protected_collection_is_not_deleted() {
    let cluster = Cluster::two();
    let client = cluster.client();
    let id = cluster.create("global");
    add(&client, &id, "kept").expect(201);
    assert_forbidden(client.call("DELETE", &format!("{DEFAULT}/collections/global"), &Value::Null));
    assert_forbidden(client.call("DELETE", DEFAULT, &Value::Null));
    assert_forbidden(client.call("POST", "/api/v2/reset", &Value::Null));
    // Under another name it could be deleted.
    let path = format!("{DEFAULT}/collections/{id}");
    assert_forbidden(client.call("PUT", &path, &json!({ "new_name": "unprotected" })));
    client.call("PUT", &path, &json!({ "new_metadata": { "k": 1 } })).expect(200);
    assert_eq!(cluster.assert_converged().record_count(), 1);
}

#[test]
fn a_reset_that_is_allowed_still_spares_what_is_protected() {
    let servers = [ChromaServer::with_reset(Reset::Allowed), ChromaServer::with_reset(Reset::Allowed)];
    let edge = Edge::builder()
        .instances(&[&servers[0], &servers[1]])
        .config("  protection: { allow_reset: true, collections: [precious] }")
        .start();
    let client = edge.client();
    client.post(&format!("{DEFAULT}/collections"), &json!({ "name": "precious" })).expect(200);
    assert_forbidden(client.call("POST", "/api/v2/reset", &Value::Null));
    client.get(&format!("{DEFAULT}/collections/precious")).expect(200);
}

#[test]
fn what_is_protected_is_deleted_on_purpose_by_name_alone() {
    let cluster = Cluster::with(2, |edge| {
        edge.config("  protection: { collections: [global, \"prod_*\"], test_prefixes: [prod_test_] }")
    });
    let client = cluster.client();
    for name in ["global", "prod_a", "prod_test_a", "plain"] {
        cluster.create(name);
    }
    let confirming = |names: &str| client.with_header("chroma-edge-confirm", names);
    let path = |name: &str| format!("{DEFAULT}/collections/{name}");
    let delete = |client: &testkit::http::Client, path: &str| client.call("DELETE", path, &Value::Null);
    for name in ["global", "prod_a", "prod%5Fa", "%67lobal"] {
        assert_forbidden(delete(&client, &path(name)));
        assert_forbidden(delete(&confirming("plain"), &path(name)));
        // Without tokens only this machine is an admin.
        assert_forbidden(delete(
            &confirming("global, prod_a").with_header("x-forwarded-for", "203.0.113.7"),
            &path(name),
        ));
    }
    delete(&client, &path("prod_test_a")).expect(200);
    client.post("/api/v2/tenants/default_tenant/databases", &json!({ "name": "stuff" })).expect(200);
    let stuff = "/api/v2/tenants/default_tenant/databases/stuff";
    for name in ["global", "prod_b", "plain"] {
        client.post(&format!("{stuff}/collections"), &json!({ "name": name })).expect(200);
    }
    let refused = delete(&confirming("global"), stuff).expect(403);
    assert!(refused.text().contains("Chroma-Edge-Confirm: global, prod_b"), "{refused}");
    client.get(&format!("{stuff}/collections/plain")).expect(200);
    delete(&confirming("global,prod_b"), stuff).expect(200);
    client.get(&format!("{stuff}/collections/plain")).expect(404);
    delete(&confirming("prod_a"), &path("prod_a")).expect(200);
    assert_forbidden(client.call("POST", "/api/v2/reset", &Value::Null));
    assert_forbidden(client.call("PUT", &path("global"), &json!({ "new_name": "free" })));
    confirming("global").call("PUT", &path("global"), &json!({ "new_name": "free" })).expect(200);
    delete(&client, &path("free")).expect(200);
}

/// A new journal contains the default database, but nothing that servers hold there and the edge has not seen.
#[test]
fn before_any_server_was_seen_nothing_is_deleted_blindly() {
    let mut servers = [ChromaServer::fresh(), ChromaServer::fresh()];
    for server in &servers {
        testkit::cluster::create(&server.client(), "global");
    }
    servers.iter_mut().for_each(ChromaServer::kill);
    let lines = "  protection: { collections: [global], allow_reset: true }\n  write_wait: 300ms";
    let edge = Edge::builder().instances(&[&servers[0], &servers[1]]).config(lines).start();
    let client = edge.client();
    let refused = [client.call("DELETE", DEFAULT, &Value::Null), client.call("POST", "/api/v2/reset", &Value::Null)];
    for answer in refused {
        assert_eq!((answer.status, answer.json().get("recovery")), (503, None), "{answer}");
    }
    servers.iter_mut().for_each(ChromaServer::restart);
    edge.wait_until_in_sync(CATCH_UP);
    for server in &servers {
        server.client().get(&format!("{DEFAULT}/collections/global")).expect(200);
    }
}

/// The edge does not know the tenant: it must know what the database holds before deleting it.
#[test]
fn a_database_that_the_edge_does_not_know_is_not_deleted_unseen() {
    let cluster = Cluster::two();
    let (tenant, database) = ("/api/v2/tenants/stranger", "/api/v2/tenants/stranger/databases/library");
    for server in &cluster.servers {
        let client = server.client();
        client.post("/api/v2/tenants", &json!({ "name": "stranger" })).expect(200);
        client.post(&format!("{tenant}/databases"), &json!({ "name": "library" })).expect(200);
        client.post(&format!("{database}/collections"), &json!({ "name": "global" })).expect(200);
    }
    // Until the edge knows the content, it answers 404 or 503.
    testkit::place::wait_for("a refusal that knows why", testkit::cluster::CATCH_UP, || {
        let answer = cluster.client().call("DELETE", database, &Value::Null);
        assert!(matches!(answer.status, 403 | 404 | 503), "{answer}");
        (answer.status == 403).then(|| assert_forbidden(answer))
    });
    for server in &cluster.servers {
        server.client().get(&format!("{database}/collections/global")).expect(200);
    }
    cluster.client().call("DELETE", &format!("{tenant}/databases/nothing"), &Value::Null).expect(404);
}

/// Journals a write that the servers do not get until `meanwhile` is done.
fn while_held<T: Send>(
    cluster: &Cluster,
    (hold, release): (impl FnOnce(), impl FnOnce()),
    write: impl FnOnce() -> Answer + Send,
    meanwhile: impl FnOnce() -> T,
) -> (Answer, T) {
    let before = journaled(&cluster.edge);
    hold();
    std::thread::scope(|scope| {
        let writer = scope.spawn(write);
        wait_for("the write in the journal", CATCH_UP, || (journaled(&cluster.edge) > before).then_some(()));
        let seen = meanwhile();
        release();
        (writer.join().expect("a writer"), seen)
    })
}

/// An entry that is journaled but not executed comes first in the order: its effect is already protected.
#[test]
fn what_is_about_to_be_created_or_renamed_is_protected_already() {
    let (cluster, relays) = Cluster::relayed(|edge| edge);
    let client = cluster.client();
    client.post("/api/v2/tenants/default_tenant/databases", &json!({ "name": "stuff" })).expect(200);
    let stuff = "/api/v2/tenants/default_tenant/databases/stuff";
    let collections = format!("{stuff}/collections");
    let delete = |client: &testkit::http::Client| client.call("DELETE", stuff, &Value::Null);

    let create = || client.post(&collections, &json!({ "name": "global" }));
    let held = (
        || relays.iter().for_each(|relay| relay.hold("/stuff/collections")),
        || relays.iter().for_each(Relay::release),
    );
    let (created, journaled_meanwhile) = while_held(&cluster, held, create, || {
        let before = journaled(&cluster.edge);
        assert_forbidden(delete(&client));
        assert_forbidden(client.call("POST", "/api/v2/reset", &Value::Null));
        journaled(&cluster.edge) - before
    });
    created.expect(200);
    assert_eq!(journaled_meanwhile, 0, "a refusal is not journaled");
    client.get(&format!("{collections}/global")).expect(200);
    delete(&client.with_header("chroma-edge-confirm", "global")).expect(200);

    client.post("/api/v2/tenants/default_tenant/databases", &json!({ "name": "stuff" })).expect(200);
    let plain = client.post(&collections, &json!({ "name": "plain" })).expect(200).json();
    let path = format!("{collections}/{}", plain["id"].as_str().expect("an id"));
    let rename = |name: &str| client.call("PUT", &path, &json!({ "new_name": name }));
    let method = |method: Option<&'static str>| relays.iter().for_each(|relay| relay.lock_method(method));
    let held = (|| method(Some("PUT")), || method(None));
    let (renamed, ()) = while_held(
        &cluster,
        held,
        || rename("global"),
        || {
            assert_forbidden(delete(&client));
            assert_forbidden(rename("free"));
        },
    );
    renamed.expect(200);
    client.get(&format!("{collections}/global")).expect(200);
    cluster.assert_converged();
}
