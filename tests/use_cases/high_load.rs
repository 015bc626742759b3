//! Use case 4: all clients come at once. What is too much is refused by name and without effect. What is accepted is
//! done. Every operation is accounted for.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::catalog_fixture::{self, CatalogFixture, Document};
use crate::figures::{Figures, shown};
use testkit::cluster::{CATCH_UP, Cluster};
use testkit::http::{Answer, DEFAULT, record_path};
use testkit::place::wait_for;

const CREATES: usize = 30;
const CLIENTS: usize = 200;
const UPLOADS: usize = 5;
/// Concurrent requests to a server, one per collection: far below what 30 collections need.
const AT_ONCE: usize = 8;
const WAITING: usize = 10;

/// Creates collections concurrently, each with its own client.
fn creates_at_once(cluster: &Cluster, figures: &Figures) -> Vec<String> {
    let start = Barrier::new(CREATES);
    std::thread::scope(|scope| {
        let create = |number: usize| {
            let (client, start) = (cluster.client().with_header("X-Client-Session", "creators"), &start);
            move || {
                start.wait();
                let name = format!("shelf-{number:02}");
                let body = json!({ "name": name });
                let call = || client.try_call("POST", &format!("{DEFAULT}/collections"), &body);
                figures.call("create a collection", call).expect("an answer").expect(200);
                name
            }
        };
        let threads: Vec<_> = (0..CREATES).map(|number| scope.spawn(create(number))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a creator")).collect()
    })
}

/// What the crowd was answered.
#[derive(Default)]
struct Crowd {
    refused: AtomicUsize,
    reasons: std::sync::Mutex<BTreeSet<String>>,
}

impl Crowd {
    /// Checks that a refusal under load gives its reason and a time to retry, and that nothing was done.
    fn refusal(&self, answer: &Answer) -> Duration {
        assert_eq!(answer.status, 503, "{answer}");
        let body = answer.json();
        assert!(body.get("recovery").is_none() && body["error"].is_string(), "{answer}");
        let seconds: u64 = answer.header("retry-after").and_then(|text| text.parse().ok()).expect("when to come again");
        assert!((1..=30).contains(&seconds), "{answer}");
        let reason = body["reason"].as_str().expect("a reason").to_owned();
        self.reasons.lock().expect("no client panics here").insert(reason);
        self.refused.fetch_add(1, Ordering::Relaxed);
        Duration::from_secs(seconds)
    }
}

/// Runs one client of the crowd: uploads its documents, and retries when the answer asks for it.
fn uploads(cluster: &Cluster, figures: &Figures, crowd: &Crowd, number: usize, collection: &str) -> Vec<Document> {
    let client = cluster.client().with_header("X-Client-Session", "crowd");
    let mut done = Vec::new();
    for upload in 0..UPLOADS {
        let document = Document::new(&format!("client-{number}/{upload}"), 2);
        loop {
            let call = || client.try_call("POST", &record_path(collection, "add"), &document.body());
            let answer = figures.call("upload a document", call).expect("an answer, even if it is no");
            if answer.status == 201 {
                break;
            }
            std::thread::sleep(crowd.refusal(&answer));
        }
        done.push(document);
    }
    done
}

#[test]
#[ignore = "over half a minute: run by make use-case-4"]
fn case_4_high_load() {
    let cluster = Cluster::with(2, |edge| {
        edge.env("MAX_CONCURRENT_REQUESTS", &AT_ONCE.to_string()).env("REQUEST_QUEUE_SIZE", &WAITING.to_string())
    });
    let figures = Figures::default();
    let names = creates_at_once(&cluster, &figures);
    let crowd = Crowd::default();
    let start = Barrier::new(CLIENTS);
    let over = AtomicBool::new(false);
    let (catalog_fixture, asked): (CatalogFixture, usize) = std::thread::scope(|scope| {
        let asked = scope.spawn(|| operator(&cluster, &over));
        let client = |number: usize| {
            let (cluster, figures, crowd, start, name) = (&cluster, &figures, &crowd, &start, &names[number % CREATES]);
            move || {
                start.wait();
                (name.clone(), uploads(cluster, figures, crowd, number, name))
            }
        };
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(client(number))).collect();
        let mut catalog_fixture: CatalogFixture = names.iter().map(|name| (name.clone(), Default::default())).collect();
        for client in clients {
            let (name, documents) = client.join().expect("a client");
            let documents = documents.into_iter().map(|document| (document.name.clone(), document));
            catalog_fixture.get_mut(&name).expect("a collection").extend(documents);
        }
        over.store(true, Ordering::Relaxed);
        (catalog_fixture, asked.join().expect("the operator"))
    });
    let refused = crowd.refused.load(Ordering::Relaxed);
    assert!(refused > 0, "200 clients, {AT_ONCE} at once and {WAITING} waiting: no client was refused");
    cluster.assert_converged();
    let (compared, differences) = catalog_fixture::compare(&catalog_fixture, &cluster.servers);
    let taken = CLIENTS * UPLOADS;
    accounted(&cluster, "crowd", taken);
    accounted(&cluster, "creators", CREATES);
    figures.tell("taken, each logged, each stored once", taken + CREATES);
    figures.tell("refused without effect, and repeated", refused);
    figures.tell("reasons", format!("{:?}", crowd.reasons.lock().expect("no client panics here")));
    figures.tell("status pages answered meanwhile", asked);
    figures.tell("records compared, on all instances", compared);
    figures.tell("differences", differences.len());
    figures.print("Use case 4: high load");
    println!("longest wait of one request {}", shown(figures.longest_wait()));
    assert!(differences.is_empty(), "{differences:#?}");
    assert_eq!(compared, 2 * 2 * taken, "each of two chunks on two instances");
    assert_eq!(figures.count(), taken + CREATES + refused, "every operation is accounted for");
    assert_eq!(figures.errors().len(), refused, "refused is the only error");
}

/// Watches the deployment under load: its own pages take no permit, and are never refused.
fn operator(cluster: &Cluster, over: &AtomicBool) -> usize {
    let mut asked = 0;
    while !over.load(Ordering::Relaxed) {
        for page in ["/health", "/status", "/metrics"] {
            cluster.client().get(page).expect(200);
            asked += 1;
        }
    }
    asked
}

/// Checks that there are as many transactions as acknowledged writes, all of them completed.
fn accounted(cluster: &Cluster, session: &str, writes: usize) {
    let path = format!("/transaction/safety/transactions?session={session}&limit=1");
    wait_for("every transaction's end", CATCH_UP, || {
        let page: Value = cluster.client().get(&path).expect(200).json();
        (page["total"] == writes && page["counts"]["COMPLETED"] == writes).then_some(())
    });
}
