//! Many clients over several collections, until they are stopped.
//!
//! Clients behave like careful applications: they reuse a connection, turn to another edge if theirs is a standby, and
//! repeat a write without an answer under its id, if it has one. After a refused write, a client goes on with another
//! one.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::clock::Clock;
use super::history::{Kind, Operation, Seen};
use super::marks::Marks;
use super::plan::Plan;
use super::requests::{self, Mix, Request};
use testkit::checker::history::{Outcome, Tick};
use testkit::content;
use testkit::http::{Answer, Client, Connection};
use testkit::random::Random;

/// Longer than the edge lets any request wait.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(25);
/// How long a client keeps asking for the outcome of a write.
const PERSISTENCE: Duration = Duration::from_secs(40);
const PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between two operations of one client.
const THINKING_MS: u64 = 60;

/// The collections that clients know.
#[derive(Debug, Default)]
pub struct Known {
    /// Id and name.
    pub live: Vec<(String, String)>,
    pub gone: Vec<String>,
    /// The names of dropped collections.
    pub dropped: BTreeSet<String>,
}

/// The state that all clients share.
#[derive(Debug)]
struct Shared {
    doors: Vec<Client>,
    clock: Clock,
    mix: Mix,
    marks: Arc<Marks>,
    stop: AtomicBool,
    known: Mutex<Known>,
    history: Mutex<Vec<Operation>>,
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("clients do not panic")
    }
}

/// Running clients.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts the plan's clients against these edges.
    pub fn start(doors: Vec<Client>, clock: Clock, plan: &Plan, marks: &Arc<Marks>) -> Load {
        let doors = doors.iter().map(|door| door.with_timeout(CLIENT_TIMEOUT)).collect();
        let shared = Arc::new(Shared {
            doors,
            clock,
            mix: plan.mix,
            marks: Arc::clone(marks),
            stop: AtomicBool::new(false),
            known: Mutex::default(),
            history: Mutex::default(),
        });
        let mut random = Random::new(plan.seed ^ 0xC11E);
        let workers = (0..plan.workers).map(|number| {
            let shared = Arc::clone(&shared);
            let worker = Worker { number, shared, random: random.fork(), door: 0, connection: None, count: 0 };
            thread::spawn(move || worker.run())
        });
        let workers = workers.collect();
        Load { shared, workers }
    }

    /// Stops the clients. Each finishes its current operation. Returns all their operations, and their own errors.
    pub fn finish(self) -> (Vec<Operation>, Vec<String>) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut wrong = Vec::new();
        for (number, worker) in self.workers.into_iter().enumerate() {
            if let Err(panic) = worker.join() {
                let text = panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic".to_owned());
                wrong.push(format!("client {number} saw what it cannot understand: {text}"));
            }
        }
        let history = match self.shared.history.lock() {
            Ok(mut history) => std::mem::take(&mut *history),
            Err(poisoned) => std::mem::take(&mut *poisoned.into_inner()),
        };
        (history, wrong)
    }
}

struct Worker {
    number: usize,
    shared: Arc<Shared>,
    random: Random,
    /// The edge that it uses.
    door: usize,
    connection: Option<Connection>,
    count: u64,
}

/// The outcome of sending a request once.
enum Attempt {
    Answered(Answer),
    /// No connection: nothing was sent.
    NotSent,
    Lost(String),
}

/// What one answer says about a write.
enum Said {
    Final(Outcome),
    /// Refused without effect, by an edge that does not serve.
    Elsewhere(String),
    Open(String),
}

impl Worker {
    fn run(mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            self.count += 1;
            let token = format!("w{}-{}", self.number, self.count);
            let request = self.draw(&token);
            self.perform(request, token);
            thread::sleep(Duration::from_millis(self.random.below(THINKING_MS)));
        }
    }

    /// Draws the next request. While a mark is on, some requests bear it.
    fn draw(&mut self, token: &str) -> Request {
        let known = self.shared.known();
        let (random, marks) = (&mut self.random, &self.shared.marks);
        let on = marks.now_on();
        if !on.is_empty() && random.percent(self.shared.mix.marked) {
            let marked = (*random.pick(&on), token);
            if let Some(request) = requests::marked(random, &known, marked, marks.growth()) {
                return request;
            }
        }
        let request = requests::draw(random, &known, self.shared.mix);
        // A loss of its data must be noticed first.
        let spared = request.kind == Kind::Drop && request.name.as_ref().is_some_and(|name| marks.is_spared(name));
        if spared { requests::list() } else { request }
    }

    fn perform(&mut self, request: Request, token: String) {
        let before: Vec<(String, String)> = self.shared.known().live.clone();
        let operation = if request.kind.is_write() { self.write(&request, token) } else { self.read(&request, token) };
        let Some((operation, answer)) = operation else { return };
        if let Some(answer) = answer {
            learn(&mut self.shared.known(), &request, &operation, &answer, &before);
        }
        self.shared.history.lock().expect("clients do not panic").push(operation);
    }

    /// Returns `None` only if the load was stopped before anything was sent.
    fn write(&mut self, request: &Request, token: String) -> Option<(Operation, Option<Answer>)> {
        // The session identifies the write in the journal. Half of the writes can be repeated.
        let id = self.random.percent(50).then(|| format!("id-{token}"));
        let mut headers = vec![("content-type", "application/json"), ("x-client-session", token.as_str())];
        headers.extend(id.as_deref().map(|id| ("transaction-id", id)));
        let invoked = self.shared.clock.now();
        let persistence = Instant::now() + PERSISTENCE;
        let (mut sent, mut open) = (0, None);
        let (outcome, answer) = loop {
            let said = match self.attempt(request, &headers) {
                Attempt::NotSent if sent == 0 && self.shared.stop.load(Ordering::Relaxed) => return None,
                Attempt::NotSent => {
                    self.turn_away();
                    if sent == 0 || Instant::now() < persistence {
                        continue;
                    }
                    (Said::Open("no connection".to_owned()), None)
                }
                Attempt::Lost(why) => {
                    sent += 1;
                    (Said::Open(why), None)
                }
                Attempt::Answered(answer) => {
                    sent += 1;
                    (judge(&answer), Some(answer))
                }
            };
            match said {
                (Said::Final(outcome), answer) => break (outcome, answer),
                // If it was sent before, that request may still have been accepted.
                (Said::Elsewhere(why), answer) if open.is_none() => {
                    // An edge that refuses a class of writes still serves all others.
                    if !answer.as_ref().is_some_and(refuses_a_class) {
                        self.turn_away();
                    }
                    break (Outcome::Refused(why), answer);
                }
                (Said::Elsewhere(why) | Said::Open(why), _) => open = Some(why),
            }
            if id.is_none() || Instant::now() > persistence {
                break (Outcome::Unknown(open.unwrap_or_default()), None);
            }
            self.turn_away();
        };
        let (invoked, ended) = (invoked, self.shared.clock.now());
        Some((self.operation(request, token, (invoked, ended), outcome, sent, None), answer))
    }

    fn operation(
        &self,
        request: &Request,
        token: String,
        (invoked, ended): (Tick, Tick),
        outcome: Outcome,
        sent: u32,
        shown: Option<(String, Seen)>,
    ) -> Operation {
        let asked = format!("{} {} {}", request.method, request.path, request.body);
        Operation { worker: self.number, kind: request.kind, token, asked, invoked, ended, outcome, sent, shown }
    }

    fn read(&mut self, request: &Request, token: String) -> Option<(Operation, Option<Answer>)> {
        let mut headers = vec![("content-type", "application/json")];
        if request.kind == Kind::ReadAny {
            headers.push(("chroma-edge-consistency", "any"));
        }
        let waited = self.shared.clock.now();
        let (invoked, attempt) = loop {
            let invoked = self.shared.clock.now();
            match self.attempt(request, &headers) {
                Attempt::NotSent if self.shared.stop.load(Ordering::Relaxed) => return None,
                Attempt::NotSent => self.turn_away(),
                other => break (invoked, other),
            }
        };
        let ended = self.shared.clock.now();
        let (outcome, answer) = match attempt {
            Attempt::Answered(answer) if answer.status < 500 => (Outcome::Acknowledged, Some(answer)),
            Attempt::Answered(answer) => {
                self.turn_away();
                (Outcome::Refused(short(&answer)), Some(answer))
            }
            Attempt::Lost(why) => (Outcome::Unknown(why), None),
            Attempt::NotSent => (Outcome::Unknown("not sent".to_owned()), None),
        };
        let shown = answer.as_ref().and_then(|answer| shown(request, answer));
        // A read that showed something began when it was sent. A failed read began when it was first tried.
        let invoked = if shown.is_some() { invoked } else { waited };
        Some((self.operation(request, token, (invoked, ended), outcome, 1, shown), answer))
    }

    fn attempt(&mut self, request: &Request, headers: &[(&str, &str)]) -> Attempt {
        let kept = self.connection.take().filter(|kept| !kept.is_stale());
        let connection = kept.map_or_else(|| self.shared.doors[self.door].connect(), Ok);
        let Ok(mut connection) = connection else { return Attempt::NotSent };
        let bytes = if request.body.is_null() { Vec::new() } else { request.body.to_string().into_bytes() };
        match connection.request(request.method, &request.path, headers, &bytes) {
            Ok(answer) => {
                if stands_by(&answer) {
                    // The standby accepted nothing, as if there were no connection.
                    return Attempt::NotSent;
                }
                if answer.header("connection") != Some("close") {
                    self.connection = Some(connection);
                }
                Attempt::Answered(answer)
            }
            Err(error) => Attempt::Lost(lost(&error)),
        }
    }

    /// Switches to the other edge, if there is one, after a pause.
    fn turn_away(&mut self) {
        self.connection = None;
        self.door = (self.door + 1) % self.shared.doors.len();
        thread::sleep(PAUSE);
    }
}

fn stands_by(answer: &Answer) -> bool {
    answer.status == 503 && answer.text().contains("\"standby\"")
}

fn refuses_a_class(answer: &Answer) -> bool {
    answer.text().contains("\"quarantine\"")
}

fn lost(error: &io::Error) -> String {
    format!("connection lost: {error}")
}

fn short(answer: &Answer) -> String {
    let text: String = answer.text().chars().take(300).collect();
    format!("{} {text}", answer.status)
}

/// Returns the outcome of a write that is sent once.
pub fn outcome_of(answer: &io::Result<Answer>) -> Outcome {
    match answer.as_ref().map(judge) {
        Ok(Said::Final(outcome)) => outcome,
        Ok(Said::Elsewhere(why)) => Outcome::Refused(why),
        Ok(Said::Open(why)) => Outcome::Unknown(why),
        Err(error) => Outcome::Unknown(lost(error)),
    }
}

/// Returns what this answer says about the write, by the product's promises alone.
fn judge(answer: &Answer) -> Said {
    let text = answer.text();
    let promised = text.contains("\"recovery\"");
    match answer.status {
        200..300 => Said::Final(Outcome::Acknowledged),
        503 if promised => Said::Open(short(answer)),
        409 if text.contains("transaction_running") => Said::Open(short(answer)),
        // Refused by the edge itself: no effect, but the answer says nothing about the same id sent before.
        502..=504 => Said::Elsewhere(short(answer)),
        _ => Said::Final(Outcome::Refused(short(answer))),
    }
}

fn shown(request: &Request, answer: &Answer) -> Option<(String, Seen)> {
    let collection = request.collection.clone()?;
    match (request.kind, answer.status) {
        (Kind::Read | Kind::ReadGone | Kind::ReadAny, 200) if is_torn(answer) => None,
        (Kind::Read | Kind::ReadGone | Kind::ReadAny, 200) => {
            Some((collection, Seen::Records(content::parse_page(answer))))
        }
        (Kind::Count, 200) => Some((collection, Seen::Count(counted(answer)))),
        (Kind::Read | Kind::ReadGone | Kind::ReadAny | Kind::Count, 404) => Some((collection, Seen::NoSuchCollection)),
        _ => None,
    }
}

fn counted(answer: &Answer) -> usize {
    answer.json().as_u64().and_then(|count| usize::try_from(count).ok()).expect("a count")
}

/// Returns whether the answer proves nothing: a Chroma that is dropping a collection may have read its tables but found
/// no vectors.
fn is_torn(answer: &Answer) -> bool {
    let shown = answer.json();
    let count = |list: &str| shown[list].as_array().map_or(0, Vec::len);
    count("ids") > 0 && count("embeddings") == 0
}

/// Updates what clients know about collections, after this answer.
fn learn(known: &mut Known, request: &Request, operation: &Operation, answer: &Answer, before: &[(String, String)]) {
    let forget = |known: &mut Known, id: &str| {
        if let Some(position) = known.live.iter().position(|(live, _)| live == id) {
            let (id, name) = known.live.remove(position);
            known.gone.push(id);
            known.dropped.insert(name);
        }
    };
    if answer.status == 404
        && let Some(id) = &request.collection
    {
        forget(known, id);
    }
    if operation.outcome != Outcome::Acknowledged {
        return;
    }
    match request.kind {
        Kind::Create | Kind::Recreate => {
            let answer = answer.json();
            if let (Some(id), Some(name)) = (answer["id"].as_str(), answer["name"].as_str()) {
                known.live.push((id.to_owned(), name.to_owned()));
            }
        }
        Kind::Drop => {
            let named = |(_, name): &&(String, String)| Some(name) == request.name.as_ref();
            before.iter().filter(named).for_each(|(id, _)| forget(known, id));
        }
        Kind::Rename => {
            let renamed = known.live.iter_mut().find(|(id, _)| Some(id) == request.collection.as_ref());
            if let (Some((_, name)), Some(new)) = (renamed, request.body["new_name"].as_str()) {
                *name = new.to_owned();
            }
        }
        Kind::List => relist(known, &answer.json()),
        _ => {}
    }
}

/// Replaces the known collections by those in an edge's list. Clients that lost an answer find their collections this
/// way.
fn relist(known: &mut Known, list: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let live = list.as_array().into_iter().flatten().map(|one| (text(&one["id"]), text(&one["name"])));
    let live: Vec<_> = live.filter(|(id, _)| !known.gone.contains(id)).collect();
    known.live = live;
}
