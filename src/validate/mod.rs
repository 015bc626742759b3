//! `chroma-edge validate`: a check of a live deployment for operators, and a guided outage.
//!
//! Decides the course of a run: what the address leads to, the order of the checks, what is left behind, the report. It
//! is a client like any other and does not use the edge's code. It writes only to its own collections ([`client`]), and
//! each check decides what it proves ([`checks`]). See docs/validate.md.

mod checks;
mod client;
mod content;
mod endpoint;
mod findings;
mod guided;
mod interrupt;
mod options;
mod output;
mod progress;
mod report;
mod run;
mod sample;

pub use self::client::{CallError, Collections, Live, Operator, Prefixes, TestName};
pub use self::options::{Options, Task, Words, described};
pub use self::report::Report;

use std::time::Duration;

use self::checks::Check;
use self::client::{BaseUrl, DatabasePath, Deployment, RunId, Wire, WireOptions};
use self::endpoint::Endpoint;
use self::findings::{Findings, Outcome};
use self::output::ReportFile;
use self::progress::Progress;
use self::report::Left;
use self::run::{Patience, Run};
use crate::clock::{self, Timestamp};

/// The limit of one call. Longer than an edge with default settings waits for a hung instance and then tries another
/// one.
const CALL: Duration = Duration::from_secs(45);

/// A finished run, and the open file for its report.
#[derive(Debug)]
pub struct Ended {
    pub report: Report,
    file: Option<ReportFile>,
}

impl Ended {
    /// Writes the report to the requested file. The error states why it was not written. The report must have been
    /// printed before, or the collections left behind would never be named.
    pub fn write(self) -> Result<(), String> {
        self.file.map_or(Ok(()), |file| file.write(&self.report))
    }
}

/// Runs the task. The error is a mistake in the options, found before anything was written.
pub fn validate(options: &Options) -> Result<Ended, String> {
    let file = options.output.as_ref().map(ReportFile::open).transpose()?;
    let (begun, started_at) = (clock::now(), Timestamp::now());
    let id = RunId::fresh();
    let run_limit = match &options.task {
        Task::Checks(_) => options.limit,
        Task::Guided { wait, .. } => options.limit.saturating_add(wait.saturating_mul(3)),
    };
    let limits = WireOptions { call: CALL, run: run_limit };
    let place = DatabasePath::new(&options.tenant, &options.database);
    let wire = Wire::new(options.url.clone(), limits)?;
    let edge = Deployment::new(wire, place.clone(), options.token.as_deref(), &id.session())?;
    let mut left_by_other_runs = Vec::new();
    let checks = match Endpoint::ask(edge.wire()) {
        Endpoint::Active { instances, status } => {
            let views = run::views(&edge, &place, &instances, &options.instances, |url: &BaseUrl| {
                Wire::new(url.clone(), limits)
            })?;
            let patience = Patience::with(&instances, options.patience);
            let run = Run { id: id.clone(), edge: edge.clone(), instances, status, views, patience };
            interrupt::watch(edge.ledger(), reminder(&options.task));
            left_by_other_runs = others(&run);
            carry_out(&run, &options.task)?
        }
        endpoint => nothing_to_check(&options.task, endpoint.obstacle().unwrap_or_default()),
    };
    let ledger = edge.ledger();
    let left = |name: &client::OwnName| Left { collection: name.to_string(), remove: ledger.removal(name) };
    let report = Report {
        url: options.url.to_string(),
        run: id.to_string(),
        version: env!("CARGO_PKG_VERSION"),
        started_at: started_at.millis(),
        seconds: begun.elapsed().as_secs_f64(),
        passed: checks.iter().all(|one| one.verdict == findings::Verdict::Passed),
        checks,
        left_behind: ledger.left().iter().map(left).collect(),
        left_by_other_runs,
        removals_need: ledger.needs(),
    };
    Ok(Ended { report, file })
}

/// Reminds the operator to resume an instance: its outage outlasts an interrupted run.
fn reminder(task: &Task) -> Option<String> {
    match task {
        Task::Checks(_) => None,
        Task::Guided { instance, .. } => Some(format!("If you have suspended {instance}, resume it.")),
    }
}

fn carry_out(run: &Run, task: &Task) -> Result<Vec<Outcome>, String> {
    match task {
        Task::Checks(chosen) => {
            let progress = Progress::of(chosen.len());
            let one = |(n, check): (usize, &Check)| {
                progress.show(n, check.name, check.shows);
                check.carry_out(run)
            };
            let mut outcomes = chosen.iter().enumerate().map(one).collect();
            checks::look_again(run, &mut outcomes);
            progress.end();
            Ok(outcomes)
        }
        Task::Guided { instance, wait } => guided::walk(run, instance, *wait),
    }
}

/// Reports the reason as a failure of `health`; everything else is skipped.
fn nothing_to_check(task: &Task, why: &str) -> Vec<Outcome> {
    let Task::Checks(checks) = task else { return vec![Outcome::skipped(guided::NAME, why)] };
    let outcome = |check: &Check| {
        if check.name != "health" {
            return Outcome::skipped(check.name, why);
        }
        let mut findings = Findings::default();
        findings.fail(why);
        findings.conclude(check.name, Duration::ZERO)
    };
    checks.iter().map(outcome).collect()
}

/// Finds what other runs left behind, by the names in the list of collections. An unreadable list does not make the run
/// fail.
fn others(run: &Run) -> Vec<Left> {
    let listed = checks::listed(run).unwrap_or_default();
    let left = |name: String| Left { remove: run.edge.ledger().removal_of(&name), collection: name };
    let known: Vec<&str> = checks::ALL.iter().map(|check| check.name).chain([guided::NAME]).collect();
    let made = |name: &String| client::check_in(name).is_some_and(|check| known.contains(&check));
    listed.into_iter().map(|(name, _)| name).filter(made).map(left).collect()
}
