//! One run from its plan to its report: start, load, faults, healing, and the questions at the end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::clock::Clock;
use super::driver::Driver;
use super::load::Load;
use super::plan::Plan;
use super::report::{Report, Violation, tallies};
use super::schedule::Schedule;
use super::system::System;
use super::{at_least, keep};
use crate::common::cluster::TENANT;
use crate::common::content::{self, Content};
use crate::common::fold::{self, Transaction};

/// Long enough for any backlog of a run, on a busy machine.
const CATCH_UP: Duration = Duration::from_secs(120);
/// How long clients go on after the last fault.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// Runs it. Whatever is wrong is in the report; nothing is left running.
pub fn run(plan: &Plan) -> Report {
    let schedule = Schedule::draw(plan);
    println!("{schedule}");
    let began = Instant::now();
    let mut system = System::start(plan);
    let clock = Clock::start();
    let load = Load::start(system.doors(), clock, plan.seed, plan.workers);
    let done = Driver::new(&mut system, clock).run(&schedule);
    system.heal();
    std::thread::sleep(AFTERWARDS);
    let mut violations = Vec::new();
    let (history, wrong) = load.finish();
    violations.extend(wrong.into_iter().map(|what| Violation::of("run", what)));
    let active = system.await_sync(CATCH_UP);
    let journal = attempt(&mut violations, "run", || journal(&system)).unwrap_or_default();
    let mut figures = vec![("entries in the journal", journal.len().to_string())];
    match active {
        Ok(active) => {
            let found = attempt(&mut violations, "G2", || converged(&system, active));
            if let Some((content, differences)) = found {
                figures.push(("records compared, each place", content.record_count().to_string()));
                violations.extend(differences);
            }
        }
        Err(why) => violations.push(Violation::of("G2", why)),
    }
    for edge in &system.edges {
        let surprises = edge.surprises();
        surprises.iter().for_each(|line| edge.announce(line));
        let bad = surprises.into_iter().filter(|line| !is_expected(line));
        violations.extend(bad.map(|line| Violation::of("run", format!("in the edge's log: {line}"))));
    }
    let operations = tallies(&history);
    violations.extend(at_least::missing(plan, &operations, &done.faults, &done.crashes));
    let (faults, crashes) = (done.faults.clone(), done.crashes.clone());
    let plan = plan.clone();
    let (instances, took) = (schedule.instances, began.elapsed());
    let mut report = Report { plan, instances, took, operations, faults, crashes, figures, violations, kept: None };
    if !report.violations.is_empty() {
        let kept = keep::keep(&report, &schedule, &done, &history, &journal, &system);
        report.kept = Some(kept.map_or_else(|error| format!("nowhere: {error}"), |dir| dir.display().to_string()));
    }
    println!("{report}");
    report
}

/// ERROR lines of an edge that does as it should.
fn is_expected(line: &str) -> bool {
    line.contains("this edge stops") || line.contains("has taken over the journal")
}

fn journal(system: &System) -> Vec<Transaction> {
    match &system.postgres {
        Some(postgres) => fold::transactions_of(postgres),
        None => fold::transactions(&system.edges[0].journal_path()),
    }
}

/// What everybody should hold, and where they do not.
fn converged(system: &System, active: usize) -> (Content, Vec<Violation>) {
    let expected = match &system.postgres {
        Some(postgres) => fold::fold_of(postgres, TENANT),
        None => fold::fold(&system.edges[0].journal_path(), TENANT),
    };
    let mut differences = Vec::new();
    let mut compare = |who: String, held: Content| {
        let found = content::diff(&expected, &held);
        differences.extend(found.iter().map(|one| Violation::of("G2", format!("the journal's fold | {who}: {one}"))));
    };
    for (index, server) in system.servers.iter().enumerate() {
        compare(format!("instance {index}"), Content::of(&server.client(), TENANT));
    }
    compare("the edge".to_owned(), Content::of(&system.edges[active].client(), TENANT));
    (expected, differences)
}

/// What cannot be done at all is a violation, not the end of the run.
fn attempt<T>(violations: &mut Vec<Violation>, promise: &str, what: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(what)) {
        Ok(done) => Some(done),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            violations.push(Violation::of(promise, text.unwrap_or_else(|| "a panic".to_owned())));
            None
        }
    }
}
