//! How often each rare path was taken, over all seeds: a path that no seed takes proves nothing.

use std::collections::BTreeMap;

/// Paths that the seeds of a run must take together, and how often at least.
pub const RARE: &[(&str, u64)] = &[
    ("abandoned", 1),
    ("admitted after comparison", 1),
    ("admitted again after it was suspected", 1),
    ("answered from a late failover", 1),
    ("below the floor", 1),
    ("came back blank", 1),
    ("came back older", 1),
    ("catalog entry sent to be refused", 1),
    ("changed something behind the edge's back", 1),
    ("client gave up", 1),
    ("comparison came too late", 1),
    ("contents compared by the checker", 1),
    ("crash of the edge", 1),
    ("created again after a lost answer", 1),
    ("creation that was refused elsewhere undone", 1),
    ("deletion refused", 1),
    ("diverged by a refusal elsewhere", 1),
    ("doubt re-sent", 1),
    ("examination unclear", 1),
    ("executed at the last moment before calm", 1),
    ("expected refusal sent", 1),
    ("found unequal", 1),
    ("get_or_create found it", 1),
    ("given up in the middle when the lease was over", 1),
    ("landed behind the edge's back", 1),
    ("late execution", 1),
    ("left behind", 1),
    ("limited delete lost after its ids were durable", 1),
    ("limited delete resolved", 1),
    ("looked again under load", 1),
    ("lost after execution", 1),
    ("lost before execution", 1),
    ("merged run sent", 1),
    ("missing reported", 1),
    ("overtook an older request of another lane", 1),
    ("read of a deleted collection", 1),
    ("read that took its time", 1),
    ("reads judged", 1),
    ("refused after it was applied elsewhere", 1),
    ("reset applied", 1),
    ("rested after three failures in a row", 1),
    ("restored with doubt", 1),
    ("run split into singles", 1),
    ("runs judged by the checker", 1),
    ("sent after the lease", 1),
    ("suspected in the middle of a rest", 1),
    ("suspected while a request is under way", 1),
    ("suspicion heeded", 1),
    ("takeover", 1),
    ("transient error", 1),
    ("trimmed", 1),
    ("unfit", 1),
    ("unique constraint", 1),
    ("void by deletion", 1),
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
