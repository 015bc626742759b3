//! Two real servers under supervisors, and the edge before them: for requests of which servers die.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, add, create};
use testkit::http::Client;
use testkit::place::wait_for;
use testkit::{Builder, Edge, Relay, Supervised};

/// A server is back after that.
const PAUSE: Duration = Duration::from_millis(400);
/// Any request is answered definitely within that.
pub const DEFINITE: Duration = Duration::from_secs(30);
/// With this many terms Chroma's stack overflows.
pub const DEADLY: usize = 10_000;

/// The relays in front of the servers kill them with whatever holds this.
pub const MARK: &str = "poisonous";

/// An edge over two servers that are started again whenever they die.
pub struct Pair {
    pub edge: Edge,
    pub servers: [Supervised; 2],
}

impl Pair {
    /// Two supervised servers, and an edge that lets everything through.
    pub fn start() -> Pair {
        Self::configured(
            "  limits: { condition_terms: 100000, condition_comparisons: 100000 }\n  quarantine: { wait: 4s }\n  heal: { enabled: true }",
        )
    }

    /// As [`Pair::start`], with an edge that marks its servers at its start and then no more.
    pub fn with_rare_markers() -> Pair {
        Self::configured(
            "  limits: { condition_terms: 100000, condition_comparisons: 100000 }\n  quarantine: { wait: 4s }\n  heal: { enabled: true, marker_interval: 1h }",
        )
    }

    /// Two supervised servers, and an edge with these lines in its configuration.
    pub fn configured(lines: &str) -> Pair {
        let servers = [Supervised::fresh(PAUSE), Supervised::fresh(PAUSE)];
        let edge = servers.iter().fold(Edge::builder(), |edge, server| edge.instance_url(&server.url()));
        let edge = edge.config(lines).start();
        edge.announce("diverged");
        Pair { edge, servers }
    }

    /// As [`Pair::start`], with a relay in front of each server.
    pub fn relayed() -> (Pair, Vec<Relay>) {
        Self::relayed_with(|edge| edge)
    }

    /// As [`Pair::relayed`], with an edge configured like this, too.
    pub fn relayed_with(configure: impl FnOnce(Builder) -> Builder) -> (Pair, Vec<Relay>) {
        let servers = [Supervised::fresh(PAUSE), Supervised::fresh(PAUSE)];
        let relays: Vec<Relay> = servers.iter().map(|server| Relay::to(server.client())).collect();
        let edge = relays.iter().fold(Edge::builder(), |edge, relay| edge.instance_url(&relay.url()));
        let edge = configure(edge.config("  quarantine: { wait: 4s }\n  heal: { enabled: true }\n")).start();
        edge.announce("diverged");
        (Pair { edge, servers }, relays)
    }

    /// A collection with one record, on both: its id.
    pub fn create_things(&self, client: &Client) -> String {
        let id = create(client, "things");
        add(client, &id, "first").expect(201);
        self.edge.wait_until_in_sync(CATCH_UP);
        id
    }

    /// From now on whatever holds the mark kills.
    pub fn arm(&self, relays: &[Relay]) {
        for (server, relay) in self.servers.iter().zip(relays) {
            relay.deadly(MARK, server.killer());
        }
    }

    /// How often each server has died.
    pub fn deaths(&self) -> [u32; 2] {
        [0, 1].map(|at: usize| self.servers[at].deaths())
    }

    /// What died is one server, at most so often.
    #[track_caller]
    pub fn assert_cheap(&self, most: u32) {
        let [one, two] = self.deaths();
        assert!(one.min(two) == 0 && one.max(two) <= most, "deaths: {one} and {two}, at most {most} of one allowed");
    }

    /// Waits until neither server was asked anything for longer than what the edge does once a second takes to come again: its own
    /// first looks at a server and at a new collection, too, are company for a read.
    pub fn wait_until_idle(&self) {
        let asked = || {
            let status = self.edge.status();
            let of = |one: &Value| (one["total_requests"].clone(), one["in_flight"].clone());
            status["instances"].as_array().expect("instances").iter().map(of).collect::<Vec<_>>()
        };
        let mut last = (asked(), Instant::now());
        wait_for("servers with nothing to do", CATCH_UP, || {
            let now = asked();
            if now != last.0 || now.iter().any(|(_, in_flight)| *in_flight != 0) {
                last = (now, Instant::now());
            }
            (last.1.elapsed() > IDLE).then_some(())
        });
    }

    /// Waits for both.
    pub fn all_here(&self) {
        for name in ["primary", "replica"] {
            self.edge.wait_until_healthy(name, true, CATCH_UP);
        }
    }
}

/// Longer than between two rounds of the edge's own.
const IDLE: Duration = Duration::from_millis(1300);

/// So many terms.
pub fn condition(terms: usize) -> Value {
    let terms: Vec<Value> = (0..terms).map(|n| json!({ "source": format!("s{n}") })).collect();
    json!({ "$or": terms })
}
