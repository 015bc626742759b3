//! Sends a read to one instance after another until one gives a definite answer.
//!
//! What an answer means is decided by `chroma::classify`, where the next attempt goes by [`next`], and how one instance
//! is asked by [`ask`](super::ask).

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::ask::{Asker, Broken, Came, Patience, ask};
use super::choose::{Attempts, Wait, next};
use super::loss::{Loss, Losses};
use super::passing::Passing;
use super::request::ReadRequest;
use super::{Read, Target, attempt_span};
use crate::chroma::{self, ReadAdvice};
use crate::clock;
use crate::ids::InstanceId;
use crate::instance::{Answer, Cause, Generation, Observation, ReadEnd, SendError, Unanswered};
use crate::proxy::admit::AnswerMemory;
use crate::proxy::failure::Failure;
use crate::proxy::outlet::PIECE;
use crate::proxy::prepare::label;
use crate::proxy::{Edge, rewrite};
use crate::traces::Span;
use crate::web::Reply;

/// The answer to a read.
pub enum Fetched {
    Whole(Reply),
    /// An answer that is longer than what is held.
    Passing(Box<Passing>),
}

/// Returns the whole answer to a read, from the first instance that gives a definite one. The caller has room for it,
/// or it is small.
///
/// # Errors
/// The failure to answer with when no instance gave an answer that can be passed on.
pub async fn fetch(edge: &Edge, read: &Read, request: &ReadRequest, attempts: Attempts) -> Result<Reply, Failure> {
    match Box::pin(Fetching::new(edge, read, request, attempts).run(None)).await? {
        Fetched::Whole(reply) => Ok(reply),
        // Without a memory claim, no answer is passed on in pieces.
        Fetched::Passing(_) => Err(Failure::InstancesFailed),
    }
}

/// Returns the answer to a client's read. It is whole, unless it is longer than `limits.held_answer_bytes` and need not
/// be rewritten. Until this returns, another instance can answer instead. `memory` covers what is held.
///
/// # Errors
/// As [`fetch`], or there is no memory for an answer that must be whole.
pub async fn pass(
    edge: &Edge,
    read: &Read,
    request: &ReadRequest,
    memory: &mut AnswerMemory,
) -> Result<Fetched, Failure> {
    // Boxed, so that the caller's future is not as large as all the steps together.
    Box::pin(Fetching::new(edge, read, request, Attempts::default()).run(Some(memory))).await
}

/// A read on its way from one instance to the next.
struct Fetching<'a> {
    edge: &'a Edge,
    read: &'a Read,
    request: &'a ReadRequest,
    attempts: Attempts,
    /// The number of attempts so far.
    asked: usize,
    losses: Losses,
    patience: Patience,
    /// Instances that have failed the read. If another one answers it, the failures count against them.
    failing: Vec<(InstanceId, Generation)>,
    /// The last indefinite answer; it is passed on if no instance is left.
    failed: Option<Reply>,
}

/// What follows an attempt.
enum Step {
    Done(Fetched),
    Next(Wait),
    /// The same instance may be asked again in a moment, because the obstacle passes by itself.
    Soon(Wait),
}

/// The pause between attempts when the obstacle passes by itself, such as a collection that has nothing on disk yet.
const MOMENT: Duration = Duration::from_millis(50);

impl<'a> Fetching<'a> {
    fn new(edge: &'a Edge, read: &'a Read, request: &'a ReadRequest, attempts: Attempts) -> Self {
        let (losses, patience) = (Losses::default(), Patience::UntilProbed);
        Fetching { edge, read, request, attempts, asked: 0, losses, patience, failing: Vec::new(), failed: None }
    }

    async fn run(mut self, mut memory: Option<&mut AnswerMemory>) -> Result<Fetched, Failure> {
        let Fetching { edge, read, request, .. } = self;
        let (mut wait, mut pause) = (Wait::ForFresh, Duration::ZERO);
        loop {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let repairs = edge.core.discovery().repairs().so_far();
            let (instance, _room) = match self.begin(wait).await {
                Ok(begun) => begun,
                Err(failure) => return self.failed.map(Fetched::Whole).ok_or(failure),
            };
            let since = edge.registry.generation(instance);
            let visit = self.attempts.visit(instance);
            let span = self.span(instance);
            let traced = span.is_some().then(|| request.named(attempt_span::under(span.as_deref(), request.name)));
            let request = traced.as_ref().unwrap_or(request);
            let asker = Asker { edge, read, request, instance, since, patience: self.patience, visit, repairs };
            let came = ask(asker, memory.as_deref_mut()).await;
            attempt_span::attempt_ended(span, &came);
            let step = match came {
                Ok(Came::Whole(ids, answer)) => self.judge((instance, since), ids, answer)?,
                Ok(Came::Denied) => {
                    edge.core.doubt_contents(instance);
                    self.attempts.exclude(instance);
                    Step::Next(wait)
                }
                // Asks the same instance again or another one: a copy under repair serves no reads now.
                Ok(Came::Mixed) => Step::Next(wait),
                Ok(Came::Part(incoming, held)) => {
                    reads_succeed(edge);
                    if let Some(memory) = &mut memory {
                        // From here on, only one piece at a time is in memory.
                        memory.shrink(held.len().max(PIECE));
                        edge.admission.grow_for_answer(memory, PIECE).await?;
                    }
                    self.answered((instance, since), incoming.status().as_u16());
                    let losses = std::mem::take(&mut self.losses);
                    let passing = Passing::new(*incoming, held, (instance, since), losses);
                    Step::Done(Fetched::Passing(Box::new(passing)))
                }
                Err(Broken::Ours(failure)) => return Err(failure),
                Err(Broken::Lost(lost)) => self.lost(instance, since, lost).await.map(|()| Step::Next(wait))?,
            };
            match step {
                Step::Done(fetched) => return Ok(fetched),
                Step::Next(next) => (wait, pause) = (next, Duration::ZERO),
                Step::Soon(next) => (wait, pause) = (next, MOMENT),
            }
        }
    }

    /// Starts the span of the attempt at this instance.
    fn span(&self, instance: InstanceId) -> Option<Box<Span>> {
        let about = (label(&self.read.operation), attempt_span::collection_of(self.read));
        attempt_span::attempt(self.edge, &self.request.name, about, instance, self.asked)
    }

    /// Begins the next attempt: chooses the instance and takes room for its answer. No room is held while it waits for
    /// an instance.
    async fn begin(&mut self, wait: Wait) -> Result<(InstanceId, Option<OwnedSemaphorePermit>), Failure> {
        let edge = self.edge;
        let mut instance = next(edge, self.read, &self.attempts, wait).await?;
        let mut room = None;
        if let Some(weight) = self.request.weight {
            room = edge.objects.try_room(weight);
            if room.is_none() {
                let waited = edge.objects.room(weight, edge.options().read_wait).await;
                room = Some(waited.ok_or_else(|| Failure::QueueTooSlow(edge.admission.overload()))?);
                // Choose again: the wait for room took time.
                instance = next(edge, self.read, &self.attempts, wait).await?;
            }
        }
        self.attempts.begin(instance);
        self.asked += 1;
        Ok((instance, room))
    }

    /// Decides what follows from a whole answer.
    fn judge(&mut self, from: (InstanceId, Generation), ids: super::Ids, answer: Answer) -> Result<Step, Failure> {
        let (edge, read, instance) = (self.edge, self.read, from.0);
        reads_succeed(edge);
        if let Some(stake) = &read.stake {
            stake.answered(answer.status);
        }
        let (class, advice) = self.advice(&answer);
        let reply = rewrite::whole(edge, read, instance, ids, answer);
        let step = match advice {
            ReadAdvice::PassOn => {
                self.answered(from, reply.status);
                return Ok(Step::Done(Fetched::Whole(reply)));
            }
            ReadAdvice::Elsewhere => {
                self.attempts.exclude(instance);
                Step::Next(Wait::ForPauseOnly)
            }
            // A transient error passes by itself. While a collection is being deleted, every instance may answer with
            // one; soon it is known to be gone.
            ReadAdvice::Again if class == Some(chroma::Class::Transient) && self.has_asked_all() => {
                Step::Soon(Wait::ForFresh)
            }
            ReadAdvice::Again => Step::Next(Wait::ForFresh),
        };
        self.attempts.failed(instance, reply.status);
        if class != Some(chroma::Class::Transient) {
            self.failing.push(from);
        }
        // Do not pass on a gateway's error page.
        let passable = (class != Some(chroma::Class::Gateway)).then_some(reply);
        if self.attempts.used_up() {
            let last = passable.or(self.failed.take());
            return last.map(|reply| Step::Done(Fetched::Whole(reply))).ok_or(Failure::InstancesFailed);
        }
        self.failed = passable.or(self.failed.take());
        Ok(step)
    }

    /// Returns whether every instance may have been asked, so that the next attempt meets one that has already failed.
    fn has_asked_all(&self) -> bool {
        self.asked >= self.edge.registry.ids().count()
    }

    fn advice(&self, answer: &Answer) -> (Option<chroma::Class>, ReadAdvice) {
        let Answer { status, headers, body } = answer;
        let class = match chroma::classify_header(*status, headers) {
            Some(class) => class,
            // It does not concern collections: every instance would answer the same.
            None if self.read.target == Target::Anything && *status < 500 => return (None, ReadAdvice::PassOn),
            None => chroma::classify(self.read.call(), *status, body),
        };
        (Some(class), class.read_advice())
    }

    /// Handles an attempt that got no answer.
    async fn lost(&mut self, instance: InstanceId, since: Generation, lost: Unanswered) -> Result<(), Failure> {
        let edge = self.edge;
        let Unanswered { error, cause } = lost;
        // A request with a weight is cut off before the instance's own time limit, so it does not count as failed.
        if self.request.weight.is_none() && !matches!(error, SendError::TooLong { .. }) {
            self.failing.push((instance, since));
        }
        match (cause, self.patience) {
            (Cause::Other, _) => {}
            // The probes have decided by now: if the instance is still usable, it is only slow at this request.
            (Cause::Silence, Patience::UntilProbed) if edge.registry.usable(instance) => self.patience = Patience::Full,
            (Cause::Silence, Patience::UntilProbed) => {}
            (Cause::Silence, Patience::Full) => {
                edge.registry.observe_because(instance, Observation::Unanswered, &error.to_string());
            }
        }
        if matches!(error, SendError::InDoubt { .. }) && cause == Cause::Other {
            let loss = Loss { instance, since, flights: edge.registry.flights(instance) };
            self.losses.add(edge, self.read, loss).await?;
        }
        if !self.attempts.used_up() {
            return Ok(());
        }
        if let Some(times) = edge.failed_reads.seen("", clock::now()).times() {
            tracing::warn!(%error, trace = %self.request.name.id, times, "reads fail on every instance");
        }
        Err(match cause {
            Cause::Silence => Failure::InstanceTimedOut,
            Cause::Other => Failure::InstancesFailed,
        })
    }

    /// Notes that the instance answered with this status. If the answer is good, the instances that failed the read are
    /// at fault: the failure counts against them, and their copies are checked for damage.
    fn answered(&mut self, (instance, since): (InstanceId, Generation), status: u16) {
        let registry = &self.edge.registry;
        if self.read.counts_for_breakers() {
            registry.read_ended(instance, since, ReadEnd::Answered);
            self.failing.retain(|(failed, _)| *failed != instance && (200..300).contains(&status));
            self.failing.dedup();
            for (failed, since) in self.failing.drain(..) {
                registry.read_ended(failed, since, ReadEnd::Failed);
            }
        }
        if let (Target::Collection(collection), 200) = (&self.read.target, status) {
            let doubts = self.edge.core.discovery().doubts();
            self.attempts.failed_beside(instance).for_each(|failed| doubts.ask((*collection, failed)));
        }
    }
}

/// Logs the end of a period in which reads failed on every instance.
fn reads_succeed(edge: &Edge) {
    for (_, lasted) in edge.failed_reads.quiet(clock::now()) {
        let (seconds, times) = (lasted.time.as_secs(), lasted.times);
        tracing::info!(seconds, times, "reads no longer fail on every instance");
    }
}
