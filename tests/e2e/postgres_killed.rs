//! A PostgreSQL journal under load while the database, the edge, or a connection in the middle of a COMMIT is killed:
//! every answer stays true, nothing happens twice, and all instances hold what the journal produces.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use testkit::cluster::{add, ids, record};
use testkit::commit_link::AtCommit;
use testkit::edge::Builder;
use testkit::http::{Answer, record_path};
use testkit::place::wait_for;
use testkit::postgres::Postgres;
use testkit::random::seed;
use testkit::shared::Shared;
use testkit::workload::{Plan, Workload, acknowledged, summary};

const PROGRESS: Duration = Duration::from_secs(30);
/// The least and most rounds of cutting connections during commits.
const LEAST_ROUNDS: usize = 8;
const MOST_ROUNDS: usize = 200;

/// Waits until a write is accepted.
fn await_write(shared: &Shared, collection: &str, id: &str) {
    wait_for("a write that is taken", PROGRESS, || {
        let answer = shared.cluster.client().try_call("POST", &record_path(collection, "add"), &record(id));
        answer.is_ok_and(|answer| answer.status == 201).then_some(())
    });
}

#[test]
fn the_database_killed_again_and_again() {
    let mut shared = Shared::durable();
    let own = shared.cluster.create("own");
    add(&shared.cluster.client(), &own, "before").expect(201);
    let load = Workload::start(&shared.cluster.client(), seed(), &Plan::unique_adds());
    for round in 0..3 {
        load.await_more(40, PROGRESS);
        shared.postgres.kill();
        assert!(ids(&shared.cluster.client(), &own).contains(&"before".to_owned()), "reads go on");
        shared.postgres.start();
        await_write(&shared, &own, &format!("round-{round}"));
    }
    load.await_more(40, PROGRESS);
    let events = load.finish();
    let content = shared.assert_converged();
    shared.assert_true(&events, &content);
    assert!(acknowledged(&events).count() > 100, "{}", summary(&events));
    assert!(acknowledged(&events).count() < events.len(), "killed while idle");
}

#[test]
fn the_edge_killed() {
    let mut shared = Shared::on(Postgres::fresh(), |edge: Builder| edge.journal_keys("lease: 1s"));
    let load = Workload::start(&shared.cluster.client(), seed(), &Plan::unique_adds());
    for _ in 0..2 {
        load.await_more(60, PROGRESS);
        shared.cluster.edge.kill();
        shared.cluster.edge.restart();
        shared.await_active();
    }
    load.await_more(60, PROGRESS);
    let events = load.finish();
    let content = shared.assert_converged();
    shared.assert_true(&events, &content);
    assert!(acknowledged(&events).count() > 100, "{}", summary(&events));
}

/// Sends writes with ids of their own until `stop`, and collects their answers.
fn keyed_adds(
    shared: &Shared,
    collection: &str,
    worker: usize,
    stop: &AtomicBool,
    told: &Mutex<Vec<(String, Answer)>>,
) {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let id = format!("w{worker}-{number}");
        let client = shared.cluster.client().with_header("Transaction-ID", &id);
        let answer = add(&client, collection, &id);
        told.lock().expect("no panic").push((id, answer));
        number += 1;
    }
}

/// Cuts the connection at COMMITs, before and after the server receives them: single ones, and two in a row, of which
/// the second belongs to the query about the outcome of the first. Many commits carry only progress, so this goes on
/// until clients have seen both outcomes.
fn cut_commits(shared: &Shared, told: &Mutex<Vec<(String, Answer)>>) {
    use AtCommit::{CutAfter, CutBefore};
    let count =
        |is: fn(&Answer) -> bool| told.lock().expect("no panic").iter().filter(|(_, answer)| is(answer)).count();
    let both = || {
        count(|answer| answer.text().contains("journal_in_doubt")) > 0
            && count(|answer| answer.text().contains("journal_unavailable")) > 0
    };
    let cuts: [&[AtCommit]; 4] = [&[CutBefore], &[CutAfter], &[CutBefore, CutAfter], &[CutAfter, CutBefore]];
    for (round, cuts) in cuts.iter().cycle().take(MOST_ROUNDS).enumerate() {
        if round >= LEAST_ROUNDS && both() {
            return;
        }
        let target = count(|answer| answer.status == 201) + 10;
        wait_for("writes that are taken", PROGRESS, || (count(|answer| answer.status == 201) >= target).then_some(()));
        for fate in *cuts {
            shared.link.at_commit(*fate);
            wait_for("a commit", PROGRESS, || (!shared.link.awaits_commit()).then_some(()));
        }
    }
    panic!("{MOST_ROUNDS} rounds of cuts, and clients did not see both outcomes");
}

#[test]
fn connections_cut_amid_their_commits() {
    let shared = Shared::on(Postgres::fresh(), |edge| edge);
    let collection = shared.cluster.create("things");
    let (stop, told) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for worker in 0..6 {
            let (shared, collection, stop, told) = (&shared, &collection, &stop, &told);
            scope.spawn(move || keyed_adds(shared, collection, worker, stop, told));
        }
        cut_commits(&shared, &told);
        stop.store(true, Ordering::Relaxed);
    });
    let told = told.into_inner().expect("no panic");
    shared.assert_converged();
    let shown = ids(&shared.cluster.client(), &collection);
    let count = |id: &str| shown.iter().filter(|one| *one == id).count();
    for (id, answer) in &told {
        let unknown = answer.status == 503 && answer.json()["recovery"] == "unknown";
        match answer.status {
            201 => assert_eq!(count(id), 1, "{id}"),
            503 if unknown => assert!(count(id) <= 1, "{id}"),
            503 => assert_eq!(count(id), 0, "{id}: {answer}"),
            _ => panic!("{answer}"),
        }
        if answer.status == 503 {
            // The same id again: executed now, or answered as before.
            let client = shared.cluster.client().with_header("Transaction-ID", id);
            add(&client, &collection, id).expect(201);
        }
    }
    let shown = shared.assert_converged();
    assert_eq!(shown.record_count(), told.len(), "each of them once");
}

#[test]
fn a_journal_put_back_in_time_stops_the_edge() {
    let mut shared = Shared::durable();
    let collection = shared.cluster.create("things");
    add(&shared.cluster.client(), &collection, "kept").expect(201);
    shared.postgres.stop();
    let copy = shared.postgres.copy();
    shared.postgres.start();
    await_write(&shared, &collection, "lost");
    shared.postgres.kill();
    shared.postgres.put_back(&copy);
    shared.cluster.edge.announce("came back behind");
    shared.cluster.edge.announce("the journal is halted");
    shared.postgres.start();
    assert_eq!(shared.cluster.edge.wait_for_exit(PROGRESS).code(), Some(1));
    // As its supervisor does.
    let said = |log: String| log.matches("came back behind what it had acknowledged").count();
    let before = said(shared.cluster.edge.log());
    assert!(before > 0, "{}", shared.cluster.edge.log());
    shared.cluster.edge.relaunch();
    assert_eq!(shared.cluster.edge.wait_for_exit(PROGRESS).code(), Some(1));
    assert!(said(shared.cluster.edge.log()) > before, "{}", shared.cluster.edge.log());
    // An operator has looked at it.
    shared.postgres.sql("UPDATE chroma_edge.journal SET halted = NULL");
    shared.cluster.edge.restart();
    shared.await_active();
    assert!(ids(&shared.cluster.client(), &collection).contains(&"kept".to_owned()));
}
