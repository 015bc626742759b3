//! The whole system: real servers, one or two real edges, a real journal, and a link on every connection between them.
//!
//! It starts, stops, kills and cuts on request, and tracks what is running. It decides nothing, and reports what it was
//! asked to do.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::clock::Clock;
use super::marks::{Effect, Mark, Marks, Met};
use super::plan::{Plan, Store};
use testkit::http::Client;
use testkit::link::{FaultLink, LinkFault, Server};
use testkit::postgres::Postgres;
use testkit::trap::{Deed, Trap};
use testkit::{ChromaServer, Edge};

/// Shorter waits than the defaults, so that a minute has room for many faults. Longer probes, since the machine is
/// busy.
const TIMES: &str = "  settle_time: 1s\n  journal_timeout: 2s\n  request_timeout: 20s\n  attempt_timeout: 10s\n  \
                     write_wait: 3s\n  health: { interval: 500ms, timeout: 450ms }\n  quarantine: { wait: 4s }\n  \
                     heal: { enabled: true, foreign: rebuild, marker_interval: 1s }\n  audit: { interval: 0s }";
const LEASE: &str = "lease: 1500ms";
const CRASH_AT: &str = "CHROMA_EDGE_CRASH_AT";
const BREAK_RULE: &str = "CHROMA_EDGE_BREAK_RULE";
/// What an edge logs about a copy that it has made anew, or repaired.
const COPY_MADE: &str = "the copy is made and serves";
const COPY_REPAIRED: &str = "the copy is repaired and serves";
const PROBE: Duration = Duration::from_millis(500);

/// Whether a process can receive a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Running,
    Stopped,
    Dead,
}

/// The state of the copies, as an edge reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copies {
    InStep,
    /// Some are diverged, or may become so.
    Apart,
}

/// A server, and whether a marked write has killed it since it was started.
#[derive(Debug)]
struct Mortal {
    server: ChromaServer,
    shot: bool,
}

type Shared = Arc<Mutex<Mortal>>;

fn locked(server: &Shared) -> MutexGuard<'_, Mortal> {
    server.lock().expect("no thread panics with a server")
}

/// The links of one edge.
#[derive(Debug)]
pub struct Links {
    pub clients: FaultLink,
    /// By instance.
    pub instances: Vec<FaultLink>,
    pub journal: Option<FaultLink>,
}

#[derive(Debug)]
pub struct System {
    // Dropped first: an edge that loses its servers reports errors.
    pub edges: Vec<Edge>,
    pub links: Vec<Links>,
    servers: Vec<Shared>,
    pub postgres: Option<Postgres>,
    edge_lives: Vec<Life>,
    server_lives: Vec<Life>,
    postgres_life: Life,
    _runtime: Runtime,
}

impl System {
    /// Starts everything, and waits until one edge is active.
    pub fn start(plan: &Plan) -> System {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let servers: Vec<ChromaServer> = (0..plan.instances()).map(|_| ChromaServer::fresh()).collect();
        let postgres = (plan.store == Store::Postgres).then(Postgres::durable);
        let (mut edges, mut links) = (Vec::new(), Vec::new());
        for _ in 0..plan.store.edges() {
            let to = |port| FaultLink::to(runtime.handle(), port);
            let instances: Vec<FaultLink> = servers.iter().map(|server| to(server.client().address.port())).collect();
            let journal = postgres.as_ref().map(|postgres| to(postgres.port()));
            let mut edge = Edge::builder().config(TIMES);
            for link in &instances {
                edge = edge.instance_url(&format!("http://127.0.0.1:{}", link.port()));
            }
            if let (Some(postgres), Some(link)) = (&postgres, &journal) {
                edge = edge.postgres(&postgres.url_at(link.port())).journal_keys(LEASE);
            }
            if let Some(rule) = &plan.rule {
                edge = edge.env(BREAK_RULE, rule);
            }
            let edge = edge.start();
            links.push(Links { clients: to(edge.client().address.port()), instances, journal });
            edges.push(edge);
        }
        let system = System {
            edge_lives: vec![Life::Running; edges.len()],
            server_lives: vec![Life::Running; servers.len()],
            postgres_life: Life::Running,
            edges,
            links,
            servers: servers.into_iter().map(|server| Arc::new(Mutex::new(Mortal { server, shot: false }))).collect(),
            postgres,
            _runtime: runtime,
        };
        testkit::place::wait_for("an active edge", Duration::from_secs(30), || system.active());
        system
    }

    /// Returns clients of each edge, through its link.
    pub fn doors(&self) -> Vec<Client> {
        self.links.iter().map(|links| Client::new(links.clients.port())).collect()
    }

    /// Returns how many copies the edges have made anew and repaired, by their logs.
    pub fn copies_healed(&self) -> [usize; 2] {
        let told = |text: &str| self.edges.iter().map(|edge| edge.log().matches(text).count()).sum();
        [COPY_MADE, COPY_REPAIRED].map(told)
    }

    /// Returns the edge that now reports itself as active, asked without a link.
    pub fn active(&self) -> Option<usize> {
        let alive = (0..self.edges.len()).filter(|index| self.edge_lives[*index] == Life::Running);
        alive.into_iter().find(|index| role(&self.edges[*index]).as_deref() == Some("active"))
    }

    pub fn stands_by(&self, index: usize) -> bool {
        self.edge_lives[index] == Life::Running && role(&self.edges[index]).as_deref() == Some("standby")
    }

    /// Returns the edges that have ended by themselves since the last call.
    pub fn fallen(&mut self) -> Vec<usize> {
        let mut fallen = Vec::new();
        for index in 0..self.edges.len() {
            if self.edge_lives[index] != Life::Dead && self.edges[index].has_ended() {
                self.edge_lives[index] = Life::Dead;
                self.links[index].clients.server_is(Server::Dead);
                fallen.push(index);
            }
        }
        fallen
    }

    pub fn kill_edge(&mut self, index: usize) {
        if self.edge_lives[index] == Life::Dead {
            return;
        }
        if !self.edges[index].has_ended() {
            self.edges[index].kill();
        }
        self.edge_lives[index] = Life::Dead;
        self.links[index].clients.server_is(Server::Dead);
    }

    /// Starts the edge if it is dead. With `crash_at`, it dies by itself at this point.
    pub fn start_edge(&mut self, index: usize, crash_at: Option<&str>) {
        if self.edge_lives[index] != Life::Dead {
            return;
        }
        self.edges[index].set_env(CRASH_AT, crash_at);
        self.edges[index].relaunch();
        self.edge_lives[index] = Life::Running;
        self.links[index].clients.server_is(Server::Running);
    }

    pub fn stop_edge(&mut self, index: usize) {
        if self.edge_lives[index] == Life::Running && !self.edges[index].has_ended() {
            self.edges[index].signal(Signal::SIGSTOP);
            self.edge_lives[index] = Life::Stopped;
        }
    }

    pub fn continue_edge(&mut self, index: usize) {
        if self.edge_lives[index] == Life::Stopped && !self.edges[index].has_ended() {
            self.edges[index].signal(Signal::SIGCONT);
            self.edge_lives[index] = Life::Running;
        }
    }

    /// Returns the edge's last known state.
    pub fn edge_life(&self, index: usize) -> Life {
        self.edge_lives[index]
    }

    /// Returns a client of this server that bypasses every link.
    pub fn server(&self, index: usize) -> Client {
        locked(&self.servers[index]).server.client()
    }

    pub fn server_log(&self, index: usize) -> PathBuf {
        locked(&self.servers[index]).server.log_path()
    }

    /// Returns the server's state, as far as the requests so far determine it.
    pub fn server_life(&self, index: usize) -> Life {
        self.server_lives[index]
    }

    /// Calls `what` with the server, while no other thread uses it.
    pub fn with_server<T>(&self, index: usize, what: impl FnOnce(&mut ChromaServer) -> T) -> T {
        what(&mut locked(&self.servers[index]).server)
    }

    pub fn instances(&self) -> usize {
        self.servers.len()
    }

    /// Returns the servers that have ended since the last call, by themselves or because of a marked write.
    pub fn fallen_servers(&mut self) -> Vec<usize> {
        let fallen =
            |index: &usize| self.server_lives[*index] != Life::Dead && locked(&self.servers[*index]).server.has_ended();
        let fallen: Vec<usize> = (0..self.servers.len()).filter(fallen).collect();
        fallen.iter().for_each(|index| self.is_dead(*index));
        fallen
    }

    fn is_dead(&mut self, index: usize) {
        self.server_lives[index] = Life::Dead;
        self.links.iter().for_each(|links| links.instances[index].server_is(Server::Dead));
    }

    /// Makes this instance die of writes with this mark, or fail them. Each time is recorded.
    pub fn lay(&self, index: usize, mark: Mark, marks: &Arc<Marks>, clock: Clock) {
        let (server, marks) = (Arc::clone(&self.servers[index]), Arc::clone(marks));
        let told = move |token: &str| {
            let met = Met { mark, token: token.to_owned(), instance: index, at: clock.now() };
            if mark.effect == Effect::Fails {
                return marks.note(met);
            }
            let mut mortal = locked(&server);
            // If two such writes arrive at one moment, it dies once, of the first.
            if !mortal.shot && !mortal.server.has_ended() {
                mortal.shot = true;
                mortal.server.shoot();
                marks.note(met);
            }
        };
        let deed = match mark.effect {
            Effect::Kills => Deed::Kill,
            Effect::Fails => Deed::Fail,
        };
        let trap = Trap { mark: mark.to_string(), deed, told: Arc::new(told) };
        self.links.iter().for_each(|links| links.instances[index].lay(trap.clone()));
    }

    /// Treats the mark as ordinary text from now on, everywhere.
    pub fn lift(&self, mark: Mark) {
        self.all_links().for_each(|link| link.lift(&mark.to_string()));
    }

    pub fn kill_server(&mut self, index: usize) {
        if self.server_lives[index] != Life::Dead {
            let mut mortal = locked(&self.servers[index]);
            if !mortal.server.has_ended() {
                mortal.server.kill();
            }
            drop(mortal);
            self.is_dead(index);
        }
    }

    pub fn start_server(&mut self, index: usize) {
        if self.server_lives[index] == Life::Dead {
            let mut mortal = locked(&self.servers[index]);
            mortal.server.start_again();
            mortal.shot = false;
            drop(mortal);
            self.server_lives[index] = Life::Running;
            self.links.iter().for_each(|links| links.instances[index].server_is(Server::Running));
        }
    }

    pub fn stop_server(&mut self, index: usize) {
        let mut mortal = locked(&self.servers[index]);
        if self.server_lives[index] == Life::Running && !mortal.server.has_ended() {
            mortal.server.stop();
            drop(mortal);
            self.server_lives[index] = Life::Stopped;
        }
    }

    pub fn continue_server(&mut self, index: usize) {
        let mut mortal = locked(&self.servers[index]);
        if self.server_lives[index] == Life::Stopped && !mortal.server.has_ended() {
            mortal.server.cont();
            drop(mortal);
            self.server_lives[index] = Life::Running;
        }
    }

    pub fn kill_postgres(&mut self) {
        let Some(postgres) = &mut self.postgres else { return };
        postgres.kill();
        self.postgres_life = Life::Dead;
        self.links.iter().filter_map(|links| links.journal.as_ref()).for_each(|link| link.server_is(Server::Dead));
    }

    pub fn start_postgres(&mut self) {
        let Some(postgres) = self.postgres.as_mut().filter(|_| self.postgres_life == Life::Dead) else { return };
        postgres.start();
        self.postgres_life = Life::Running;
        self.links.iter().filter_map(|links| links.journal.as_ref()).for_each(|link| link.server_is(Server::Running));
    }

    pub fn stop_postgres(&mut self) {
        if let Some(postgres) = self.postgres.as_ref().filter(|_| self.postgres_life == Life::Running) {
            postgres.signal_all(Signal::SIGSTOP);
            self.postgres_life = Life::Stopped;
        }
    }

    pub fn continue_postgres(&mut self) {
        if let Some(postgres) = self.postgres.as_ref().filter(|_| self.postgres_life == Life::Stopped) {
            postgres.signal_all(Signal::SIGCONT);
            self.postgres_life = Life::Running;
        }
    }

    fn all_links(&self) -> impl Iterator<Item = &FaultLink> {
        self.links.iter().flat_map(|links| links.instances.iter().chain([&links.clients]).chain(&links.journal))
    }

    /// Restarts everything, and repairs every link.
    pub fn heal(&mut self) {
        self.all_links().for_each(|link| link.set(LinkFault::None));
        self.continue_postgres();
        self.start_postgres();
        self.fallen_servers();
        for index in 0..self.servers.len() {
            self.continue_server(index);
            self.start_server(index);
        }
        for index in 0..self.edges.len() {
            // Edges that were armed to die had their time.
            self.kill_edge(index);
            self.start_edge(index, None);
        }
        for server in &self.servers {
            locked(server).server.await_heartbeat();
        }
    }

    /// Lifts every quarantine, as an operator would. Returns `None` if no edge reports whether there are any, or if
    /// lifting failed. Otherwise returns `InStep` if every copy is in step and nothing had to be lifted.
    pub fn allow_again(&self) -> Option<Copies> {
        let edge = self.edges[self.active()?].client().with_timeout(PROBE);
        let answer = edge.send("GET", "/status", "", b"").ok()?;
        let status: Value = serde_json::from_slice(&answer.body).ok()?;
        if !is_quarantined(&status) {
            let diverged = status["diverged"].as_array().is_none_or(|all| !all.is_empty());
            let suspects = status["quarantine"]["suspects"].as_u64() != Some(0);
            return Some(if diverged || suspects { Copies::Apart } else { Copies::InStep });
        }
        let answer = edge.send("GET", "/admin/quarantine", "", b"").ok()?;
        let listed: Value = serde_json::from_slice(&answer.body).ok()?;
        let all = ["writes", "reads"].into_iter().flat_map(|what| listed[what].as_array().into_iter().flatten());
        for id in all.filter(|one| one["state"] == "quarantined").filter_map(|one| one["id"].as_str()) {
            let lift = json!({ "action": "lift" }).to_string();
            edge.send("POST", &format!("/admin/quarantine/{id}"), "application/json", lift.as_bytes()).ok()?;
        }
        Some(Copies::Apart)
    }

    /// Waits until an edge is active and reports that nothing is left to do. Otherwise returns what is left.
    pub fn await_sync(&mut self, timeout: Duration) -> Result<usize, String> {
        let deadline = Instant::now() + timeout;
        let mut last = Value::Null;
        while Instant::now() < deadline {
            // An edge that lost the journal ends, and its supervisor restarts it.
            for index in self.fallen() {
                self.start_edge(index, None);
            }
            if let Some(active) = self.active() {
                last = status(&self.edges[active]).unwrap_or_default();
                if is_quarantined(&last) {
                    let _ = self.allow_again();
                }
                if testkit::edge::is_in_sync(&last) {
                    return Ok(active);
                }
            }
            // The other side is another process: there is nothing to await but its next answer.
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(format!("not in sync within {timeout:?}: {last:#}"))
    }
}

pub fn is_quarantined(status: &Value) -> bool {
    ["writes", "reads"].iter().any(|what| status["quarantine"][what].as_u64().is_some_and(|count| count > 0))
}

pub fn status(edge: &Edge) -> Option<Value> {
    let answer = edge.client().with_timeout(PROBE).send("GET", "/status", "", b"").ok()?;
    serde_json::from_slice(&answer.body).ok()
}

fn role(edge: &Edge) -> Option<String> {
    Some(status(edge)?["role"].as_str()?.to_owned())
}
