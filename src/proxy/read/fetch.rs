//! Reads that the edge executes itself instead of passing them through Pingora.
//!
//! What an answer means is decided by `chroma::classify`, and where the next attempt goes by [`next`].

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::choose::{Attempts, Visit, Wait, next};
use super::loss::{Loss, Losses};
use super::{Asked, Read, Target};
use crate::chroma::{self, Class, Looked, Lookup, ReadAdvice};
use crate::clock;
use crate::ids::{CollectionId, InstanceCollectionId, InstanceId};
use crate::instance::{Answer, Licence, Outgoing, SendError};
use crate::order::Vouching;
use crate::proxy::failure::Failure;
use crate::proxy::{Edge, rewrite};
use crate::web::{Reply, TRACE_ID, TraceId};

/// How long an instance may take for an object when it is first asked: meanwhile the object's room is taken from others.
const FIRST: Duration = Duration::from_secs(3);

/// A read request as it is sent to an instance, but for its path.
#[derive(Clone, Debug)]
pub struct ReadRequest {
    method: Method,
    content_type: Option<HeaderValue>,
    body: Bytes,
    trace: TraceId,
    /// What its answer takes of the room for collection objects, if it is one.
    weight: Option<u32>,
}

impl ReadRequest {
    /// The client's own request, with its whole body.
    pub fn of(method: Method, headers: &HeaderMap, body: Bytes, trace: TraceId) -> Self {
        ReadRequest { method, content_type: headers.get(CONTENT_TYPE).cloned(), body, trace, weight: None }
    }

    /// A GET of the edge's own.
    pub fn get(trace: TraceId) -> Self {
        ReadRequest { method: Method::GET, content_type: None, body: Bytes::new(), trace, weight: None }
    }

    /// A GET of a collection object that is taken for so large.
    pub fn object(trace: TraceId, weight: u32) -> Self {
        ReadRequest { weight: Some(weight), ..ReadRequest::get(trace) }
    }
}

/// The whole answer of a read that the edge executes itself: from the first instance that gives a definite answer.
///
/// # Errors
/// What to answer when no instance gave an answer that can be passed on.
pub async fn fetch(edge: &Edge, read: &Read, request: &ReadRequest, mut attempts: Attempts) -> Result<Reply, Failure> {
    // The last indefinite answer; it is passed on if no instance is left.
    let mut failed: Option<Reply> = None;
    let mut wait = Wait::ForFresh;
    let mut losses = Losses::default();
    loop {
        let (instance, _room) = match begin(edge, read, request, &mut attempts, wait).await {
            Ok(begun) => begun,
            Err(failure) => return failed.ok_or(failure),
        };
        let since = edge.registry.generation(instance);
        let (ids, sent) = ask(edge, read, instance, request, attempts.visit(instance)).await;
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) => {
                if matches!(error, SendError::InDoubt { .. }) {
                    losses.add(edge, read, Loss { instance, since, flights: edge.registry.flights(instance) }).await?;
                }
                if attempts.used_up() {
                    if let Some(times) = edge.failed_reads.seen("", clock::now()).times() {
                        tracing::warn!(%error, trace = %request.trace, times, "reads fail on every instance");
                    }
                    return failed.ok_or(Failure::InstancesFailed);
                }
                continue;
            }
        };
        reads_succeed(edge);
        if let Some(stake) = &read.stake {
            stake.answered(answer.status);
        }
        if read.denied(edge, answer.status) {
            edge.core.doubt_contents(instance);
            attempts.exclude(instance);
            continue;
        }
        let class = chroma::classify(read.call(), answer.status, &answer.body);
        let reply = rewrite::whole(edge, read, instance, ids, answer);
        match class.read_advice() {
            ReadAdvice::PassOn => {
                doubt_those_that_failed(edge, read, &attempts, instance, reply.status);
                return Ok(reply);
            }
            ReadAdvice::Elsewhere if attempts.agrees(reply.status) => return Ok(reply),
            ReadAdvice::Elsewhere => {
                attempts.exclude(instance);
                wait = Wait::ForPauseOnly;
            }
            // It passes: while a collection is dropped no instance may be left to ask, and then it is known to be gone.
            ReadAdvice::Again => wait = Wait::ForFresh,
        }
        attempts.failed(instance, reply.status);
        // Do not pass on a gateway's error page.
        let passable = (class != Class::Gateway).then_some(reply);
        if attempts.used_up() {
            return passable.or(failed).ok_or(Failure::InstancesFailed);
        }
        failed = passable.or(failed);
    }
}

/// Begins the next attempt: the instance, and the room for its answer. While another instance is awaited no room is taken.
async fn begin(
    edge: &Edge,
    read: &Read,
    request: &ReadRequest,
    attempts: &mut Attempts,
    wait: Wait,
) -> Result<(InstanceId, Option<OwnedSemaphorePermit>), Failure> {
    let mut instance = next(edge, read, attempts, wait).await?;
    let mut room = None;
    if let Some(weight) = request.weight {
        room = edge.objects.try_room(weight);
        if room.is_none() {
            room = Some(edge.objects.room(weight, edge.options.read_wait).await.ok_or(Failure::QueueTooSlow)?);
            // Time has passed.
            instance = next(edge, read, attempts, wait).await?;
        }
    }
    attempts.begin(instance);
    Ok((instance, room))
}

/// Asks the instance. With its answer come the ids that the read's collection was asked by.
async fn ask(
    edge: &Edge,
    read: &Read,
    instance: InstanceId,
    request: &ReadRequest,
    visit: Visit,
) -> (Option<(InstanceCollectionId, CollectionId)>, Result<Answer, SendError>) {
    let asked = read.on(edge, instance);
    let lookup = read.lookup(edge, instance, &asked);
    let Asked { path, ids } = asked;
    let sending = async {
        match lookup {
            None => send(edge, read, path, instance, request).await,
            Some(lookup) => look_up(edge, read, lookup, instance, request).await,
        }
    };
    if request.weight.is_none() || visit == Visit::Repeated {
        return (ids, sending.await);
    }
    // That it takes longer says nothing against the instance: it may be busy.
    let sent = timeout(FIRST, sending).await.unwrap_or_else(|_| {
        edge.objects.note_slow(instance, clock::now());
        Err(SendError::InDoubt { reason: format!("no answer within {FIRST:?}") })
    });
    (ids, sent)
}

/// Says when a time is over in which reads failed on every instance.
fn reads_succeed(edge: &Edge) {
    for (_, lasted) in edge.failed_reads.quiet(clock::now()) {
        let (seconds, times) = (lasted.time.as_secs(), lasted.times);
        tracing::info!(seconds, times, "reads no longer fail on every instance");
    }
}

/// A copy that fails what another one answers may be damaged: it is checked.
fn doubt_those_that_failed(edge: &Edge, read: &Read, attempts: &Attempts, instance: InstanceId, status: u16) {
    if let (Target::Collection(collection), 200) = (&read.target, status) {
        attempts.failed_beside(instance).for_each(|failed| edge.core.discovery().doubts().ask((*collection, failed)));
    }
}

async fn send(
    edge: &Edge,
    read: &Read,
    path: String,
    instance: InstanceId,
    request: &ReadRequest,
) -> Result<Answer, SendError> {
    let content_type = request.content_type.iter().map(|value| (CONTENT_TYPE, value.clone()));
    let headers = content_type.chain([(TRACE_ID, request.trace.header())]).collect();
    let outgoing = Outgoing { method: request.method.clone(), path, headers, body: request.body.clone() };
    let deadline = edge.registry.timeouts().read;
    if read.stake.as_ref().is_some_and(|stake| stake.vouching() == Vouching::Unvouched) {
        // Once: what comes back in its place must not get it unseen.
        return edge.client.send(instance, &outgoing, deadline, Licence::NotNeeded).await;
    }
    edge.client.send_idempotent(instance, &outgoing, deadline).await
}

/// Finds the collection on an instance that has no route by id. The answer is what such a route would have given.
async fn look_up(
    edge: &Edge,
    read: &Read,
    mut lookup: Lookup,
    instance: InstanceId,
    request: &ReadRequest,
) -> Result<Answer, SendError> {
    let request = ReadRequest::get(request.trace);
    let mut path = lookup.path();
    loop {
        let answer = send(edge, read, path, instance, &request).await?;
        match lookup.take(answer.status, &answer.body) {
            Looked::Ask(next) => path = next,
            Looked::Found(shown) => return Ok(Answer { body: shown.into(), ..answer }),
            Looked::Absent => return Ok(Answer { status: 404, ..answer }),
            Looked::Unclear => return Ok(answer),
        }
    }
}
