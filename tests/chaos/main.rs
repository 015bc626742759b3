//! The chaos run: the real edge, real servers, a real journal, and faults drawn from a seed. See docs/proof.md.
#![allow(clippy::expect_used, reason = "a test may fail by panic")]

mod at_least;
mod clock;
mod data;
mod deaths;
mod driver;
mod history;
mod judge;
mod keep;
#[cfg(test)]
mod link_tests;
mod liveness;
mod load;
mod loss;
mod machine;
mod marks;
mod numbers;
mod plan;
mod poison;
mod proof_of_proof;
mod proof_points;
mod report;
mod requests;
mod run;
mod schedule;
mod system;
#[cfg(test)]
mod trap_tests;

use std::time::Duration;

use plan::{Plan, Store};
use report::Report;

const MINUTE: Duration = Duration::from_secs(60);

#[track_caller]
fn assert_clean(report: &Report) {
    assert!(report.violations.is_empty(), "{} violations: {:?}", report.violations.len(), report.kept);
}

/// Repeats a run once if too little happened in it because the machine is slow. A broken promise is never retried.
#[track_caller]
fn a_minute_is_clean(store: Store) {
    let plan = Plan::new(1, MINUTE, store);
    let report = run::run(&plan);
    assert_clean(&if report.only_proves_too_little() { run::run(&plan) } else { report });
}

#[test]
fn sixty_seconds_on_sqlite() {
    a_minute_is_clean(Store::Sqlite);
}

#[test]
fn sixty_seconds_on_postgres() {
    a_minute_is_clean(Store::Postgres);
}

/// `make chaos [SEED=n] [SECONDS=n] [STORE=sqlite|postgres]`
#[test]
#[ignore = "run by make chaos"]
fn as_told() {
    assert_clean(&run::run(&Plan::told()));
}
