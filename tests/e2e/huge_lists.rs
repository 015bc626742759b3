//! The servers' existing content may be as large as Chroma accepts it: lists of collections with huge metadata cost the
//! edge little memory, delay no admission, and are answered or refused.

use std::time::Instant;

use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, Cluster, add, create};
use testkit::http::{Answer, Client, Connection, DEFAULT, head};
use testkit::place::wait_for;

use crate::definite::{self, DEFINITE};

const COLLECTIONS: usize = 7;
const READERS: usize = 12;
/// The number of collections that are longer than a page.
const LONG: usize = 3;
/// A list of 38 MB that is held as received and as sent, once for each of the readers that the edge admits at a time,
/// costs less than this.
const MEMORY: u64 = 700 * 1024 * 1024;

/// Creates this many collections with this many bytes of metadata each, behind the edge's back.
fn fill(client: &Client, collections: usize, bytes: usize) {
    let text = "m".repeat(bytes);
    for n in 0..collections {
        let body = format!(r#"{{"name":"huge{n}","metadata":{{"k":"{text}"}}}}"#);
        let answer = client.send("POST", &format!("{DEFAULT}/collections"), "application/json", body.as_bytes());
        assert_eq!(answer.expect("an answer").status, 200);
    }
}

/// Lists with this many clients at once. All get a definite answer.
#[track_caller]
fn list(client: &Client, path: &str, readers: usize) -> Vec<Answer> {
    let started = Instant::now();
    let threads: Vec<_> = (0..readers)
        .map(|_| {
            let (client, path) = (client.clone(), path.to_owned());
            std::thread::spawn(move || definite::ask(&client, "GET", &path, b"").expect("a definite answer").answer)
        })
        .collect();
    let answers: Vec<Answer> = threads.into_iter().map(|reader| reader.join().expect("a reader")).collect();
    println!("{readers} readers of {path}: {:?}", started.elapsed());
    answers
}

fn names(answer: &Answer) -> usize {
    answer.json().as_array().map_or(0, Vec::len)
}

/// Restarts everything, and checks that the servers are admitted again and clients served.
fn restart(cluster: &mut Cluster, client: &Client, collection: &str, expected: usize) {
    cluster.edge.kill();
    cluster.servers.iter_mut().for_each(|server| {
        server.kill();
        server.restart();
    });
    cluster.edge.restart();
    wait_for("a write after the restart", DEFINITE, || (add(client, collection, "again").status == 201).then_some(()));
    create(client, "created");
    cluster.edge.wait_until_in_sync(CATCH_UP);
    let count = client.get(&format!("{DEFAULT}/collections_count")).expect(200).json();
    assert_eq!(count, json!(expected), "all are known, and all are served");
}

/// Starts an edge over servers with this many additional collections, each with this many bytes of metadata. Also
/// returns the id of a collection that it knew before.
fn start_filled(collections: usize, bytes: usize) -> (Cluster, Client, String) {
    let mut cluster = Cluster::with(2, |edge| edge);
    let client = cluster.client();
    let collection = create(&client, "things");
    add(&client, &collection, "first").expect(201);
    cluster.edge.wait_until_in_sync(CATCH_UP);
    cluster.edge.kill();
    cluster.servers.iter().for_each(|server| fill(&server.client(), collections, bytes));
    cluster.edge.restart();
    (cluster, client, collection)
}

#[test]
fn lists_of_huge_metadata_cost_little_memory_and_hold_up_nobody() {
    let (mut cluster, client, collection) = start_filled(COLLECTIONS, 38_000_000 / COLLECTIONS);
    restart(&mut cluster, &client, &collection, COLLECTIONS + 2);
    let path = format!("{DEFAULT}/collections");
    for answer in list(&client, &path, READERS) {
        assert_eq!((answer.status, names(&answer)), (200, COLLECTIONS + 2));
    }
    for answer in list(&client, &format!("{path}?limit=2&offset=1"), READERS) {
        assert_eq!((answer.status, names(&answer)), (200, 2));
    }
    let peak = cluster.edge.peak_memory();
    println!("38 MB in all: the edge held {} MB at most", peak / 1_000_000);
    assert!(peak < MEMORY, "{peak} bytes");
}

/// Checks that memory is claimed for clients that request and do not read, and given back when they are gone.
fn assert_claimed(client: &Client, path: &str, bytes: u64) {
    let buffered = || client.get("/status").expect(200).json()["requests"]["buffered_bytes"].as_u64().expect("bytes");
    let ask = |_| {
        let mut connection = client.connect().expect("a connection");
        connection.send(&[head("GET", path, &[]), b"\r\n".to_vec()].concat()).expect("a request");
        connection
    };
    let silent: Vec<Connection> = (0..2).map(ask).collect();
    wait_for("a claim for each", DEFINITE, || (buffered() >= 2 * bytes).then_some(()));
    silent.into_iter().for_each(Connection::hang_up);
    wait_for("both given back", DEFINITE, || (buffered() == 0).then_some(()));
}

/// Each is longer than a page of an inspection, and together they are longer than a request may be.
#[test]
fn collections_that_are_longer_than_a_page_hold_up_nobody() {
    let (mut cluster, client, collection) = start_filled(LONG, 15_000_000);
    restart(&mut cluster, &client, &collection, LONG + 2);
    for answer in list(&client, &format!("{DEFAULT}/collections"), READERS / 3) {
        assert_eq!((answer.status, names(&answer)), (200, LONG + 2));
    }
    let one: Value = client.get(&format!("{DEFAULT}/collections/huge2")).expect(200).json();
    assert_eq!(one["name"], "huge2");
    for path in ["collections", "collections/huge2"] {
        assert_claimed(&client, &format!("{DEFAULT}/{path}"), 15_000_000);
    }
    add(&client, &collection, "after").expect(201);
    let peak = cluster.edge.peak_memory();
    println!("45 MB in all: the edge held {} MB at most", peak / 1_000_000);
    assert!(peak < MEMORY, "{peak} bytes");
}
