//! What this run has written, by its own count: what the deployment's accounting is compared with.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use super::wire::Answer;

/// The writes of this run.
#[derive(Clone, Debug, Default)]
pub struct Count {
    /// Transactions that answers named.
    pub transactions: BTreeSet<String>,
    /// Writes that were answered 2xx without naming one.
    pub unnamed: Vec<String>,
    /// Writes that got no answer: each may be a transaction or none.
    pub unanswered: usize,
}

/// Counts while the run goes on, from every thread.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Count>);

impl Tally {
    pub(super) fn answered(&self, answer: &Answer) {
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Perhaps journaled, says the edge itself.
        if answer.json().is_ok_and(|body| body["recovery"] == "unknown") {
            count.unanswered += 1;
            return;
        }
        match answer.header("transaction-id") {
            Some(_) if answer.header("idempotent-replayed").is_some() => {}
            Some(id) => drop(count.transactions.insert(id.to_owned())),
            None if (200..300).contains(&answer.status) => count.unnamed.push(answer.request.clone()),
            // Refused before it was journaled: no transaction.
            None => {}
        }
    }

    pub(super) fn unanswered(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).unanswered += 1;
    }

    /// The count so far.
    pub fn count(&self) -> Count {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
