//! The least number of times that each thing must happen in a run, per minute. If something happens less often, the run
//! proves nothing about it.

use std::collections::BTreeMap;

use super::history::Kind;
use super::loss::Loss;
use super::plan::{Plan, Store};
use super::proof_points::{CrashPoint, POINTS};
use super::report::{Tally, Violation};
use super::schedule::Step;

/// Completed operations per minute, each with its proper outcome: done, or refused where Chroma refuses it.
pub const OPERATIONS: [(Kind, u64); 18] = [
    (Kind::Add, 40),
    (Kind::Upsert, 40),
    (Kind::Update, 40),
    (Kind::DeleteByIds, 10),
    (Kind::DeleteWhere, 10),
    (Kind::DeleteLimited, 5),
    // Once all names are taken, dropped ones are created again.
    (Kind::Create, 1),
    (Kind::Recreate, 1),
    (Kind::Rename, 2),
    (Kind::Modify, 5),
    (Kind::Drop, 3),
    (Kind::BadWrite, 10),
    (Kind::Read, 150),
    (Kind::ReadGone, 5),
    (Kind::ReadAny, 15),
    (Kind::Count, 15),
    (Kind::Query, 10),
    (Kind::List, 10),
];

/// Writes repeated under their id, per minute.
pub const REPEATED: u64 = 5;
/// Writes whose outcome stayed unknown, per minute.
pub const UNKNOWN: u64 = 5;

/// Faults that took effect, per minute, whatever their target.
pub const FAULTS: [(&str, u64); 17] = [
    ("refuse", 1),
    ("delay", 1),
    ("reset", 1),
    ("black hole", 2),
    ("half-close", 2),
    ("cut response", 2),
    ("cut request", 1),
    ("kill", 2),
    ("stop", 2),
    ("slow start", 2),
    ("poison", 2),
    ("failure", 1),
    ("wipe", 1),
    ("rollback", 1),
    ("swap", 1),
    ("damage index", 1),
    ("tamper", 1),
];

/// Of each crash point, per minute. Points that need a second edge count only if there is one.
pub const CRASHES: u64 = 1;

/// Operations that had to finish because the faults were tolerable.
pub const JUDGED: u64 = 200;

/// Deaths of marked writes that an edge could note, per minute.
const DEATHS: u64 = 1;

/// Returns how many deaths of marked writes an edge must have been able to note.
pub fn deaths(plan: &Plan) -> usize {
    usize::try_from(DEATHS * plan.minutes()).expect("minutes")
}

/// Returns what happened too rarely.
pub fn missing(
    plan: &Plan,
    judged: u64,
    (operations, deaths): (&BTreeMap<Kind, Tally>, usize),
    faults: &BTreeMap<(&'static str, &'static str), u64>,
    crashes: &BTreeMap<&'static str, u64>,
) -> Vec<Violation> {
    let minutes = plan.minutes();
    let mut missing = Vec::new();
    let mut need = |what: &str, found: u64, least: u64| {
        if found < least * minutes {
            missing.push(Violation::at_least(format!("{what}: {found} times, {} are needed", least * minutes)));
        }
    };
    for (kind, least) in OPERATIONS {
        let tally = operations.get(&kind).copied().unwrap_or_default();
        let found = if kind == Kind::BadWrite { tally.refused } else { tally.acknowledged };
        need(kind.as_str(), found, least);
    }
    need("repeated writes", operations.values().map(|tally| tally.repeated).sum(), REPEATED);
    need("unknown outcomes", operations.values().map(|tally| tally.unknown).sum(), UNKNOWN);
    need("operations under tolerable faults", judged, JUDGED);
    need("deaths that could be noted", deaths as u64, DEATHS);
    let drawn = |fault: &str| plan.loses_data() || !Loss::ALL.iter().any(|loss| loss.as_str() == fault);
    for (fault, least) in FAULTS.into_iter().filter(|(fault, _)| drawn(fault)) {
        let found = faults.iter().filter(|((_, kind), _)| *kind == fault).map(|(_, count)| count).sum();
        need(fault, found, least);
    }
    let reached = |point: &CrashPoint| plan.loses_data() || !point.is_in_a_copy();
    for point in
        POINTS.into_iter().filter(reached).filter(|point| plan.store == Store::Postgres || !point.needs_two_edges())
    {
        need(&format!("crash point {point}"), crashes.get(point.as_str()).copied().unwrap_or(0), CRASHES);
    }
    missing
}

/// Returns a violation if some of the given faults took no effect.
pub fn undone(steps: &[Step], faults: &BTreeMap<(&'static str, &'static str), u64>) -> Option<Violation> {
    let found: u64 = faults.values().sum();
    let what = || format!("of {} given faults {found} took effect", steps.len());
    (found < steps.len() as u64).then(|| Violation::at_least(what()))
}
