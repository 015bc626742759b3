//! Switchover and drain: planned, under load, and unnoticed by clients.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use testkit::Relay;
use testkit::cluster::{CATCH_UP, Cluster, add, ids};
use testkit::http::{Answer, Client, DEFAULT, record_path};
use testkit::place::wait_for;
use testkit::random::seed;
use testkit::workload::{Plan, Workload, acknowledged, errors, longest_wait};

const SWITCHOVER: &str = "/admin/switchover";
const DRAIN: &str = "/admin/drain";
const UNDRAIN: &str = "/admin/undrain";

fn role_of(status: &Value, name: &str) -> Value {
    let instances = status["instances"].as_array().expect("instances");
    instances.iter().find(|one| one["name"] == name).expect("the instance")["role"].clone()
}

fn drain_of(client: &Client, name: &str) -> Value {
    let status = client.get("/status").expect(200).json();
    let instances = status["instances"].as_array().expect("instances");
    instances.iter().find(|one| one["name"] == name).expect("the instance")["drain"].clone()
}

fn await_drained(client: &Client, name: &str) {
    wait_for("drained", CATCH_UP, || (drain_of(client, name)["state"] == "drained").then_some(()));
}

/// Returns a load with several writers per collection.
fn writers() -> Plan {
    Plan { workers: 8, names: vec!["alpha", "beta", "gamma"], ..Plan::records() }
}

/// Returns the bodies of the load's writes since this moment, in the order in which a server got them.
fn writes_since(relay: &Relay, since: Instant) -> Vec<Vec<u8>> {
    let is_write = |path: &str| ["/add", "/upsert", "/update", "/delete"].iter().any(|verb| path.ends_with(verb));
    relay.seen().into_iter().filter(|seen| seen.at > since && is_write(&seen.path)).map(|seen| seen.body).collect()
}

/// Returns how many of the writes that both relays saw reached each relay first.
fn first_on(ours: &Relay, theirs: &Relay, since: Instant) -> [usize; 2] {
    let marked = |relay: &Relay| {
        let seen = relay.seen().into_iter().filter(|seen| seen.at > since && seen.path.ends_with("/add"));
        seen.map(|seen| (seen.body, seen.at)).collect::<std::collections::HashMap<_, _>>()
    };
    let (ours, theirs) = (marked(ours), marked(theirs));
    let both: Vec<_> = ours.iter().filter_map(|(body, at)| Some((at, theirs.get(body)?))).collect();
    let first = both.iter().filter(|(ours, theirs)| ours < theirs).count();
    [first, both.len() - first]
}

#[test]
fn a_switchover_under_eight_writers_is_noticed_by_nobody() {
    let (cluster, relays) = Cluster::relayed(|edge| edge);
    let client = cluster.client();
    let load = Workload::start(&client, seed(), &writers());
    load.await_more(100, CATCH_UP);
    for (to, other) in [("replica", "primary"), ("primary", "replica")] {
        let answer = wait_for("a target that is ready", CATCH_UP, || {
            let answer = client.post(SWITCHOVER, &json!({ "to": to }));
            (answer.status != 409).then_some(answer)
        });
        assert_eq!(answer.expect(200).json()["primary"], to);
        let status = cluster.edge.status();
        assert_eq!((role_of(&status, to), role_of(&status, other)), (json!("primary"), json!("replica")));
        assert_eq!(client.get(SWITCHOVER).expect(200).json()["configured_primary"], "primary");
        load.await_more(100, CATCH_UP);
    }
    let events = load.finish();
    assert_eq!(errors(&events), Vec::<String>::new());
    assert!(acknowledged(&events).count() > 250);
    assert!(longest_wait(&events) < Duration::from_secs(5), "{:?}", longest_wait(&events));
    cluster.assert_converged();
    // It takes effect: single writes go to the new primary first.
    let things = cluster.create("things");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    client.post(SWITCHOVER, &json!({ "to": "replica" })).expect(200);
    let since = Instant::now();
    for number in 0..20 {
        add(&client, &things, &format!("one-{number}")).expect(201);
    }
    cluster.edge.wait_until_in_sync(CATCH_UP);
    // Some may be replicated together, as one request.
    let [first, later] = first_on(&relays[1], &relays[0], since);
    assert!(first >= 8 && later == 0, "{first} on the new primary first, {later} on the old one");
    cluster.assert_converged();
}

#[test]
fn a_switchover_ends_by_itself() {
    let cluster = Cluster::two();
    let client = cluster.client();
    client.post(SWITCHOVER, &json!({ "to": "replica", "for": "1s" })).expect(200);
    let status = cluster.edge.status();
    assert_eq!((role_of(&status, "replica"), &status["switchover"]["to"]), (json!("primary"), &json!("replica")));
    let lasts = status["switchover"]["until"].as_i64().unwrap() - status["switchover"]["since"].as_i64().unwrap();
    assert_eq!(lasts, 1000);
    wait_for("its end", CATCH_UP, || (role_of(&cluster.edge.status(), "primary") == "primary").then_some(()));
    assert_eq!(client.get(SWITCHOVER).expect(200).json()["switchover"], json!(null));
    assert!(cluster.edge.log().contains("switchover ends"));
}

#[test]
fn a_target_that_is_away_or_behind_is_refused() {
    let (mut cluster, relays) = Cluster::relayed(|edge| edge);
    let client = cluster.client();
    let things = cluster.create("things");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    relays[1].lock(&["/add"]);
    add(&client, &things, "one").expect(201);
    let behind = wait_for("the replica in a pause", CATCH_UP, || {
        let answer = client.post(SWITCHOVER, &json!({ "to": "replica" }));
        if answer.status == 200 {
            client.post(SWITCHOVER, &json!({ "to": "primary" })).expect(200);
        }
        (answer.status == 409).then(|| answer.json())
    });
    assert_eq!((&behind["reason"], &behind["error"]), (&json!("not_ready"), &json!("ChromaError")), "{behind}");
    assert!(behind["message"].as_str().unwrap().contains("1 writes yet to apply"), "{behind}");
    relays[1].lock(&[]);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.replica().kill();
    cluster.edge.wait_until_healthy("replica", false, CATCH_UP);
    let away = client.post(SWITCHOVER, &json!({ "to": "replica" }));
    assert_eq!((away.status, &away.json()["reason"]), (409, &json!("not_ready")), "{away}");
    assert!(away.text().contains("does not answer"), "{away}");
    assert_eq!(role_of(&cluster.edge.status(), "primary"), "primary", "nothing has changed");
    add(&client, &things, "two").expect(201);
    cluster.replica().restart();
    cluster.assert_converged();
}

/// Returns the paths of clients' reads that reached the server.
fn reads_since(relay: &Relay, since: Instant) -> Vec<String> {
    let is_read = |path: &str| ["/get", "/query", "/count"].iter().any(|verb| path.ends_with(verb));
    let seen = relay.seen().into_iter().filter(|seen| seen.at > since && is_read(seen.endpoint()));
    // The edge reads from a collection before its first write after a return (decision 0007), with a limit.
    seen.filter(|seen| !String::from_utf8_lossy(&seen.body).contains("\"limit\":1")).map(|seen| seen.path).collect()
}

fn keep_in_sync_and_away_from_clients(drained: usize) {
    let name = ["primary", "replica"][drained];
    let (cluster, relays) = Cluster::relayed(|edge| edge);
    let client = cluster.client();
    let things = cluster.filled("things", 20);
    let load = Workload::start(&client, seed(), &writers());
    load.await_more(60, CATCH_UP);
    client.post(DRAIN, &json!({ "instance": name, "sync": "keep" })).expect(200);
    await_drained(&client, name);
    let since = Instant::now();
    for number in 0..40 {
        assert_eq!(
            client.post(&record_path(&things, "get"), &json!({ "ids": ["r1"] })).expect(200).json()["ids"][0],
            "r1"
        );
        client.get(&record_path(&things, "count")).expect(200);
        client.get(&format!("{DEFAULT}/collections")).expect(200);
        if number % 2 == 0 {
            add(&client, &things, &format!("one-{number}")).expect(201);
        }
    }
    load.await_more(60, CATCH_UP);
    let events = load.finish();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    assert_eq!(errors(&events), Vec::<String>::new());
    assert_eq!(reads_since(&relays[drained], since), Vec::<String>::new());
    let written = writes_since(&relays[drained], since);
    assert!(written.len() >= 10, "it is kept in sync: {}", written.len());
    assert_eq!(first_on(&relays[drained], &relays[1 - drained], since)[0], 0, "nothing is executed there first");
    let health = client.get("/health").expect(200).json();
    assert_eq!((&health["status"], &health["drained_instances"]), (&json!("healthy"), &json!([name])));
    cluster.assert_converged();
    client.post(UNDRAIN, &json!({ "instance": name })).expect(200);
    assert_eq!(drain_of(&client, name), json!(null));
    for _ in 0..20 {
        client.get(&record_path(&things, "count")).expect(200);
    }
    let log = cluster.edge.log();
    assert_eq!((log.matches("drain begins").count(), log.matches("drain ends").count()), (1, 1));
}

/// The server that is not drained hangs in every write, while its probes stay green.
#[test]
fn clients_are_served_by_the_drained_one_while_the_other_hangs() {
    let (cluster, relays) = Cluster::relayed(|edge| edge.config("  attempt_timeout: 2s\n  settle_time: 1s"));
    let client = cluster.client();
    let things = cluster.filled("things", 3);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    client.post(DRAIN, &json!({ "instance": "replica", "sync": "keep" })).expect(200);
    await_drained(&client, "replica");
    let since = Instant::now();
    let lock = cluster.servers[0].hold_writes();
    add(&client, &things, "first").expect(201);
    assert_eq!(ids(&client, &things).len(), 4);
    wait_for("what it left unanswered is sent there once more", CATCH_UP, || {
        (writes_since(&relays[0], since).len() >= 2).then_some(())
    });
    let since = Instant::now();
    for number in 0..10 {
        add(&client, &things, &format!("one-{number}")).expect(201);
        assert_eq!(ids(&client, &things).len(), 5 + number, "what was acknowledged is read");
    }
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    assert_eq!(cluster.edge.status()["instances"][0]["healthy"], true, "nobody has noticed");
    drop(lock);
    assert_eq!(cluster.assert_converged().record_count(), 14);
}

#[test]
fn a_drained_replica_is_kept_in_sync_and_clients_do_not_reach_it() {
    keep_in_sync_and_away_from_clients(1);
}

#[test]
fn a_drained_primary_is_kept_in_sync_and_clients_do_not_reach_it() {
    keep_in_sync_and_away_from_clients(0);
}

/// "Upgrading Chroma one server at a time".
#[test]
fn a_stopped_server_may_be_killed_and_catches_up_when_it_is_used_again() {
    let mut cluster = Cluster::two();
    let client = cluster.client();
    let load = Workload::start(&client, seed(), &Plan { catalog_each: 12, ..writers() });
    for (index, name) in ["replica", "primary"].into_iter().enumerate() {
        load.await_more(60, CATCH_UP);
        wait_for("an instance that the other can replace", CATCH_UP, || {
            let answer = client.post(DRAIN, &json!({ "instance": name, "sync": "stop" }));
            (answer.status != 409).then(|| answer.expect(200).status)
        });
        await_drained(&client, name);
        cluster.servers[1 - index].kill();
        load.await_more(60, CATCH_UP);
        let health = client.get("/health").expect(200).json();
        assert_eq!((&health["status"], &health["healthy_instances"]), (&json!("degraded"), &json!("1/2")));
        cluster.servers[1 - index].restart();
        wait_for("the server is back, and drained still", CATCH_UP, || {
            let status = cluster.edge.status();
            let at = &status["instances"][1 - index];
            (at["state"] == "drained" && at["healthy"] == false && at["pending_writes"].as_u64()? > 0).then_some(())
        });
        client.post(UNDRAIN, &json!({ "instance": name })).expect(200);
        cluster.edge.wait_until_healthy(name, true, CATCH_UP);
    }
    load.await_more(60, CATCH_UP);
    let events = load.finish();
    assert_eq!(errors(&events), Vec::<String>::new());
    cluster.assert_converged();
}

/// What is found out by asking in the meantime is created on the stopped server afterwards.
#[test]
fn nothing_is_created_on_a_stopped_server_before_it_is_used_again() {
    let (cluster, relays) = Cluster::relayed(|edge| edge);
    let client = cluster.client();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    client.post(DRAIN, &json!({ "instance": "replica", "sync": "stop" })).expect(200);
    await_drained(&client, "replica");
    let since = Instant::now();
    let about_tenants = || {
        let seen = relays[1].seen().into_iter().filter(|seen| seen.at > since && seen.path.contains("/tenants"));
        seen.map(|seen| format!("{} {}", seen.method, seen.path)).collect::<Vec<_>>()
    };
    let direct = cluster.servers[0].client();
    // One after another, so that the follow-up of the first is done when the last is known.
    for tenant in ["acme", "globex", "initech", "umbrella"] {
        direct.post("/api/v2/tenants", &json!({ "name": tenant })).expect(200);
        direct.post(&format!("/api/v2/tenants/{tenant}/databases"), &json!({ "name": "docs" })).expect(200);
        client.get(&format!("/api/v2/tenants/{tenant}")).expect(200);
        wait_for("the database is known", CATCH_UP, || {
            (client.get(&format!("/api/v2/tenants/{tenant}/databases/docs")).status == 200).then_some(())
        });
    }
    assert_eq!(about_tenants(), Vec::<String>::new());
    client.post(UNDRAIN, &json!({ "instance": "replica" })).expect(200);
    let replica = cluster.servers[1].client();
    wait_for("it is there, too", CATCH_UP, || {
        (replica.get("/api/v2/tenants/acme/databases/docs").status == 200).then_some(())
    });
    cluster.edge.wait_until_in_sync(CATCH_UP);
}

#[test]
fn a_drain_ends_by_itself_and_the_last_copy_is_not_drained_by_a_slip() {
    let cluster = Cluster::two();
    let client = cluster.client();
    let things = cluster.filled("things", 3);
    client.post(DRAIN, &json!({ "instance": "replica", "sync": "stop", "for": "2s" })).expect(200);
    assert_eq!(client.post(SWITCHOVER, &json!({ "to": "replica" })).status, 409, "it is drained");
    let last = client.post(DRAIN, &json!({ "instance": "primary", "sync": "keep" }));
    assert_eq!((last.status, &last.json()["reason"]), (409, &json!("last_copy")), "{last}");
    assert!(last.text().contains("no other instance could serve the collection things"), "{last}");
    assert_eq!(drain_of(&client, "primary"), json!(null));
    client
        .post(DRAIN, &json!({ "instance": "primary", "sync": "keep", "confirm": "primary", "for": "1h" }))
        .expect(200);
    add(&client, &things, "one").expect(201);
    assert_eq!(ids(&client, &things).len(), 4, "where nobody else can, a drained one serves");
    wait_for("the replica's drain is over", CATCH_UP, || (drain_of(&client, "replica") == json!(null)).then_some(()));
    client.post(UNDRAIN, &json!({ "instance": "primary" })).expect(200);
    client.post(UNDRAIN, &json!({ "instance": "primary" })).expect(200);
    assert_eq!(client.get(DRAIN).expect(200).json(), json!({ "drained": [] }));
    cluster.assert_converged();
}

#[test]
fn a_single_server_is_drained_only_on_the_operators_word() {
    let cluster = Cluster::with(1, |edge| edge);
    let client = cluster.client();
    let drain = json!({ "instance": "primary", "sync": "stop" });
    let refused = client.post(DRAIN, &drain);
    assert_eq!((refused.status, &refused.json()["reason"]), (409, &json!("last_copy")), "{refused}");
}

#[track_caller]
fn assert_refused(answer: &Answer, reason: &str) {
    assert_eq!((answer.status, &answer.json()["reason"]), (400, &json!(reason)), "{answer}");
    assert_eq!(answer.json()["error"], "InvalidArgumentError");
}

#[test]
fn bad_input_is_refused_and_changes_nothing() {
    let cluster = Cluster::two();
    let client = cluster.client();
    let before = client.get("/status").expect(200).json();
    for body in [
        json!(null),
        json!({}),
        json!({ "to": 7 }),
        json!({ "to": "replica", "for": 10 }),
        json!({ "to": "replica", "for": "10" }),
        json!({ "to": "replica", "for": "0s" }),
        json!({ "to": "replica", "fro": "1m" }),
    ] {
        assert_refused(&client.post(SWITCHOVER, &body), "bad_body");
    }
    assert_refused(&client.post(SWITCHOVER, &json!({ "to": "nobody" })), "unknown_instance");
    for body in [
        json!({ "instance": "replica" }),
        json!({ "instance": "replica", "sync": "pause" }),
        json!({ "instance": "replica", "sync": "keep", "for": "400d" }),
        json!({ "instance": "replica", "sync": "keep", "confirm": "primary" }),
        json!([1, 2]),
    ] {
        assert_refused(&client.post(DRAIN, &body), "bad_body");
    }
    assert_refused(&client.post(DRAIN, &json!({ "instance": "", "sync": "keep" })), "unknown_instance");
    assert_refused(&client.post(UNDRAIN, &json!({ "instances": "replica" })), "bad_body");
    assert_refused(&client.post(UNDRAIN, &json!({ "instance": "nobody" })), "unknown_instance");
    let huge = client.post(DRAIN, &json!({ "instance": "x".repeat(5000), "sync": "keep" }));
    assert_eq!(huge.status, 413, "{huge}");
    for (method, path) in [("DELETE", SWITCHOVER), ("PUT", DRAIN), ("GET", UNDRAIN)] {
        assert_eq!(client.call(method, path, &json!(null)).status, 405, "{method} {path}");
    }
    let after = client.get("/status").expect(200).json();
    let shown =
        |status: &Value| json!([status["switchover"], role_of(status, "primary"), status["instances"][1]["drain"]]);
    assert_eq!((shown(&before), shown(&after)), (json!([null, "primary", null]), json!([null, "primary", null])));
}
