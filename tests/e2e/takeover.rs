//! Two edges and one PostgreSQL journal: one is active, and the other takes over when it dies, is stopped, or ends.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use testkit::cluster::{CATCH_UP, TENANT, add, create, ids};
use testkit::commit_link::CommitLink;
use testkit::content;
use testkit::edge::Builder;
use testkit::events::Listener;
use testkit::http::{Client, DEFAULT, record_path};
use testkit::place::wait_for;
use testkit::postgres::Postgres;
use testkit::random::seed;
use testkit::workload::{Event, Outcome, Plan, Workload, acknowledged, added_id};
use testkit::{ChromaServer, Content, Edge};

const PROGRESS: Duration = Duration::from_secs(30);
/// The promised time from the end of an edge until the other edge is healthy.
const TAKEOVER: Duration = Duration::from_secs(5);

/// Two edges over the same servers and journal: the first is active, the second is a standby.
struct Pair {
    first: Edge,
    second: Edge,
    servers: Vec<ChromaServer>,
    postgres: Postgres,
}

impl Pair {
    fn new() -> Pair {
        let postgres = Postgres::fresh();
        let servers = vec![ChromaServer::fresh(), ChromaServer::fresh()];
        let edge = || -> Builder {
            let probes = "  health: { interval: 500ms, timeout: 400ms }";
            Edge::builder().instances(&servers.iter().collect::<Vec<_>>()).postgres(&postgres.url()).config(probes)
        };
        let first = edge().start();
        assert_eq!(first.status()["role"], "active");
        let second = edge().start();
        wait_for("a standby", PROGRESS, || (health(&second).1["journal"] == "held").then_some(()));
        Pair { first, second, servers, postgres }
    }

    /// Waits until the second edge is active.
    fn await_takeover(&self) {
        wait_for("a takeover", PROGRESS, || (health(&self.second).0 == 200).then_some(()));
        assert_eq!(self.second.status()["role"], "active");
    }

    /// Checks that all servers and the second edge hold the same content.
    fn assert_equal(&self) -> Content {
        self.second.wait_until_in_sync(CATCH_UP);
        let seen = Content::of(&self.second.client(), TENANT);
        for (index, server) in self.servers.iter().enumerate() {
            content::assert_equal(
                &format!("the edge and instance {index}"),
                &seen,
                &Content::of(&server.client(), TENANT),
            );
        }
        seen
    }

    /// Returns everything that an edge can write to the journal, except what it may still write after a takeover.
    fn journal(&self) -> Vec<String> {
        let ask = |sql| self.postgres.sql(sql).lines().map(str::to_owned).collect::<Vec<_>>();
        let mut all = ask("SELECT epoch, commits, last_seq FROM chroma_edge.journal");
        all.extend(ask("SELECT seq, verdict, status FROM chroma_edge.transactions ORDER BY seq"));
        all.extend(ask("SELECT lane, instance, through, standing FROM chroma_edge.progress ORDER BY lane, instance"));
        all
    }
}

fn health(edge: &Edge) -> (u16, Value) {
    let answer = edge.client().get("/health");
    (answer.status, answer.json())
}

fn shown_ids(content: &Content) -> BTreeSet<String> {
    content.collections.values().flat_map(|one| one.records.iter().map(|record| record.id.clone())).collect()
}

fn assert_nothing_lost(events: &[Event], content: &Content) {
    let shown = shown_ids(content);
    let lost: Vec<_> =
        acknowledged(events).map(|(event, _)| added_id(event)).filter(|id| !shown.contains(id)).collect();
    assert!(lost.is_empty(), "acknowledged, and gone: {lost:?}");
    let refused = events.iter().filter(|event| matches!(event.outcome, Outcome::Refused(_))).map(added_id);
    let executed: Vec<_> = refused.filter(|id| shown.contains(id)).collect();
    assert!(executed.is_empty(), "refused, and executed: {executed:?}");
}

fn assert_stands_by(client: &Client) {
    let write = client.post("/api/v2/tenants", &serde_json::json!({ "name": "x" })).expect(503);
    assert_eq!((&write.json()["reason"], write.header("retry-after")), (&"standby".into(), Some("1")));
    assert_eq!(client.get("/api/v2/heartbeat").expect(503).json()["reason"], "standby");
    assert!(client.get("/metrics").expect(200).text().contains("chroma_edge_active 0\n"));
}

/// The edge is cut off from the journal, and does not know that another edge has deleted something. A server that
/// returns without it has lost nothing.
#[test]
fn an_edge_that_was_succeeded_takes_nothing_for_lost() {
    let postgres = Postgres::fresh();
    let mut servers = [ChromaServer::fresh(), ChromaServer::fresh()];
    let link = CommitLink::to(postgres.port());
    let edge = |url: &str| {
        let probes = "  health: { interval: 500ms, timeout: 400ms }";
        Edge::builder().instances(&servers.iter().collect::<Vec<_>>()).postgres(url).config(probes)
    };
    let first = edge(&postgres.url_at(link.port())).start();
    let second = edge(&postgres.url()).start();
    create(&first.client(), "things");
    first.wait_until_in_sync(CATCH_UP);
    link.refuse(true);
    link.cut();
    wait_for("a takeover", PROGRESS, || (health(&second).0 == 200).then_some(()));
    second.client().call("DELETE", &format!("{DEFAULT}/collections/things"), &Value::Null).expect(200);
    second.wait_until_in_sync(CATCH_UP);
    servers[1].kill();
    first.wait_until_healthy("replica", false, PROGRESS);
    servers[1].restart();
    let looked_at = || first.log().contains("another edge may have the journal") || first.log().contains("lacks");
    wait_for("the replica's return", PROGRESS, || looked_at().then_some(()));
    assert!(!first.log().contains("lacks collections"), "{}", first.log());
}

#[test]
fn an_edge_that_dies_is_succeeded_and_what_it_acknowledged_is_there() {
    let mut pair = Pair::new();
    let (status, body) = health(&pair.second);
    assert_eq!((status, &body["status"]), (503, &"standby".into()));
    assert!(body["journal_held_by"].is_string(), "{body}");
    assert_stands_by(&pair.second.client());

    let load = Workload::start(&pair.first.client(), seed(), &Plan::unique_adds());
    load.await_more(100, PROGRESS);
    pair.first.kill();
    let died = Instant::now();
    pair.await_takeover();
    let took = died.elapsed();
    let events = load.finish();
    let own = create(&pair.second.client(), "own");
    add(&pair.second.client(), &own, "by-the-second").expect(201);
    let seen = pair.assert_equal();
    assert_nothing_lost(&events, &seen);
    assert!(shown_ids(&seen).contains("by-the-second"));
    assert!(took <= TAKEOVER, "{took:?}");
}

#[test]
fn an_edge_that_is_stopped_and_continued_changes_nothing_any_more() {
    let mut pair = Pair::new();
    pair.first.announce("has taken over the journal");
    let load = Workload::start(&pair.first.client(), seed(), &Plan::unique_adds());
    load.await_more(100, PROGRESS);
    pair.first.signal(Signal::SIGSTOP);
    pair.await_takeover();
    let own = create(&pair.second.client(), "own");
    for number in 0..20 {
        add(&pair.second.client(), &own, &format!("second-{number}")).expect(201);
    }
    pair.assert_equal();
    let before = pair.journal();

    pair.first.signal(Signal::SIGCONT);
    assert_eq!(pair.first.wait_for_exit(PROGRESS).code(), Some(1));
    let events = load.finish();
    if pair.postgres.sql("SELECT count(*) FROM chroma_edge.suspects").trim() == "0"
        && !pair.second.log().contains("may have sent a write after its lease")
    {
        assert_eq!(pair.journal(), before, "neither an append nor a mark of its own");
    }
    let seen = pair.assert_equal();
    assert_nothing_lost(&events, &seen);
    assert!((0..20).all(|number| ids(&pair.second.client(), &own).contains(&format!("second-{number}"))));

    // Its supervisor restarts it, and it becomes a standby.
    pair.first.restart();
    wait_for("a standby", PROGRESS, || (health(&pair.first).1["journal"] == "held").then_some(()));
}

#[test]
fn an_edge_that_ends_in_good_order_is_succeeded_without_a_wait() {
    let mut pair = Pair::new();
    let things = create(&pair.first.client(), "things");
    add(&pair.first.client(), &things, "one").expect(201);
    pair.first.term();
    assert!(pair.first.wait_for_exit(PROGRESS).success());
    let ended = Instant::now();
    pair.await_takeover();
    add(&pair.second.client(), &things, "two").expect(201);
    // A lease and the settle time would be five.
    assert!(ended.elapsed() < Duration::from_secs(3), "{:?}", ended.elapsed());
    pair.assert_equal();
    assert_eq!(ids(&pair.second.client(), &things), ["one", "two"]);
}

#[test]
fn without_its_database_an_edge_starts_as_a_standby_and_one_at_work_goes_on_reading() {
    let mut pair = Pair::new();
    let things = create(&pair.first.client(), "things");
    add(&pair.first.client(), &things, "one").expect(201);
    pair.postgres.kill();
    wait_for("the end of the lease", PROGRESS, || (pair.first.status()["journal"]["lease"] == "ended").then_some(()));
    assert_eq!(ids(&pair.first.client(), &things), ["one"]);
    let refused = add(&pair.first.client(), &things, "two").expect(503);
    assert_eq!(refused.json()["reason"], "journal_unavailable");
    wait_for("word of it", PROGRESS, || (health(&pair.second).1["journal"] == "unreachable").then_some(()));
    let refused = pair.second.client().post(&record_path(&things, "get"), &Value::Null).expect(503);
    assert_eq!(refused.json()["reason"], "journal_unavailable");
    pair.postgres.start();
    // Whichever is first: one of them is active, and the other is not.
    let active = wait_for("an active edge", PROGRESS, || {
        [&pair.first, &pair.second].into_iter().find(|edge| {
            let answer =
                edge.client().try_call("POST", &record_path(&things, "add"), &testkit::cluster::record("three"));
            answer.is_ok_and(|answer| answer.status == 201)
        })
    });
    assert_eq!(ids(&active.client(), &things), ["one", "three"]);
    pair.first.announce("has taken over the journal");
}

#[test]
fn a_stream_goes_on_at_the_other_edge() {
    let mut pair = Pair::new();
    let collection = create(&pair.first.client(), "things");
    let named =
        |edge: &Edge, id: &str| edge.client().with_header("x-client-session", "s").with_header("transaction-id", id);
    let mut before = Listener::open(&pair.first.client(), "client=s", None);
    add(&named(&pair.first, "seen"), &collection, "seen").expect(201);
    let seen = before.expect("transaction:completed");
    add(&named(&pair.first, "unseen"), &collection, "unseen").expect(201);
    pair.first.kill();
    pair.await_takeover();
    add(&named(&pair.second, "new"), &collection, "new").expect(201);
    let mut after = Listener::open(&pair.second.client(), "client=s", Some(&seen.id));
    let told = [(); 2].map(|()| after.expect("transaction:completed").data["client_transaction_id"].clone());
    assert_eq!(told, ["unseen", "new"], "each once, whichever edge reported it");
    pair.assert_equal();
}
