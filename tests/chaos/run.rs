//! One run from its plan to its report: start, load, faults, healing, and the checks at the end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::clock::Clock;
use super::driver::{Disturbance, Driver, Part};
use super::history::Operation;
use super::load::Load;
use super::loss::Tampered;
use super::machine::Machine;
use super::marks::{Marks, Met};
use super::plan::{Faults, Plan};
use super::report::{Report, Violation, tallies};
use super::schedule::Schedule;
use super::system::System;
use super::{at_least, deaths, judge, keep, liveness, numbers};
use testkit::Edge;
use testkit::cluster::TENANT;
use testkit::content::{self, Content};
use testkit::fold::{self, Transaction};

/// How long clients go on after the last fault.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// Runs the plan. Everything wrong is in the report, and nothing is left running.
pub fn run(plan: &Plan) -> Report {
    let schedule = Schedule::draw(plan);
    println!("{schedule}");
    let began = Instant::now();
    let mut system = System::start(plan);
    let clock = Clock::start();
    let machine = Machine::watch(clock, &std::env::temp_dir());
    let marks = Arc::new(Marks::default());
    let load = Load::start(system.doors(), clock, plan, &marks);
    let least = if matches!(plan.faults, Faults::Drawn) { at_least::deaths(plan) } else { 0 };
    let mut done = Driver::new(&mut system, clock, &marks, plan.seed).run(&schedule, least);
    // If there were few faults, clients still get their full time.
    std::thread::sleep(plan.lasting.saturating_sub(Duration::from_nanos(clock.now())));
    done.disturbances.extend(healed(&mut system, clock));
    std::thread::sleep(AFTERWARDS);
    let (mut history, wrong) = load.finish();
    history.append(&mut done.operations);
    let still = machine.finish();
    let mut findings = Findings::default();
    findings.figures.push(("the machine stood still, times", (still.len() / 2).to_string()));
    done.disturbances.extend(still);
    findings.violations.extend(wrong.into_iter().map(|what| Violation::of("run", "Client", what)));
    let died = marks.deaths();
    findings.figures.push(("deaths of marked writes", died.len().to_string()));
    let deaths = deaths::noted(died, &done.disturbances);
    findings.figures.push(("that the edge could note", deaths.len().to_string()));
    let journal = look(&mut findings, plan, &mut system, (&history, &deaths, &done.tampered));
    done.disturbances.append(&mut done.wounds);
    let (slow, judged) = liveness::check(&history, &done.disturbances, schedule.instances);
    findings.violations.extend(slow);
    findings.figures.push(("operations that had to finish", judged.to_string()));
    findings.violations.extend(complaints(&system));
    let operations = tallies(&history);
    match &plan.faults {
        Faults::Drawn => {
            findings.violations.extend(at_least::missing(
                plan,
                judged,
                (&operations, deaths.len()),
                &done.faults,
                &done.crashes,
            ));
        }
        Faults::Given { steps, .. } => findings.violations.extend(at_least::undone(steps, &done.faults)),
    }
    let mut report = Report {
        plan: plan.clone(),
        instances: schedule.instances,
        took: began.elapsed(),
        operations,
        faults: done.faults.clone(),
        crashes: done.crashes.clone(),
        figures: findings.figures,
        violations: findings.violations,
        kept: None,
    };
    if !report.violations.is_empty() {
        let kept = keep::keep(&report, &schedule, &done, &history, &journal, &system);
        report.kept = Some(kept.map_or_else(|error| format!("nowhere: {error}"), |dir| dir.display().to_string()));
    }
    println!("{report}");
    report
}

#[derive(Default)]
struct Findings {
    violations: Vec<Violation>,
    figures: Vec<(&'static str, String)>,
}

impl Findings {
    /// Reports a failed step as a violation, and lets the run go on.
    fn attempt<T>(&mut self, kind: &str, what: impl FnOnce() -> T) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(what)) {
            Ok(done) => Some(done),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                self.violations.push(Violation::of("G2", kind, text.unwrap_or_else(|| "a panic".to_owned())));
                None
            }
        }
    }
}

/// Repairs everything. Nothing is promised meanwhile.
fn healed(system: &mut System, clock: Clock) -> Vec<Disturbance> {
    let from = clock.now();
    system.heal();
    let to = clock.now();
    let parts = (0..system.instances()).map(Part::Instance).chain([Part::Edge, Part::Journal]);
    parts.map(|part| Disturbance { part, from, to, what: "healing".to_owned() }).collect()
}

/// Performs the checks at the end, and returns the journal.
fn look(
    findings: &mut Findings,
    plan: &Plan,
    system: &mut System,
    (history, deaths, tampered): (&[Operation], &[Met], &[Tampered]),
) -> Vec<Transaction> {
    let waited = Instant::now();
    let active = system.await_sync(plan.patience);
    findings.figures.push(("caught up after the end", format!("{:.1} s", waited.elapsed().as_secs_f64())));
    let [made, repaired] = system.copies_healed();
    findings.figures.push(("copies made anew", made.to_string()));
    findings.figures.push(("copies repaired", repaired.to_string()));
    let system = &*system;
    let active = match active {
        Ok(active) => Some(active),
        Err(why) => {
            findings.violations.push(Violation::of("G2", "NotInSync", why));
            system.active()
        }
    };
    let clients = active.map(|index| system.edges[index].client());
    if let Some(edge) = &clients {
        findings.violations.extend(numbers::check(edge, plan.patience, &|| journal(system)));
    }
    let journal = findings.attempt("Journal", || journal(system)).unwrap_or_default();
    findings.figures.push(("entries in the journal", journal.len().to_string()));
    if let Some(postgres) = &system.postgres {
        let epoch = postgres.sql("SELECT epoch FROM chroma_edge.journal");
        findings.figures.push(("epochs of the journal", epoch));
        let took = |edge: &Edge| edge.log().matches("this edge holds the journal predecessor=MayLinger").count();
        findings.figures.push(("takeovers", system.edges.iter().map(took).sum::<usize>().to_string()));
    }
    let mut places: Vec<(String, Content)> = Vec::new();
    for index in 0..system.instances() {
        let held = findings.attempt("Content", || without_hidden(Content::of(&system.server(index), TENANT)));
        places.extend(held.map(|held| (format!("instance {index}"), held)));
    }
    let edge = clients.and_then(|edge| findings.attempt("Content", || Content::of(&edge, TENANT)));
    places.extend(edge.map(|held| ("the edge".to_owned(), held)));
    if let Some(expected) = findings.attempt("Fold", || fold(system)) {
        findings.figures.push(("records, each place", expected.record_count().to_string()));
        for (who, held) in &places {
            let found = content::diff(&expected, held).into_iter();
            let what = found.map(|one| format!("the journal's fold | {who}: {one}"));
            findings.violations.extend(what.map(|what| Violation::of("G2", "Content", what)));
        }
    }
    let judgement = judge::judge(history, &journal, &places, deaths, tampered);
    findings.violations.extend(judgement.violations);
    findings.figures.push(("reads emptied by a drop", judgement.emptied.to_string()));
    findings.figures.push(("reads of tampered copies", judgement.tampered.to_string()));
    if let Some(summary) = judgement.summary {
        findings.figures.push(("quarantined", summary.quarantined.to_string()));
        findings.figures.push(("reads checked", summary.reads.to_string()));
        findings.figures.push(("unknown, and applied", summary.unknown_applied.to_string()));
        findings.figures.push(("records compared", summary.records_compared.to_string()));
    }
    journal
}

/// Removes the unfinished copies of a killed edge: they belong to no client, and are deleted before the next copy is
/// made.
fn without_hidden(mut held: Content) -> Content {
    held.collections.retain(|key, _| !key.name.starts_with("chroma-edge."));
    held
}

/// Returns panics and ERROR lines that no edge should have logged.
fn complaints(system: &System) -> Vec<Violation> {
    let mut complaints = Vec::new();
    for edge in &system.edges {
        let surprises = edge.surprises();
        surprises.iter().for_each(|line| edge.announce(line));
        complaints.extend(surprises.into_iter().filter(|line| !is_expected(line)));
    }
    complaints.into_iter().map(|line| Violation::of("run", "Log", format!("in an edge's log: {line}"))).collect()
}

/// Returns whether this ERROR line is normal for a correct edge.
fn is_expected(line: &str) -> bool {
    let expected = [
        "this edge stops",
        "has taken over the journal",
        // Results of losses of data.
        "holds somebody else's data",
        "lacks collections that it had",
        "an operator decides",
    ];
    expected.iter().any(|text| line.contains(text))
}

fn journal(system: &System) -> Vec<Transaction> {
    match &system.postgres {
        Some(postgres) => fold::transactions_of(postgres),
        None => fold::transactions(&system.edges[0].journal_path()),
    }
}

/// Returns what a single server holds after executing the journal's entries one after the other.
fn fold(system: &System) -> Content {
    match &system.postgres {
        Some(postgres) => fold::fold_of(postgres, TENANT),
        None => fold::fold(&system.edges[0].journal_path(), TENANT),
    }
}
