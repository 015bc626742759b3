//! How often each rare path was taken, over all seeds: a path that no seed takes proves nothing.

use std::collections::BTreeMap;

/// The paths that the seeds of a run must take together, and the least number of times: about a quarter of the usual
/// number.
pub const RARE: &[(&str, u64)] = &[
    ("a quarantined copy is looked at again", 15),
    ("abandoned", 18),
    ("acknowledged, and void since its collection was deleted", 2),
    ("adopted", 80),
    ("adopted as a copy of what is known", 80),
    ("admitted after comparison", 18),
    ("admitted again after a late write or a loss", 3),
    ("answered from a late failover", 200),
    ("below the floor", 20),
    ("bound to an instance that died", 70),
    ("came back blank", 20),
    ("came back older", 100),
    ("catalog entry sent to be refused", 200),
    ("found older by its marker", 20),
    ("marked", 1000),
    ("marked, and the answer was lost", 200),
    ("changed something behind the edge's back", 16),
    ("condemned", 700),
    ("condemned, and made whole", 100),
    ("came back older amid a repair", 12),
    ("read again, since a repair began meanwhile", 12),
    ("repair begun", 350),
    ("repair compared again", 3),
    ("repaired", 200),
    ("write of a repair that landed later", 5),
    ("write of a repair without an answer", 20),
    ("kept", 1),
    ("not kept", 100),
    ("tampered with", 100),
    ("client gave up", 1200),
    ("comparison came too late", 20),
    ("contents compared by the checker", 1600),
    ("crash of the edge", 800),
    ("created again after a lost answer", 60),
    ("deletion refused", 600),
    ("drained", 600),
    ("executed first on a drained instance", 1000),
    ("stopped", 300),
    ("switched over", 600),
    ("switched over to one that is ready", 150),
    ("died of a write", 160),
    ("sent again where it was in doubt, to be refused", 20),
    ("doubt re-sent", 4000),
    ("examination unclear", 14),
    ("executed at the last moment before quiescence", 200),
    ("expected refusal sent", 400),
    ("failed by chance", 200),
    ("executed, and answered with a failure", 60),
    ("executed, and died of it", 60),
    ("killed with a write under way", 3),
    ("lifted", 30),
    ("quarantined", 70),
    ("refused before the journal, as a suspect's", 7),
    ("restored with a suspect", 7),
    ("left the lane since it fails what others execute", 2),
    ("rejected by agreement", 60),
    ("differs after it failed", 2),
    ("found unequal", 120),
    ("get_or_create found it", 160),
    ("given up in the middle when the lease was over", 40),
    ("landed behind the edge's back", 20),
    ("late execution", 400),
    ("joined the catalog lane", 20),
    ("left behind", 40),
    ("limited delete lost after its ids were durable", 120),
    ("limited delete resolved", 400),
    ("looked again under load", 100),
    ("lost after execution", 1000),
    ("lost before execution", 1000),
    ("merged run sent", 1000),
    ("missing reported", 60),
    ("overtook an older request of another lane", 800),
    ("read amid a run that is executed again", 2),
    ("read of a deleted collection", 1200),
    ("read that took its time", 1400),
    ("reads judged", 2000),
    ("refused after it was applied elsewhere", 2),
    ("reset applied", 80),
    ("waited after three failures in a row", 800),
    ("restored with doubt", 1000),
    ("run split into singles", 400),
    ("runs judged by the checker", 180),
    ("sent after the lease", 100),
    ("late write reported during a wait", 60),
    ("late write reported while a request is under way", 12),
    ("late write acted upon", 120),
    ("takeover", 200),
    ("transient error", 200),
    ("trimmed", 400),
    ("unfit", 180),
    ("unique constraint", 20),
    ("void by deletion", 200),
    ("replicated entries were held", 12),
    ("waited for writers", 1500),
    ("waited for writers in vain", 900),
    ("withdrawn", 200),
    ("withdrawn from the catalog lane", 20),
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
