//! The pages that an earlier system's scripts and dashboards call. Each number is compared with the test's own count,
//! at rest and while an instance is away. An action does what it says and nothing else. On both stores.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, Cluster, add, ids};
use testkit::http::{Client, DEFAULT, record_path};
use testkit::place::wait_for;
use testkit::postgres::Postgres;
use testkit::shared::Shared;
use testkit::{Relay, ops};

/// Probes that are frequent enough to wait for.
const QUICK: &str = "  health: { interval: 500ms, timeout: 300ms }\n  idempotency: { keep: 0s }";

fn get(client: &Client, path: &str) -> Value {
    client.get(path).expect(200).json()
}

fn press(client: &Client, path: &str) -> Value {
    let answer = client.post(path, &json!({})).expect(200).json();
    assert!(answer["success"] == true && answer["message"].is_string(), "{path}: {answer}");
    answer
}

/// Returns the number of the edge's requests to an instance, as counted by its relay. Probes do not count.
fn asked(relay: &Relay) -> u64 {
    relay.seen().iter().filter(|seen| !seen.path.ends_with("/heartbeat")).count() as u64
}

/// Checks every place that reports how many writes are still to be replicated.
fn assert_pending(client: &Client, expected: u64) {
    let (health, status, wal) = (get(client, "/health"), get(client, "/status"), get(client, "/wal/status"));
    let shown = [
        &health["pending_writes"],
        &status["pending_writes"],
        &status["unified_wal"]["pending_writes"],
        &status["instances"][1]["lag_transactions"],
        &wal["pending_writes"],
        &wal["pending"],
        &wal["wal_system"]["pending_writes"],
        &get(client, "/admin/wal_count")["pending_writes"],
        &get(client, "/admin/wal_debug")["summary"]["pending_writes"],
    ];
    assert_eq!(shown, [&json!(expected); 9], "{status} {wal}");
}

/// Checks the number of replicated writes on every page that reports it.
fn assert_synced(client: &Client, expected: u64) {
    wait_for(&format!("{expected} replicated writes"), CATCH_UP, || {
        let (status, wal) = (get(client, "/status"), get(client, "/wal/status"));
        let scalability = get(client, "/admin/scalability_status");
        let shown = [
            &status["performance_stats"]["successful_syncs"],
            &wal["performance_stats"]["successful_syncs"],
            &wal["successful_syncs"],
            &wal["successful"],
            &scalability["performance_stats"]["successful_syncs"],
        ];
        let batches = status["performance_stats"]["batches_processed"].as_u64()?;
        assert!(batches <= shown[0].as_u64()?, "a request replicates one write at least: {status}");
        (shown == [&json!(expected); 5]).then_some(())
    });
}

/// Checks the number of requests to each instance against the relays' own counts.
fn assert_requests(client: &Client, relays: &[Relay]) {
    let same = || {
        let before: Vec<u64> = relays.iter().map(asked).collect();
        let (status, list) = (get(client, "/status"), get(client, "/admin/instances"));
        let after: Vec<u64> = relays.iter().map(asked).collect();
        let all: u64 = after.iter().sum();
        let shown = |page: &Value, place: usize| page["instances"][place]["total_requests"].as_u64();
        let each = (0..2)
            .all(|place| shown(&status, place) == Some(after[place]) && shown(&list, place) == Some(after[place]));
        (before == after && each && status["stats"]["total_requests"] == json!(all)).then_some(())
    };
    wait_for("the instances' own counts", CATCH_UP, same);
}

fn numbers_are_true(cluster: &mut Cluster, relays: &[Relay]) {
    let client = cluster.client();
    let things = cluster.create("things");
    for number in 0..5 {
        add(&client, &things, &format!("r{number}")).expect(201);
    }
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let health = get(&client, "/health");
    assert_eq!((&health["status"], &health["healthy_instances"]), (&json!("healthy"), &json!("2/2")));
    assert_pending(&client, 0);
    assert_synced(&client, 6);
    assert_requests(&client, relays);
    let status = get(&client, "/status?realtime=true");
    for (instance, name) in status["instances"].as_array().expect("instances").iter().zip(["primary", "replica"]) {
        assert_eq!(instance["name"], name);
        assert_eq!((&instance["lag_seconds"], &instance["consecutive_failures"]), (&json!(0.0), &json!(0)));
        assert!(instance["success_rate"].as_str().is_some_and(|rate| rate.ends_with('%')), "{instance}");
    }
    assert_eq!(status["unified_wal"]["is_syncing"], false);

    cluster.servers[1].kill();
    cluster.edge.wait_until_healthy("replica", false, CATCH_UP);
    let away = Instant::now();
    for number in 5..8 {
        add(&client, &things, &format!("r{number}")).expect(201);
    }
    client.post(&record_path(&things, "delete"), &json!({ "ids": ["r0"] })).expect(200);
    let half = cluster.create("half");
    assert_pending(&client, 5);
    numbers_while_away(&client, &things, &half, away);
    acts_while_away(&client);
    assert_pending(&client, 5);

    cluster.servers[1].restart();
    cluster.edge.wait_until_in_sync(CATCH_UP);
    assert_pending(&client, 0);
    assert_synced(&client, 11);
    let completed = client.post("/admin/complete_mappings", &json!({ "collection_name": "half" })).expect(200).json();
    assert_eq!((&completed["completed_count"], &completed["failed_count"]), (&json!(1), &json!(0)), "{completed}");
    let errors = get(&client, "/admin/wal_errors");
    assert_eq!((&errors["total_errors"], &errors["recent_errors"]), (&json!(0), &json!([])), "{errors}");
    // Of the eleven writes, the cleanup has removed those that both instances had.
    assert_eq!(get(&client, "/admin/wal_debug")["summary"]["total_recent_writes"], 5);
    press(&client, "/admin/reset_stats");
    assert_synced(&client, 0);
    assert_eq!(ids(&client, &things).len(), 7);
}

fn numbers_while_away(client: &Client, things: &str, half: &str, away: Instant) {
    let health = get(client, "/health");
    assert_eq!((&health["status"], &health["healthy_instances"]), (&json!("degraded"), &json!("1/2")));
    let status = get(client, "/status");
    let lag = status["instances"][1]["lag_seconds"].as_f64().expect("seconds");
    assert!(lag <= away.elapsed().as_secs_f64() + 0.1, "{lag} of {:?}", away.elapsed());
    wait_for("a lag that grows", CATCH_UP, || {
        (get(client, "/status")["instances"][1]["lag_seconds"].as_f64()? > lag).then_some(())
    });
    assert_eq!(status["unified_wal"]["is_syncing"], false, "there is nobody to send it to");
    wait_for("a second failed probe", CATCH_UP, || {
        (get(client, "/admin/instances")["instances"][1]["consecutive_failures"].as_u64()? > 1).then_some(())
    });
    let list = get(client, "/admin/instances");
    assert_eq!((&list["healthy_count"], &list["total_count"]), (&json!(1), &json!(2)));
    assert_eq!((&list["instances"][1]["healthy"], &list["instances"][1]["priority"]), (&json!(false), &json!(2)));
    let debug = get(client, "/admin/wal_debug");
    assert_eq!(debug["summary"]["total_recent_writes"], 11, "two collections, eight records, one deletion");
    assert_eq!(debug["summary"]["total_delete_operations"], 1);
    assert_eq!(debug["delete_operations"][0]["operation"], "delete");
    assert_eq!(get(client, "/admin/wal_count")["wal_system_ready"], true);
    let mappings = get(client, "/admin/collection_mappings");
    assert_eq!(mappings["total_mappings"], 2);
    let find = |id: &str| {
        let all = mappings["collection_mappings"].as_array().expect("mappings");
        all.iter().find(|one| one["primary_collection_id"] == id).cloned().unwrap_or_else(|| panic!("{mappings}"))
    };
    let (whole, part) = (find(things), find(half));
    assert_eq!((&whole["status"], &part["status"]), (&json!("complete"), &json!("partial")));
    assert_eq!(whole["primary_uuid"], format!("{}...", &things[..8]));
    assert_eq!((&part["replica_collection_id"], &part["replica_uuid"]), (&Value::Null, &Value::Null));
    assert!(part["created_at"].as_str() > whole["created_at"].as_str(), "{mappings}");
    let page = get(client, "/admin/collection_mappings?limit=1&offset=1");
    assert_eq!(page["collection_mappings"].as_array().map(Vec::len), Some(1));
    assert_eq!(page["collection_mappings"][0], mappings["collection_mappings"][1]);
}

/// Performs the actions that are allowed while an instance lacks writes. None of those writes may be lost.
fn acts_while_away(client: &Client) {
    let incomplete = client.post("/admin/complete_mappings", &Value::Null).expect(200).json();
    assert_eq!((&incomplete["total_processed"], &incomplete["failed_count"]), (&json!(1), &json!(1)), "{incomplete}");
    assert_eq!(incomplete["failed_mappings"][0]["lacking_on"], json!(["replica"]));
    for (name, status) in [("half", 409), ("global", 403), ("nothing", 404)] {
        let refused =
            client.call("DELETE", &format!("/collection/mappings/{name}"), &Value::Null).expect(status).json();
        assert!(refused["success"] == false && refused["message"].is_string(), "{refused}");
    }
    for button in [
        "sync_collections",
        "force_recovery_restart",
        "force_transaction_reset",
        "clear_wal_errors",
        "reset_stuck_transactions",
        "force_delete_sync",
        "optimize_connection_pool",
    ] {
        let answer = press(client, &format!("/admin/{button}"));
        for discarded in ["reset_count", "cleared"] {
            assert!(answer.get(discarded).is_none_or(|count| *count == 0), "{button}: {answer}");
        }
    }
    let cleaned = client.post("/wal/cleanup", &json!({ "max_age_hours": 0 })).expect(200).json();
    assert_eq!((&cleaned["status"], &cleaned["reset_entries"]), (&json!("success"), &json!(0)), "{cleaned}");
    assert_eq!(
        (&cleaned["deleted_entries"], &cleaned["cleaned"]),
        (&json!(6), &json!(6)),
        "what the replica lacks stays: {cleaned}"
    );
    let why = cleaned["message"].as_str().unwrap_or_default();
    assert!(why.starts_with("5 left: 5 needed by an instance"), "{cleaned}");
}

#[test]
fn numbers_are_true_with_sqlite() {
    let (mut cluster, relays) = Cluster::relayed(|edge| edge.config(QUICK));
    numbers_are_true(&mut cluster, &relays);
}

#[test]
fn numbers_are_true_with_postgres() {
    let mut shared = Shared::on(Postgres::fresh(), |edge| edge.config(QUICK));
    shared.await_active();
    numbers_are_true(&mut shared.cluster, &shared.relays);
}

#[test]
fn an_override_holds_against_the_probes_and_ends_by_itself() {
    let (cluster, relays) = Cluster::relayed(|edge| edge.config(QUICK));
    let client = cluster.client();
    let things = cluster.create("things");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let path = "/admin/instances/replica/health";
    let unknown = client.post("/admin/instances/nobody/health", &json!({ "healthy": false })).expect(404).json();
    assert_eq!(unknown["available_instances"], json!(["primary", "replica"]));
    let set = client.post(path, &json!({ "healthy": false, "duration_seconds": 8 })).expect(200).json();
    let since = Instant::now();
    assert_eq!((&set["health_set_to"], &set["original_health"]), (&json!(false), &json!(true)));
    assert_eq!(set["will_restore_in_seconds"], 8.0, "{set}");
    add(&client, &things, "missed").expect(201);
    // Green probes do not end it.
    let probes = relays[1].seen_at("/heartbeat").len();
    wait_for("three more probes", CATCH_UP, || (relays[1].seen_at("/heartbeat").len() > probes + 3).then_some(()));
    let held = get(&client, "/status");
    if since.elapsed() < Duration::from_secs(7) {
        assert_eq!(held["instances"][1]["healthy"], false, "{held}");
        assert_eq!(held["instances"][1]["lag_transactions"], 1, "{held}");
        assert!(relays[1].seen_at("/add").is_empty(), "nothing is sent there");
        // No instance would be left to serve: this must not happen by accident.
        let last = client.post("/admin/instances/primary/health", &json!({ "healthy": false })).expect(409).json();
        assert_eq!((&last["reason"], &last["success"]), (&json!("last_copy"), &json!(false)));
    }
    cluster.edge.wait_until_healthy("replica", true, CATCH_UP);
    assert!(since.elapsed() > Duration::from_secs(7), "it ended after {:?}", since.elapsed());
    assert_eq!(cluster.assert_converged().record_count(), 1);
    let permanent = client.post(path, &json!({ "healthy": false })).expect(200).json();
    assert_eq!(permanent["permanent"], true);
    let ended = client.post(path, &json!({ "healthy": true })).expect(200).json();
    assert_eq!((&ended["health_set_to"], &ended["original_health"]), (&json!(true), &json!(false)), "{ended}");
    cluster.edge.wait_until_healthy("replica", true, CATCH_UP);
}

#[test]
fn nobody_can_say_that_a_dead_instance_is_healthy() {
    let mut cluster = Cluster::with(2, |edge| edge.config(QUICK));
    cluster.replica().kill();
    cluster.edge.wait_until_healthy("replica", false, CATCH_UP);
    let answer = cluster.client().post("/admin/instances/replica/health", &json!({ "healthy": true }));
    let body = answer.expect(409).json();
    assert_eq!(
        (&body["success"], &body["reason"], &body["health_set_to"]),
        (&json!(false), &json!("not_healthy"), &json!(false))
    );
}

#[test]
fn ready_is_who_would_take_a_write() {
    let mut cluster = Cluster::with(2, |edge| edge.config(QUICK));
    let client = cluster.client();
    assert_eq!(get(&client, "/health/ready")["status"], "ready");
    assert_eq!(get(&client, "/health/live")["status"], "live");
    cluster.servers.iter_mut().for_each(testkit::ChromaServer::kill);
    wait_for("not ready", CATCH_UP, || (client.get("/health/ready").status == 503).then_some(()));
    assert_eq!(client.get("/health/ready").json()["status"], "not_ready");
    assert_eq!(get(&client, "/health/live")["status"], "live", "a restart of the edge would not help");
}

#[test]
fn a_mapping_is_verified_on_the_instances() {
    let cluster = Cluster::with(2, |edge| edge.config(QUICK).config("  heal: { enabled: true }"));
    let client = cluster.client();
    cluster.create("known");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let own = |place: usize, name: &str| {
        let shown = cluster.servers[place].client().get(&format!("{DEFAULT}/collections/{name}")).expect(200).json();
        shown["id"].as_str().expect("an id").to_owned()
    };
    let create = |body: Value| client.post("/admin/create_mapping", &body);
    let (primary, replica) = (own(0, "known"), own(1, "known"));
    let known =
        create(json!({ "collection_name": "known", "primary_id": primary, "replica_id": replica })).expect(200).json();
    assert_eq!((&known["primary_id"], &known["replica_id"]), (&json!(primary), &json!(replica)), "{known}");
    // A missing id stays as it is known.
    let part = create(json!({ "collection_name": "known", "replica_id": replica })).expect(200).json();
    assert_eq!(part["primary_id"], primary);
    let swapped = create(json!({ "collection_name": "known", "primary_id": replica })).expect(409).json();
    assert_eq!((&swapped["reason"], &swapped["success"]), (&json!("not_verified"), &json!(false)));
    create(json!({ "collection_name": "nothing", "primary_id": primary })).expect(409);
    create(json!({ "collection_name": "known" })).expect(400);
    // A collection that was created behind the edge's back is added to the catalog once it is named.
    let late = testkit::cluster::create(&cluster.servers[0].client(), "late");
    let adopted = create(json!({ "collection_name": "late", "primary_id": late })).expect(200).json();
    assert_eq!(adopted["primary_id"], late, "{adopted}");
    wait_for("both have it", CATCH_UP, || {
        let found = cluster.servers[1].client().get(&format!("{DEFAULT}/collections/late"));
        (found.status == 200).then_some(())
    });
}

#[test]
fn what_the_process_takes_is_its_own() {
    let cluster = Cluster::two();
    let client = cluster.client();
    let by_path = get(&client, "/metrics.json");
    let by_header = get(&client.with_header("accept", "application/json"), "/metrics");
    let peak = cluster.edge.peak_memory() as f64 / (1024.0 * 1024.0);
    for page in [&by_path, &by_header] {
        let number = |name: &str| page[name].as_f64().unwrap_or_else(|| panic!("{name}: {page}"));
        assert!(
            number("peak_memory_usage") <= peak + 0.1 && number("peak_memory_usage") > peak * 0.8,
            "{peak}: {page}"
        );
        assert!(number("memory_usage_mb") <= number("peak_memory_usage"), "{page}");
        assert!(number("memory_percent") > 0.0 && number("memory_percent") < 100.0, "{page}");
        assert!(number("cpu_percent") >= 0.0, "{page}");
    }
    let text = client.get("/metrics").expect(200);
    assert!(text.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")), "{text}");
    let config = get(&client, "/status")["high_volume_config"].clone();
    assert_eq!((&config["max_workers"], &config["max_concurrent_requests"]), (&json!(2), &json!(64)), "{config}");
}

#[test]
fn a_random_load_is_counted_to_the_last_request() {
    let (cluster, relays) = Cluster::relayed(|edge| edge.config(QUICK));
    let client = cluster.client();
    let things = cluster.create("things");
    let mut random = testkit::random::Random::new(testkit::random::seed());
    // A request is counted after its answer is sent: the client may be faster.
    let before = wait_for("the requests so far to be counted", CATCH_UP, || {
        let stats = get(&client, "/status")["performance_stats"].clone();
        (stats["concurrent_requests_active"] == 0)
            .then(|| stats["total_requests_processed"].as_u64().expect("a number"))
    });
    for _ in 0..40 {
        let (verb, body) = ops::records(&mut random, 20);
        client.post(&record_path(&things, verb.as_str()), &body);
        client.post(&record_path(&things, "get"), &json!({ "limit": 3 }));
    }
    cluster.edge.wait_until_in_sync(CATCH_UP);
    assert_requests(&client, &relays);
    let stats = wait_for("eighty more requests, and no page among them", CATCH_UP, || {
        let stats = get(&client, "/status")["performance_stats"].clone();
        (stats["total_requests_processed"] == before + 80 && stats["concurrent_requests_active"] == 0).then_some(stats)
    });
    let (hits, misses) = (stats["connection_pool_hits"].as_u64(), stats["connection_pool_misses"].as_u64());
    assert!(hits > misses, "connections are used again: {stats}");
}

#[test]
fn without_pooling_each_request_has_a_connection_of_its_own() {
    let (cluster, _relays) = Cluster::relayed(|edge| edge.env("ENABLE_CONNECTION_POOLING", "false"));
    let client = cluster.client();
    let things = cluster.create("things");
    for number in 0..10 {
        add(&client, &things, &number.to_string()).expect(201);
        ids(&client, &things);
    }
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let stats = get(&client, "/status")["performance_stats"].clone();
    assert_eq!(stats["connection_pool_hits"], 0, "{stats}");
    assert!(stats["connection_pool_misses"].as_u64() >= Some(20), "{stats}");
    let features = get(&client, "/admin/scalability_status")["scalability_features"].clone();
    assert_eq!(features["connection_pooling"]["enabled"], false);
}
