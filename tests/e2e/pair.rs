//! Two real servers under supervisors, and the edge before them: for requests of which servers die.

use std::time::Duration;

use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, add, create};
use testkit::http::Client;
use testkit::place::wait_for;
use testkit::{Edge, Relay, Supervised};

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
        let servers = [Supervised::fresh(PAUSE), Supervised::fresh(PAUSE)];
        let relays: Vec<Relay> = servers.iter().map(|server| Relay::to(server.client())).collect();
        let edge = relays.iter().fold(Edge::builder(), |edge, relay| edge.instance_url(&relay.url()));
        let edge = edge.config("  quarantine: { wait: 4s }\n  heal: { enabled: true }").start();
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

    /// Waits until nothing has been under way at a server for longer than what ended together counts as company.
    pub fn wait_until_idle(&self) {
        let looks = 25;
        let idle = |page: &str| {
            let mut flights = page.lines().filter(|line| line.starts_with("chroma_edge_instance_in_flight{"));
            flights.all(|line| line.ends_with(" 0"))
        };
        wait_for("servers with nothing to do", CATCH_UP, || {
            (0..looks)
                .all(|_| {
                    std::thread::sleep(Duration::from_millis(20));
                    idle(&self.edge.client().get("/metrics").expect(200).text())
                })
                .then_some(())
        });
    }

    /// Waits for both.
    pub fn all_here(&self) {
        for name in ["primary", "replica"] {
            self.edge.wait_until_healthy(name, true, CATCH_UP);
        }
    }
}

/// So many terms.
pub fn condition(terms: usize) -> Value {
    let terms: Vec<Value> = (0..terms).map(|n| json!({ "source": format!("s{n}") })).collect();
    json!({ "$or": terms })
}
