//! Neighboring writes of one kind reach an instance as one request, while each client gets its own answer.

use std::time::Duration;

use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, Cluster, add, ids, journaled, record};
use testkit::fold::transactions;
use testkit::http::{Answer, record_path};
use testkit::place::wait_for;
use testkit::{Content, Relay};

const WRITERS: usize = 40;
const SOON: Duration = Duration::from_secs(30);

fn ids_in(relay: &Relay, ending: &str) -> Vec<usize> {
    let count = |body: &[u8]| {
        let body: Value = serde_json::from_slice(body).expect("a JSON body");
        body["ids"].as_array().map_or(0, Vec::len)
    };
    relay.seen_at(ending).iter().map(|seen| count(&seen.body)).collect()
}

/// Sends all bodies at once while the first one's request is held everywhere. Then lets them through.
fn write_at_once(cluster: &Cluster, relays: &[Relay], path: &str, bodies: &[Value]) -> Vec<Answer> {
    let before = journaled(&cluster.edge);
    relays.iter().for_each(|relay| relay.hold("/upsert"));
    std::thread::scope(|scope| {
        let workers: Vec<_> = bodies
            .iter()
            .map(|body| {
                let client = cluster.client();
                scope.spawn(move || client.post(path, body))
            })
            .collect();
        wait_for("all of them in the journal", SOON, || {
            (journaled(&cluster.edge) == before + bodies.len()).then_some(())
        });
        relays[0].release();
        let answers = workers.into_iter().map(|worker| worker.join().expect("a writer")).collect();
        // By now the replica has seen at most one request.
        relays[1].release();
        answers
    })
}

/// Returns the ids in the order of the journal, which every instance must have.
fn journaled_ids(cluster: &Cluster) -> Vec<String> {
    let applied = transactions(&cluster.edge.journal_path()).into_iter().filter(|one| one.path.ends_with("/upsert"));
    let first_id = |body: &[u8]| {
        let body: Value = serde_json::from_slice(body).expect("a JSON body");
        body["ids"][0].as_str().expect("an id").to_owned()
    };
    applied.filter(|one| one.is_applied()).map(|one| first_id(&one.body)).collect()
}

fn converged(cluster: &Cluster) -> Content {
    cluster.assert_converged()
}

#[test]
fn writers_at_once_share_requests_in_front_and_behind() {
    let (cluster, relays) = Cluster::relayed(|edge| edge);
    let collection = cluster.create("things");
    let bodies: Vec<Value> = (0..WRITERS).map(|number| record(&format!("w{number}"))).collect();
    let answers = write_at_once(&cluster, &relays, &record_path(&collection, "upsert"), &bodies);
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    assert_eq!(converged(&cluster).record_count(), WRITERS);
    assert_eq!(ids(&cluster.client(), &collection), journaled_ids(&cluster));
    for (name, relay) in ["primary", "replica"].iter().zip(&relays) {
        let requests = ids_in(relay, "/upsert");
        assert_eq!(requests.iter().sum::<usize>(), WRITERS, "each record once at the {name}: {requests:?}");
        assert!(requests.len() <= 4, "{WRITERS} writes in {} requests at the {name}", requests.len());
    }
}

#[test]
fn a_bad_write_among_them_is_refused_alone() {
    let (cluster, relays) = Cluster::relayed(|edge| edge);
    let collection = cluster.create("things");
    add(&cluster.client(), &collection, "first").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let bad = 7;
    let mut bodies: Vec<Value> = (0..12).map(|number| record(&format!("w{number}"))).collect();
    bodies[bad]["embeddings"] = json!([[1.0, 2.0]]);
    let answers = write_at_once(&cluster, &relays, &record_path(&collection, "upsert"), &bodies);
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(answer.status, if number == bad { 400 } else { 200 }, "writer {number}: {answer}");
    }
    assert!(ids_in(&relays[0], "/upsert").iter().any(|count| *count > 1), "they did share a request");
    assert_eq!(converged(&cluster).record_count(), bodies.len());
    let expected: Vec<String> = std::iter::once("first".to_owned()).chain(journaled_ids(&cluster)).collect();
    assert_eq!(ids(&cluster.client(), &collection), expected);
}

#[test]
fn a_backlog_is_carried_in_few_requests() {
    let (mut cluster, relays) = Cluster::relayed(|edge| edge);
    let collection = cluster.create("things");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.replica().kill();
    cluster.edge.wait_until_healthy("replica", false, CATCH_UP);
    for number in 0..WRITERS {
        add(&cluster.client(), &collection, &format!("w{number}")).expect(201);
    }
    assert_eq!(ids_in(&relays[0], "/add"), [1; WRITERS], "one after another there is nothing to share");
    cluster.replica().restart();
    assert_eq!(converged(&cluster).record_count(), WRITERS);
    let requests = ids_in(&relays[1], "/add");
    assert!(requests.len() <= 4, "{WRITERS} writes in {requests:?}");
}
