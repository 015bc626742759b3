//! A concurrent workload, by seed, and its history: every write, its outcome, and when it happened.
//!
//! Each worker keeps its connection alive as real clients do. If a connection is refused, the worker tries again, since
//! the write was never sent. If one is lost after the request left, the outcome is unknown.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::http::{Answer, Client, Connection, DEFAULT};
use super::model::{Op, Verb};
use super::ops;
use super::random::Random;

/// How a write ended, as its client saw it.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A 2xx answer.
    Acknowledged(Answer),
    /// Any other answer that promises no later effect.
    Refused(Answer),
    /// Sent, but the connection was lost before an answer; or a 503 that announces a `recovery`.
    Unknown(String),
}

/// One write in the history.
#[derive(Clone, Debug)]
pub struct Event {
    pub worker: usize,
    pub op: Op,
    pub path: String,
    pub invoked: Instant,
    pub took: Duration,
    pub outcome: Outcome,
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub workers: usize,
    pub names: Vec<&'static str>,
    /// Ids in use per collection.
    pub pool: u64,
    /// One in this many writes changes the catalog; `u64::MAX` for none.
    pub catalog_each: u64,
    /// Each worker adds records of its own (`w3-17`), and nothing is ever changed or deleted.
    pub unique: bool,
}

impl Plan {
    /// Adds, upserts, updates, deletes, and collections created, renamed, deleted and created again.
    pub fn everything() -> Plan {
        Plan { workers: 6, names: vec!["alpha", "beta", "gamma", "delta"], pool: 40, catalog_each: 12, unique: false }
    }

    /// Record writes only.
    pub fn records() -> Plan {
        Plan { catalog_each: u64::MAX, ..Plan::everything() }
    }

    /// Adds of records that are never touched again: what was acknowledged must exist.
    pub fn unique_adds() -> Plan {
        Plan { unique: true, ..Plan::records() }
    }
}

/// A running workload. If it is dropped without [`Workload::finish`], its workers stop by themselves.
#[derive(Debug)]
pub struct Workload {
    stop: Arc<AtomicBool>,
    events: Arc<Mutex<Vec<Event>>>,
    workers: Vec<JoinHandle<()>>,
}

impl Workload {
    /// Creates the plan's collections and starts its workers.
    pub fn start(client: &Client, seed: u64, plan: &Plan) -> Workload {
        for name in &plan.names {
            let body = json!({ "name": name, "get_or_create": true });
            client.post(&format!("{DEFAULT}/collections"), &body).expect(200);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let events = Arc::new(Mutex::new(Vec::new()));
        let mut random = Random::new(seed);
        let worker = |number| Worker {
            number,
            client: client.clone(),
            connection: None,
            random: random.fork(),
            plan: plan.clone(),
            stop: Arc::clone(&stop),
            events: Arc::clone(&events),
        };
        let spawn = |worker: Worker| thread::spawn(move || worker.run());
        let workers = (0..plan.workers).map(worker).map(spawn).collect();
        Workload { stop, events, workers }
    }

    /// Waits until this many more writes have ended. Tests wait for progress, not for time.
    pub fn await_more(&self, count: usize, timeout: Duration) {
        let target = self.count() + count;
        super::place::wait_for("the workload's progress", timeout, || (self.count() >= target).then_some(()));
    }

    fn count(&self) -> usize {
        self.events.lock().expect("workers do not panic").len()
    }

    /// Stops the workers and returns the history.
    pub fn finish(mut self) -> Vec<Event> {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            worker.join().expect("a worker");
        }
        self.events.lock().expect("workers do not panic").split_off(0)
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Worker {
    number: usize,
    client: Client,
    connection: Option<Connection>,
    random: Random,
    plan: Plan,
    stop: Arc<AtomicBool>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Worker {
    fn run(mut self) {
        let mut step = 0;
        while !self.stop.load(Ordering::Relaxed) {
            step += 1;
            let op = self.next(step);
            let Some((method, path, body)) = self.request(&op) else { continue };
            let invoked = Instant::now();
            let Some(outcome) = self.exchange(method, &path, &body) else { break };
            let event = Event { worker: self.number, op, path, invoked, took: invoked.elapsed(), outcome };
            self.events.lock().expect("workers do not panic").push(event);
        }
    }

    fn next(&mut self, step: u64) -> Op {
        if !self.plan.unique {
            return ops::any(&mut self.random, &self.plan.names, self.plan.pool, self.plan.catalog_each);
        }
        let mut body = ops::write(&mut self.random, Verb::Add, 1);
        for list in body.as_object_mut().expect("a body").values_mut() {
            list.as_array_mut().expect("a list").truncate(1);
        }
        body["ids"] = json!([format!("w{}-{step}", self.number)]);
        Op::Records { name: (*self.random.pick(&self.plan.names)).to_owned(), verb: Verb::Add, body }
    }

    /// Returns the request of this write. It looks collections up by name when it is sent, as clients without a cached
    /// id do. If the collection does not exist, because it was deleted and not created again, there is no request.
    fn request(&mut self, op: &Op) -> Option<(&'static str, String, Value)> {
        let collections = format!("{DEFAULT}/collections");
        Some(match op {
            Op::Create { name, metadata } => ("POST", collections, json!({ "name": name, "metadata": metadata })),
            Op::DeleteCollection { name } => ("DELETE", format!("{collections}/{name}"), Value::Null),
            Op::Modify { name, metadata } => {
                ("PUT", format!("{collections}/{}", self.find(name)?), json!({ "new_metadata": metadata }))
            }
            Op::Rename { name, to } => {
                ("PUT", format!("{collections}/{}", self.find(name)?), json!({ "new_name": to }))
            }
            Op::Records { name, verb, body } => {
                ("POST", format!("{collections}/{}/{}", self.find(name)?, verb.as_str()), body.clone())
            }
        })
    }

    fn find(&mut self, name: &str) -> Option<String> {
        let path = format!("{DEFAULT}/collections/{name}");
        match self.exchange("GET", &path, &Value::Null)? {
            Outcome::Acknowledged(answer) => Some(answer.json()["id"].as_str()?.to_owned()),
            Outcome::Refused(_) | Outcome::Unknown(_) => None,
        }
    }

    /// Returns `None` only if the workload was stopped before the request could be sent.
    fn exchange(&mut self, method: &str, path: &str, body: &Value) -> Option<Outcome> {
        let mut connection = self.connect()?;
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        Some(match connection.request(method, path, &[("content-type", "application/json")], &bytes) {
            Ok(answer) => {
                if answer.header("connection") != Some("close") {
                    self.connection = Some(connection);
                }
                outcome(answer)
            }
            Err(error) => Outcome::Unknown(error.to_string()),
        })
    }

    fn connect(&mut self) -> Option<Connection> {
        if let Some(connection) = self.connection.take() {
            return Some(connection);
        }
        loop {
            match self.client.connect() {
                Ok(connection) => return Some(connection),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    thread::sleep(Duration::from_millis(10))
                }
                Err(_) => {}
            }
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
        }
    }
}

fn outcome(answer: Answer) -> Outcome {
    let promised = answer.status == 503 && answer.text().contains("\"recovery\"");
    match answer.status {
        200..300 => Outcome::Acknowledged(answer),
        _ if promised => Outcome::Unknown(answer.to_string()),
        _ => Outcome::Refused(answer),
    }
}

/// Returns the writes that were acknowledged.
pub fn acknowledged(events: &[Event]) -> impl Iterator<Item = (&Event, &Answer)> {
    events.iter().filter_map(|event| match &event.outcome {
        Outcome::Acknowledged(answer) => Some((event, answer)),
        Outcome::Refused(_) | Outcome::Unknown(_) => None,
    })
}

/// Returns the one id that this event added, by [`Plan::unique_adds`].
pub fn added_id(event: &Event) -> String {
    match &event.op {
        Op::Records { body, .. } => body["ids"][0].as_str().expect("an id").to_owned(),
        other => panic!("not an add: {other:?}"),
    }
}

/// Returns the longest wait of any write.
pub fn longest_wait(events: &[Event]) -> Duration {
    events.iter().map(|event| event.took).max().unwrap_or_default()
}

/// Returns the writes that ended in a way no client should see: lost connections, or 5xx answers that are not Chroma's
/// own.
pub fn errors(events: &[Event]) -> Vec<String> {
    let bad = |event: &Event| match &event.outcome {
        Outcome::Acknowledged(_) => None,
        // Renaming onto an existing name is Chroma's own 500, and a collection may be gone by now.
        Outcome::Refused(answer) if matches!(answer.status, 404 | 409) => None,
        Outcome::Refused(answer) if answer.text().contains("UNIQUE constraint failed") => None,
        // Or it is being deleted: the collection's row was read before its deletion, the rows of its segments after it.
        Outcome::Refused(answer) if answer.status == 412 && answer.text().contains("Missing field: [Missing") => None,
        Outcome::Refused(answer) => Some(format!("{} -> {answer}", event.path)),
        Outcome::Unknown(reason) => Some(format!("{} -> unknown: {reason}", event.path)),
    };
    let start = events.iter().map(|event| event.invoked).min();
    let shown = |event: &Event| {
        let at = start.map(|start| event.invoked - start).unwrap_or_default();
        bad(event).map(|text| format!("worker {} at {at:?}: {text}", event.worker))
    };
    events.iter().filter_map(shown).collect()
}

/// Returns a summary of the history, for the log of a failed test.
pub fn summary(events: &[Event]) -> String {
    let (good, bad) = (acknowledged(events).count(), errors(events));
    let wait = longest_wait(events);
    let sample: Vec<&String> = bad.iter().take(10).collect();
    format!("{} writes, {good} acknowledged, {} errors {sample:#?}, longest wait {wait:?}", events.len(), bad.len())
}
