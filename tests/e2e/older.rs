//! A server that comes back with an older copy of its data folder, or with another server's folder, is noticed before
//! it serves anything that it lost (rule R16).

use std::time::Duration;

use serde_json::{Value, json};

use testkit::ChromaServer;
use testkit::cluster::{CATCH_UP, Cluster, add, ids};
use testkit::http::{Client, DEFAULT, record_path};
use testkit::place::wait_for;

const HEALED: Duration = Duration::from_secs(120);
const ON: &str = "  heal: { enabled: true, marker_interval: 1s }\n  read_wait: 1s\n  recovery_interval: 1s";
const MARKER: &str = "/api/v2/tenants/default_tenant/databases/chroma-edge-marker/collections/marker";

/// Returns the server's marker, if it has one.
fn marker(server: &ChromaServer) -> Value {
    let answer = server.client().get(MARKER);
    if answer.status == 200 { answer.json()["metadata"].clone() } else { Value::Null }
}

/// Waits until the server's marker covers everything that was written so far.
fn await_marked(cluster: &Cluster, server: usize) {
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let before = marker(&cluster.servers[server])["generation"].as_u64().unwrap_or_default();
    add(&cluster.client(), &cluster.create(&format!("mark{server}x{before}")), "one").expect(201);
    wait_for("a newer marker", CATCH_UP, || {
        (marker(&cluster.servers[server])["generation"].as_u64()? > before).then_some(())
    });
}

fn update(client: &Client, collection: &str, id: &str, document: &str) {
    let body = json!({ "ids": [id], "documents": [document] });
    client.post(&record_path(collection, "update"), &body).expect(200);
}

fn comes_back_older(lost: usize) {
    let mut cluster = Cluster::with(2, |edge| edge.config(ON));
    cluster.edge.announce("lacks what it was given");
    cluster.edge.announce("lacks collections");
    cluster.edge.announce("diverged");
    let client = cluster.client();
    let [changed, untouched, renamed] = ["changed", "untouched", "renamed"].map(|name| cluster.create(name));
    for collection in [&changed, &untouched, &renamed] {
        for id in ["a", "b", "c"] {
            add(&client, collection, id).expect(201);
        }
    }
    await_marked(&cluster, lost);
    cluster.servers[lost].kill();
    let saved = cluster.servers[lost].save();
    cluster.servers[lost].restart();
    cluster.edge.wait_until_in_sync(CATCH_UP);

    // As many records as before, so that no count shows the difference.
    update(&client, &changed, "a", "newer");
    client.post(&record_path(&changed, "delete"), &json!({ "ids": ["b"] })).expect(200);
    add(&client, &changed, "d").expect(201);
    client
        .call("PUT", &format!("{DEFAULT}/collections/{renamed}"), &json!({ "new_name": "called-otherwise" }))
        .expect(200);
    await_marked(&cluster, lost);

    cluster.servers[lost].kill();
    cluster.servers[lost].put_back(&saved);
    cluster.servers[lost].restart();
    wait_for("the older copy noticed", CATCH_UP, || {
        let body = json!({ "include": ["documents"] });
        let read = client.post(&record_path(&changed, "get"), &body).expect(200).json();
        assert_eq!(read["ids"], json!(["a", "c", "d"]), "nobody reads what is older");
        assert_eq!(read["documents"][0], json!("newer"));
        cluster.edge.log().contains("lacks what it was given").then_some(())
    });
    cluster.edge.wait_until_in_sync(HEALED);
    cluster.assert_converged();
    cluster.servers[1 - lost].kill();
    assert_eq!(ids(&client, &changed), ["a", "c", "d"]);
    cluster.servers[1 - lost].restart();
    cluster.edge.wait_until_in_sync(CATCH_UP);
}

#[test]
fn a_replica_with_an_older_copy_of_its_folder_is_made_whole() {
    comes_back_older(1);
}

#[test]
fn a_primary_with_an_older_copy_of_its_folder_is_made_whole() {
    comes_back_older(0);
}

#[test]
fn a_server_with_the_folder_of_another_serves_nothing() {
    let mut cluster = Cluster::with(2, |edge| edge.config(ON));
    cluster.edge.announce("somebody else's data");
    let client = cluster.client();
    let collection = cluster.create("things");
    add(&client, &collection, "one").expect(201);
    await_marked(&cluster, 0);
    await_marked(&cluster, 1);
    cluster.servers[1].kill();
    let own = cluster.servers[1].save();
    cluster.servers[0].kill();
    let others = cluster.servers[0].save();
    cluster.servers[0].restart();
    cluster.servers[1].put_back(&others);
    cluster.servers[1].restart();
    let foreign = |cluster: &Cluster| cluster.edge.status()["instances"][1]["foreign"].clone();
    wait_for("noticed", CATCH_UP, || foreign(&cluster).is_string().then_some(()));
    assert_eq!(cluster.edge.status()["instances"][1]["healthy"], json!(false));
    for n in 0..10 {
        add(&client, &collection, &format!("meanwhile{n}")).expect(201);
    }
    // Its own folder is back: it gets what it missed.
    cluster.servers[1].kill();
    cluster.servers[1].put_back(&own);
    cluster.servers[1].restart();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    assert_eq!(foreign(&cluster), Value::Null);
    cluster.assert_converged();
}

/// A server comes back with collections that were deleted meanwhile: no client sees them, they block nothing, and a
/// later edge does not mistake them for new ones.
#[test]
fn what_was_deleted_since_stays_deleted() {
    let mut cluster = Cluster::with(2, |edge| edge.config(ON));
    for text in ["lacks what it was given", "lacks collections", "diverged"] {
        cluster.edge.announce(text);
    }
    let client = cluster.client();
    let [kept, gone, again] = ["kept", "gone", "again"].map(|name| cluster.create(name));
    for collection in [&kept, &gone, &again] {
        add(&client, collection, "old").expect(201);
    }
    await_marked(&cluster, 1);
    cluster.replica().kill();
    let saved = cluster.replica().save();
    cluster.replica().restart();
    cluster.edge.wait_until_in_sync(CATCH_UP);

    for name in ["gone", "again"] {
        client.call("DELETE", &format!("{DEFAULT}/collections/{name}"), &Value::Null).expect(200);
    }
    let again = cluster.create("again");
    add(&client, &again, "new").expect(201);
    await_marked(&cluster, 1);
    cluster.replica().kill();
    cluster.replica().put_back(&saved);
    cluster.replica().restart();
    wait_for("noticed", CATCH_UP, || cluster.edge.log().contains("may have been deleted").then_some(()));
    cluster.edge.wait_until_in_sync(HEALED);
    cluster.edge.kill();
    cluster.edge.restart();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    // A copy was made on it, so hidden collections are gone by now, too.
    cluster.assert_converged();
    let listed = client.get(&format!("{DEFAULT}/collections")).expect(200).json();
    let names: Vec<&str> = listed.as_array().expect("a list").iter().filter_map(|one| one["name"].as_str()).collect();
    assert!(!names.contains(&"gone") && names.contains(&"again"), "{names:?}");
    cluster.primary().kill();
    assert_eq!(ids(&client, &again), ["new"]);
    assert_eq!(ids(&client, &kept), ["old"]);
    cluster.primary().restart();
    cluster.edge.wait_until_in_sync(CATCH_UP);
}

/// Deleted under its new name while a server holds it under its old one: it is deleted on that server, too, and no
/// later inspection mistakes it for a new one.
#[test]
fn what_was_renamed_and_then_deleted_stays_deleted() {
    let slowly = ON.replace("enabled: true", "enabled: true, rate: 1");
    let mut cluster = Cluster::with(2, |edge| edge.config(&slowly));
    for text in ["lacks what it was given", "lacks collections", "diverged"] {
        cluster.edge.announce(text);
    }
    let client = cluster.client();
    let collection = cluster.create("before");
    for n in 0..40 {
        add(&client, &collection, &n.to_string()).expect(201);
    }
    await_marked(&cluster, 0);
    cluster.primary().kill();
    let saved = cluster.primary().save();
    cluster.primary().restart();
    cluster.edge.wait_until_in_sync(CATCH_UP);

    let path = format!("{DEFAULT}/collections/{collection}");
    client.call("PUT", &path, &json!({ "new_name": "after" })).expect(200);
    await_marked(&cluster, 0);
    cluster.primary().kill();
    cluster.primary().put_back(&saved);
    cluster.primary().restart();
    wait_for("noticed", CATCH_UP, || cluster.edge.log().contains("lacks what it was given").then_some(()));
    client.call("DELETE", &format!("{DEFAULT}/collections/after"), &Value::Null).expect(200);
    client.post("/admin/sync_collections", &json!({})).expect(200);
    cluster.edge.wait_until_in_sync(HEALED);
    cluster.edge.kill();
    cluster.edge.restart();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    for client in [&client, &cluster.servers[0].client(), &cluster.servers[1].client()] {
        let listed = client.get(&format!("{DEFAULT}/collections")).expect(200).json();
        let names: Vec<&str> =
            listed.as_array().expect("a list").iter().filter_map(|one| one["name"].as_str()).collect();
        assert!(!names.contains(&"before") && !names.contains(&"after"), "{names:?}");
    }
    cluster.assert_converged();
}
