//! Requests that kill real servers (rule R13): each kills at most one server, at most twice, and no other client
//! notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, add, create};
use testkit::http::{Answer, Client, DEFAULT, record_path};
use testkit::place::wait_for;
use testkit::{Relay, Supervised};

use crate::bystanders::Bystanders;
use crate::pair::{DEADLY, DEFINITE, MARK, Pair, condition};

/// Repeats a request, as an impatient application does, until it is told that this is useless.
#[track_caller]
fn insist(client: &Client, path: &str, body: &Value) -> Answer {
    let deadline = Instant::now() + DEFINITE;
    loop {
        let started = Instant::now();
        let answer = client.post(path, body);
        assert!(started.elapsed() < DEFINITE, "{answer} after {:?}", started.elapsed());
        if answer.header("retry-after").is_none() && answer.text().contains("\"quarantine\"") {
            return answer;
        }
        assert!(matches!(answer.status, 502 | 503), "{answer}");
        assert!(Instant::now() < deadline, "no definite answer within {DEFINITE:?}: {answer}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn deadly_reads() -> [(&'static str, Value); 3] {
    let query =
        |field: &str, condition: Value| json!({ "query_embeddings": [[1, 2, 3]], "n_results": 2, field: condition });
    let documents: Vec<Value> = (0..DEADLY).map(|n| json!({ "$contains": format!("d{n}") })).collect();
    [
        ("get", json!({ "where": condition(DEADLY) })),
        ("query", query("where", condition(DEADLY))),
        ("get", json!({ "where_document": { "$or": documents } })),
    ]
}

#[test]
fn a_read_of_which_a_server_dies_is_not_sent_to_the_other() {
    let pair = Pair::start();
    let client = pair.edge.client();
    let others: Vec<String> = ["bystander1", "bystander2"].map(|name| create(&client, name)).to_vec();
    for (n, (verb, body)) in deadly_reads().into_iter().enumerate() {
        pair.all_here();
        let id = create(&client, &format!("things{n}"));
        add(&client, &id, "first").expect(201);
        pair.edge.wait_until_in_sync(CATCH_UP);
        let bystanders = Bystanders::start(&client, &others);
        let before = pair.deaths();
        let first = client.post(&record_path(&id, verb), &body);
        assert_eq!((first.status, first.text().contains("instance_lost")), (502, true), "{first}");
        insist(&client, &record_path(&id, verb), &body);
        let after = pair.deaths();
        let died = [after[0] - before[0], after[1] - before[1]];
        assert!(died.iter().min() == Some(&0) && died.iter().max() <= Some(&2), "{verb}: {died:?}");
        // The collection itself goes on, and so do ordinary-sized reads of this kind.
        add(&client, &id, "second").expect(201);
        client.post(&record_path(&id, verb), &small(&body)).expect(200);
        bystanders.finish();
    }
    let listed = client.get("/admin/quarantine").expect(200).json();
    assert_eq!(listed["reads"].as_array().map(Vec::len), Some(3), "{listed:#}");
    assert!(listed["reads"].as_array().is_some_and(|all| all.iter().all(|one| one["state"] == "quarantined")));
    pair.edge.wait_until_in_sync(CATCH_UP);
}

/// Returns the same read with a condition of one term.
fn small(body: &Value) -> Value {
    let mut small = body.clone();
    for field in ["where", "where_document"] {
        if let Some(term) = body[field]["$or"].get(0) {
            small[field] = term.clone();
        }
    }
    small
}

#[test]
fn a_read_that_was_alone_costs_one_death_and_an_operator_lifts_its_class() {
    // No request of the edge's own may be concurrent with it.
    let pair = Pair::with_rare_markers();
    let client = pair.edge.client();
    let id = pair.create_things(&client);
    pair.wait_until_idle();
    let (verb, deadly) = &deadly_reads()[0];
    let path = record_path(&id, verb);
    let answer = client.post(&path, deadly);
    assert_eq!((answer.status, answer.text().contains("instance_lost")), (502, true), "{answer}");
    insist(&client, &path, deadly);
    pair.assert_cheap(1);
    // Large but harmless: refused until the class is lifted.
    let large = json!({ "where": condition(500) });
    client.post(&path, &large).expect(503);
    let listed = client.get("/admin/quarantine").expect(200).json();
    let case = listed["reads"][0]["id"].as_str().expect("an id").to_owned();
    let page = format!("/admin/quarantine/{case}");
    client.get(&page).expect(405);
    client.post(&page, &json!({ "action": "destroy" })).expect(400);
    client.post("/admin/quarantine/read-999", &json!({ "action": "lift" })).expect(404);
    client.post(&page, &json!({ "action": "lift" })).expect(200);
    pair.all_here();
    client.post(&path, &large).expect(200);
    assert_eq!(client.get("/admin/quarantine").expect(200).json()["reads"], json!([]));
    pair.assert_cheap(1);
}

/// A large read that did not cause a death is tried again alone, and allowed again.
#[test]
fn a_read_that_was_in_company_and_is_innocent_is_allowed_again() {
    let pair = Pair::start();
    let client = pair.edge.client();
    let id = pair.create_things(&client);
    let bystanders = Bystanders::start(&client, &[create(&client, "bystander1"), create(&client, "bystander2")]);
    let slow = json!({ "where": condition(800) });
    let path = record_path(&id, "get");
    let lost = wait_for("a large read that is lost with its server", DEFINITE, || {
        let reader = std::thread::spawn({
            let (client, path, slow) = (client.clone(), path.clone(), slow.clone());
            move || client.post(&path, &slow)
        });
        std::thread::sleep(Duration::from_millis(30));
        pair.servers.iter().for_each(Supervised::kill);
        let answer = reader.join().expect("an answer");
        pair.all_here();
        (answer.status != 200).then_some(answer)
    });
    println!("lost: {lost}");
    let answered = wait_for("the same read, answered", DEFINITE, || {
        let answer = client.post(&path, &slow);
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(answered.json()["ids"], json!([]));
    assert_eq!(client.get("/admin/quarantine").expect(200).json()["reads"], json!([]));
    drop(bystanders);
}

#[test]
fn what_is_vouched_for_is_repeated_elsewhere_at_once() {
    let pair = Pair::start();
    let client = pair.edge.client();
    let id = create(&client, "things");
    for n in 0..20 {
        add(&client, &id, &format!("r{n}")).expect(201);
    }
    pair.edge.wait_until_in_sync(CATCH_UP);
    let (mut count, started) = (0, Instant::now());
    let killing = Arc::new(AtomicBool::new(true));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for server in [&pair.servers[1], &pair.servers[0], &pair.servers[1]] {
                std::thread::sleep(Duration::from_millis(700));
                server.kill();
                pair.all_here();
            }
            killing.store(false, Ordering::Relaxed);
        });
        while killing.load(Ordering::Relaxed) {
            let body = json!({ "where": { "$or": [{ "source": "a" }, { "source": "b" }] } });
            client.post(&record_path(&id, "get"), &body).expect(200);
            client.get(&format!("{DEFAULT}/collections/things")).expect(200);
            count += 1;
        }
    });
    println!("{count} rounds in {:?}", started.elapsed());
    assert!(count > 50, "{count} rounds");
}

/// It fails over at once, and kills the second server too. From then on it is no longer vouched for.
#[test]
fn a_read_that_kills_although_it_is_vouched_for_is_given_up_after_two_deaths() {
    let (pair, relays) = Pair::relayed();
    let client = pair.edge.client();
    let id = pair.create_things(&client);
    pair.arm(&relays);
    let path = record_path(&id, "get");
    let marked = json!({ "where": { "source": MARK } });
    let answer = client.post(&path, &marked);
    assert_eq!((answer.status, answer.text().contains("instance_lost")), (502, true), "{answer}");
    wait_for("a death on each", DEFINITE, || (pair.deaths() == [1, 1]).then_some(()));
    insist(&client, &path, &marked);
    let [one, two] = pair.deaths();
    assert_eq!((one.min(two), one.max(two)), (1, 2), "once more, alone");
    pair.all_here();
    client.post(&path, &json!({ "where": { "source": "another" } })).expect(200);
    relays.iter().for_each(Relay::deadly_no_more);
    pair.edge.wait_until_in_sync(CATCH_UP);
    add(&client, &id, "second").expect(201);
}
