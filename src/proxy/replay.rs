//! Answers a repeated transaction id (G6) with the first one's stored answer, never with a second execution.

use std::time::Instant;

use tokio::time::{Duration, timeout_at};

use super::Edge;
use super::failure::Failure;
use super::unanswered::unanswered;
use crate::clock;
use crate::journal::{ClientKey, Lookup, TransactionRow};
use crate::order::Verdict;
use crate::web::{REPLAYED, Reply, idempotency_key};

/// How often to look again although the journal has announced no outcome.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Returns the transaction of this key, if there is one. It can be found by both of its ids: the client's own, and the
/// one that the edge assigned.
pub async fn known(edge: &Edge, key: &ClientKey) -> Result<Option<TransactionRow>, Failure> {
    let lookup = Lookup::ClientKey { tenant: key.tenant.clone(), key: key.key.clone() };
    if let Some(row) = look(edge, &lookup).await? {
        return Ok(Some(row));
    }
    let Some(given) = idempotency_key::given(&key.key) else { return Ok(None) };
    let row = look(edge, &Lookup::Id(given)).await?;
    let same_scope = |used: &ClientKey| used.tenant == key.tenant;
    Ok(row.filter(|row| row.client_key.as_ref().is_some_and(same_scope)))
}

async fn look(edge: &Edge, lookup: &Lookup) -> Result<Option<TransactionRow>, Failure> {
    edge.core.store().transaction(lookup).await.map_err(|error| Failure::JournalUnavailable(error.to_string()))
}

/// Answers a request whose id is this transaction's. Waits for the outcome until `deadline`.
pub async fn replay(edge: &Edge, first: TransactionRow, key: &ClientKey, deadline: Instant) -> Result<Reply, Failure> {
    if first.client_key.as_ref().is_none_or(|used| used.fingerprint != key.fingerprint) {
        return Err(Failure::TransactionIdReused);
    }
    if let Some(reply) = stored(&first) {
        return Ok(reply);
    }
    let running = Failure::TransactionRunning(first.transaction_id);
    let Some(_place) = edge.single_flight.aside() else { return Err(running) };
    let mut watch = edge.core.journal().watch(first.seq);
    loop {
        // Looked up after the watch began, so no outcome is missed.
        match known(edge, key).await? {
            Some(row) => {
                if let Some(reply) = stored(&row) {
                    return Ok(reply);
                }
            }
            // Trimmed in the meantime: too old for a stored answer.
            None => return Err(Failure::TransactionIdReused),
        }
        let look = deadline.min(clock::now() + LOOK_AGAIN);
        tokio::select! {
            _ = timeout_at(look.into(), watch.changed()) => {}
            () = edge.admission.stopping() => return Err(running),
        }
        if clock::now() >= deadline {
            return Err(running);
        }
    }
}

fn stored(row: &TransactionRow) -> Option<Reply> {
    let verdict = row.verdict?;
    let reply = match (&row.answer, verdict) {
        (Some(answer), _) => Reply::json(answer.status, answer.body.clone()),
        // Applied, but its answer was too long to store.
        (None, Verdict::Applied) => Reply::json(row.response_status.unwrap_or(200), "{}"),
        // The client's answer becomes durable a moment later.
        (None, Verdict::Void) if !row.status.is_final() => return None,
        // Void because the collection is gone, after the client was, or may have been, told that the write was applied.
        (None, Verdict::Void) if row.response_status.is_some_and(|status| status < 300) => {
            Reply::json(row.response_status?, "{}")
        }
        (None, verdict) => unanswered(verdict, row.lane?),
    };
    Some(reply.with(REPLAYED, "true"))
}
