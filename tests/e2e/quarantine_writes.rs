//! Writes that kill real servers (rule R13): each kills at most one server, at most twice, its lane goes on, and an
//! operator decides what becomes of it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, add, create};
use testkit::commit_link::{AtCommit, CommitLink};
use testkit::http::{Answer, Client, DEFAULT, record_path};
use testkit::place::wait_for;
use testkit::postgres::Postgres;
use testkit::{Relay, Supervised};

use crate::bystanders::Bystanders;
use crate::pair::{DEADLY, DEFINITE, MARK, Pair, condition};

/// Method, path, body: each kills a real server.
fn deadly_deletes(id: &str) -> Vec<(&'static str, String, Value)> {
    let path = record_path(id, "delete");
    let documents: Vec<Value> = (0..DEADLY).map(|n| json!({ "$contains": format!("d{n}") })).collect();
    vec![
        ("POST", path.clone(), json!({ "where": condition(DEADLY) })),
        ("POST", path.clone(), json!({ "where": condition(DEADLY), "limit": 3 })),
        ("POST", path, json!({ "where_document": { "$or": documents } })),
    ]
}

/// Returns writes that are not vouched for and contain the mark.
fn marked_writes(id: &str, n: usize) -> Vec<(&'static str, String, Value)> {
    let ids: Vec<String> = (0..1200).map(|n| format!("{MARK}{n}")).collect();
    let vectors = vec![[1, 2, 3]; ids.len()];
    let records = json!({ "ids": ids, "embeddings": vectors });
    let keys: serde_json::Map<String, Value> = (0..300).map(|n| (format!("{MARK}{n}"), json!(n))).collect();
    vec![
        ("POST", record_path(id, "add"), records.clone()),
        ("POST", record_path(id, "upsert"), records.clone()),
        ("POST", record_path(id, "update"), records),
        ("POST", format!("{DEFAULT}/collections"), json!({ "name": format!("{MARK}{n}"), "metadata": keys.clone() })),
        ("PUT", format!("{DEFAULT}/collections/{id}"), json!({ "new_metadata": keys })),
    ]
}

/// Returns whether the answer is definite: rejected and quarantined, or refused before the journal.
fn is_definite(answer: &Answer) -> bool {
    answer.text().contains("\"quarantine\"") && answer.header("retry-after").is_none()
}

/// Sends a deadly write as an application with three retries does, and checks what must hold.
#[track_caller]
fn survive(
    pair: &Pair,
    client: &Client,
    (method, path, body): &(&str, String, Value),
    collection: &str,
    most: [u32; 2],
) {
    pair.all_here();
    let before = pair.deaths();
    let started = Instant::now();
    let mut answers = Vec::new();
    while answers.len() < 3 {
        let sent = Instant::now();
        let answer = client.call(method, path, body);
        assert!(sent.elapsed() < DEFINITE, "{method} {path} took {:?}: {answer}", sent.elapsed());
        if is_definite(&answer) {
            answers.push(answer);
        } else {
            assert!(answer.status == 503 && answer.header("retry-after").is_some(), "{method} {path}: {answer}");
            assert!(started.elapsed() < DEFINITE, "not definite within {DEFINITE:?}: {answer}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    let added = Instant::now();
    add(client, collection, &format!("after{}", before[0] + before[1])).expect(201);
    assert!(added.elapsed() < Duration::from_secs(10), "the collection took a write after {:?}", added.elapsed());
    let after = pair.deaths();
    let died = [after[0] - before[0], after[1] - before[1]];
    let (few, many) = (died[0].min(died[1]), died[0].max(died[1]));
    assert!(few <= most[0] && many <= most[1], "{method} {path}: deaths {died:?}, allowed {most:?}; {}", answers[0]);
    println!("{method} {path}: deaths {died:?}, definite after {:?}: {}", started.elapsed(), answers[0].text());
}

/// Waits until lost copies are made anew, then discards every quarantined write and read.
fn heals(pair: &Pair, client: &Client) {
    pair.edge.wait_until_in_sync(CATCH_UP);
    let listed = client.get("/admin/quarantine").expect(200).json();
    for one in listed["writes"].as_array().into_iter().chain(listed["reads"].as_array()).flatten() {
        let id = one["id"].as_str().expect("an id");
        client.post(&format!("/admin/quarantine/{id}"), &json!({ "action": "discard" })).expect(200);
    }
}

#[test]
fn a_delete_of_which_a_server_dies_costs_one_server_and_the_lane_goes_on() {
    let mut pair = Pair::start();
    let client = pair.edge.client();
    let others: Vec<String> = ["bystander1", "bystander2"].map(|name| create(&client, name)).to_vec();
    let mut collections = Vec::new();
    for n in 0..3 {
        let id = create(&client, &format!("things{n}"));
        add(&client, &id, "first").expect(201);
        pair.edge.wait_until_in_sync(CATCH_UP);
        let bystanders = Bystanders::start(&client, &others);
        survive(&pair, &client, &deadly_deletes(&id)[n], &id, [0, 2]);
        bystanders.finish();
        collections.push(id);
        heals(&pair, &client);
    }
    // Once more, followed by a restart of everything: the write is still refused, and no server dies again.
    let id = &collections[0];
    let delete = &deadly_deletes(id)[0];
    survive(&pair, &client, delete, id, [0, 2]);
    pair.edge.kill();
    pair.servers.iter().for_each(Supervised::kill);
    pair.edge.restart();
    pair.all_here();
    let before = pair.deaths();
    let answer = client.call(delete.0, &delete.1, &delete.2);
    assert!(is_definite(&answer), "{answer}");
    for id in &collections {
        add(&client, id, "after the restart").expect(201);
    }
    assert_eq!(pair.deaths(), before, "nobody dies of what is quarantined");
    heals(&pair, &client);
}

#[test]
fn a_write_that_kills_and_is_not_vouched_for_costs_one_server() {
    let (pair, relays) = Pair::relayed();
    let client = pair.edge.client();
    let others: Vec<String> = ["bystander1", "bystander2"].map(|name| create(&client, name)).to_vec();
    let id = pair.create_things(&client);
    for (n, write) in marked_writes(&id, 1).iter().enumerate() {
        pair.arm(&relays);
        let bystanders = Bystanders::start(&client, &others);
        survive(&pair, &client, write, &id, [0, 2]);
        create(&client, &format!("later{n}"));
        bystanders.finish();
        relays.iter().for_each(Relay::deadly_no_more);
        heals(&pair, &client);
    }
}

/// It fails over at once: one death on the first server. On the other one, a second attempt, alone, tells it from a
/// double kill.
#[test]
fn a_write_that_kills_although_it_is_vouched_for_costs_a_server_two_deaths_at_most() {
    let (pair, relays) = Pair::relayed();
    let client = pair.edge.client();
    let others: Vec<String> = ["bystander1", "bystander2"].map(|name| create(&client, name)).to_vec();
    let id = pair.create_things(&client);
    pair.arm(&relays);
    let bystanders = Bystanders::start(&client, &others);
    let write = ("POST", record_path(&id, "add"), testkit::cluster::record(MARK));
    survive(&pair, &client, &write, &id, [1, 2]);
    drop(bystanders);
    relays.iter().for_each(Relay::deadly_no_more);
    heals(&pair, &client);
}

#[test]
fn an_operator_sends_a_quarantined_write_again() {
    let (pair, relays) = Pair::relayed();
    let client = pair.edge.client();
    let id = pair.create_things(&client);
    pair.arm(&relays);
    let write = &marked_writes(&id, 1)[0];
    survive(&pair, &client, write, &id, [0, 2]);
    relays.iter().for_each(Relay::deadly_no_more);
    pair.all_here();
    let listed = client.get("/admin/quarantine").expect(200).json();
    assert_eq!(listed["writes"].as_array().map(Vec::len), Some(1), "{listed:#}");
    let page = format!("/admin/quarantine/{}", listed["writes"][0]["id"].as_str().expect("an id"));
    let answer = client.post(&page, &json!({ "action": "retry" })).expect(200).json();
    let again = answer["transaction_id"].as_str().expect("an id").to_owned();
    let ended = client.get(&format!("/transaction/safety/transaction/{again}?wait=30")).expect(200).json();
    println!("{ended:#}");
    let count = client.get(&record_path(&id, "count")).expect(200).json();
    assert_eq!(count, json!(1202), "the first, the one after, and those that were quarantined");
    client.post(&page, &json!({ "action": "lift" })).expect(404);
}

/// It was allowed when it arrived, but the collection that it renames has been protected since.
#[test]
fn a_quarantined_write_that_is_sent_again_is_judged_anew() {
    let (pair, relays) = Pair::relayed();
    let client = pair.edge.client();
    let id = pair.create_things(&client);
    pair.arm(&relays);
    let keys: serde_json::Map<String, Value> = (0..300).map(|n| (format!("{MARK}{n}"), json!(n))).collect();
    let body = json!({ "new_name": "renamed", "new_metadata": keys });
    survive(&pair, &client, &("PUT", format!("{DEFAULT}/collections/{id}"), body), &id, [0, 2]);
    relays.iter().for_each(Relay::deadly_no_more);
    pair.all_here();
    pair.edge.rewrite(|text| format!("{text}  protection: {{ collections: [things] }}\n"));
    client.post("/admin/reload", &json!({})).expect(200);
    let listed = client.get("/admin/quarantine").expect(200).json();
    let page = format!("/admin/quarantine/{}", listed["writes"][0]["id"].as_str().expect("an id"));
    let refused = client.post(&page, &json!({ "action": "retry" })).expect(403).json();
    assert_eq!(refused["reason"], "protected", "{refused:#}");
    let still = client.get("/admin/quarantine").expect(200).json();
    assert_eq!(still["writes"].as_array().map(Vec::len), Some(1), "a refusal lifts nothing: {still:#}");
    let confirming = client.with_header("chroma-edge-confirm", "things");
    let answer = confirming.post(&page, &json!({ "action": "retry" })).expect(200).json();
    let again = answer["transaction_id"].as_str().expect("an id").to_owned();
    client.get(&format!("/transaction/safety/transaction/{again}?wait=30")).expect(200);
    client.get(&format!("{DEFAULT}/collections/renamed")).expect(200);
}

/// Returns the number of quarantined writes.
#[track_caller]
fn quarantined(client: &Client) -> usize {
    client.get("/admin/quarantine").expect(200).json()["writes"].as_array().map_or(0, Vec::len)
}

/// Sends a write again while another one is about to become durable, so that a check at the start cannot see that one.
#[track_caller]
fn behind(
    link: &CommitLink,
    client: &Client,
    first: impl FnOnce() -> Answer + Send,
    again: impl FnOnce() -> Answer + Send,
) -> [Answer; 2] {
    link.at_commit(AtCommit::Keep);
    std::thread::scope(|scope| {
        let first = scope.spawn(first);
        wait_for("the first commit", CATCH_UP, || (!link.awaits_commit()).then_some(()));
        let again = scope.spawn(again);
        wait_for("the second one behind it", CATCH_UP, || {
            let page = client.get("/metrics").expect(200).text();
            page.lines().any(|line| line == "chroma_edge_journal_queue 1").then_some(())
        });
        link.release();
        [first, again].map(|one| one.join().expect("an answer"))
    })
}

/// Only an operator's decision gives it up: not a refusal, and not another operator who was faster.
#[test]
fn a_quarantined_write_that_is_refused_at_its_place_stays_quarantined() {
    let postgres = Postgres::fresh();
    let link = CommitLink::to(postgres.port());
    let (pair, relays) = Pair::relayed_with(|edge| {
        edge.postgres(&postgres.url_at(link.port())).config("  protection: { collections: [global] }")
    });
    let client = pair.edge.client();
    let id = pair.create_things(&client);
    let path = format!("{DEFAULT}/collections/{id}");
    pair.arm(&relays);
    let keys: serde_json::Map<String, Value> = (0..300).map(|n| (format!("{MARK}{n}"), json!(n))).collect();
    let body = json!({ "new_name": "renamed", "new_metadata": keys });
    survive(&pair, &client, &("PUT", path.clone(), body), &id, [0, 2]);
    relays.iter().for_each(Relay::deadly_no_more);
    pair.edge.wait_until_in_sync(CATCH_UP);
    let listed = client.get("/admin/quarantine").expect(200).json();
    let page = format!("/admin/quarantine/{}", listed["writes"][0]["id"].as_str().expect("an id"));
    let retry = |client: &Client| client.post(&page, &json!({ "action": "retry" }));
    let held = quarantined(&client);

    let rename = || client.call("PUT", &path, &json!({ "new_name": "global" }));
    let [renamed, refused] = behind(&link, &client, rename, || retry(&client));
    renamed.expect(200);
    assert_eq!(refused.expect(403).json()["reason"], "protected");
    assert_eq!(quarantined(&client), held, "a refusal lifts nothing");

    let confirming = client.with_header("chroma-edge-confirm", "global");
    let [sent, late] = behind(&link, &client, || retry(&confirming), || retry(&confirming));
    assert_eq!(late.expect(404).json()["reason"], "unknown_quarantine");
    let again = sent.expect(200).json()["transaction_id"].as_str().expect("an id").to_owned();
    client.get(&format!("/transaction/safety/transaction/{again}?wait=30")).expect(200);
    client.get(&format!("{DEFAULT}/collections/renamed")).expect(200);
    assert_eq!(quarantined(&client), held - 1);
}
