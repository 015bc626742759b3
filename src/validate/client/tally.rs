//! This run's own count of its writes, to compare with the deployment's.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::wire::Answer;

/// The writes of this run.
#[derive(Clone, Debug, Default)]
pub struct Count {
    /// Transactions named by answers.
    pub transactions: BTreeSet<String>,
    /// Writes answered with 2xx that named no transaction.
    pub unnamed: Vec<String>,
    /// Writes without an answer: each may or may not be a transaction.
    pub unanswered: usize,
}

/// The running count, shared by all threads.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Count>);

impl Tally {
    pub(super) fn answered(&self, answer: &Answer) {
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The edge itself reports that it may have been journaled.
        if answer.json().is_ok_and(|body| body["recovery"] == "unknown") {
            count.unanswered += 1;
            return;
        }
        match answer.header("transaction-id") {
            Some(_) if answer.header("idempotent-replayed").is_some() => {}
            Some(id) => drop(count.transactions.insert(id.to_owned())),
            None if (200..300).contains(&answer.status) => count.unnamed.push(answer.request.clone()),
            // Refused before it was journaled, so there is no transaction.
            None => {}
        }
    }

    pub(super) fn unanswered(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).unanswered += 1;
    }

    /// Returns the count so far.
    pub fn count(&self) -> Count {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
