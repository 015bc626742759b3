//! A write that no server can execute gets a verdict, and a server that is the only one to fail a collection leaves it
//! (rule R12): one request, or one damaged copy, never stops the others.

use std::time::Duration;

use serde_json::{Value, json};

use testkit::ChromaServer;
use testkit::cluster::{CATCH_UP, Cluster, add, ids, timed};
use testkit::http::{Client, DEFAULT, record_path};
use testkit::place::wait_for;

/// A request that fails everywhere is answered within this time.
const DEFINITE: Duration = Duration::from_secs(10);
/// The relays fail every request that contains this.
const MARK: &str = "hopeless";

/// Method, path, body: no server executes any of them.
fn hopeless(collection: &str) -> Vec<(&'static str, String, Value)> {
    let below = |verb: &str| format!("{DEFAULT}/collections/{collection}{verb}");
    let records = json!({ "ids": [MARK, "other"], "embeddings": [[1, 2, 3], [4, 5, 6]] });
    vec![
        ("POST", below("/delete"), json!({ "where": { "source": MARK } })),
        ("POST", below("/delete"), json!({ "where": { "source": MARK }, "limit": 2 })),
        ("POST", below("/delete"), json!({ "ids": [MARK, "first"] })),
        ("POST", below("/add"), records.clone()),
        ("POST", below("/upsert"), records),
        ("POST", below("/update"), json!({ "ids": ["first"], "documents": [MARK] })),
        ("POST", format!("{DEFAULT}/collections"), json!({ "name": "many", "metadata": { "text": MARK } })),
        ("PUT", below(""), json!({ "new_metadata": { "text": MARK } })),
    ]
}

#[track_caller]
fn all_goes_on(client: &Client, collections: [&str; 2], n: usize) {
    for id in collections {
        let (answer, took) = timed(|| add(client, id, &format!("next{n}")));
        assert_eq!(answer.status, 201, "{answer}");
        assert!(took < DEFINITE, "it took {took:?}");
    }
    client.post(&format!("{DEFAULT}/collections"), &json!({ "name": format!("later{n}") })).expect(200);
}

#[track_caller]
fn all_are_answered(client: &Client, collections: [&str; 2]) {
    for (n, (method, path, body)) in hopeless(collections[0]).into_iter().enumerate() {
        let (answer, took) = timed(|| client.call(method, &path, &body));
        assert_eq!(answer.status, 500, "{method} {path} {body}: {answer}");
        assert!(answer.text().contains("nobody has thought of"), "the server's own words: {answer}");
        assert!(took < DEFINITE, "{method} {path} took {took:?}");
        all_goes_on(client, collections, n);
    }
}

#[test]
fn what_no_server_can_execute_is_rejected_and_the_lane_goes_on() {
    let (mut cluster, relays) = Cluster::relayed(|edge| edge);
    let (collection, bystander) = (cluster.create("things"), cluster.create("bystander"));
    add(&cluster.client(), &collection, "first").expect(201);
    relays.iter().for_each(|relay| relay.fail(Some(MARK)));
    all_are_answered(&cluster.client(), [&collection, &bystander]);
    assert!(!ids(&cluster.client(), &collection).contains(&MARK.to_owned()), "it has no effect");
    cluster.assert_converged();
    cluster.edge.kill();
    cluster.edge.restart();
    all_goes_on(&cluster.client(), [&collection, &bystander], 100);
    let content = cluster.assert_converged();
    assert!(!content.collections.keys().any(|key| key.name == "many"), "a rejected creation leaves nothing");
}

#[test]
fn one_server_alone_gives_the_verdict_and_the_other_skips_it() {
    let (mut cluster, relays) = Cluster::relayed(|edge| edge);
    let (collection, bystander) = (cluster.create("things"), cluster.create("bystander"));
    add(&cluster.client(), &collection, "first").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.replica().kill();
    cluster.edge.wait_until_healthy("replica", false, CATCH_UP);
    relays.iter().for_each(|relay| relay.fail(Some(MARK)));
    let delete = json!({ "ids": [MARK] });
    let (answer, took) = timed(|| cluster.client().post(&record_path(&collection, "add"), &record_of(MARK)));
    assert_eq!((answer.status, took < DEFINITE), (500, true), "{answer} after {took:?}");
    all_goes_on(&cluster.client(), [&collection, &bystander], 1);
    cluster.replica().restart();
    cluster.assert_converged();
    assert_eq!(cluster.client().post(&record_path(&collection, "delete"), &delete).status, 500);
}

fn record_of(id: &str) -> Value {
    json!({ "ids": [id], "embeddings": [[1, 2, 3]] })
}

fn id_on(server: &ChromaServer, name: &str) -> String {
    let found = server.client().get(&format!("{DEFAULT}/collections/{name}")).expect(200).json();
    found["id"].as_str().expect("an id").to_owned()
}

/// A damaged index: the primary fails every request to this collection.
#[test]
fn a_server_that_fails_one_collection_leaves_that_one_and_keeps_the_others() {
    let (cluster, relays) = Cluster::relayed(|edge| edge.config("  read_wait: 1s"));
    cluster.edge.announce("diverged");
    let (collection, bystander) = (cluster.create("things"), cluster.create("bystander"));
    add(&cluster.client(), &collection, "first").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    relays[0].fail(Some(&id_on(&cluster.servers[0], "things")));
    all_goes_on(&cluster.client(), [&collection, &bystander], 1);
    let status = wait_for("the primary to leave the collection", CATCH_UP, || {
        let status = cluster.edge.status();
        (status["diverged"].as_array().is_some_and(|list| !list.is_empty())).then_some(status)
    });
    let diverged: Vec<_> = status["diverged"].as_array().expect("a list").clone();
    assert_eq!(diverged.len(), 1, "{diverged:?}");
    assert_eq!((&diverged[0]["collection_name"], &diverged[0]["instance"]), (&json!("things"), &json!("primary")));
    all_goes_on(&cluster.client(), [&collection, &bystander], 2);
    assert_eq!(ids(&cluster.client(), &collection), ["first", "next1", "next2"]);
    let primary = cluster.servers[0].client();
    let held = wait_for("the bystander on the primary", CATCH_UP, || {
        let held = testkit::cluster::ids(&primary, &id_on(&cluster.servers[0], "bystander"));
        (held.len() == 2).then_some(held)
    });
    assert_eq!(held, ["next1", "next2"], "its other collections stay in step");
    cluster.edge.wait_until_healthy("primary", true, CATCH_UP);
}
