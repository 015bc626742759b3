//! The life of a write from request to answer. What each step decides is in the file that it calls.

use std::future::Future;
use std::time::{Duration, Instant};

use pingora::proxy::Session;
use tokio::time::{sleep_until, timeout, timeout_at};

use super::Edge;
use super::body::{Body, BodyError, read_whole};
use super::context::{Completion, Context, Stage};
use super::failure::{Failure, KeyOrigin};
use super::guard::Guard;
use super::prepare::{Preparation, Prepared, prepare};
use super::single_flight::{Arrival, Ended, Follower};
use super::unanswered::unanswered;
use super::write_request::{Identity, WriteRequest};
use super::{discovery, forwarded, quarantine, replay, spans};
use crate::auth::Principal;
use crate::chroma::Operation;
use crate::clock::{self, Timestamp};
use crate::coordinator::{Settlement, Ticket, Withdrawal};
use crate::ids::{LaneId, Seq, TransactionId};
use crate::instance::Answer;
use crate::journal::{AppendError, ClientKey, Draft, Fact};
use crate::metrics;
use crate::order::Verdict;
use crate::proof::{self, CrashPoint};
use crate::web::{INSTANCE, Promise, Reply, TRANSACTION_ID, idempotency_key};

/// How often a waiting write checks whether an instance could take it.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long the answer "pending" waits for its status to be recorded. The write itself is already durable.
const RECORDING: Duration = Duration::from_secs(1);

/// Journals the write, has it executed, and returns the answer.
pub async fn write(
    edge: &Edge,
    session: &mut Session,
    context: &mut Context,
    operation: &Operation,
    principal: &Principal,
) -> Result<Reply, BodyError> {
    // Read before anything is refused, so that every answer carries the client's id.
    context.idempotency_key =
        edge.options().idempotency.read(&session.req_header().headers).map_err(|_| Failure::BadTransactionId)?;
    let Body { bytes, memory, .. } = read_whole(session, &edge.admission).await?;
    context.memory = Some(memory);
    edge.enter(context).await?;
    let header = session.req_header();
    // Without the query: Chroma's writes take none, and its contents, such as a token, must not be stored.
    let path = header.uri.path().to_owned();
    let identity = Identity::of(
        operation,
        header.method.as_str(),
        &path,
        context.idempotency_key.as_ref().map(|key| key.text.clone()),
        &bytes,
        principal.name(),
    );
    let request = WriteRequest {
        operation,
        method: header.method.as_str(),
        path: &path,
        headers: &header.headers,
        body: bytes,
        client_ip: forwarded::client_of(session, &edge.options().entrance.trusted),
        identity,
        principal,
    };
    Ok(once(edge, context, request).await?)
}

/// Executes the write, or finds the answer of an earlier one with the same id.
async fn once(edge: &Edge, context: &mut Context, request: WriteRequest<'_>) -> Result<Reply, Failure> {
    let Identity { id, key, brought } = request.identity.clone();
    let Some(shown_id) = brought else { return first(edge, context, request).await };
    let deadline = context.started + edge.options().request_timeout;
    let answer = match edge.single_flight.take(&key, id) {
        Arrival::Leader(leader) => {
            let answer = first_or_known(edge, context, request, &key, deadline).await;
            leader.end(match &answer {
                Err(failure) if failure.transaction_id().is_none() => Ended::Refused(failure.clone()),
                Ok(_) | Err(_) => Ended::Journaled,
            });
            answer
        }
        Arrival::Known => match replay::known(edge, &key).await? {
            Some(row) => beside(context, request, replay::replay(edge, row, &key, deadline)).await,
            // Trimmed since.
            None => first_or_known(edge, context, request, &key, deadline).await,
        },
        Arrival::Follower(behind) => beside(context, request, wait_behind(edge, behind, &key, deadline)).await,
    };
    answer.map(|reply| reply.with(TRANSACTION_ID, &shown_id))
}

/// Waits without the request's body and its admission permit: a repetition needs neither.
async fn beside<T>(context: &mut Context, request: WriteRequest<'_>, wait: impl Future<Output = T>) -> T {
    drop(request);
    step_aside(context);
    wait.await
}

fn step_aside(context: &mut Context) {
    context.memory = None;
    if let Some(permit) = &mut context.permit {
        permit.step_aside();
    }
}

/// Executes the write, unless the journal has its id. An earlier write may be old and its collection deleted since, so
/// the stored answer takes precedence over any refusal.
async fn first_or_known(
    edge: &Edge,
    context: &mut Context,
    request: WriteRequest<'_>,
    key: &ClientKey,
    deadline: Instant,
) -> Result<Reply, Failure> {
    // The key may be an id that the edge assigned to a transaction stored under the client's own key; the append would
    // not detect that.
    if idempotency_key::given(&key.key).is_some()
        && let Some(row) = replay::known(edge, key).await?
    {
        return beside(context, request, replay::replay(edge, row, key, deadline)).await;
    }
    let failure = match first(edge, context, request).await {
        Err(failure) if failure.transaction_id().is_none() => failure,
        answered => return answered,
    };
    match replay::known(edge, key).await {
        Ok(Some(row)) => {
            step_aside(context);
            replay::replay(edge, row, key, deadline).await
        }
        Ok(None) | Err(_) => Err(failure),
    }
}

async fn wait_behind(edge: &Edge, mut behind: Follower, key: &ClientKey, deadline: Instant) -> Result<Reply, Failure> {
    if behind.fingerprint != key.fingerprint {
        return Err(Failure::TransactionIdReused);
    }
    let running = || Failure::TransactionRunning(behind.first);
    let Some(place) = edge.single_flight.aside() else { return Err(running()) };
    let ended = tokio::select! {
        ended = timeout_at(deadline.into(), behind.ended()) => ended,
        () = edge.admission.stopping() => return Err(Failure::TransactionRunning(behind.first)),
    };
    drop(place);
    match ended {
        Ok(Some(Ended::Refused(failure))) => Err(failure),
        Ok(Some(Ended::Journaled)) => match replay::known(edge, key).await? {
            Some(row) => replay::replay(edge, row, key, deadline).await,
            None => Err(Failure::TransactionRunning(behind.first)),
        },
        Ok(None) | Err(_) => Err(Failure::TransactionRunning(behind.first)),
    }
}

async fn first(edge: &Edge, context: &mut Context, request: WriteRequest<'_>) -> Result<Reply, Failure> {
    let shown_id = request.identity.shown();
    if matches!(request.operation, Operation::CatalogWrite(_)) {
        // Before the first inspections, it is unknown what exists. This wait comes before the journal, so nothing waits
        // for it.
        discovery::first_look(edge, edge.options().write_wait).await;
    }
    discovery::contents(edge, request.operation, context.name()).await?;
    loop {
        let mut prepared = prepare(request.clone(), &edge.core, &edge.options(), &edge.vouch);
        if let Err(failure) = &prepared
            && discovery::may_be_premature(edge, failure)
        {
            discovery::first_look(edge, edge.options().write_wait).await;
            prepared = prepare(request.clone(), &edge.core, &edge.options(), &edge.vouch);
        }
        match prepared.map_err(|failure| discovery::as_known(edge, failure))? {
            Preparation::Journal(prepared) => return journaled(edge, context, *prepared, &shown_id).await,
            Preparation::Show { collection } => match super::read::show(edge, collection, context.name()).await {
                // Deleted meanwhile: getting or creating it is now a write.
                Err(Failure::Chroma(_)) => {}
                shown => {
                    let reply = shown?;
                    context.answer_memory = Some(edge.admission.claim_for_answer(reply.body.len()).await?);
                    return Ok(reply);
                }
            },
        }
    }
}

async fn journaled(edge: &Edge, context: &mut Context, prepared: Prepared, shown_id: &str) -> Result<Reply, Failure> {
    let Prepared { mut draft, ack_policy, key_origin, shape, guard } = prepared;
    let (id, lane) = (draft.transaction_id, draft.lane);
    // Before the journal: a journaled write must be executed, even if it kills an instance.
    quarantine::check(&edge.core, &edge.vouch, &draft).await?;
    let executed = shape.map(|shape| edge.vouch.watch(shape, &draft));
    {
        let board = edge.core.board();
        if board.entries() >= edge.admission.limits().backlog_entries {
            return Err(Failure::BacklogFull(edge.admission.overload()));
        }
        if board.is_halted(lane) {
            return Err(Failure::LaneHalted);
        }
    }
    if let Some(why) = edge.core.discovery().servers().why_none_is_supported() {
        return Err(Failure::UnsupportedServers(why));
    }
    let _in_lane = edge.admission.lanes().enter(lane)?;
    let mut ticket = edge.core.ticket(id, ack_policy, Some(context.trace));
    proof::pass(CrashPoint::BeforeAppend);
    // A crash before this is durable leaves nothing; after it, recovery executes the write.
    draft.trace_context = context.traced.context;
    let seq = append(edge, context, draft, (guard, key_origin)).await?;
    let settlement = match settled(edge, &mut ticket, lane, context.started).await {
        Some(settlement) => settlement,
        None if edge.options().promise == Promise::WithId && key_origin == KeyOrigin::Edge => {
            return withdrawn(edge, context, ticket, (lane, seq), id, shown_id).await;
        }
        None => {
            let failure = Failure::RecoveryPending(id, key_origin);
            return pending(edge, context, ticket, (lane, seq), failure, shown_id).await;
        }
    };
    if let Some(executed) = executed {
        executed.ended(&settlement);
    }
    if lane == LaneId::Catalog && settlement.verdict == Verdict::Applied {
        everywhere(edge, lane, seq).await;
    }
    Ok(answered(edge, context, &settlement, lane, shown_id))
}

/// Makes the write durable. Protection is judged once more when every earlier write is on the board and before this one
/// is durable, so a refusal has no effect.
async fn append(
    edge: &Edge,
    context: &mut Context,
    draft: Draft,
    (guard, key_origin): (Option<Guard>, KeyOrigin),
) -> Result<Seq, Failure> {
    let id = draft.transaction_id;
    let (judge, refusal) = guard.and_then(|guard| guard.at_its_place(&edge.core)).unzip();
    let appended = spans::append(edge.core.journal(), draft, judge, &mut context.traced).await;
    appended.map_err(|error| match refusal.as_ref().and_then(|refusal| refusal.get()) {
        Some(failure) if error == AppendError::Declined => failure.clone(),
        Some(_) | None => refused(error, id, key_origin),
    })
}

fn refused(error: AppendError, id: TransactionId, key_origin: KeyOrigin) -> Failure {
    match error {
        AppendError::Full => Failure::JournalUnavailable("too many writes wait for the journal".to_owned()),
        AppendError::Declined => Failure::JournalUnavailable(error.to_string()),
        AppendError::Unavailable(why) => Failure::JournalUnavailable(why),
        AppendError::InDoubt(_) => Failure::JournalInDoubt(id, key_origin),
        AppendError::Taken(_) => Failure::TransactionIdReused,
    }
}

/// Waits for the write's outcome; `None` when no instance could take it in time.
async fn settled(edge: &Edge, ticket: &mut Ticket, lane: LaneId, started: Instant) -> Option<Settlement> {
    let deadline = started + edge.options().request_timeout;
    let mut patience = clock::now() + edge.options().write_wait;
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

/// Withdraws the write, because its client would send it again as another one. If the write may have been sent, it
/// stays, and the client is told that its outcome is unknown. A crash in here: the client has no answer, and the write
/// is executed unless the withdrawal was durable.
/// the withdrawal was durable.
async fn withdrawn(
    edge: &Edge,
    context: &mut Context,
    mut ticket: Ticket,
    (lane, seq): (LaneId, Seq),
    id: TransactionId,
    shown_id: &str,
) -> Result<Reply, Failure> {
    if edge.core.withdraw(lane, seq) == Withdrawal::Begun
        && let Ok(Some(settlement)) = timeout(RECORDING, ticket.settled()).await
    {
        if settlement.verdict != Verdict::Abandoned {
            // Its collection was deleted just then, or it was sent and answered.
            return Ok(answered(edge, context, &settlement, lane, shown_id));
        }
        edge.core.journal().record_later(vec![Fact::withdrawn(seq, Timestamp::now())]);
        return Err(Failure::Withdrawn);
    }
    pending(edge, context, ticket, (lane, seq), Failure::OutcomeUnknown(id), shown_id).await
}

/// Answers with `failure` that the write is journaled and will be executed: from here on, recovery owns it.
async fn pending(
    edge: &Edge,
    context: &mut Context,
    mut ticket: Ticket,
    (lane, seq): (LaneId, Seq),
    failure: Failure,
    shown_id: &str,
) -> Result<Reply, Failure> {
    edge.core.detach(lane, seq);
    // Queued before the ticket closes, so that a later RECOVERED comes after it.
    let recorded = edge.core.journal().record(vec![Fact::recovery_pending(seq, Timestamp::now())]);
    if let Some(settlement) = ticket.close() {
        // It was settled at the last moment. FAILED would contradict this answer, so the outcome is made durable first.
        let reply = answered(edge, context, &settlement, lane, shown_id);
        if let Stage::Answered(completion) = &context.stage {
            let _ = timeout(RECORDING, edge.core.journal().record(vec![completion.fact(&edge.registry)])).await;
        }
        return Ok(reply);
    }
    metrics::timing_gap();
    // A lookup after this answer finds the transaction FAILED; after a crash before this, ATTEMPTING.
    let _ = timeout(RECORDING, recorded).await;
    Err(failure)
}

/// Waits, for a bounded time, until every reachable instance has the catalog change, so that a new collection is
/// complete when its creation is answered.
async fn everywhere(edge: &Edge, lane: LaneId, seq: Seq) {
    let deadline = clock::now() + edge.options().catalog_wait;
    let mut changes = edge.core.changes();
    while !edge.core.board().everywhere_here(lane, seq) {
        if timeout_at(deadline.into(), changes.changed()).await.is_err() {
            return;
        }
    }
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
        verdict: settlement.verdict,
        status: reply.status,
        executed_on: settlement.from,
        timing_gap: settlement.timing_gap,
    });
    reply
}
