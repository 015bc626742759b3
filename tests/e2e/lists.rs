//! Collections as clients see them, one by one and in lists: always as a fresh instance would show them, and without a
//! request to any instance while nothing changes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, Cluster, add, create, ids};
use testkit::http::{Answer, Client, DEFAULT, record_path};
use testkit::place::wait_for;
use testkit::relay::{Relay, Seen};
use testkit::{ChromaServer, Edge};

fn list(client: &Client) -> Vec<Value> {
    client.get(&format!("{DEFAULT}/collections")).expect(200).json().as_array().expect("a list").clone()
}

/// Returns the collection, checking that every way of showing it agrees.
#[track_caller]
fn shown(client: &Client, name: &str) -> Value {
    let one = client.get(&format!("{DEFAULT}/collections/{name}")).expect(200).json();
    let id = one["id"].as_str().expect("an id");
    let found = client.post(&format!("{DEFAULT}/collections"), &json!({ "name": name, "get_or_create": true }));
    let listed = list(client).into_iter().find(|listed| listed["id"] == id).expect("it is in the list");
    assert_eq!(client.get(&format!("{DEFAULT}/collections/by-id/{id}")).expect(200).json(), one);
    assert_eq!(found.expect(200).json(), one);
    assert_eq!(listed, one);
    one
}

/// Returns the paths that the instances were asked for.
fn reads(relays: &[Relay]) -> Vec<String> {
    let is_read =
        |seen: &Seen| seen.method == "GET" && seen.endpoint().contains("/databases/default_database/collections");
    let mut seen: Vec<Seen> = relays.iter().flat_map(Relay::seen).filter(is_read).collect();
    seen.sort_by_key(|seen| seen.at);
    seen.into_iter().map(|seen| seen.path).collect()
}

#[test]
fn what_has_not_changed_costs_the_instances_nothing() {
    let (cluster, relays) = Cluster::relayed(|edge| edge);
    let client = cluster.client();
    let ids: Vec<String> = (0..40).map(|number| create(&client, &format!("listed-{number:02}"))).collect();
    add(&client, &ids[7], "one").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let first = list(&client);
    let before = reads(&relays).len();
    for _ in 0..3 {
        assert_eq!(list(&client), first);
        for offset in (0..40).step_by(10) {
            let page = client.get(&format!("{DEFAULT}/collections?limit=10&offset={offset}")).expect(200).json();
            assert_eq!(page.as_array().expect("a page"), &first[offset..offset + 10]);
        }
        shown(&client, "listed-07");
    }
    assert_eq!(reads(&relays)[before..], [] as [String; 0]);
    // A collection that changes is read again, and no other one.
    add(&client, &ids[7], "two").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    assert_eq!(list(&client).len(), 40);
    let again = reads(&relays).split_off(before);
    assert!(again.len() == 1 && again[0].contains("/by-id/"), "{again:?}");
    let metrics = client.get("/metrics").expect(200).text();
    assert!(metrics.contains("chroma_edge_collection_cache_hits"), "{metrics}");
    cluster.assert_converged();
}

/// A first list, before any instance was asked, costs few requests: pages of an instance's own list.
#[test]
fn a_first_list_costs_a_few_pages() {
    let (cluster, relays) = Cluster::relayed(|edge| edge.config("  limits: { collection_cache_bytes: 0B }"));
    let client = cluster.client();
    (0..100).for_each(|number| drop(create(&client, &format!("listed-{number:03}"))));
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let before = reads(&relays).len();
    assert_eq!(list(&client).len(), 100);
    let page = client.get(&format!("{DEFAULT}/collections?limit=10&offset=50")).expect(200).json();
    assert_eq!(page.as_array().expect("a page").len(), 10);
    let asked = reads(&relays).split_off(before);
    assert!(asked.len() <= 5 && asked.iter().all(|path| path.contains("limit=")), "{asked:?}");
}

fn uncached() -> (Cluster, Vec<Relay>) {
    Cluster::relayed(|edge| edge.config("  limits: { collection_cache_bytes: 0B }"))
}

/// The primary has created all of them, so its pages would be the best ones.
#[test]
fn a_drained_primary_is_asked_for_no_list() {
    let (cluster, relays) = uncached();
    let client = cluster.client();
    (0..20).for_each(|number| drop(create(&client, &format!("listed-{number:02}"))));
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let before = reads(&relays[..1]).len();
    assert_eq!(list(&client).len(), 20);
    assert!(reads(&relays[..1]).len() > before, "else this shows nothing");
    client.post("/admin/drain", &json!({ "instance": "primary", "sync": "keep" })).expect(200);
    wait_for("drained", CATCH_UP, || {
        let status = client.get("/status").expect(200).json();
        (status["instances"][0]["drain"]["state"] == "drained").then_some(())
    });
    let (before, others) = (reads(&relays[..1]).len(), reads(&relays[1..]).len());
    for _ in 0..3 {
        assert_eq!(list(&client).len(), 20);
    }
    assert_eq!(reads(&relays[..1])[before..], [] as [String; 0]);
    assert!(reads(&relays[1..]).len() > others);
}

/// Its heartbeat stays green, but it answers no page.
#[test]
fn a_primary_that_hangs_holds_no_list_up() {
    let (cluster, relays) = uncached();
    let client = cluster.client();
    (0..20).for_each(|number| drop(create(&client, &format!("listed-{number:02}"))));
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let before = reads(&relays[..1]).len();
    relays[0].hold("&offset=0");
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(list(&cluster.client()).len(), 20));
        }
    });
    let pages = reads(&relays[..1]).split_off(before).into_iter().filter(|path| path.ends_with("&offset=0")).count();
    assert!((1..=2).contains(&pages), "it is asked by those that have a turn, and then spared: {pages}");
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    relays[0].release();
}

/// As if it were busy with this collection: it is asked for a moment, then the other one is, and from then on the other
/// one first for a while.
#[test]
fn an_instance_that_does_not_show_a_collection_holds_nobody_up() {
    let config = "  read_replica_ratio: 0.0\n  limits: { collection_cache_bytes: 0B }";
    let (cluster, relays) = Cluster::relayed(|edge| edge.config(config));
    let client = cluster.client();
    let id = create(&client, "things");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    // The string must live as long as the process.
    relays[0].hold(format!("/by-id/{id}").leak());
    let path = format!("{DEFAULT}/collections/things");
    let before = reads(&relays[..1]).len();
    let begun = Instant::now();
    client.get(&path).expect(200);
    assert_eq!(reads(&relays[..1]).len(), before + 1, "the primary is preferred");
    assert!((3..8).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    client.get(&path).expect(200);
    assert_eq!(reads(&relays[..1]).len(), before + 1, "it is spared");
    relays[0].release();
}

#[test]
fn a_page_is_full_although_one_of_it_is_deleted_meanwhile() {
    let (cluster, relays) = uncached();
    let client = cluster.client();
    let mut ids: Vec<String> = (0..6).map(|number| create(&client, &format!("listed-{number}"))).collect();
    ids.sort();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let names: Vec<Value> = list(&client).iter().map(|one| one["name"].clone()).collect();
    let before = reads(&relays).len();
    relays.iter().for_each(|relay| relay.hold("&offset=0"));
    let page = std::thread::scope(|scope| {
        let page = scope.spawn(|| cluster.client().get(&format!("{DEFAULT}/collections?limit=3&offset=0")));
        wait_for("its page", CATCH_UP, || (reads(&relays).len() > before).then_some(()));
        let path = format!("{DEFAULT}/collections/{}", names[1].as_str().expect("a name"));
        client.call("DELETE", &path, &Value::Null).expect(200);
        relays.iter().for_each(Relay::release);
        page.join().expect("a page").expect(200).json()
    });
    let shown: Vec<&str> = page.as_array().expect("a page").iter().filter_map(|one| one["id"].as_str()).collect();
    assert_eq!(shown, [&ids[0], &ids[2], &ids[3]]);
}

#[test]
fn many_readers_of_one_collection_ask_once() {
    let (cluster, relays) = Cluster::relayed(|edge| edge);
    let client = cluster.client();
    let id = create(&client, "popular");
    add(&client, &id, "one").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let before = reads(&relays).len();
    let path = format!("{DEFAULT}/collections/by-id/{id}");
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| cluster.client().get(&path).expect(200));
        }
    });
    assert_eq!(reads(&relays).split_off(before).len(), 1);
}

#[test]
fn every_change_is_seen_at_once() {
    let mut cluster = Cluster::two();
    let client = cluster.client();
    let id = cluster.create("first-name");
    let put = |body: Value| client.call("PUT", &format!("{DEFAULT}/collections/{id}"), &body);
    assert_eq!(shown(&client, "first-name")["dimension"], Value::Null);
    add(&client, &id, "one").expect(201);
    assert_eq!(shown(&client, "first-name")["dimension"], 3, "set by the first add");
    put(json!({ "new_metadata": { "a": 1 } })).expect(200);
    assert_eq!(shown(&client, "first-name")["metadata"], json!({ "a": 1 }));
    put(json!({ "new_name": "second-name" })).expect(200);
    assert_eq!(shown(&client, "second-name")["id"], id.as_str());
    client.get(&format!("{DEFAULT}/collections/first-name")).expect(404);
    put(json!({ "new_configuration": { "hnsw": { "ef_search": 77 } } })).expect(200);
    assert_eq!(shown(&client, "second-name")["configuration_json"]["hnsw"]["ef_search"], 77);
    let grown = json!({ "ids": ["two"], "embeddings": [[1, 2, 3]], "metadatas": [{ "grown": 1 }] });
    client.post(&record_path(&id, "add"), &grown).expect(201);
    assert!(shown(&client, "second-name")["schema"].to_string().contains("grown"), "the schema has grown");
    // A rejected write can still have set the dimension.
    let odd = cluster.create("odd");
    assert_eq!(shown(&client, "odd")["dimension"], Value::Null);
    let unequal = json!({ "ids": ["a", "b"], "embeddings": [[1, 2], [1, 2, 3]] });
    client.post(&record_path(&odd, "add"), &unequal).expect(400);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let own = cluster.servers[0].client().get(&format!("{DEFAULT}/collections/odd")).expect(200).json();
    assert_eq!(shown(&client, "odd")["dimension"], own["dimension"]);
    // Deleted and created again: another collection.
    client.call("DELETE", &format!("{DEFAULT}/collections/second-name"), &Value::Null).expect(200);
    assert_eq!(list(&client).len(), 1);
    let again = cluster.create("second-name");
    assert_ne!(again, id);
    let new = shown(&client, "second-name");
    assert_eq!((&new["id"], &new["metadata"], &new["dimension"]), (&json!(again), &Value::Null, &Value::Null));
    let before = list(&client);
    cluster.edge.kill();
    cluster.edge.restart();
    assert_eq!(list(&client), before, "after a restart of the edge");
    cluster.assert_converged();
}

/// Whichever instance dies, lists stay as they were, and change with the next write.
#[test]
fn lists_are_the_same_whoever_is_there() {
    let mut cluster = Cluster::two();
    let client = cluster.client();
    let ids: Vec<String> = (0..12).map(|number| cluster.create(&format!("c-{number:02}"))).collect();
    let before = list(&client);
    cluster.primary().kill();
    assert_eq!(list(&client), before);
    add(&client, &ids[3], "one").expect(201);
    client.call("PUT", &format!("{DEFAULT}/collections/{}", ids[4]), &json!({ "new_name": "renamed" })).expect(200);
    let after = list(&client);
    assert_eq!(after.iter().filter(|one| before.contains(one)).count(), 10, "two have changed");
    assert_eq!(
        (shown(&client, "c-03")["dimension"].clone(), &shown(&client, "renamed")["id"]),
        (json!(3), &json!(ids[4]))
    );
    cluster.primary().restart();
    // It is back, but behind: its answers are not shown.
    assert_eq!(list(&client), after);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.replica().kill();
    assert_eq!(list(&client), after);
    cluster.replica().restart();
    cluster.assert_converged();
}

/// The replica executes nothing: it shows old content, which no client sees without asking for it.
#[test]
fn an_instance_that_is_behind_is_not_asked() {
    let (cluster, relays) = Cluster::relayed(|edge| edge.config("  read_replica_ratio: 1.0\n  catalog_wait: 100ms"));
    let client = cluster.client();
    let id = create(&client, "things");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    relays[1].hold("/add");
    relays[1].lock_method(Some("PUT"));
    add(&client, &id, "one").expect(201);
    client.call("PUT", &format!("{DEFAULT}/collections/{id}"), &json!({ "new_metadata": { "a": 1 } })).expect(200);
    for _ in 0..3 {
        let one = shown(&client, "things");
        assert_eq!((&one["dimension"], &one["metadata"]), (&json!(3), &json!({ "a": 1 })));
    }
    let pinned = client.with_header("chroma-edge-instance", "replica").with_header("chroma-edge-consistency", "any");
    let one = pinned.get(&format!("{DEFAULT}/collections")).expect(200).json()[0].clone();
    assert_eq!((&one["id"], &one["metadata"]), (&json!(id), &Value::Null), "what the replica has");
    relays[1].release();
    relays[1].lock_method(None);
    assert_eq!(cluster.assert_converged().record_count(), 1);
}

/// Concurrent lists and writes: every list has every collection once, and shows what was acknowledged before it began.
#[test]
fn lists_beside_writers_lack_nothing_that_was_acknowledged() {
    let cluster = Cluster::two();
    let client = cluster.client();
    let ids: BTreeSet<String> = (0..20).map(|number| cluster.create(&format!("c-{number:02}"))).collect();
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (ids, client) = (&ids, cluster.client());
            scope.spawn(move || {
                for (round, id) in ids.iter().skip(worker).step_by(2).cycle().take(60).enumerate() {
                    let metadata = json!({ "round": round });
                    let put = format!("{DEFAULT}/collections/{id}");
                    client.call("PUT", &put, &json!({ "new_metadata": metadata })).expect(200);
                    let listed = list(&client);
                    let found: BTreeSet<&str> = listed.iter().filter_map(|one| one["id"].as_str()).collect();
                    assert_eq!((listed.len(), found.len()), (20, 20));
                    let one = listed.iter().find(|one| one["id"] == id.as_str()).expect("it is listed");
                    assert_eq!(one["metadata"], metadata, "{id}");
                }
            });
        }
    });
    assert_eq!(list(&client).len(), 20);
    cluster.assert_converged();
}

/// A list that is longer than a portion arrives in pieces, and is cut if it cannot be finished: a part is never
/// mistaken for the whole.
#[test]
fn a_long_list_that_cannot_be_finished_is_cut() {
    let (cluster, relays) =
        Cluster::relayed(|edge| edge.config("  read_wait: 1s\n  limits: { collection_cache_bytes: 0B }"));
    let client = cluster.client();
    let text = "m".repeat(400_000);
    let ids: BTreeSet<String> = (0..8)
        .map(|number| {
            let body = json!({ "name": format!("long-{number}"), "metadata": { "text": text } });
            let made = client.post(&format!("{DEFAULT}/collections"), &body).expect(200).json();
            made["id"].as_str().expect("an id").to_owned()
        })
        .collect();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    // Twice: the second time the edge knows that they are long.
    for _ in 0..2 {
        let listed = list(&client);
        assert_eq!(listed.iter().filter_map(|one| one["id"].as_str()).collect::<Vec<_>>(), Vec::from_iter(&ids));
        assert!(listed.iter().all(|one| one["metadata"]["text"] == text.as_str()));
    }
    let own = |relay: usize, id: &str| {
        let name = list(&client).iter().find(|one| one["id"] == id).expect("listed")["name"].clone();
        let path = format!("{DEFAULT}/collections/{}", name.as_str().expect("a name"));
        cluster.servers[relay].client().get(&path).expect(200).json()["id"].as_str().expect("an id").to_owned()
    };
    let last = ids.last().expect("a collection").clone();
    for (relay, id) in [own(0, &last), own(1, &last)].into_iter().enumerate() {
        // The string must live as long as the process.
        relays[relay].swallow(Some(format!("/by-id/{id}").leak()));
    }
    let cut: Result<Answer, _> = client.try_call("GET", &format!("{DEFAULT}/collections"), &Value::Null);
    assert!(cut.is_err(), "a part is no answer: {:?}", cut.map(|answer| answer.body.len()));
    relays.iter().for_each(|relay| relay.swallow(None));
    assert_eq!(list(&client).len(), 8);
}

/// Adopted collections are shown like others, and a server that comes back with other data shows nothing of it.
#[test]
fn what_was_there_before_is_listed_and_a_server_that_lost_its_data_is_not_believed() {
    let mut servers = vec![ChromaServer::fresh(), ChromaServer::fresh()];
    for server in &servers {
        (0..5).for_each(|number| drop(create(&server.client(), &format!("before-{number}"))));
    }
    let on = "  heal: { enabled: true }\n  recovery_interval: 1s";
    let edge = Edge::builder().instances(&[&servers[0], &servers[1]]).config(on).start();
    let client = edge.client();
    let listed = wait_for("adoption", Duration::from_secs(20), || Some(list(&client)).filter(|list| list.len() == 5));
    servers[0].kill();
    servers[0].wipe();
    servers[0].restart();
    edge.announce("lacks collections");
    for _ in 0..20 {
        assert_eq!(list(&client), listed);
        let id = listed[0]["id"].as_str().expect("an id");
        assert_eq!(ids(&client, id), [] as [String; 0]);
    }
    edge.wait_until_in_sync(CATCH_UP);
    assert_eq!(list(&client), listed);
}
