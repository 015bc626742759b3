//! Reads: never older than what was acknowledged, spread over the instances, and not disturbed by an instance's death.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use testkit::cluster::{CATCH_UP, Cluster, add, ids, journaled, record, timed};
use testkit::http::{Answer, Client, DEFAULT, head, record_path};
use testkit::place::wait_for;

const INSTANCE: &str = "chroma-edge-instance";

fn served_by(answer: &Answer) -> String {
    answer.header(INSTANCE).unwrap_or_else(|| panic!("who served this? {answer}")).to_owned()
}

fn get(client: &Client, collection: &str, id: &str) -> Answer {
    client.post(&record_path(collection, "get"), &json!({ "ids": [id] }))
}

#[test]
fn read_your_writes_under_load() {
    let cluster = Cluster::two();
    let collection = cluster.create("things");
    let served: Vec<String> = std::thread::scope(|scope| {
        let worker = |number: usize| {
            let (client, collection) = (cluster.client(), collection.clone());
            move || {
                let check = |step: usize| {
                    let id = format!("w{number}-{step}");
                    add(&client, &collection, &id).expect(201);
                    let answer = get(&client, &collection, &id).expect(200);
                    assert_eq!(answer.json()["ids"], json!([id]), "acknowledged, not shown: {answer}");
                    served_by(&answer)
                };
                (0..40).map(check).collect::<Vec<_>>()
            }
        };
        let workers: Vec<_> = (0..6).map(|number| scope.spawn(worker(number))).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect()
    });
    assert!(served.iter().any(|name| name == "primary"), "the primary is always fresh here");
    assert_eq!(cluster.assert_converged().record_count(), 240);
}

#[test]
fn a_pinned_read_is_served_there() {
    let cluster = Cluster::two();
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "one").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    for name in ["primary", "replica", "primary"] {
        let answer = get(&cluster.client().with_header(INSTANCE, name), &collection, "one").expect(200);
        assert_eq!(served_by(&answer), name);
        assert_eq!(answer.json()["documents"], json!(["document of one"]));
    }
    let answer = get(&cluster.client().with_header(INSTANCE, "nobody"), &collection, "one");
    assert!((400..500).contains(&answer.status), "{answer}");
}

/// Sends a HEAD of each path, followed by a GET, on one connection.
fn heads(client: &Client, paths: &[String]) -> Vec<(u16, Option<String>)> {
    let mut connection = client.connect().expect("a connection");
    let mut seen = Vec::new();
    for path in paths {
        let mut request = head("HEAD", path, &[]);
        request.extend_from_slice(b"\r\n");
        connection.send(&request).expect("sent");
        let answer = connection.read_header().expect("a header");
        seen.push((answer.status, answer.header("content-type").map(str::to_owned)));
        // A body after the header would be mistaken for the next answer.
        let answer = connection.request("GET", "/api/v2/version", &[], b"").expect("an answer");
        assert_eq!(answer.expect(200).json(), json!("1.0.0"), "after HEAD {path}");
    }
    seen
}

#[test]
fn head_is_get_without_a_body() {
    let cluster = Cluster::two();
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "one").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let paths = |id: &str| {
        let places = ["heartbeat", "healthcheck", "tenants/default_tenant"].map(|place| format!("/api/v2/{place}"));
        let collections = ["", "/things", "/nothing"].map(|name| format!("{DEFAULT}/collections{name}"));
        let records = ["count", "get", "add"].map(|verb| record_path(id, verb));
        places.into_iter().chain(collections).chain(records).chain([format!("{DEFAULT}/collections_count")])
    };
    let direct = cluster.servers[0].client();
    let own = direct.get(&format!("{DEFAULT}/collections/things")).json()["id"].as_str().expect("an id").to_owned();
    let expected = heads(&direct, &paths(&own).collect::<Vec<_>>());
    assert_eq!(expected.iter().filter(|(status, _)| *status == 200).count(), 7, "{expected:?}");
    let before = journaled(&cluster.edge);
    assert_eq!(heads(&cluster.client(), &paths(&collection).collect::<Vec<_>>()), expected);
    assert_eq!(journaled(&cluster.edge), before);
    let own_pages: Vec<String> = ["/health", "/status", "/metrics"].iter().map(|page| (*page).to_owned()).collect();
    assert!(heads(&cluster.client(), &own_pages).iter().all(|(status, _)| *status == 200));
}

#[test]
fn a_consistency_that_is_none_is_refused() {
    let cluster = Cluster::two();
    let collection = cluster.create("things");
    let with = |value: &str| get(&cluster.client().with_header("chroma-edge-consistency", value), &collection, "one");
    for bogus in ["bogus", "", "fresh, any", "stale"] {
        let answer = with(bogus).expect(400);
        assert_eq!(answer.json()["reason"], "bad_consistency", "{bogus:?}: {answer}");
    }
    for good in ["fresh", "any", "Any"] {
        with(good).expect(200);
    }
    let nobody = get(&cluster.client().with_header(INSTANCE, "nobody"), &collection, "one").expect(400);
    assert_eq!(nobody.json()["reason"], "unknown_instance", "{nobody}");
}

fn share_of_replica(ratio: &str) -> u32 {
    let cluster = Cluster::with(2, |edge| edge.env("READ_REPLICA_RATIO", ratio));
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "one").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let mut served: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..200 {
        *served.entry(served_by(&get(&cluster.client(), &collection, "one").expect(200))).or_default() += 1;
    }
    served.get("replica").copied().unwrap_or(0)
}

#[test]
fn reads_are_spread_by_the_ratio() {
    let share = share_of_replica("0.8");
    assert!((120..=192).contains(&share), "{share} of 200 on the replica");
}

#[test]
fn no_reads_for_the_replica() {
    assert_eq!(share_of_replica("0"), 0);
}

/// Starts a cluster whose replica is reachable but behind: in doubt on its return, it is sent nothing for the settle
/// time.
fn with_the_replica_behind(configuration: &str) -> (Cluster, String) {
    let mut cluster = Cluster::with(2, |edge| edge.config("  settle_time: 6s\n  read_wait: 1s").config(configuration));
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "old").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let lock = cluster.replica().hold_writes();
    add(&cluster.client(), &collection, "new").expect(201);
    // Several times in a row: a read may be under way for a moment.
    let mut in_a_row = 0;
    wait_for("the write under way to the replica", CATCH_UP, || {
        let status = cluster.edge.status();
        let instances = status["instances"].as_array().cloned().unwrap_or_default();
        let under_way = instances.iter().any(|one| one["name"] == "replica" && one["in_flight"] == 1);
        in_a_row = if under_way { in_a_row + 1 } else { 0 };
        (in_a_row == 20).then_some(())
    });
    cluster.replica().kill();
    drop(lock);
    cluster.replica().restart();
    cluster.edge.wait_until_healthy("replica", true, CATCH_UP);
    (cluster, collection)
}

#[test]
fn a_replica_behind_serves_only_those_who_do_not_mind() {
    let (cluster, collection) = with_the_replica_behind("");
    for _ in 0..50 {
        let answer = get(&cluster.client(), &collection, "new").expect(200);
        assert_eq!((served_by(&answer), answer.json()["ids"].clone()), ("primary".to_owned(), json!(["new"])));
    }
    let pinned = cluster.client().with_header(INSTANCE, "replica");
    let answer = get(&pinned, &collection, "old");
    assert_eq!(answer.status, 503, "fresh and pinned to one that is not: {answer}");
    assert!(answer.header("retry-after").is_some(), "{answer}");
    let relaxed = pinned.with_header("chroma-edge-consistency", "any");
    assert_eq!(get(&relaxed, &collection, "old").expect(200).json()["ids"], json!(["old"]));
    assert_eq!(get(&relaxed, &collection, "new").expect(200).json()["ids"], json!([]), "stale, as asked for");
    assert_eq!(cluster.assert_converged().record_count(), 2);
}

#[test]
fn a_hang_behind_a_green_heartbeat_is_left_at_the_attempts_deadline() {
    let mut cluster = Cluster::with(2, |edge| edge.config("  attempt_timeout: 2s"));
    let collection = cluster.create("things");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let lock = cluster.primary().hold_writes();
    let (answer, wait) = timed(|| add(&cluster.client(), &collection, "one"));
    answer.expect(201);
    assert!(wait < Duration::from_secs(5), "{wait:?}");
    assert_eq!(ids(&cluster.client(), &collection), ["one"]);
    drop(lock);
    assert_eq!(cluster.assert_converged().record_count(), 1);
}

#[test]
fn chunked_reads_of_every_size() {
    let cluster = Cluster::two();
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "one").expect(201);
    for (size, chunk) in [(0, 1), (60_000, 1000), (70_000, 1000), (3_000_000, 65_536)] {
        let query =
            json!({ "query_embeddings": [[0.5, 0.25, 1.0]], "n_results": 1, "padding": "p".repeat(size) }).to_string();
        let mut connection = cluster.client().connect().expect("a connection");
        let answer = connection.request_chunked(&record_path(&collection, "query"), query.as_bytes(), chunk);
        let answer = answer.expect("an answer").expect(200);
        assert_eq!(answer.json()["ids"], json!([["one"]]), "{size} bytes");
        served_by(&answer);
    }
}

#[test]
fn reads_of_every_size_survive_a_kill() {
    for victim in [0, 1] {
        let mut cluster = Cluster::two();
        let collection = cluster.create("things");
        cluster.client().post(&record_path(&collection, "add"), &record("one")).expect(201);
        cluster.edge.wait_until_in_sync(CATCH_UP);
        cluster.servers[victim].kill();
        // No probe has noticed the death: the first reads meet a refused connection.
        for size in [0, 60_000, 70_000, 3_000_000] {
            for _ in 0..5 {
                let query =
                    json!({ "query_embeddings": [[0.5, 0.25, 1.0]], "n_results": 1, "padding": "p".repeat(size) });
                let answer = cluster.client().post(&record_path(&collection, "query"), &query).expect(200);
                assert_eq!(answer.json()["ids"], json!([["one"]]), "{size} bytes, {victim} killed");
            }
            let mut connection = cluster.client().connect().expect("a connection");
            let body = json!({ "padding": "p".repeat(size) }).to_string();
            let answer = connection.request_chunked(&record_path(&collection, "get"), body.as_bytes(), 4096);
            assert_eq!(answer.expect("an answer").expect(200).json()["ids"], json!(["one"]), "{size} bytes, chunked");
        }
    }
}

#[test]
fn readers_do_not_notice_a_kill() {
    let mut cluster = Cluster::two();
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "one").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let client = cluster.client();
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| (0..150).for_each(|_| drop(get(&client, &collection, "one").expect(200)))))
            .collect();
        cluster.replica().kill();
        cluster.replica().restart();
        readers.into_iter().for_each(|reader| reader.join().expect("a reader without an error"));
    });
}

#[test]
fn a_read_that_hangs_with_its_server_is_answered_by_another() {
    let mut cluster = Cluster::with(2, |edge| edge.config("  read_replica_ratio: 1.0"));
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "one").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.replica().stop();
    let (answer, wait) = timed(|| get(&cluster.client(), &collection, "one"));
    assert_eq!(
        (answer.expect(200).json()["ids"].clone(), wait < Duration::from_secs(6)),
        (json!(["one"]), true),
        "{wait:?}"
    );
    cluster.replica().cont();
    assert_eq!(cluster.assert_converged().record_count(), 1);
}

#[test]
fn any_instance_may_serve_where_the_configuration_says_so() {
    let (cluster, collection) = with_the_replica_behind("  read_consistency: any");
    let pinned = cluster.client().with_header(INSTANCE, "replica");
    assert_eq!(get(&pinned, &collection, "old").expect(200).json()["ids"], json!(["old"]), "without asking for it");
    let strict = pinned.with_header("chroma-edge-consistency", "fresh");
    get(&strict, &collection, "old").expect(503);
    assert_eq!(cluster.assert_converged().record_count(), 2);
}

/// The only fresh instance fails reads, and the other is a moment behind: a read waits for it instead of failing at
/// once.
#[test]
fn a_read_that_fails_on_the_one_fresh_instance_waits_for_another() {
    let (cluster, relays) = Cluster::relayed(|edge| edge.config("  read_replica_ratio: 0"));
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "one").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    relays[1].hold("/add");
    add(&cluster.client(), &collection, "two").expect(201);
    relays[0].swallow(Some("/get"));
    let answer = std::thread::scope(|scope| {
        let read = scope.spawn(|| get(&cluster.client(), &collection, "two"));
        wait_for("a read that fails", CATCH_UP, || (!relays[0].seen_at("/get").is_empty()).then_some(()));
        relays[1].release();
        read.join().expect("a reader")
    });
    assert_eq!(answer.expect(200).header("chroma-edge-instance"), Some("replica"));
    relays[0].swallow(None);
    assert_eq!(cluster.assert_converged().record_count(), 2);
}
