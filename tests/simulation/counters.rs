//! How often each rare path was taken, over all seeds: a path that no seed takes proves nothing.

use std::collections::BTreeMap;

/// Paths that some seed must take.
pub const RARE: &[&str] = &[
    "abandoned",
    "admitted after comparison",
    "answered from a late failover",
    "below the floor",
    "catalog entry sent to be refused",
    "client gave up",
    "crash of the edge",
    "created again after a lost answer",
    "deletion refused",
    "diverged by a refusal elsewhere",
    "doubt re-sent",
    "examination unclear",
    "expected refusal sent",
    "found unequal",
    "get_or_create found it",
    "late execution",
    "limited delete resolved",
    "lost after execution",
    "lost before execution",
    "merged run sent",
    "missing reported",
    "refused after it was applied elsewhere",
    "reset applied",
    "restored with doubt",
    "run split into singles",
    "transient error",
    "trimmed",
    "unfit",
    "unique constraint",
    "void by deletion",
];

#[derive(Clone, Default)]
pub struct Counters(BTreeMap<&'static str, u64>);

impl Counters {
    pub fn count(&mut self, path: &'static str) {
        *self.0.entry(path).or_default() += 1;
    }

    pub fn add(&mut self, other: &Counters) {
        for (path, times) in &other.0 {
            *self.0.entry(path).or_default() += times;
        }
    }

    pub fn never_taken(&self) -> Vec<&'static str> {
        RARE.iter().copied().filter(|path| !self.0.contains_key(path)).collect()
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
