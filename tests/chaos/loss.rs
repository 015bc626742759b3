//! Faults of an instance's data: its folder comes back empty, older, or as another server's; its index files are
//! damaged; a record is changed behind the edge's back.
//!
//! Each begins only when every copy is in step, so that a good one is left, and ends when every copy is in step again.
//! A fault counts only if an edge has logged it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::clock::Clock;
use super::history::Operation;
use super::load;
use super::marks::Marks;
use super::requests;
use super::system::System;
use testkit::checker::history::Tick;
use testkit::http::{Client, DEFAULT, record_path};
use testkit::ops;
use testkit::random::Random;

/// What happens to an instance's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// Its folder is emptied.
    Wipe,
    /// An earlier copy of its folder is put back.
    Rollback,
    /// Its folder is replaced by a copy of another instance's folder.
    Swap,
    /// Every index that it has written to a file is overwritten.
    DamageIndex,
    /// Records of one of its collections are changed behind the edge's back, and an audit is requested.
    Tamper,
}

impl Loss {
    pub const ALL: [Loss; 5] = [Loss::Wipe, Loss::Rollback, Loss::Swap, Loss::DamageIndex, Loss::Tamper];

    pub fn as_str(self) -> &'static str {
        match self {
            Loss::Wipe => "wipe",
            Loss::Rollback => "rollback",
            Loss::Swap => "swap",
            Loss::DamageIndex => "damage index",
            Loss::Tamper => "tamper",
        }
    }

    /// Returns whether the affected copies can be repaired in place because most of their content is right.
    pub fn is_repaired(self) -> bool {
        matches!(self, Loss::Rollback | Loss::Tamper)
    }

    /// Returns what an edge logs once it has noticed.
    fn notice(self) -> &'static [&'static str] {
        match self {
            Loss::Wipe => &["lacks what it was given after this position", "lacks collections that it had"],
            Loss::Rollback => &["lacks what it was given after this position"],
            Loss::Swap => &["holds somebody else's data"],
            Loss::DamageIndex => &["fails queries"],
            Loss::Tamper => &["not what was written", "an operator has decided"],
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The time within which this collection may have shown what no client wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tampered {
    pub collection: String,
    pub from: Tick,
    pub to: Tick,
}

/// An earlier copy of an instance's folder.
struct Saved {
    instance: usize,
    /// The generation of the server's marker at that time. The copy may hold an older one.
    generation: u64,
    folder: TempDir,
}

enum Stage {
    /// Every copy must be in step first.
    Waiting,
    /// Waits until the instance has an index in a file, in the collection with this name.
    Filled(String),
    /// It has happened. Edges had logged such a loss this many times before.
    Struck { noticed: usize },
}

struct UnderWay {
    loss: Loss,
    instance: usize,
    stage: Stage,
    at_last: Instant,
}

/// How a loss ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Noticed,
    Missed,
}

pub struct Losses {
    clock: Clock,
    marks: Arc<Marks>,
    random: Random,
    saved: Vec<Saved>,
    now: Option<UnderWay>,
    ended: Option<Ended>,
    look: Instant,
    asked: Instant,
    filled: u64,
    /// The operations that it performed as a client.
    pub operations: Vec<Operation>,
    pub tampered: Vec<Tampered>,
}

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(150);
/// The pause between two requested audits.
const ASK: Duration = Duration::from_secs(1);
/// How long everything may take to be in step, before and afterwards.
const PATIENCE: Duration = Duration::from_secs(40);
/// A marker this much older than the one on the server is also older than the one in the journal.
const OLDER: u64 = 2;
/// The number of earlier copies kept for each instance.
const KEPT: usize = 4;
/// Chroma writes an index to its file every thousand records.
const RECORDS: usize = 2200;
const BATCH: usize = 550;
const MARKER: &str = "/api/v2/tenants/default_tenant/databases/chroma-edge-marker/collections/marker";
const DIRECT: Duration = Duration::from_secs(5);

impl Losses {
    pub fn new(clock: Clock, marks: &Arc<Marks>, seed: u64) -> Losses {
        let now = Instant::now();
        Losses {
            clock,
            marks: Arc::clone(marks),
            random: Random::new(seed ^ 0x1055),
            saved: Vec::new(),
            now: None,
            ended: None,
            look: now,
            asked: now,
            filled: 0,
            operations: Vec::new(),
            tampered: Vec::new(),
        }
    }

    pub fn begin(&mut self, loss: Loss, instance: usize) {
        let at_last = Instant::now() + PATIENCE;
        self.now = Some(UnderWay { loss, instance, stage: Stage::Waiting, at_last });
        self.ended = None;
    }

    /// Returns whether a loss is under way. The other faults wait for it.
    pub fn is_under_way(&self) -> bool {
        self.now.is_some()
    }

    /// Returns how the last loss ended, once.
    pub fn ended(&mut self) -> Option<Ended> {
        self.ended.take()
    }

    /// Continues with the loss that is under way.
    pub fn go_on(&mut self, system: &mut System) {
        if self.now.is_none() || Instant::now() < self.look {
            return;
        }
        self.look = Instant::now() + LOOK;
        let Some(mut one) = self.now.take() else { return };
        let ended = match one.stage {
            Stage::Waiting | Stage::Filled(_) => {
                self.try_to_strike(system, &mut one);
                None
            }
            Stage::Struck { noticed } => self.await_notice(system, &one, noticed),
        };
        let late = (Instant::now() > one.at_last).then(|| match one.stage {
            Stage::Struck { noticed } if times_noticed(system, one.loss) > noticed => Ended::Noticed,
            _ => Ended::Missed,
        });
        self.ended = ended.or(late);
        match self.ended {
            None => self.now = Some(one),
            Some(ended) => {
                self.marks.spare(None);
                // What no edge has noticed may be shown for ever.
                let to = if ended == Ended::Noticed { self.clock.now() } else { Tick::MAX };
                self.tampered.iter_mut().filter(|one| one.to == Tick::MAX).for_each(|one| one.to = to);
            }
        }
    }

    fn await_notice(&mut self, system: &mut System, one: &UnderWay, noticed: usize) -> Option<Ended> {
        if system.fallen_servers().contains(&one.instance) {
            system.start_server(one.instance);
        }
        let is_noticed = times_noticed(system, one.loss) > noticed;
        if is_noticed {
            return system.is_whole().then_some(Ended::Noticed);
        }
        if one.loss == Loss::Tamper && Instant::now() >= self.asked {
            self.asked = Instant::now() + ASK;
            self.ask_for_an_audit(system, one.instance);
        }
        None
    }

    /// Causes the loss, if everything it needs exists.
    fn try_to_strike(&mut self, system: &mut System, one: &mut UnderWay) {
        if !system.is_whole() {
            return;
        }
        let instance = one.instance;
        self.save(system, instance);
        let noticed = times_noticed(system, one.loss);
        let struck = match one.loss {
            Loss::Wipe => {
                system.replace_data(instance, |server| server.wipe());
                true
            }
            Loss::Rollback => self.roll_back(system, instance),
            Loss::Swap => {
                let other = (instance + 1) % system.instances();
                let folder = system.snapshot(other);
                system.replace_data(instance, |server| server.put_back(&folder));
                true
            }
            Loss::DamageIndex => self.damage(system, one),
            Loss::Tamper => self.tamper(system, instance),
        };
        if struck {
            one.stage = Stage::Struck { noticed };
            one.at_last = Instant::now() + PATIENCE;
        }
    }

    /// Keeps a copy of the instance's folder, unless an existing copy is as new.
    fn save(&mut self, system: &mut System, instance: usize) {
        let Some(before) = generation(&system.server(instance)) else { return };
        let newest = self.saved.iter().filter(|saved| saved.instance == instance).map(|saved| saved.generation).max();
        if newest.is_some_and(|newest| newest + OLDER > before) {
            return;
        }
        let folder = system.snapshot(instance);
        // The server may have been marked while its folder was copied.
        let Some(generation) = generation(&system.server(instance)) else { return };
        self.saved.push(Saved { instance, generation, folder });
        let mine = self.saved.iter().filter(|saved| saved.instance == instance).count();
        if mine > KEPT {
            let oldest = self.saved.iter().position(|saved| saved.instance == instance);
            oldest.map(|oldest| self.saved.remove(oldest));
        }
    }

    /// Puts back any copy that is certainly older than the last marker.
    fn roll_back(&mut self, system: &mut System, instance: usize) -> bool {
        let Some(now) = generation(&system.server(instance)) else { return false };
        let older = |saved: &&Saved| saved.instance == instance && saved.generation + OLDER <= now;
        let older: Vec<&Saved> = self.saved.iter().filter(older).collect();
        if older.is_empty() {
            return false;
        }
        let saved = *self.random.pick(&older);
        system.replace_data(instance, |server| server.put_back(&saved.folder));
        true
    }

    /// Damages the instance's indexes. First, the instance needs an index that is large enough for a file.
    fn damage(&mut self, system: &mut System, one: &mut UnderWay) -> bool {
        let Stage::Filled(name) = &one.stage else {
            if let Some(name) = self.fill(system) {
                one.stage = Stage::Filled(name);
            }
            return false;
        };
        let server = system.server(one.instance).with_timeout(DIRECT);
        let count =
            id_of(&server, name).and_then(|id| answer(&server, "GET", &record_path(&id, "count"), &Value::Null));
        if count.and_then(|count| count.as_u64()).unwrap_or_default() < 1000 {
            // Clients may have dropped it.
            if id_of(&server, name).is_none() {
                one.stage = Stage::Waiting;
            }
            return false;
        }
        let mut damaged = 0;
        system.replace_data(one.instance, |server| damaged = server.damage_indexes());
        damaged > 0
    }

    /// Writes a large collection through the active edge, and returns its name.
    fn fill(&mut self, system: &System) -> Option<String> {
        let edge = system.edges[system.active()?].client().with_timeout(DIRECT);
        self.filled += 1;
        let name = format!("bulk-{}", self.filled);
        self.marks.spare(Some(name.clone()));
        let made = self.write(&edge, requests::creation(&name))?;
        let id = made["id"].as_str()?.to_owned();
        for batch in 0..RECORDS / BATCH {
            let ids: Vec<String> = (0..BATCH).map(|n| format!("bulk-{}", batch * BATCH + n)).collect();
            let vectors: Vec<Vec<f32>> = ids.iter().map(|_| self.random.vector(ops::DIMENSION)).collect();
            self.write(&edge, requests::addition(&id, json!({ "ids": ids, "embeddings": vectors })))?;
        }
        Some(name)
    }

    /// Writes as a client does, so that the write is in the history.
    fn write(&mut self, edge: &Client, request: requests::Request) -> Option<Value> {
        let token = format!("loss-{}", self.operations.len() + 1);
        let invoked = self.clock.now();
        let edge = edge.with_header("x-client-session", &token);
        let answer = edge.try_call(request.method, &request.path, &request.body);
        let outcome = load::outcome_of(&answer);
        let worker = usize::MAX;
        let asked = format!("{} {}", request.method, request.path);
        let (kind, ended) = (request.kind, self.clock.now());
        self.operations.push(Operation { worker, kind, token, asked, invoked, ended, outcome, sent: 1, shown: None });
        answer.ok().filter(|answer| answer.status < 300).map(|answer| answer.json())
    }

    /// Requests an audit, as an operator would. If the audit cannot decide which copy is wrong, keeps another one.
    fn ask_for_an_audit(&self, system: &System, wrong: usize) {
        let (Some(active), Some(tampered)) = (system.active(), self.tampered.last()) else { return };
        let edge = system.edges[active].client().with_timeout(DIRECT);
        let _ = edge.try_call("POST", "/admin/audit", &json!({ "repair": true }));
        let found = answer(&edge, "GET", "/admin/audit", &Value::Null).unwrap_or_default();
        let undecided =
            |one: &Value| one["collection_id"] == tampered.collection.as_str() && one["state"] == "undecided";
        if found["collections"].as_array().is_some_and(|all| all.iter().any(undecided)) {
            let status = answer(&edge, "GET", "/status", &Value::Null).unwrap_or_default();
            let other = (wrong + 1) % system.instances();
            let word = json!({ "collection": tampered.collection, "from": status["instances"][other]["name"] });
            let _ = edge.try_call("POST", "/admin/adopt", &word);
        }
    }

    /// Changes one record, removes one and adds one.
    fn tamper(&mut self, system: &System, instance: usize) -> bool {
        let Some([collection, name, there]) = system.some_mapping(&mut self.random, instance) else { return false };
        let server = system.server(instance).with_timeout(DIRECT);
        let Some(shown) = answer(&server, "POST", &record_path(&there, "get"), &json!({ "limit": 2, "include": [] }))
        else {
            return false;
        };
        let ids: Vec<&str> = shown["ids"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let [changed, removed] = ids.as_slice() else { return false };
        let vector = self.random.vector(ops::DIMENSION);
        let from = self.clock.now();
        self.marks.spare(Some(name));
        self.tampered.push(Tampered { collection, from, to: Tick::MAX });
        for (what, body) in [
            ("update", json!({ "ids": [changed], "documents": ["somebody else's"] })),
            ("delete", json!({ "ids": [removed] })),
            ("add", json!({ "ids": [format!("tampered-{from}")], "embeddings": [vector] })),
        ] {
            let _ = server.try_call("POST", &record_path(&there, what), &body);
        }
        true
    }
}

/// Returns how often edges have logged that they noticed such a loss.
fn times_noticed(system: &System, loss: Loss) -> usize {
    loss.notice().iter().map(|text| system.times_said(text)).sum()
}

/// Returns the generation of the server's marker.
fn generation(server: &Client) -> Option<u64> {
    let shown = answer(&server.with_timeout(DIRECT), "GET", MARKER, &Value::Null)?;
    shown["metadata"]["generation"].as_u64()
}

fn id_of(server: &Client, name: &str) -> Option<String> {
    let shown = answer(server, "GET", &format!("{DEFAULT}/collections/{name}"), &Value::Null)?;
    shown["id"].as_str().map(str::to_owned)
}

fn answer(server: &Client, method: &str, path: &str, body: &Value) -> Option<Value> {
    let answer = server.try_call(method, path, body).ok().filter(|answer| answer.status == 200)?;
    serde_json::from_slice(&answer.body).ok()
}
