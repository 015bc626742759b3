//! Counts the outcomes of attempts, for metrics. Decides only how outcomes are grouped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::ids::InstanceId;
use crate::instance::Registry;
use crate::metrics::{self, AttemptCounters, AttemptOutcome, AttemptPurpose};
use crate::order::{Outcome, Purpose};

/// The counters of every instance that had an attempt.
#[derive(Default)]
pub(super) struct Counters(Mutex<BTreeMap<InstanceId, Arc<AttemptCounters>>>);

impl Counters {
    /// Counts an attempt that has ended on the instance.
    pub fn ended(
        &self,
        (registry, instance): (&Registry, InstanceId),
        (purpose, outcome): (Purpose, &Outcome),
        took: Duration,
    ) {
        let purpose = match purpose {
            Purpose::Execute => AttemptPurpose::Execute,
            Purpose::Replicate | Purpose::ExpectRefusal => AttemptPurpose::Replicate,
        };
        self.of(registry, instance).ended(purpose, outcome_of(outcome), took);
    }

    fn of(&self, registry: &Registry, instance: InstanceId) -> Arc<AttemptCounters> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(metrics::attempts_on(registry.name(instance).as_str()));
        Arc::clone(known.entry(instance).or_insert_with(new))
    }
}

/// Returns what an outcome counts as.
pub(super) fn outcome_of(outcome: &Outcome) -> AttemptOutcome {
    match outcome {
        Outcome::Applied(_) | Outcome::Void => AttemptOutcome::Applied,
        Outcome::Rejected { .. } => AttemptOutcome::Rejected,
        Outcome::NotSent { .. } => AttemptOutcome::NotSent,
        Outcome::InDoubt { .. } | Outcome::Died { .. } => AttemptOutcome::InDoubt,
        Outcome::Failed { .. } => AttemptOutcome::Failed,
        Outcome::Unfit => AttemptOutcome::Unfit,
    }
}
