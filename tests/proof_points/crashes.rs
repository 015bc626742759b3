//! The process dies by itself at each step of a write's life. After a restart, all promises are kept.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use serde_json::{Value, json};

use chroma_edge::proof::CrashPoint;

use testkit::cluster::{CATCH_UP, TENANT, ids};
use testkit::content;
use testkit::fold::transactions;
use testkit::http::{Client, DEFAULT, record_path};
use testkit::place::wait_for;
use testkit::postgres::Postgres;
use testkit::random::seed;
use testkit::workload::{Event, Outcome, Plan, Workload, acknowledged, added_id};
use testkit::{ChromaServer, Cluster, Content, Edge};

const VARIABLE: &str = "CHROMA_EDGE_CRASH_AT";
const PROGRESS: Duration = Duration::from_secs(60);

fn told(point: CrashPoint, passes: u64) -> String {
    format!("{}:{passes}", point.as_str())
}

/// Waits until the edge has ended itself at this point, and removes the crash point.
#[track_caller]
fn await_death(edge: &mut Edge, point: CrashPoint) {
    let status = edge.wait_for_exit(PROGRESS);
    assert_eq!(status.signal(), Some(9), "{status}");
    let last = edge.log().lines().last().map(str::to_owned);
    assert!(edge.log().contains(&format!("crash point: {}", point.as_str())), "{last:?}");
    edge.set_env(VARIABLE, None);
}

/// Kills the edge at this pass of the point, under a load of adds. After a restart, it must keep every promise.
#[track_caller]
fn dies(point: CrashPoint, passes: u64) -> Cluster {
    let mut cluster = Cluster::with(2, |edge| edge.env(VARIABLE, &told(point, passes)));
    let load = Workload::start(&cluster.client(), seed(), &Plan::unique_adds());
    await_death(&mut cluster.edge, point);
    finish(cluster, load)
}

/// Does the same as [`dies`], for a step that adds do not pass. `also` passes it, once adds are under way.
#[track_caller]
fn dies_of(point: CrashPoint, passes: u64, also: impl Fn(&Client)) -> Cluster {
    let mut cluster = Cluster::with(2, |edge| edge.env(VARIABLE, &told(point, passes)));
    let load = Workload::start(&cluster.client(), seed(), &Plan::unique_adds());
    load.await_more(12, PROGRESS);
    also(&cluster.client());
    await_death(&mut cluster.edge, point);
    finish(cluster, load)
}

#[track_caller]
fn finish(mut cluster: Cluster, load: Workload) -> Cluster {
    cluster.edge.restart();
    load.await_more(30, PROGRESS);
    let events = load.finish();
    cluster.assert_converged();
    assert_kept(&cluster, &events);
    cluster
}

/// Checks each write. Acknowledged: once, in the journal and in the content. Refused: nowhere. Unknown: at most once,
/// in both or in neither.
#[track_caller]
fn assert_kept(cluster: &Cluster, events: &[Event]) {
    let mut journaled: BTreeMap<String, usize> = BTreeMap::new();
    for transaction in transactions(&cluster.edge.journal_path()).iter().filter(|one| one.path.ends_with("/add")) {
        let body: Value = serde_json::from_slice(&transaction.body).expect("JSON");
        *journaled.entry(body["ids"][0].as_str().expect("an id").to_owned()).or_default() += 1;
    }
    let shown: Vec<String> = Plan::unique_adds().names.iter().flat_map(|name| ids(&cluster.client(), name)).collect();
    for event in events {
        let id = added_id(event);
        let entries = journaled.get(&id).copied().unwrap_or(0);
        let records = shown.iter().filter(|one| **one == id).count();
        match &event.outcome {
            Outcome::Acknowledged(_) => assert_eq!((entries, records), (1, 1), "acknowledged: {id}"),
            Outcome::Refused(answer) => assert_eq!((entries, records), (0, 0), "refused: {id}: {answer}"),
            Outcome::Unknown(_) => assert!(entries <= 1 && records == entries, "unknown: {id}: {entries} {records}"),
        }
    }
    assert!(events.iter().any(|event| matches!(event.outcome, Outcome::Unknown(_))), "it died while idle");
    assert!(acknowledged(events).count() > 0);
}

/// Kills the edge at this point while it makes copies anew on a server that has lost its disk. After a restart, it must
/// complete them.
#[track_caller]
fn dies_in_a_copy(point: CrashPoint, passes: u64) {
    let configured = |edge: testkit::edge::Builder| edge.config("  heal: { enabled: true }\n  recovery_interval: 1s");
    let mut cluster = Cluster::with(2, |edge| configured(edge).env(VARIABLE, &told(point, passes)));
    for text in ["lacks collections", "diverged"] {
        cluster.edge.announce(text);
    }
    let load = Workload::start(&cluster.client(), seed(), &Plan::unique_adds());
    load.await_more(60, PROGRESS);
    cluster.servers[1].kill();
    cluster.servers[1].wipe();
    cluster.servers[1].restart();
    await_death(&mut cluster.edge, point);
    let cluster = finish(cluster, load);
    let hidden = cluster.servers[1].client().get(&format!("{DEFAULT}/collections")).expect(200).json();
    let hidden = hidden.as_array().into_iter().flatten().filter_map(|one| one["name"].as_str());
    let hidden: Vec<&str> = hidden.filter(|name| name.starts_with("chroma-edge.")).collect();
    // The edge does not search a database in which no copy is left to make.
    assert!(hidden.is_empty() || point == CrashPoint::AfterCutover, "{hidden:?}");
}

/// Kills the edge at this point while it repairs a copy on a server that has come back with an older folder. After a
/// restart, it must repair the copy.
#[track_caller]
fn dies_in_a_repair(point: CrashPoint) {
    let healing = "  heal: { enabled: true, marker_interval: 1s }\n  recovery_interval: 1s";
    let mut cluster = Cluster::with(2, |edge| edge.config(healing).env(VARIABLE, &told(point, 1)));
    for text in ["lacks what it was given", "lacks collections", "diverged"] {
        cluster.edge.announce(text);
    }
    let docs = cluster.filled("docs", 300);
    let marker = |cluster: &Cluster| {
        let path = "/api/v2/tenants/default_tenant/databases/chroma-edge-marker/collections/marker";
        let answer = cluster.servers[1].client().get(path);
        if answer.status == 200 { answer.json()["metadata"]["generation"].as_u64() } else { None }
    };
    let first = wait_for("a marker", PROGRESS, || marker(&cluster));
    cluster.servers[1].kill();
    let saved = cluster.servers[1].save();
    cluster.servers[1].restart();
    cluster.edge.wait_until_in_sync(PROGRESS);
    let body = json!({ "ids": ["r7", "r8"], "documents": ["newer", "newer"] });
    cluster.client().post(&record_path(&docs, "update"), &body).expect(200);
    wait_for("a newer marker", PROGRESS, || (marker(&cluster)? > first).then_some(()));
    cluster.servers[1].kill();
    cluster.servers[1].put_back(&saved);
    cluster.servers[1].restart();
    await_death(&mut cluster.edge, point);
    cluster.edge.restart();
    cluster.edge.wait_until_in_sync(PROGRESS);
    let log = cluster.edge.log();
    assert!(!log.contains("a copy is being made anew"), "what is repaired is repaired");
    cluster.assert_converged();
}

/// Sends a request that may get no answer.
fn unanswered(client: &Client, method: &str, path: &str, body: &Value) {
    let _ = client.try_call(method, path, body);
}

#[test]
fn before_append() {
    dies(CrashPoint::BeforeAppend, 40);
}

#[test]
fn after_append() {
    dies(CrashPoint::AfterAppend, 20);
}

#[test]
fn after_send() {
    dies(CrashPoint::AfterSend, 40);
}

#[test]
fn after_answer() {
    dies(CrashPoint::AfterAnswer, 40);
}

#[test]
fn before_mark() {
    dies(CrashPoint::BeforeMark, 40);
}

#[test]
fn after_mark() {
    dies(CrashPoint::AfterMark, 40);
}

#[test]
fn before_completed() {
    dies(CrashPoint::BeforeCompleted, 40);
}

#[test]
fn during_sync() {
    dies(CrashPoint::DuringSync, 20);
}

/// The load's four collections are created on two instances before it.
const MAPPINGS_BEFORE: u64 = 8;

fn create(client: &Client, metadata: &Value) {
    let body = json!({ "name": "one-more", "metadata": metadata });
    unanswered(client, "POST", &format!("{DEFAULT}/collections"), &body);
}

#[track_caller]
fn assert_there_once(cluster: &Cluster) {
    let all = cluster.client().get(&format!("{DEFAULT}/collections")).expect(200).json();
    let named = all.as_array().expect("a list").iter().filter(|one| one["name"] == "one-more").count();
    assert_eq!(named, 1, "{all}");
}

#[test]
fn before_mapping_of_the_first() {
    let cluster = dies_of(CrashPoint::BeforeMapping, MAPPINGS_BEFORE + 1, |client| create(client, &Value::Null));
    assert_there_once(&cluster);
}

#[test]
fn before_mapping_of_the_copy() {
    let cluster = dies_of(CrashPoint::BeforeMapping, MAPPINGS_BEFORE + 2, |client| create(client, &Value::Null));
    assert_there_once(&cluster);
}

#[test]
fn between_two_requests() {
    let legacy = json!({ "hnsw:space": "cosine", "hnsw:M": 20 });
    let cluster = dies_of(CrashPoint::BetweenTwoRequests, 1, |client| create(client, &legacy));
    assert_there_once(&cluster);
}

#[test]
fn before_resolved() {
    let cluster = dies_of(CrashPoint::BeforeResolved, 1, |client| {
        let body = json!({ "name": "limited", "get_or_create": true });
        let made = client.post(&format!("{DEFAULT}/collections"), &body).expect(200).json();
        let collection = made["id"].as_str().expect("an id").to_owned();
        let records = json!({
            "ids": ["a", "b", "c"],
            "embeddings": [[1, 2], [3, 4], [5, 6]],
            "metadatas": vec![json!({ "old": true }); 3],
        });
        client.post(&record_path(&collection, "add"), &records).expect(201);
        let delete = json!({ "where": { "old": true }, "limit": 2 });
        unanswered(client, "POST", &record_path(&collection, "delete"), &delete);
    });
    let made = cluster.client().get(&format!("{DEFAULT}/collections/limited")).expect(200).json();
    assert_eq!(ids(&cluster.client(), made["id"].as_str().expect("an id")), ["c"]);
}

/// What was under way at the kill is in doubt at the next start. The next edge dies when it is about to repeat it.
#[test]
fn before_repeat() {
    let mut cluster = Cluster::two();
    let load = Workload::start(&cluster.client(), seed(), &Plan::unique_adds());
    load.await_more(60, PROGRESS);
    cluster.edge.kill();
    cluster.edge.set_env(VARIABLE, Some(&told(CrashPoint::BeforeRepeat, 1)));
    cluster.edge.relaunch();
    await_death(&mut cluster.edge, CrashPoint::BeforeRepeat);
    finish(cluster, load);
}

/// A run with a misspelled proof point would test nothing, without anyone noticing.
#[test]
fn what_is_not_understood_ends_the_process_at_its_start() {
    for (name, value) in [(VARIABLE, "after_append"), (VARIABLE, "no_such_point:1"), ("CHROMA_EDGE_BREAK_RULE", "x")] {
        let edge = Edge::builder().instance_url("http://127.0.0.1:1").instance_url("http://127.0.0.1:2");
        let mut edge = edge.env(name, value).launch();
        assert_eq!(edge.wait_for_exit(PROGRESS).code(), Some(64));
        assert!(edge.log().contains(&format!("{name}={value:?}")), "{}", edge.log());
    }
}

#[test]
fn during_takeover() {
    let postgres = Postgres::fresh();
    let servers = [ChromaServer::fresh(), ChromaServer::fresh()];
    let probes = "  health: { interval: 500ms, timeout: 400ms }";
    let edge =
        || Edge::builder().instances(&servers.iter().collect::<Vec<_>>()).postgres(&postgres.url()).config(probes);
    let mut first = edge().start();
    let mut second = edge().env(VARIABLE, &told(CrashPoint::DuringTakeover, 1)).start();
    let load = Workload::start(&first.client(), seed(), &Plan::unique_adds());
    load.await_more(60, PROGRESS);
    first.kill();
    await_death(&mut second, CrashPoint::DuringTakeover);
    let events = load.finish();
    second.restart();
    wait_for("a takeover", PROGRESS, || (second.client().get("/health").status == 200).then_some(()));
    second.wait_until_in_sync(CATCH_UP);
    let seen = Content::of(&second.client(), TENANT);
    for (index, server) in servers.iter().enumerate() {
        let held = Content::of(&server.client(), TENANT);
        content::assert_equal(&format!("the edge and instance {index}"), &seen, &held);
    }
    let shown: Vec<&str> =
        seen.collections.values().flat_map(|one| one.records.iter().map(|record| record.id.as_str())).collect();
    for event in &events {
        let times = shown.iter().filter(|id| **id == added_id(event)).count();
        match &event.outcome {
            Outcome::Acknowledged(_) => assert_eq!(times, 1, "acknowledged: {event:?}"),
            Outcome::Refused(_) => assert_eq!(times, 0, "refused: {event:?}"),
            Outcome::Unknown(_) => assert!(times <= 1, "unknown: {event:?}"),
        }
    }
    assert!(acknowledged(&events).count() > 0);
}

#[test]
fn before_copy() {
    dies_in_a_copy(CrashPoint::BeforeCopy, 1);
}

#[test]
fn copy_created() {
    dies_in_a_copy(CrashPoint::CopyCreated, 2);
}

#[test]
fn after_copy_page() {
    dies_in_a_copy(CrashPoint::AfterCopyPage, 3);
}

#[test]
fn before_cutover() {
    dies_in_a_copy(CrashPoint::BeforeCutover, 1);
}

#[test]
fn names_exchanged() {
    dies_in_a_copy(CrashPoint::NamesExchanged, 2);
}

#[test]
fn after_cutover() {
    dies_in_a_copy(CrashPoint::AfterCutover, 1);
}

#[test]
fn before_repair() {
    dies_in_a_repair(CrashPoint::BeforeRepair);
}

#[test]
fn after_page_of_a_repair() {
    dies_in_a_repair(CrashPoint::AfterCopyPage);
}

#[test]
fn copy_repaired() {
    dies_in_a_repair(CrashPoint::CopyRepaired);
}
