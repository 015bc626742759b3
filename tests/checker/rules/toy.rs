//! Collections of numbers by name, and shorthand for writing runs.

use std::collections::{BTreeMap, BTreeSet};

use testkit::checker::history::{Entry, Lifetime, Outcome, Read, Run, Semantics, Shown, Status, Tick, Verdict, Write};
use testkit::checker::{Breach, Findings, check};

pub const CATALOG: &str = "catalog";

#[derive(Clone, Debug, PartialEq)]
pub enum Toy {
    Put(&'static str, u64),
    Remove(&'static str),
    /// Removes odd values. What it removes depends on its position in the order.
    RemoveOdd,
    Create(String),
    Drop(String),
}

pub type State = BTreeMap<&'static str, u64>;

pub struct Numbers;

impl Semantics for Numbers {
    type Write = Toy;
    type State = State;

    fn apply(&self, state: &mut State, write: &Toy) {
        match write {
            Toy::Put(name, value) => {
                state.insert(name, *value);
            }
            Toy::Remove(name) => {
                state.remove(name);
            }
            Toy::RemoveOdd => state.retain(|_, value| *value % 2 == 0),
            Toy::Create(_) | Toy::Drop(_) => {}
        }
    }

    fn lifetimes(&self, write: &Toy) -> Vec<Lifetime> {
        match write {
            Toy::Create(lane) => vec![Lifetime::Begins(lane.clone())],
            Toy::Drop(lane) => vec![Lifetime::Ends(lane.clone())],
            Toy::Put(..) | Toy::Remove(_) | Toy::RemoveOdd => Vec::new(),
        }
    }

    fn records(&self, state: &State) -> BTreeSet<String> {
        state.keys().map(|name| (*name).to_owned()).collect()
    }
}

pub type ToyRun = Run<Toy, State>;

/// Adds an acknowledged write of "lane x" with its applied entry.
pub fn acked(run: &mut ToyRun, token: &str, from: Tick, to: Tick, write: Toy) {
    acked_in(run, "x", token, from, to, write);
}

pub fn acked_in(run: &mut ToyRun, lane: &str, token: &str, from: Tick, to: Tick, write: Toy) {
    told(run, token, from, to, Outcome::Acknowledged);
    entry_in(run, lane, token, Verdict::Applied, Status::Done, write);
}

pub fn told(run: &mut ToyRun, token: &str, invoked: Tick, ended: Tick, outcome: Outcome) {
    run.writes.push(Write { token: token.to_owned(), invoked, ended, outcome });
}

pub fn refused() -> Outcome {
    Outcome::Refused("400".to_owned())
}

pub fn unknown() -> Outcome {
    Outcome::Unknown("reset".to_owned())
}

/// Adds an entry of "lane x" after all others.
pub fn entry(run: &mut ToyRun, token: &str, verdict: Verdict, status: Status, write: Toy) {
    entry_in(run, "x", token, verdict, status, write);
}

pub fn entry_in(run: &mut ToyRun, lane: &str, token: &str, verdict: Verdict, status: Status, write: Toy) {
    let seq = run.journal.last().map_or(0, |last| last.seq) + 1;
    run.journal.push(Entry { seq, token: token.to_owned(), lane: lane.to_owned(), verdict, status, write });
}

pub fn content(records: &[(&'static str, u64)]) -> Shown<State> {
    Shown::Content(records.iter().copied().collect())
}

pub fn read(run: &mut ToyRun, invoked: Tick, ended: Tick, shown: Shown<State>) {
    run.reads.push(Read { lane: "x".to_owned(), invoked, ended, shown });
}

pub fn instance(run: &mut ToyRun, name: &str, lanes: &[(&str, &[(&'static str, u64)])]) {
    let state = |records: &[(&'static str, u64)]| records.iter().copied().collect();
    let held = lanes.iter().map(|(lane, records)| ((*lane).to_owned(), state(records))).collect();
    run.instances.push((name.to_owned(), held));
}

#[track_caller]
pub fn passes(run: &ToyRun) -> Findings {
    let findings = check(&Numbers, run);
    assert!(findings.violations.is_empty(), "{findings}");
    findings
}

/// Checks that there is exactly one violation, of this kind, with evidence if it has a lane.
#[track_caller]
pub fn caught(run: &ToyRun, breach: Breach) -> String {
    let findings = check(&Numbers, run);
    let kinds: Vec<Breach> = findings.violations.iter().map(|violation| violation.breach).collect();
    assert_eq!(kinds, [breach], "{findings}");
    findings.violations[0].to_string()
}
