//! The same transaction id again (G6): the first one's stored answer, never a second execution.

use tokio::time::{Duration, sleep};

use super::Edge;
use super::failure::Failure;
use super::respond::{REPLAYED, Reply, TRANSACTION_ID};
use super::write::unanswered;
use crate::clock;
use crate::ids::TransactionId;
use crate::journal::{ClientKey, Lookup, TransactionRow};
use crate::order::Verdict;

const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The answer to a request whose id is taken by `first`: waits for it, for as long as a write waits.
pub async fn replay(edge: &Edge, first: TransactionId, key: &ClientKey) -> Result<Reply, Failure> {
    let deadline = clock::now() + edge.options.write_wait;
    loop {
        let row = edge.core.transaction(&Lookup::Id(first)).await;
        let row = row.map_err(|error| Failure::JournalUnavailable(error.to_string()))?;
        // Trimmed in the meantime: too old to say anything about.
        let Some(row) = row else { return Err(Failure::TransactionIdReused) };
        if row.client_key.as_ref().is_none_or(|used| used.fingerprint != key.fingerprint) {
            return Err(Failure::TransactionIdReused);
        }
        if let Some(reply) = stored(&row) {
            return Ok(reply.with(TRANSACTION_ID, &key.key).with(REPLAYED, "true"));
        }
        if clock::now() >= deadline {
            return Err(Failure::TransactionRunning(first));
        }
        sleep(LOOK_AGAIN).await;
    }
}

fn stored(row: &TransactionRow) -> Option<Reply> {
    let verdict = row.verdict?;
    Some(match &row.answer {
        Some(answer) => Reply::json(answer.status, answer.body.clone()),
        // Applied, with an answer too long to be kept.
        None if verdict == Verdict::Applied => Reply::json(row.response_status.unwrap_or(200), "{}"),
        None => unanswered(verdict, row.lane?),
    })
}
