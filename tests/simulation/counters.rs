//! How often each rare path was taken, over all seeds: a path that no seed takes proves nothing.

use std::collections::BTreeMap;

/// Paths that the seeds of a run must take together, and how often at least: about a quarter of what they do.
pub const RARE: &[(&str, u64)] = &[
    ("abandoned", 9),
    ("admitted after comparison", 9),
    ("admitted again after it was suspected", 5),
    ("answered from a late failover", 100),
    ("below the floor", 10),
    ("came back blank", 10),
    ("came back older", 50),
    ("catalog entry sent to be refused", 100),
    ("changed something behind the edge's back", 8),
    ("client gave up", 600),
    ("comparison came too late", 10),
    ("contents compared by the checker", 800),
    ("crash of the edge", 400),
    ("created again after a lost answer", 30),
    ("deletion refused", 300),
    ("diverged by a refusal elsewhere", 10),
    ("doubt re-sent", 2000),
    ("examination unclear", 7),
    ("executed at the last moment before calm", 100),
    ("expected refusal sent", 200),
    ("found unequal", 60),
    ("get_or_create found it", 80),
    ("given up in the middle when the lease was over", 20),
    ("landed behind the edge's back", 10),
    ("late execution", 200),
    ("left behind", 20),
    ("limited delete lost after its ids were durable", 60),
    ("limited delete resolved", 200),
    ("looked again under load", 50),
    ("lost after execution", 500),
    ("lost before execution", 500),
    ("merged run sent", 500),
    ("missing reported", 30),
    ("overtook an older request of another lane", 400),
    ("read amid a run that is executed again", 2),
    ("read of a deleted collection", 600),
    ("read that took its time", 700),
    ("reads judged", 1000),
    ("refused after it was applied elsewhere", 2),
    ("reset applied", 40),
    ("rested after three failures in a row", 400),
    ("restored with doubt", 500),
    ("run split into singles", 200),
    ("runs judged by the checker", 90),
    ("sent after the lease", 50),
    ("suspected in the middle of a rest", 30),
    ("suspected while a request is under way", 6),
    ("suspicion heeded", 60),
    ("takeover", 100),
    ("transient error", 100),
    ("trimmed", 200),
    ("unfit", 90),
    ("unique constraint", 10),
    ("void by deletion", 100),
];

#[derive(Clone, Default)]
pub struct Counters(BTreeMap<&'static str, u64>);

impl Counters {
    pub fn count(&mut self, path: &'static str) {
        *self.0.entry(path).or_default() += 1;
    }

    pub fn add_many(&mut self, what: &'static str, times: u64) {
        *self.0.entry(what).or_default() += times;
    }

    pub fn add(&mut self, other: &Counters) {
        for (path, times) in &other.0 {
            *self.0.entry(path).or_default() += times;
        }
    }

    pub fn of(&self, path: &str) -> u64 {
        self.0.get(path).copied().unwrap_or_default()
    }

    pub fn too_seldom(&self) -> Vec<String> {
        let seldom = |(path, least): &&(&str, u64)| self.of(path) < *least;
        RARE.iter().filter(seldom).map(|(path, least)| format!("{path}: {} of {least}", self.of(path))).collect()
    }
}

impl std::fmt::Display for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (path, times) in &self.0 {
            writeln!(f, "{times:>9} {path}")?;
        }
        Ok(())
    }
}
