//! The checks, by name and in order, and how one is run.
//!
//! Decides what happens to a check's collections: removed if it passed, kept if it failed. Each check decides what it
//! proves.

mod collections;
mod concurrency;
mod delete;
mod documents;
mod health;
mod metadata;
mod reads;
mod same;
mod shown;
mod sync;
mod transactions;

pub use self::same::assert_everywhere;
pub use self::shown::{listed, whole};

use super::findings::{Findings, Outcome, Stop};
use super::run::Run;
use crate::clock;

/// A check.
#[derive(Clone, Copy)]
pub struct Check {
    pub name: &'static str,
    /// What the check shows, in a few words.
    pub shows: &'static str,
    carry_out: fn(&Run, &mut Findings) -> Result<(), Stop>,
}

/// All checks. The last one counts the writes of the others.
pub const ALL: [Check; 9] = [
    Check {
        name: health::NAME,
        shows: "every instance healthy, nothing diverged, the journal there",
        carry_out: health::run,
    },
    Check {
        name: "collections",
        shows: "created on every instance, mapped, found, removed",
        carry_out: collections::run,
    },
    Check { name: "documents", shows: "add, get, query, update, upsert, by id and by name", carry_out: documents::run },
    Check { name: "metadata", shows: "every type round-trips, filters find", carry_out: metadata::run },
    Check { name: "reads", shows: "every instance serves, and shows what was just written", carry_out: reads::run },
    Check { name: "sync", shows: "every instance holds the same, record by record", carry_out: sync::run },
    Check { name: "delete", shows: "one document group goes everywhere, the others stay", carry_out: delete::run },
    Check {
        name: "concurrency",
        shows: "many creations at once, each logged and reachable",
        carry_out: concurrency::run,
    },
    Check { name: "transactions", shows: "as many as were written, all final", carry_out: transactions::run },
];

/// Returns the checks with these names, or all for an empty list. The error is an unknown name.
pub fn named(names: &[String]) -> Result<Vec<Check>, String> {
    if let Some(unknown) = names.iter().find(|name| ALL.iter().all(|check| check.name != name.as_str())) {
        return Err(unknown.clone());
    }
    let wanted = |check: &&Check| names.is_empty() || names.iter().any(|name| name == check.name);
    Ok(ALL.iter().filter(wanted).copied().collect())
}

impl Check {
    /// Runs the check.
    pub fn carry_out(&self, run: &Run) -> Outcome {
        let begun = clock::now();
        run.patience.renew();
        let mut findings = Findings::default();
        if let Err(Stop(why)) = (self.carry_out)(run, &mut findings) {
            findings.fail(why);
        }
        if findings.is_clean() {
            remove(run, self.name, &mut findings);
        }
        findings.conclude(self.name, begun.elapsed())
    }
}

/// Examines the deployment once more after the checks. Anything that went wrong meanwhile makes `health` fail, whether
/// or not it was among the checks.
pub fn look_again(run: &Run, outcomes: &mut Vec<Outcome>) {
    let begun = clock::now();
    let lost = health::at_the_end(run);
    if lost.is_empty() {
        return;
    }
    match outcomes.iter_mut().find(|one| one.check == health::NAME) {
        Some(health) => health.fail(lost),
        None => {
            let mut findings = Findings::default();
            lost.into_iter().for_each(|why| findings.fail(why));
            outcomes.push(findings.conclude(health::NAME, begun.elapsed()));
        }
    }
}

/// Removes the collections of the check.
pub fn remove(run: &Run, check: &str, findings: &mut Findings) {
    for name in run.edge.ledger().left_by(check) {
        if let Err(error) = run.edge.remove(&name) {
            findings.fail(format!("{name} could not be removed: {error}"));
        }
    }
}
