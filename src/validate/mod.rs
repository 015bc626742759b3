//! `chroma-edge validate`: a check of a live deployment that any operator can run, and a guided outage.
//!
//! Decides the course of a run: what the address leads to, the checks in their order, what is left, the report. It is a
//! client like any other and knows nothing of the edge's code; what it writes is its own ([`client`]), and what each
//! check proves is the check's ([`checks`]). See docs/validate.md.

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

/// The limit of one call: longer than an edge with its defaults waits for a hung instance and then tries another.
const CALL: Duration = Duration::from_secs(45);

/// A run that is over, and the file that waits for its report.
#[derive(Debug)]
pub struct Ended {
    pub report: Report,
    file: Option<ReportFile>,
}

impl Ended {
    /// Writes the report where it was asked for. The error says why it is not there: what the report says must have
    /// been shown before, or what is left would never be named.
    pub fn write(self) -> Result<(), String> {
        self.file.map_or(Ok(()), |file| file.write(&self.report))
    }
}

/// Runs what was asked for. The error is a mistake in what was asked, found before anything was written.
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

/// An outage outlives the run that was interrupted.
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

/// Health fails for that reason, and nothing else can begin.
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

/// What other runs have left, by the names in the list of collections. A list that cannot be read is not why a run fails.
fn others(run: &Run) -> Vec<Left> {
    let listed = checks::listed(run).unwrap_or_default();
    let left = |name: String| Left { remove: run.edge.ledger().removal_of(&name), collection: name };
    let known: Vec<&str> = checks::ALL.iter().map(|check| check.name).chain([guided::NAME]).collect();
    let made = |name: &String| client::check_in(name).is_some_and(|check| known.contains(&check));
    listed.into_iter().map(|(name, _)| name).filter(made).map(left).collect()
}
