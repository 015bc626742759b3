//! An edge with its servers, and the check that ends every test: all servers hold the same content, and it is what the
//! journal produces.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::chroma::ChromaServer;
use super::content::{self, Content};
use super::edge::{Builder, Edge};
use super::fold;
use super::http::{Answer, Client, DEFAULT, record_path};
use super::postgres::Postgres;
use super::relay::Relay;

pub const TENANT: &[&str] = &["default_tenant"];
/// Long enough for any backlog that these tests build up, on a busy machine.
pub const CATCH_UP: Duration = Duration::from_secs(60);

/// An edge in front of servers of its own.
#[derive(Debug)]
pub struct Cluster {
    // Dropped first: an edge that loses its servers reports errors.
    pub edge: Edge,
    pub servers: Vec<ChromaServer>,
}

impl Cluster {
    /// Starts a primary and a replica.
    pub fn two() -> Cluster {
        Self::with(2, |edge| edge)
    }

    /// Starts this many servers, and an edge with this configuration.
    pub fn with(servers: usize, configure: impl FnOnce(Builder) -> Builder) -> Cluster {
        Self::of((0..servers).map(|_| ChromaServer::fresh()).collect(), configure)
    }

    /// Starts an edge with this configuration in front of these servers.
    pub fn of(servers: Vec<ChromaServer>, configure: impl FnOnce(Builder) -> Builder) -> Cluster {
        let edge = configure(Edge::builder().instances(&servers.iter().collect::<Vec<_>>())).start();
        Cluster { edge, servers }
    }

    /// Starts a primary and a replica, each behind a relay.
    pub fn relayed(configure: impl FnOnce(Builder) -> Builder) -> (Cluster, Vec<Relay>) {
        let servers = vec![ChromaServer::fresh(), ChromaServer::fresh()];
        let relays: Vec<Relay> = servers.iter().map(Relay::plain).collect();
        let edge = relays.iter().fold(Edge::builder(), |edge, relay| edge.instance_url(&relay.url()));
        (Cluster { edge: configure(edge).start(), servers }, relays)
    }

    /// Starts an edge whose instances are at the addresses in the configuration, with these servers.
    pub fn at(servers: Vec<ChromaServer>, configure: impl FnOnce(Builder) -> Builder) -> Cluster {
        Cluster { edge: configure(Edge::builder()).start(), servers }
    }

    pub fn client(&self) -> Client {
        self.edge.client()
    }

    pub fn primary(&mut self) -> &mut ChromaServer {
        &mut self.servers[0]
    }

    pub fn replica(&mut self) -> &mut ChromaServer {
        &mut self.servers[1]
    }

    /// Creates a collection and returns its id, as clients see it.
    #[track_caller]
    pub fn create(&self, name: &str) -> String {
        create(&self.client(), name)
    }

    /// Creates a collection of records `r0`, `r1`, ... that are marked as old, and waits until every server has them.
    /// Returns its id.
    #[track_caller]
    pub fn filled(&self, name: &str, records: usize) -> String {
        let collection = self.create(name);
        let ids: Vec<String> = (0..records).map(|number| format!("r{number}")).collect();
        let vectors: Vec<_> = (0..records).map(|number| json!([number, 1, 2])).collect();
        let body = json!({ "ids": ids, "embeddings": vectors, "metadatas": vec![json!({ "old": true }); records] });
        self.client().post(&record_path(&collection, "add"), &body).expect(201);
        self.edge.wait_until_in_sync(CATCH_UP);
        collection
    }

    /// Waits until everything is replicated everywhere. Then compares all servers with each other, with the journal's
    /// fold, and with what the edge itself shows. Returns the common content.
    #[track_caller]
    pub fn assert_converged(&self) -> Content {
        self.assert_converged_in(TENANT)
    }

    #[track_caller]
    pub fn assert_converged_in(&self, tenants: &[&str]) -> Content {
        self.edge.wait_until_in_sync(CATCH_UP);
        self.assert_holds(fold::fold(&self.edge.journal_path(), tenants), tenants)
    }

    /// Does the same as [`Cluster::assert_converged`], with a journal in PostgreSQL.
    #[track_caller]
    pub fn assert_converged_with(&self, journal: &Postgres) -> Content {
        self.edge.wait_until_in_sync(CATCH_UP);
        self.assert_holds(fold::fold_of(journal, TENANT), TENANT)
    }

    #[track_caller]
    fn assert_holds(&self, expected: Content, tenants: &[&str]) -> Content {
        for (index, server) in self.servers.iter().enumerate() {
            let held = Content::of(&server.client(), tenants);
            content::assert_equal(&format!("the journal's fold and instance {index}"), &expected, &held);
        }
        content::assert_equal("the journal's fold and the edge", &expected, &Content::of(&self.client(), tenants));
        expected
    }
}

/// Creates a collection in the default database and returns its id.
#[track_caller]
pub fn create(client: &Client, name: &str) -> String {
    let answer = client.post(&format!("{DEFAULT}/collections"), &json!({ "name": name })).expect(200);
    answer.json()["id"].as_str().expect("an id").to_owned()
}

/// Returns the body of one small record.
pub fn record(id: &str) -> Value {
    json!({ "ids": [id], "embeddings": [[0.5, 0.25, 1.0]], "documents": [format!("document of {id}")] })
}

/// Adds one record and returns the answer, whatever it is.
#[track_caller]
pub fn add(client: &Client, collection: &str, id: &str) -> Answer {
    client.post(&record_path(collection, "add"), &record(id))
}

/// Returns the ids that a collection shows, in order.
#[track_caller]
pub fn ids(client: &Client, collection: &str) -> Vec<String> {
    let answer = client.post(&record_path(collection, "get"), &json!({ "include": [] })).expect(200).json();
    serde_json::from_value(answer["ids"].clone()).expect("ids")
}

/// Returns the ids that this server itself shows for the collection with this name.
#[track_caller]
pub fn ids_by_name(server: &ChromaServer, name: &str) -> Vec<String> {
    let client = server.client();
    let found = client.get(&format!("{DEFAULT}/collections/{name}")).expect(200).json();
    ids(&client, found["id"].as_str().expect("an id"))
}

/// Returns the number of transactions in the journal.
pub fn journaled(edge: &Edge) -> usize {
    fold::transactions(&edge.journal_path()).len()
}

/// Returns the result of a call, and how long it took.
pub fn timed<T>(call: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = call();
    (result, start.elapsed())
}
