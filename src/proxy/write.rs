//! The life of a write, on one screen.

use std::time::{Duration, Instant};

use pingora::proxy::Session;
use tokio::time::{sleep_until, timeout_at};

use super::Edge;
use super::body::{Body, BodyError, read_whole};
use super::context::{Completion, Context, Stage};
use super::failure::Failure;
use super::prepare::{Preparation, Prepared, WriteRequest, prepare};
use super::respond::{INSTANCE, Reply, TRANSACTION_ID};
use crate::chroma::{EdgeAnswer, ErrorBody, ErrorName, Operation};
use crate::clock::{self, Timestamp};
use crate::ids::{LaneId, Seq, TransactionId};
use crate::instance::Answer;
use crate::journal::{AppendError, Fact, Status, TimingGap};
use crate::order::Verdict;
use crate::replication::{Settlement, Ticket};

/// How often a waiting write looks again whether an instance could take it.
const PATIENCE: Duration = Duration::from_millis(250);

/// Journals the write, has it executed, and says what to answer.
pub async fn write(
    edge: &Edge,
    session: &mut Session,
    context: &mut Context,
    operation: &Operation,
) -> Result<Reply, BodyError> {
    let Body { bytes, memory, .. } = read_whole(session, &edge.gate).await?;
    context.memory = Some(memory);
    let header = session.req_header();
    let path = header.uri.path_and_query().map_or_else(|| header.uri.path(), |path| path.as_str()).to_owned();
    let request = WriteRequest {
        operation,
        method: header.method.as_str(),
        path: &path,
        headers: &header.headers,
        body: bytes,
        client_ip: session.client_addr().and_then(|address| address.as_inet()).map(|address| address.ip().to_string()),
    };
    let preparation = prepare(request, &edge.core, &edge.options)?;
    let prepared = match preparation {
        Preparation::Journal(prepared) => *prepared,
        Preparation::Show { collection } => return Ok(super::read::show(edge, collection).await?),
    };
    Ok(journaled(edge, context, prepared).await?)
}

async fn journaled(edge: &Edge, context: &mut Context, prepared: Prepared) -> Result<Reply, Failure> {
    let Prepared { draft, acknowledge, shown_id } = prepared;
    let (id, lane) = (draft.transaction_id, draft.lane);
    if edge.core.board().entries() >= edge.options.backlog_entries {
        return Err(Failure::BacklogFull);
    }
    let Some(journal) = edge.core.journal() else {
        return Err(Failure::JournalUnavailable("the journal is not open".to_owned()));
    };
    let client_key = draft.client_key.clone();
    context.own_id = client_key.as_ref().map(|key| key.key.clone());
    let mut ticket = edge.core.ticket(id, acknowledge);
    // A crash before this is durable leaves nothing; after it, recovery executes the write.
    let seq = match (journal.append(draft).await, client_key) {
        (Ok(seq), _) => seq,
        (Err(AppendError::Taken(first)), Some(key)) => return super::replay::replay(edge, first, &key).await,
        (Err(error), _) => return Err(refused(error, id)),
    };
    let settlement = match settled(edge, &mut ticket, lane, context.started).await {
        Some(settlement) => settlement,
        None => return pending(edge, context, ticket, (lane, seq), id, &shown_id),
    };
    if lane == LaneId::Catalog && settlement.verdict == Verdict::Applied {
        everywhere(edge, lane, seq).await;
    }
    Ok(answered(edge, context, &settlement, lane, &shown_id))
}

fn refused(error: AppendError, id: TransactionId) -> Failure {
    match error {
        AppendError::Full => Failure::JournalUnavailable("too many writes wait for the journal".to_owned()),
        AppendError::Unavailable(why) => Failure::JournalUnavailable(why),
        AppendError::InDoubt(_) => Failure::JournalInDoubt(id),
        AppendError::Taken(_) => Failure::TransactionIdReused,
    }
}

/// The write's outcome; `None` when no instance could take it in time.
async fn settled(edge: &Edge, ticket: &mut Ticket, lane: LaneId, started: Instant) -> Option<Settlement> {
    let deadline = started + edge.options.request_timeout;
    let mut patience = clock::now() + edge.options.write_wait;
    loop {
        let look = patience.min(deadline);
        tokio::select! {
            settlement = ticket.settled() => return settlement,
            () = sleep_until(look.into()) => {}
        }
        if clock::now() >= deadline || !edge.core.board().has_taker(lane) {
            return None;
        }
        patience = clock::now() + PATIENCE;
    }
}

/// The client is told that the write is journaled and will be executed: from here on recovery owns it.
fn pending(
    edge: &Edge,
    context: &mut Context,
    mut ticket: Ticket,
    (lane, seq): (LaneId, Seq),
    id: TransactionId,
    shown_id: &str,
) -> Result<Reply, Failure> {
    edge.core.leave(lane, seq);
    if let Some(journal) = edge.core.journal() {
        // Handed over before the ticket closes, so that a later RECOVERED comes after it.
        journal.record_later(vec![Fact::Status {
            seq,
            status: Status::Failed,
            response_status: Some(503),
            failure_reason: Some("no instance could take the write in time".to_owned()),
            timing_gap: TimingGap::Yes,
            executed_on: None,
            at: Timestamp::now(),
        }]);
    }
    match ticket.close() {
        // It was settled in the last moment.
        Some(settlement) => Ok(answered(edge, context, &settlement, lane, shown_id)),
        None => Err(Failure::RecoveryPending(id)),
    }
}

/// Waits, for a bounded time, until every reachable instance has the catalog change: a new collection is complete
/// when its creator is told.
async fn everywhere(edge: &Edge, lane: LaneId, seq: Seq) {
    let deadline = clock::now() + edge.options.catalog_wait;
    let mut changes = edge.core.changes();
    while !edge.core.board().everywhere_here(lane, seq) {
        if timeout_at(deadline.into(), changes.changed()).await.is_err() {
            return;
        }
    }
}

/// What the client of a write is told that no instance has answered: its collection was deleted, or rule R10.
pub fn unanswered(verdict: Verdict, lane: LaneId) -> Reply {
    if let (Verdict::Void, LaneId::Records(collection)) = (verdict, lane) {
        return Reply::from(ErrorBody::collection_id_not_found(collection));
    }
    let error = ErrorBody::new(ErrorName::InternalError, "No instance answered the write, and none has it");
    Reply::from(EdgeAnswer::error(500, &error))
}

fn answered(edge: &Edge, context: &mut Context, settlement: &Settlement, lane: LaneId, shown_id: &str) -> Reply {
    let mut reply = match &settlement.answer {
        // Shared by every write of a merged request; its body is not copied.
        Some(answer) => Reply::from(Answer::clone(answer)),
        None => unanswered(settlement.verdict, lane),
    };
    reply = reply.with(TRANSACTION_ID, shown_id);
    if let Some(instance) = settlement.from {
        reply = reply.with(INSTANCE, edge.registry.name(instance).as_str());
    }
    context.stage = Stage::Answered(Completion {
        seq: settlement.seq,
        status: reply.status,
        executed_on: settlement.from,
        timing_gap: settlement.timing_gap,
    });
    reply
}
