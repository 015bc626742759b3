//! Copies that are hard to make: the target is full, a page cannot be read, servers come and go, writers are faster.
//! And the limits on making copies: `heal.rate`, `heal.concurrent`, `heal.memory`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, Cluster, create};
use testkit::edge::Builder;
use testkit::http::{Answer, record_path};
use testkit::place::wait_for;
use testkit::{ChromaServer, Edge, Relay};

use crate::healing::fill;

const HEALED: Duration = Duration::from_secs(120);

fn configured(edge: Builder, heal: &str) -> Builder {
    edge.config(&format!("  heal: {{ enabled: true{heal} }}\n  read_wait: 1s\n  recovery_interval: 1s"))
}

fn expecting_trouble(edge: &Edge) {
    edge.announce("lacks collections");
    edge.announce("diverged");
}

/// The replica loses its disk, and comes back.
fn lose_the_replica(cluster: &mut Cluster) {
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.replica().kill();
    cluster.replica().wipe();
    cluster.edge.wait_until_healthy("replica", false, CATCH_UP);
    cluster.replica().restart();
}

/// Returns what `/status` reports about the copy that is being made.
fn healing(edge: &Edge) -> Option<Value> {
    edge.status()["healing"].as_array()?.first().cloned()
}

fn await_reason(edge: &Edge, reason: &str) {
    wait_for(reason, HEALED, || {
        let copy = healing(edge)?;
        copy.to_string().contains(reason).then_some(())
    });
}

/// The target is not asked continuously, the reason is shown, and the copy is healed as soon as there is room.
#[test]
fn a_target_that_is_full_is_left_alone_for_a_while_each_time() {
    let (mut cluster, relays) = Cluster::relayed(|edge| configured(edge, ""));
    expecting_trouble(&cluster.edge);
    let docs = cluster.create("docs");
    fill(&cluster.client(), &docs, 40);
    relays[1].answer_500("/upsert", "Error executing plan: database or disk is full");
    lose_the_replica(&mut cluster);
    await_reason(&cluster.edge, "database or disk is full");
    let (begun, before) = (Instant::now(), relays[1].seen_at("/upsert").len());
    wait_for("two more attempts", HEALED, || (relays[1].seen_at("/upsert").len() >= before + 2).then_some(()));
    assert!(begun.elapsed() > Duration::from_secs(4), "after 2, 4, 8 s: {:?}", begun.elapsed());
    cluster.client().post(&record_path(&docs, "delete"), &json!({ "ids": ["bulk-7"] })).expect(200);
    relays[1].answer_no_more();
    cluster.edge.wait_until_in_sync(HEALED);
    cluster.assert_converged();
}

/// As with records that have many metadata keys: `too many SQL variables`.
#[test]
fn a_page_that_cannot_be_read_is_asked_for_in_smaller_ones() {
    const MOST: u64 = 7;
    let servers = vec![ChromaServer::fresh(), ChromaServer::fresh()];
    let refused = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&refused);
    let source = Relay::intercepted(
        servers[0].client(),
        Box::new(move |seen, pass| {
            let body: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
            let page =
                seen.endpoint().ends_with("/get") && body["include"].as_array().is_some_and(|all| all.len() == 4);
            if page && body["limit"].as_u64().is_some_and(|limit| limit > MOST) {
                counted.fetch_add(1, Ordering::Relaxed);
                let body = json!({ "error": "InternalError", "message": "too many SQL variables" }).to_string();
                let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
                return Answer { status: 500, headers, body: body.into_bytes() };
            }
            pass(&seen)
        }),
    );
    let edge = Edge::builder().instance_url(&source.url()).instance_url(&servers[1].url());
    let mut cluster = Cluster { edge: configured(edge, "").start(), servers };
    expecting_trouble(&cluster.edge);
    let docs = cluster.create("docs");
    fill(&cluster.client(), &docs, 60);
    lose_the_replica(&mut cluster);
    wait_for("smaller pages", CATCH_UP, || (refused.load(Ordering::Relaxed) > 0).then_some(()));
    wait_for("the copy made", HEALED, || cluster.edge.log().contains("the copy is made and serves").then_some(()));
    cluster.edge.wait_until_in_sync(HEALED);
}

/// The server goes away each time its copy is being made, and finally it stays.
#[test]
fn a_server_that_comes_and_goes_while_it_is_healed_is_made_whole() {
    let mut cluster = Cluster::with(2, |edge| configured(edge, ""));
    expecting_trouble(&cluster.edge);
    let docs = cluster.create("docs");
    fill(&cluster.client(), &docs, 3000);
    lose_the_replica(&mut cluster);
    for time in 1..=2 {
        let begun = |cluster: &Cluster| cluster.edge.log().matches("a copy is being made anew").count();
        wait_for("a copy under way", HEALED, || (begun(&cluster) >= time).then_some(()));
        cluster.replica().kill();
        cluster.client().post(&record_path(&docs, "delete"), &json!({ "ids": [format!("bulk-{time}")] })).expect(200);
        cluster.edge.wait_until_healthy("replica", false, CATCH_UP);
        cluster.replica().restart();
    }
    cluster.edge.wait_until_in_sync(HEALED);
    cluster.assert_converged();
}

/// Writers change more than can be copied: this is reported, and the copy is tried again.
#[test]
fn a_collection_that_changes_faster_than_it_is_copied_is_told_of_and_made_later() {
    let mut cluster = Cluster::with(2, |edge| configured(edge, ", rate: 3000"));
    expecting_trouble(&cluster.edge);
    let client = cluster.client();
    let docs = cluster.create("docs");
    fill(&client, &docs, 1500);
    lose_the_replica(&mut cluster);
    let stop = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (client, docs, stop) = (client.clone(), docs.clone(), Arc::clone(&stop));
        move || {
            for round in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let ids: Vec<String> = (0..1500).map(|number| format!("bulk-{number}")).collect();
                let documents: Vec<String> = ids.iter().map(|_| format!("round {round}")).collect();
                let body = json!({ "ids": ids, "documents": documents });
                client.post(&record_path(&docs, "update"), &body).expect(200);
            }
        }
    });
    await_reason(&cluster.edge, "changes faster than it can be copied");
    stop.store(true, Ordering::Relaxed);
    writer.join().expect("every write was taken");
    cluster.edge.wait_until_in_sync(HEALED);
    cluster.assert_converged();
}

/// Returns how many seconds it takes until the replica has everything again.
fn seconds_to_heal(heal: &str) -> f64 {
    let mut cluster = Cluster::with(2, |edge| configured(edge, heal));
    expecting_trouble(&cluster.edge);
    let docs = cluster.create("docs");
    fill(&cluster.client(), &docs, 600);
    lose_the_replica(&mut cluster);
    let made = wait_for("the copy made", HEALED, || {
        let log = cluster.edge.log();
        let line = log.lines().find(|line| line.contains("the copy is made and serves"))?;
        line.split_once("seconds=")?.1.split(' ').next()?.parse().ok()
    });
    cluster.edge.wait_until_in_sync(HEALED);
    cluster.assert_converged();
    made
}

#[test]
fn copies_are_made_no_faster_than_the_rate() {
    let seconds = seconds_to_heal(", rate: 100, memory: 1MiB");
    assert!(seconds > 5.5, "600 records at 100 a second: {seconds}");
}

/// Copies of several collections are made at the same time, and none is mistaken for a leftover of another.
#[test]
fn as_many_copies_are_made_at_once_as_are_allowed() {
    let mut cluster = Cluster::with(2, |edge| configured(edge, ", rate: 200, concurrent: 3"));
    expecting_trouble(&cluster.edge);
    for number in 0..5 {
        let docs = create(&cluster.client(), &format!("docs{number}"));
        fill(&cluster.client(), &docs, 150);
    }
    lose_the_replica(&mut cluster);
    wait_for("three at once", HEALED, || {
        let copying = |one: &&Value| one["state"] == "healing";
        let status = cluster.edge.status();
        let at_once = status["healing"].as_array()?.iter().filter(copying).count();
        assert!(at_once <= 3, "{status}");
        (at_once == 3).then_some(())
    });
    cluster.edge.wait_until_in_sync(HEALED);
    let log = cluster.edge.log();
    assert_eq!(log.matches("the copy is made and serves").count(), 5);
    assert!(!log.contains("a copy could not be made"), "one was in the way of another");
    cluster.assert_converged();
}

/// Two of three servers lose their disks. Two concurrent copies of one collection would displace each other from its
/// lane, and start over again and again.
#[test]
fn two_copies_of_one_collection_are_made_one_after_the_other() {
    let mut cluster = Cluster::with(3, |edge| configured(edge, ", rate: 1000, concurrent: 4"));
    expecting_trouble(&cluster.edge);
    let collections = ["docs", "more"].map(|name| create(&cluster.client(), name));
    collections.iter().for_each(|docs| fill(&cluster.client(), docs, 600));
    cluster.edge.wait_until_in_sync(CATCH_UP);
    for server in &mut cluster.servers[1..] {
        server.kill();
        server.wipe();
        server.restart();
    }
    let made = || cluster.edge.log().matches("the copy is made and serves").count();
    let mut most = 0;
    wait_for("four copies", HEALED, || {
        let status = cluster.edge.status();
        let copying = status["healing"].as_array()?.iter().filter(|one| one["state"] == "healing");
        let mut names: Vec<_> = copying.map(|one| one["collection_name"].to_string()).collect();
        most = most.max(names.len());
        names.sort();
        assert!(names.windows(2).all(|two| two[0] != two[1]), "{status}");
        (made() == 4).then_some(())
    });
    assert_eq!(most, 2, "copies of different collections are made at once");
    cluster.edge.wait_until_in_sync(HEALED);
    assert!(!cluster.edge.log().contains("a copy could not be made"), "one was in the way of another");
    cluster.assert_converged();
}

/// A target that is slow at the worst moment: clients wait for `heal.hold`, and not for the target.
#[test]
fn clients_wait_no_longer_than_the_hold_while_the_names_are_exchanged() {
    const SLOW: Duration = Duration::from_secs(6);
    let servers = vec![ChromaServer::fresh(), ChromaServer::fresh()];
    let slowed = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&slowed);
    let target = Relay::intercepted(
        servers[1].client(),
        Box::new(move |seen, pass| {
            let body: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
            if seen.method == "PUT" && body["new_name"] == "docs" && counted.fetch_add(1, Ordering::SeqCst) == 0 {
                std::thread::sleep(SLOW);
            }
            pass(&seen)
        }),
    );
    let edge = Edge::builder().instance_url(&servers[0].url()).instance_url(&target.url());
    let mut cluster = Cluster { edge: configured(edge, "").start(), servers };
    expecting_trouble(&cluster.edge);
    let docs = cluster.create("docs");
    fill(&cluster.client(), &docs, 60);
    lose_the_replica(&mut cluster);
    wait_for("the names being exchanged", CATCH_UP, || (slowed.load(Ordering::SeqCst) > 0).then_some(()));
    let begun = Instant::now();
    cluster.client().post(&record_path(&docs, "delete"), &json!({ "ids": ["bulk-7"] })).expect(200);
    assert!(begun.elapsed() < SLOW / 2, "a writer waited for {:?}", begun.elapsed());
    cluster.edge.wait_until_in_sync(HEALED);
    cluster.assert_converged();
}
