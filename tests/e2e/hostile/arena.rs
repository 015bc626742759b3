//! Two real servers under supervisors, the edge before them, bystanders, and the checks after each request: was it
//! answered definitely, which servers died of it, does its collection accept writes again, and do all other collections
//! go on?

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use testkit::cluster::{CATCH_UP, TENANT, add, create, record};
use testkit::content::{self, Content};
use testkit::http::{Client, DEFAULT, record_path};
use testkit::place::wait_for;

use super::plan::{Plan, Room};
use crate::bystanders::Bystanders;
use crate::definite;
use crate::pair::Pair;

/// The same collection accepts an ordinary write again within this time.
const AGAIN: Duration = Duration::from_secs(10);
const CREATED: Duration = Duration::from_secs(10);
/// A place that no edge uses.
const CANARY: &str = "/api/v2/tenants/canary/databases/canary/collections";

/// The edge's limits on a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Limits {
    /// The edge refuses deadly requests: no server may die.
    Default,
    /// Deadly requests get through: each may cause two deaths of one server.
    Raised,
}

impl Limits {
    fn config(self) -> String {
        let limits = match self {
            Limits::Default => "",
            Limits::Raised => {
                "  limits:
    name_bytes: 64KiB
    collection_metadata_keys: 100000
    collection_metadata_bytes: 40MB
    collection_definition_bytes: 40MB
    record_metadata_keys: 100000
    record_metadata_items: 1000000
    id_bytes: 40MB
    document_bytes: 40MB
    condition_terms: 100000
    condition_comparisons: 100000
    condition_depth: 120
    condition_bytes: 40MB
    condition_values: 10000000
    condition_pattern_bytes: 40MB
    condition_regex_bytes: 40MB
    condition_regex_work: 20000000
    hnsw_max_neighbors: 4096\n"
            }
        };
        format!("{limits}  quarantine: {{ wait: 4s }}\n  heal: {{ enabled: true }}\n")
    }
}

/// The effects of a request.
pub struct Suffered {
    /// What must not have happened.
    pub wrong: Vec<String>,
    /// How long its definite answers took.
    pub took: Vec<Duration>,
    pub statuses: Vec<u16>,
}

pub struct Arena {
    pair: Pair,
    limits: Limits,
    client: Client,
    pub room: Room,
    bystanders: Option<(Bystanders, Vec<String>)>,
    /// The canary collection's id on each server.
    canaries: [String; 2],
    asked: u32,
    /// Deaths caused by the arena itself.
    ours: [u32; 2],
}

impl Arena {
    pub fn open(limits: Limits) -> Arena {
        let pair = Pair::configured(&limits.config());
        let client = pair.edge.client();
        let others = ["bystander1", "bystander2"].map(|name| create(&client, name)).to_vec();
        let target = create(&client, "target");
        add(&client, &target, "first").expect(201);
        pair.edge.wait_until_in_sync(CATCH_UP);
        let canaries = [0, 1].map(|at: usize| canary(&pair.servers[at].client()));
        let bystanders = Some((Bystanders::start(&client, &others), others));
        let room = Room::new(target);
        Arena { pair, limits, client, room, bystanders, canaries, asked: 0, ours: [0, 0] }
    }

    /// Returns how often each server has died of a request.
    pub fn deaths(&self) -> [u32; 2] {
        let all = self.pair.deaths();
        [all[0] - self.ours[0], all[1] - self.ours[1]]
    }

    /// Sends the plan's requests, and performs all checks.
    pub fn suffer(&mut self, plan: &Plan) -> Suffered {
        self.asked += 1;
        let mut suffered = Suffered { wrong: Vec::new(), took: Vec::new(), statuses: Vec::new() };
        let before = self.deaths();
        for step in &plan.steps {
            match definite::ask(&self.client, step.method, &step.path, &step.body) {
                Ok(definite) => {
                    suffered.took.push(definite.took);
                    suffered.statuses.push(definite.answer.status);
                }
                Err(why) => suffered.wrong.push(format!("{step}: {why}")),
            }
        }
        suffered.wrong.extend(self.goes_on());
        self.look_after_write_paths();
        suffered.wrong.extend(self.count(before));
        if let Some(own) = plan.own.as_ref().filter(|_| self.limits == Limits::Raised) {
            // With raised limits the collection may be broken for good. It must be possible to drop it without reading
            // it.
            suffered.wrong.extend(self.drop_collection(own));
        }
        if self.deaths() != before {
            self.lift_all();
        }
        suffered
    }

    /// Checks that the target accepts a write, and the catalog a collection.
    fn goes_on(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let n = self.asked;
        let upsert = || self.client.post(&record_path(&self.room.target, "upsert"), &record(&format!("next{n}")));
        wrong.extend(within("the next write to the collection", AGAIN, 200, upsert));
        let body = json!({ "name": format!("next{n}") });
        let created = || self.client.post(&format!("{DEFAULT}/collections"), &body);
        wrong.extend(within("the next creation", CREATED, 200, created));
        wrong.extend(self.drop_collection(&format!("next{n}")));
        wrong
    }

    fn drop_collection(&self, name: &str) -> Option<String> {
        let path = format!("{DEFAULT}/collections/{name}");
        let started = Instant::now();
        let answer = self.client.call("DELETE", &path, &Value::Null);
        let well = matches!(answer.status, 200 | 404) && started.elapsed() < CREATED;
        (!well).then(|| format!("{name} could not be dropped after {:?}: {answer}", started.elapsed()))
    }

    /// Kills servers whose write path is dead: that counts as a death, but the supervisor does not see it.
    fn look_after_write_paths(&self) {
        for (server, canary) in self.pair.servers.iter().zip(&self.canaries) {
            let path = format!("{CANARY}/{canary}/upsert");
            let body = json!({ "ids": ["alive"], "embeddings": [[1, 2]] });
            let client = server.client().with_timeout(AGAIN);
            loop {
                wait_for("a heartbeat", CATCH_UP, || {
                    let beat = client.try_call("GET", "/api/v2/heartbeat", &Value::Null);
                    beat.ok().filter(|answer| answer.status == 200)
                });
                let before = server.deaths();
                let sung = client.try_call("POST", &path, &body);
                if sung.is_ok_and(|answer| answer.status == 200) {
                    break;
                }
                // Its death may be about to be counted.
                std::thread::sleep(Duration::from_millis(300));
                if server.deaths() == before {
                    server.kill();
                    wait_for("a death", CATCH_UP, || (server.deaths() > before).then_some(()));
                }
            }
        }
    }

    /// Returns what died since then, if it is too many or too often.
    fn count(&self, before: [u32; 2]) -> Option<String> {
        let after = self.deaths();
        if after != before {
            self.pair.all_here();
        }
        let after = self.deaths();
        let died = [after[0] - before[0], after[1] - before[1]];
        let most = match self.limits {
            Limits::Default => 0,
            Limits::Raised => 2,
        };
        let cheap = died[0].min(died[1]) == 0 && died[0].max(died[1]) <= most;
        (!cheap).then(|| format!("deaths: {died:?}, at most {most} of one server allowed"))
    }

    /// Lifts every quarantine, as an operator. The affected copies are compared or made anew.
    fn lift_all(&self) {
        self.pair.all_here();
        let listed = self.client.get("/admin/quarantine").expect(200).json();
        for one in listed["writes"].as_array().into_iter().chain(listed["reads"].as_array()).flatten() {
            let Some(id) = one["id"].as_str().filter(|_| one["state"] == "quarantined") else { continue };
            self.client.post(&format!("/admin/quarantine/{id}"), &json!({ "action": "lift" }));
        }
        // Does not wait until nothing is pending: bystanders are writing.
        wait_for("every copy to serve again", CATCH_UP, || {
            let status = self.pair.edge.status();
            status["diverged"].as_array().is_some_and(Vec::is_empty).then_some(())
        });
    }

    /// Restarts everything, and checks that everything works and is equal afterwards. Returns what is not.
    pub fn end(mut self) -> Vec<String> {
        let mut wrong = Vec::new();
        let others = self.bystanders.take().map(|(bystanders, others)| (bystanders.acknowledged(), others));
        let before = self.pair.deaths();
        self.pair.edge.kill();
        self.pair.servers.iter().for_each(testkit::Supervised::kill);
        for (server, before) in self.pair.servers.iter().zip(before) {
            wait_for("a death", CATCH_UP, || (server.deaths() > before).then_some(()));
        }
        self.ours = self.ours.map(|ours| ours + 1);
        let before = self.deaths();
        self.pair.edge.restart();
        self.pair.all_here();
        self.asked += 1;
        wrong.extend(self.goes_on().into_iter().map(|one| format!("after the restart: {one}")));
        add(&self.client, &self.room.target, "after the restart");
        self.lift_all();
        self.pair.edge.wait_until_in_sync(CATCH_UP);
        let held = [0, 1].map(|at: usize| Content::of(&self.pair.servers[at].client(), TENANT));
        let shown = Content::of(&self.client, TENANT);
        for (what, one) in [("the replica", &held[1]), ("the edge", &shown)] {
            let found = content::diff(&held[0], one);
            wrong.extend(found.iter().take(20).map(|one| format!("the primary and {what} differ: {one}")));
        }
        for (acknowledged, id) in others.iter().flat_map(|(counts, ids)| counts.iter().zip(ids)) {
            let count = self.client.get(&record_path(id, "count")).expect(200).json();
            if count.as_u64() < Some(u64::from(*acknowledged)) {
                wrong.push(format!("a bystander has {count} records, and {acknowledged} were acknowledged"));
            }
        }
        if self.deaths() != before {
            wrong.push(format!("deaths after the restart: {before:?}, then {:?}", self.deaths()));
        }
        wrong
    }
}

/// Creates a collection that only this server has.
fn canary(client: &Client) -> String {
    client.post("/api/v2/tenants", &json!({ "name": "canary" })).expect(200);
    client.post("/api/v2/tenants/canary/databases", &json!({ "name": "canary" })).expect(200);
    let answer = client.post(CANARY, &json!({ "name": "canary" })).expect(200).json();
    answer["id"].as_str().expect("an id").to_owned()
}

/// Repeats a call until it returns this status. Returns an error if that takes too long.
fn within(what: &str, most: Duration, status: u16, call: impl Fn() -> testkit::http::Answer) -> Option<String> {
    let started = Instant::now();
    loop {
        let answer = call();
        let took = started.elapsed();
        if answer.status == status && took < most {
            return None;
        }
        if took >= most {
            return Some(format!("{what} after {took:?}: {answer}"));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
