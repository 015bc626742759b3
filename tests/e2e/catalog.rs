//! Tenants, databases and collections: on every instance, in one order, with ids that never change.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, Cluster, add, create, ids, ids_by_name, journaled, record};
use testkit::http::{Client, DEFAULT, record_path};
use testkit::place::wait_for;
use testkit::{ChromaServer, Edge};

fn collections(client: &Client, database: &str) -> Vec<Value> {
    let path = format!("/api/v2/tenants/default_tenant/databases/{database}/collections");
    client.get(&path).expect(200).json().as_array().expect("a list").clone()
}

fn field(list: &[Value], name: &str) -> Vec<String> {
    list.iter().map(|one| one[name].as_str().expect("a text").to_owned()).collect()
}

#[test]
fn thirty_concurrent_creates() {
    let cluster = Cluster::two();
    let made: Vec<(String, String)> = std::thread::scope(|scope| {
        let worker = |number: usize| {
            let client = cluster.client();
            move || {
                let name = format!("collection-{number:02}");
                let id = create(&client, &name);
                // Mapped everywhere at once, so a write right away need not wait.
                add(&client, &id, "first").expect(201);
                (name, id)
            }
        };
        let workers: Vec<_> = (0..30).map(|number| scope.spawn(worker(number))).collect();
        workers.into_iter().map(|worker| worker.join().expect("a worker")).collect()
    });
    for (name, id) in &made {
        let found = cluster.client().get(&format!("{DEFAULT}/collections/{name}")).expect(200).json();
        assert_eq!(found["id"], id.as_str(), "{name}");
    }
    let content = cluster.assert_converged();
    assert_eq!((content.collections.len(), content.record_count()), (30, 30));
    assert_mapped_everywhere(&cluster, &["collection-00", "collection-17", "collection-29"]);
}

/// Checks that the edge's mappings contain each instance's own id of these collections.
fn assert_mapped_everywhere(cluster: &Cluster, names: &[&str]) {
    let mappings = cluster.client().get("/collection/mappings").expect(200).text();
    for server in &cluster.servers {
        for name in names {
            let own = server.client().get(&format!("{DEFAULT}/collections/{name}")).expect(200).json();
            let id = own["id"].as_str().expect("an id");
            assert!(mappings.contains(id), "{name} on {} is {id}, which is not in {mappings}", server.url());
        }
    }
}

/// A collection that is dropped while it is being read: the answer never contains an instance's own id.
#[test]
fn a_collection_read_while_it_is_dropped_keeps_its_id() {
    let cluster = Cluster::two();
    let over = AtomicBool::new(false);
    let (told, seen) = std::thread::scope(|scope| {
        let read = |path: String| {
            let (client, over) = (cluster.client(), &over);
            move || {
                let mut seen = BTreeSet::new();
                while !over.load(Ordering::Relaxed) {
                    let answer = client.get(&path);
                    assert!(matches!(answer.status, 200 | 404), "{answer:?}");
                    let shown = answer.json();
                    let all = shown.as_array().cloned().unwrap_or_else(|| vec![shown]);
                    seen.extend(all.iter().filter_map(|one| one["id"].as_str().map(str::to_owned)));
                }
                seen
            }
        };
        let paths = [format!("{DEFAULT}/collections/passing"), format!("{DEFAULT}/collections")];
        let readers: Vec<_> = paths.iter().cycle().take(6).map(|path| scope.spawn(read(path.clone()))).collect();
        let client = cluster.client();
        let told: BTreeSet<String> = (0..80)
            .map(|_| {
                let id = create(&client, "passing");
                client.call("DELETE", &format!("{DEFAULT}/collections/passing"), &Value::Null).expect(200);
                id
            })
            .collect();
        over.store(true, Ordering::Relaxed);
        let seen = readers.into_iter().flat_map(|reader| reader.join().expect("a reader"));
        (told, seen.collect::<BTreeSet<String>>())
    });
    assert!(seen.len() > 40, "{} of {} were read", seen.len(), told.len());
    let strange: Vec<&String> = seen.difference(&told).collect();
    assert!(strange.is_empty(), "{strange:?}");
    cluster.assert_converged();
}

#[test]
fn one_name_created_at_once_is_one_collection() {
    let cluster = Cluster::two();
    let made: Vec<(u16, Value)> = std::thread::scope(|scope| {
        let worker = |number: u32| {
            let client = cluster.client();
            move || {
                let body = json!({ "name": "contested", "get_or_create": number < 10 });
                let answer = client.post(&format!("{DEFAULT}/collections"), &body);
                (answer.status, answer.json()["id"].clone())
            }
        };
        let workers: Vec<_> = (0..20).map(|number| scope.spawn(worker(number))).collect();
        workers.into_iter().map(|worker| worker.join().expect("a worker")).collect()
    });
    let mut given: Vec<String> = made.iter().filter_map(|(_, id)| id.as_str().map(str::to_owned)).collect();
    assert!(given.len() >= 10, "each get_or_create succeeds: {made:?}");
    given.dedup();
    assert_eq!(given.len(), 1, "one collection: {made:?}");
    assert!(made.iter().all(|(status, _)| matches!(status, 200 | 409)), "{made:?}");
    assert!(made.iter().filter(|(status, _)| *status == 409).count() >= 9, "{made:?}");
    assert_eq!(cluster.assert_converged().collections.len(), 1);
}

/// A collection that `get_or_create` finds may be dropped before it is shown. In that case it is created.
#[test]
fn get_or_create_succeeds_while_somebody_drops_it() {
    let cluster = Cluster::two();
    let over = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let getter = || {
            let (client, over) = (cluster.client(), &over);
            move || {
                let body = json!({ "name": "passing", "get_or_create": true });
                let mut seen = BTreeSet::new();
                while !over.load(Ordering::Relaxed) {
                    let made = client.post(&format!("{DEFAULT}/collections"), &body).expect(200).json();
                    seen.insert(made["id"].as_str().expect("an id").to_owned());
                }
                seen
            }
        };
        let getters: Vec<_> = (0..4).map(|_| scope.spawn(getter())).collect();
        let mut dropped = 0;
        while dropped < 60 && !getters.iter().any(|getter| getter.is_finished()) {
            let answer = cluster.client().call("DELETE", &format!("{DEFAULT}/collections/passing"), &Value::Null);
            assert!(matches!(answer.status, 200 | 404), "{answer:?}");
            dropped += u32::from(answer.status == 200);
        }
        over.store(true, Ordering::Relaxed);
        let seen = getters.into_iter().flat_map(|getter| getter.join().expect("a getter"));
        seen.collect::<BTreeSet<String>>()
    });
    assert!(seen.len() > 30, "{}", seen.len());
    cluster.assert_converged();
}

#[test]
fn the_same_name_in_two_databases() {
    let mut cluster = Cluster::two();
    let client = cluster.client();
    let mut made = Vec::new();
    for database in ["one", "two"] {
        client.post("/api/v2/tenants/default_tenant/databases", &json!({ "name": database })).expect(200);
        let path = format!("/api/v2/tenants/default_tenant/databases/{database}/collections");
        let id =
            client.post(&path, &json!({ "name": "same" })).expect(200).json()["id"].as_str().expect("an id").to_owned();
        client.post(&format!("{path}/{id}/add"), &record(database)).expect(201);
        // By name, each database finds its own.
        client.post(&format!("{path}/same/add"), &record(&format!("{database}-by-name"))).expect(201);
        made.push(id);
    }
    assert_ne!(made[0], made[1]);
    cluster.primary().kill();
    for (id, database) in made.iter().zip(["one", "two"]) {
        assert_eq!(ids(&client, id), [database.to_owned(), format!("{database}-by-name")]);
    }
    cluster.primary().restart();
    client.call("DELETE", "/api/v2/tenants/default_tenant/databases/one", &Value::Null).expect(200);
    client.get(&record_path(&made[0], "count")).expect(404);
    assert_eq!(cluster.assert_converged().collections.len(), 1);
}

#[test]
fn rename_delete_and_create_again_keep_their_order() {
    let mut cluster = Cluster::two();
    let client = cluster.client();
    let first = cluster.create("swapped");
    add(&client, &first, "of the first").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.replica().kill();
    let collection = |id: &str| format!("{DEFAULT}/collections/{id}");
    client.call("PUT", &collection(&first), &json!({ "new_name": "aside" })).expect(200);
    let second = cluster.create("swapped");
    add(&client, &second, "of the second").expect(201);
    client.call("DELETE", &collection("swapped"), &Value::Null).expect(200);
    let third = cluster.create("swapped");
    add(&client, &third, "of the third").expect(201);
    client.call("PUT", &collection(&first), &json!({ "new_metadata": { "still": "the first" } })).expect(200);
    add(&client, &first, "more").expect(201);
    cluster.replica().restart();
    cluster.assert_converged();
    assert_eq!(ids_by_name(&cluster.servers[1], "swapped"), ["of the third"]);
    assert_eq!(ids_by_name(&cluster.servers[1], "aside"), ["of the first", "more"]);
    client.get(&record_path(&second, "count")).expect(404);
}

#[test]
fn an_id_is_for_life_and_has_many_spellings() {
    let mut cluster = Cluster::two();
    let client = cluster.client();
    let id = cluster.create("things");
    let own = |server: &ChromaServer| {
        let found = server.client().get(&format!("{DEFAULT}/collections/things")).expect(200).json();
        found["id"].as_str().expect("an id").to_owned()
    };
    let mut spellings: Vec<String> = cluster.servers.iter().map(own).collect();
    let plain = id.replace('-', "");
    spellings.extend([id.to_uppercase(), plain, format!("%7B{id}%7D"), format!("urn:uuid:{id}"), "things".to_owned()]);
    for (number, spelling) in spellings.iter().enumerate() {
        add(&client, spelling, &format!("by-{number}")).expect(201);
    }
    let shows = |name: &str| client.get(&format!("{DEFAULT}/collections/{name}")).expect(200).json()["id"].clone();
    cluster.primary().kill();
    assert_eq!(shows("things"), id.as_str(), "after failover");
    assert_eq!(ids(&client, &id).len(), spellings.len());
    client.call("PUT", &format!("{DEFAULT}/collections/{id}"), &json!({ "new_name": "renamed" })).expect(200);
    assert_eq!(shows("renamed"), id.as_str(), "after a rename");
    cluster.primary().restart();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.edge.kill();
    cluster.edge.restart();
    assert_eq!(shows("renamed"), id.as_str(), "after a restart");
    let by_id = client.get(&format!("{DEFAULT}/collections/by-id/{id}")).expect(200).json();
    assert_eq!((by_id["id"].as_str(), by_id["name"].as_str()), (Some(id.as_str()), Some("renamed")));
    cluster.assert_converged();
}

#[test]
fn pages_hold_everything_once_whoever_answers() {
    let mut cluster = Cluster::two();
    let mut names: Vec<String> = (0..11).map(|number| format!("listed-{number:02}")).collect();
    names.iter().for_each(|name| drop(cluster.create(name)));
    let page = |client: &Client, offset: usize| {
        let path = format!("{DEFAULT}/collections?limit=3&offset={offset}");
        field(client.get(&path).expect(200).json().as_array().expect("a list"), "name")
    };
    // Half of the pages from one instance, half from the other.
    let mut paged: Vec<String> = [0, 3].iter().flat_map(|offset| page(&cluster.client(), *offset)).collect();
    cluster.primary().kill();
    paged.extend([6, 9].iter().flat_map(|offset| page(&cluster.client(), *offset)));
    assert_eq!(field(&collections(&cluster.client(), "default_database"), "name"), paged, "one order");
    paged.sort();
    names.sort();
    assert_eq!(paged, names);
    assert_eq!(cluster.client().get(&format!("{DEFAULT}/collections_count")).json(), json!(11));
}

#[test]
fn finding_a_known_collection_by_get_or_create_is_a_read() {
    let cluster = Cluster::two();
    let id = cluster.create("known");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let before = journaled(&cluster.edge);
    for _ in 0..5 {
        let body = json!({ "name": "known", "get_or_create": true, "metadata": { "ignored": 1 } });
        let found = cluster.client().post(&format!("{DEFAULT}/collections"), &body).expect(200).json();
        assert_eq!((&found["id"], &found["metadata"]), (&json!(id), &Value::Null));
    }
    assert_eq!(journaled(&cluster.edge), before);
}

#[test]
fn what_was_there_before_the_edge_is_adopted() {
    let servers = [ChromaServer::fresh(), ChromaServer::fresh()];
    for server in &servers {
        let id = create(&server.client(), "equal");
        add(&server.client(), &id, "before").expect(201);
    }
    let lonely = create(&servers[0].client(), "only-on-the-primary");
    add(&servers[0].client(), &lonely, "alone").expect(201);
    let edge = Edge::over(&[&servers[0], &servers[1]]);
    let client = edge.client();
    let listed = testkit::place::wait_for("adoption", Duration::from_secs(20), || {
        let list = collections(&client, "default_database");
        (list.len() == 2).then_some(list)
    });
    let mut names = field(&listed, "name");
    names.sort();
    assert_eq!(names, ["equal", "only-on-the-primary"]);
    // Equal content is admitted on both. What one lacks is served from the other alone, and reported.
    assert_eq!(ids(&client, "only-on-the-primary"), ["alone"]);
    assert_eq!(ids(&client, &lonely), ["alone"], "the id that clients already know");
    add(&client, "equal", "after").expect(201);
    assert_eq!(ids(&client, "equal"), ["before", "after"]);
    for server in &servers {
        testkit::place::wait_for("the write on both", Duration::from_secs(20), || {
            (ids_by_name(server, "equal") == ["before", "after"]).then_some(())
        });
    }
    add(&client, "only-on-the-primary", "more").expect(201);
    assert_eq!(ids_by_name(&servers[0], "only-on-the-primary"), ["alone", "more"]);
    assert!(edge.status().to_string().contains("diverged"), "reported: {:#}", edge.status());
}

#[test]
fn what_was_adopted_is_copied_to_a_server_that_is_added_later() {
    let servers = [ChromaServer::fresh(), ChromaServer::fresh(), ChromaServer::fresh()];
    for server in &servers[..2] {
        let id = create(&server.client(), "equal");
        add(&server.client(), &id, "before").expect(201);
    }
    let mut edge = Edge::over(&[&servers[0], &servers[1]]);
    wait_for("adoption", Duration::from_secs(20), || {
        (collections(&edge.client(), "default_database").len() == 1).then_some(())
    });
    edge.wait_until_in_sync(CATCH_UP);
    edge.kill();
    let all = [&servers[0], &servers[1], &servers[2]];
    let heal = "  heal: { enabled: true }";
    let edge = Edge::builder().instances(&all).config(heal).journal(edge.journal_path()).start();
    add(&edge.client(), "equal", "after").expect(201);
    wait_for("the copy on the third", CATCH_UP, || {
        let there = servers[2].client().get(&format!("{DEFAULT}/collections/equal")).status == 200;
        (there && ids_by_name(&servers[2], "equal") == ["before", "after"]).then_some(())
    });
    edge.wait_until_in_sync(CATCH_UP);
}

#[test]
fn what_was_renamed_and_deleted_while_an_instance_was_away_leaves_nothing_there() {
    let mut cluster = Cluster::two();
    let id = cluster.create("first-name");
    add(&cluster.client(), &id, "one").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.replica().kill();
    let client = cluster.client();
    let path = format!("{DEFAULT}/collections/{id}");
    client.call("PUT", &path, &json!({ "new_name": "second-name" })).expect(200);
    client.call("DELETE", &format!("{DEFAULT}/collections/second-name"), &Value::Null).expect(200);
    // The edge loses its memory: only the journal still has the name that the collection has there.
    cluster.edge.kill();
    cluster.edge.restart();
    cluster.replica().restart();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    assert!(collections(&cluster.servers[1].client(), "default_database").is_empty(), "a ghost on the replica");
    assert_eq!(cluster.assert_converged().record_count(), 0);
}

/// A definition that takes two requests: the first creates the collection, the second is refused for a transient
/// reason.
#[test]
fn a_copy_whose_second_request_is_refused_for_a_while_is_finished() {
    let (cluster, relays) = Cluster::relayed(|edge| edge.config("  settle_time: 500ms\n  catalog_wait: 1s"));
    relays[1].lock_method(Some("PUT"));
    let body = json!({ "name": "legacy", "metadata": { "hnsw:space": "cosine", "made": 1 } });
    cluster.client().post(&format!("{DEFAULT}/collections"), &body).expect(200);
    let completed = || relays[1].seen().iter().filter(|seen| seen.method == "PUT").count();
    wait_for("a second attempt at the second request", CATCH_UP, || (completed() > 1).then_some(()));
    relays[1].lock_method(None);
    let content = cluster.assert_converged();
    assert_eq!(content.collections.len(), 1);
}

/// A collection has the name of one that an instance has yet to delete. It keeps its name across a restart of the edge.
#[test]
fn a_name_given_again_while_an_instance_is_away_survives_a_restart() {
    let mut cluster = Cluster::two();
    let first = cluster.create("again");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.replica().kill();
    cluster.client().call("DELETE", &format!("{DEFAULT}/collections/again"), &Value::Null).expect(200);
    let second = cluster.create("again");
    assert_ne!(first, second);
    cluster.edge.kill();
    cluster.edge.restart();
    let found = cluster.client().get(&format!("{DEFAULT}/collections/again")).expect(200).json();
    assert_eq!(found["id"], second.as_str());
    add(&cluster.client(), "again", "by name").expect(201);
    cluster.client().post(&format!("{DEFAULT}/collections"), &json!({ "name": "again" })).expect(409);
    cluster.replica().restart();
    assert_eq!(cluster.assert_converged().record_count(), 1);
    cluster.client().call("DELETE", &format!("{DEFAULT}/collections/again"), &Value::Null).expect(200);
    assert_eq!(cluster.assert_converged().collections.len(), 0);
}
