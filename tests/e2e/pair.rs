//! Two real servers under supervisors, and the edge before them, for requests that kill servers.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, add, create};
use testkit::http::Client;
use testkit::place::wait_for;
use testkit::{Builder, Edge, Relay, Supervised};

/// How long a dead server stays dead.
const PAUSE: Duration = Duration::from_millis(400);
/// Every request gets a definite answer within this time.
pub const DEFINITE: Duration = Duration::from_secs(30);
/// With this many terms, Chroma's stack overflows.
pub const DEADLY: usize = 10_000;

/// The relays in front of the servers kill them when a request contains this.
pub const MARK: &str = "poisonous";

/// An edge over two servers that are restarted whenever they die.
pub struct Pair {
    pub edge: Edge,
    pub servers: [Supervised; 2],
}

impl Pair {
    /// Starts two supervised servers, and an edge that lets every request through.
    pub fn start() -> Pair {
        Self::configured(
            "  limits: { condition_terms: 100000, condition_comparisons: 100000 }\n  quarantine: { wait: 4s }\n  heal: { enabled: true }",
        )
    }

    /// Does the same as [`Pair::start`], with an edge that marks its servers only at its start.
    pub fn with_rare_markers() -> Pair {
        Self::configured(
            "  limits: { condition_terms: 100000, condition_comparisons: 100000 }\n  quarantine: { wait: 4s }\n  heal: { enabled: true, marker_interval: 1h }",
        )
    }

    /// Starts two supervised servers, and an edge with these lines in its configuration.
    pub fn configured(lines: &str) -> Pair {
        let servers = [Supervised::fresh(PAUSE), Supervised::fresh(PAUSE)];
        let edge = servers.iter().fold(Edge::builder(), |edge, server| edge.instance_url(&server.url()));
        let edge = edge.config(lines).start();
        edge.announce("diverged");
        Pair { edge, servers }
    }

    /// Does the same as [`Pair::start`], with a relay in front of each server.
    pub fn relayed() -> (Pair, Vec<Relay>) {
        Self::relayed_with(|edge| edge)
    }

    /// Does the same as [`Pair::relayed`], with an edge that also has this configuration.
    pub fn relayed_with(configure: impl FnOnce(Builder) -> Builder) -> (Pair, Vec<Relay>) {
        let servers = [Supervised::fresh(PAUSE), Supervised::fresh(PAUSE)];
        let relays: Vec<Relay> = servers.iter().map(|server| Relay::to(server.client())).collect();
        let edge = relays.iter().fold(Edge::builder(), |edge, relay| edge.instance_url(&relay.url()));
        let edge = configure(edge.config("  quarantine: { wait: 4s }\n  heal: { enabled: true }\n")).start();
        edge.announce("diverged");
        (Pair { edge, servers }, relays)
    }

    /// Creates a collection with one record on both servers, and returns its id.
    pub fn create_things(&self, client: &Client) -> String {
        let id = create(client, "things");
        add(client, &id, "first").expect(201);
        self.edge.wait_until_in_sync(CATCH_UP);
        id
    }

    /// From now on, every request with the mark kills.
    pub fn arm(&self, relays: &[Relay]) {
        for (server, relay) in self.servers.iter().zip(relays) {
            relay.deadly(MARK, server.killer());
        }
    }

    /// Returns how often each server has died.
    pub fn deaths(&self) -> [u32; 2] {
        [0, 1].map(|at: usize| self.servers[at].deaths())
    }

    /// Checks that only one server has died, at most this often.
    #[track_caller]
    pub fn assert_cheap(&self, most: u32) {
        let [one, two] = self.deaths();
        assert!(one.min(two) == 0 && one.max(two) <= most, "deaths: {one} and {two}, at most {most} of one allowed");
    }

    /// Waits until neither server gets a request for longer than the interval of the edge's own rounds, which run once
    /// a second. The edge's first checks of a server or of a new collection would also be company for a read.
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

    /// Waits until both servers are healthy.
    pub fn all_here(&self) {
        for name in ["primary", "replica"] {
            self.edge.wait_until_healthy(name, true, CATCH_UP);
        }
    }
}

/// Longer than the pause between two rounds of the edge's own.
const IDLE: Duration = Duration::from_millis(1300);

/// Returns a condition with this many terms.
pub fn condition(terms: usize) -> Value {
    let terms: Vec<Value> = (0..terms).map(|n| json!({ "source": format!("s{n}") })).collect();
    json!({ "$or": terms })
}
