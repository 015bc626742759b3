//! What losses of data need from the system: whether every copy is in step, copies of folders, and exchanging folders.

use serde_json::Value;
use tempfile::TempDir;

use super::system::{Life, System, is_quarantined, status};
use testkit::ChromaServer;
use testkit::http::DEFAULT;
use testkit::random::Random;

impl System {
    /// Returns whether everything runs and the active edge reports every copy in step, so that each copy is a good one.
    pub fn is_whole(&self) -> bool {
        let all_run = (0..self.instances()).all(|index| self.server_life(index) == Life::Running);
        let Some(status) = self.active().filter(|_| all_run).and_then(|active| status(&self.edges[active])) else {
            return false;
        };
        let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
        let is_well = |one: &Value| one["healthy"] == true && one["foreign"].is_null();
        let instances = status["instances"].as_array().is_some_and(|all| all.iter().all(is_well));
        instances && is_empty(&status["diverged"]) && is_empty(&status["healing"]) && !is_quarantined(&status)
    }

    /// Returns how often edges have logged this.
    pub fn times_said(&self, text: &str) -> usize {
        self.edges.iter().map(|edge| edge.log().matches(text).count()).sum()
    }

    /// Returns a copy of its folder as it is at one moment, as after a power failure.
    pub fn snapshot(&mut self, index: usize) -> TempDir {
        self.stop_server(index);
        let folder = self.with_server(index, |server| server.snapshot());
        self.continue_server(index);
        folder
    }

    /// Kills it, applies `what` to its folder, and starts it again.
    pub fn replace_data(&mut self, index: usize, what: impl FnOnce(&mut ChromaServer)) {
        self.kill_server(index);
        self.with_server(index, what);
        self.start_server(index);
    }

    /// Returns some collection that every instance has in step: its id, its name, and its id on this instance.
    pub fn some_mapping(&self, random: &mut Random, index: usize) -> Option<[String; 3]> {
        let edge = self.edges[self.active()?].client();
        let shown = edge.try_call("GET", "/collection/mappings", &Value::Null).ok()?;
        let shown: Value = serde_json::from_slice(&shown.body).ok()?;
        let in_step = |one: &&Value| {
            let instances = one["instances"].as_array();
            DEFAULT.ends_with(one["database"].as_str().unwrap_or("?"))
                && instances.is_some_and(|all| all.iter().all(|one| one["in_step"] == true))
        };
        let all: Vec<&Value> = shown["mappings"].as_array()?.iter().filter(in_step).collect();
        let one = *all.get(random.index(all.len().max(1)))?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let there = &one["instances"][index]["collection_id"];
        Some([text(&one["collection_id"])?, text(&one["collection_name"])?, text(there)?])
    }
}
