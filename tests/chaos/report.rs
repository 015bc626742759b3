//! What a run found, and its table.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::history::{Kind, Operation};
use super::plan::Plan;
use testkit::checker::history::Outcome;

/// One broken promise, or one thing that the run should have done and did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The promise, as in docs/promises.md, or `run`.
    pub promise: String,
    /// The kind of breach.
    pub kind: String,
    pub what: String,
}

const AT_LEAST: &str = "AtLeast";

impl Violation {
    pub fn of(promise: &str, kind: &str, what: impl Into<String>) -> Violation {
        Violation { promise: promise.to_owned(), kind: kind.to_owned(), what: what.into() }
    }

    /// Something happened too rarely for the run to prove anything about it. Breaks no promise.
    pub fn at_least(what: String) -> Violation {
        Violation::of("run", AT_LEAST, what)
    }

    pub fn is_at_least(&self) -> bool {
        self.kind == AT_LEAST
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.promise, self.kind, self.what)
    }
}

/// For one kind of operation: the number of each outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub acknowledged: u64,
    pub refused: u64,
    pub unknown: u64,
    /// Sent more than once under one id.
    pub repeated: u64,
    pub longest: Duration,
}

/// Returns the outcomes of the operations, by kind.
pub fn tallies(history: &[Operation]) -> BTreeMap<Kind, Tally> {
    let mut tallies: BTreeMap<Kind, Tally> = BTreeMap::new();
    for operation in history {
        let tally = tallies.entry(operation.kind).or_default();
        match operation.outcome {
            Outcome::Refused(_) => tally.refused += 1,
            Outcome::Unknown(_) => tally.unknown += 1,
            _ => tally.acknowledged += 1,
        }
        tally.repeated += u64::from(operation.sent > 1);
        tally.longest = tally.longest.max(Duration::from_nanos(operation.ended - operation.invoked));
    }
    tallies
}

/// Everything that a run reports.
#[derive(Clone, Debug)]
pub struct Report {
    pub plan: Plan,
    pub instances: usize,
    pub took: Duration,
    pub operations: BTreeMap<Kind, Tally>,
    pub faults: BTreeMap<(&'static str, &'static str), u64>,
    pub crashes: BTreeMap<&'static str, u64>,
    /// Figures by name, in the order in which they are shown.
    pub figures: Vec<(&'static str, String)>,
    pub violations: Vec<Violation>,
    /// Where history, schedule, journal and logs are kept, if they are.
    pub kept: Option<String>,
}

impl Report {
    /// Returns whether nothing is wrong except that too little happened.
    pub fn only_proves_too_little(&self) -> bool {
        !self.violations.is_empty() && self.violations.iter().all(Violation::is_at_least)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { seed, store, .. } = &self.plan;
        writeln!(f, "chaos: seed {seed}, {store}, {} instances, {:.0} s", self.instances, self.took.as_secs_f64())?;
        writeln!(
            f,
            "  {:20}{:>8}{:>9}{:>9}{:>10}{:>10}",
            "operation", "done", "refused", "unknown", "repeated", "longest"
        )?;
        for (kind, tally) in &self.operations {
            let Tally { acknowledged, refused, unknown, repeated, longest } = tally;
            let longest = format!("{:.2} s", longest.as_secs_f64());
            writeln!(f, "  {:20}{acknowledged:>8}{refused:>9}{unknown:>9}{repeated:>10}{longest:>10}", kind.as_str())?;
        }
        for ((target, fault), count) in &self.faults {
            writeln!(f, "  fault  {:32}{count:>6}", format!("{target}, {fault}"))?;
        }
        for (point, count) in &self.crashes {
            writeln!(f, "  crash  {point:32}{count:>6}")?;
        }
        for (name, value) in &self.figures {
            writeln!(f, "  {name:32}{value:>14}")?;
        }
        writeln!(f, "  {:32}{:>14}", "violations", self.violations.len())?;
        let mut kinds: BTreeMap<(&str, &str), Vec<&Violation>> = BTreeMap::new();
        for violation in &self.violations {
            kinds.entry((&violation.promise, &violation.kind)).or_default().push(violation);
        }
        for ((promise, kind), all) in kinds {
            writeln!(f, "  {} of {promise}, {kind}; the first:", all.len())?;
            all.iter().take(3).try_for_each(|one| writeln!(f, "    {}", one.what.replace('\n', "\n    ")))?;
        }
        if let Some(kept) = &self.kept {
            writeln!(f, "  kept in {kept}; again: {}", self.plan.again())?;
        }
        Ok(())
    }
}
