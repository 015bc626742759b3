//! Sends one attempt to an instance and decides how much of the answer is read before the client sees any of it.
//!
//! What an answer means, and which instance is asked next, is decided in [`fetch`](super::fetch).

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::Method;
use http::header::CONTENT_LENGTH;
use tokio::time::timeout;

use super::choose::Visit;
use super::{Ids, Read, ReadRequest};
use crate::chroma::{self, Looked, Lookup, ReadAdvice};
use crate::clock;
use crate::coordinator::Before;
use crate::ids::InstanceId;
use crate::instance::{Answer, Cause, Generation, Incoming, Outgoing, Repeat, SendError, Unanswered};
use crate::order::Vouching;
use crate::proxy::Edge;
use crate::proxy::admit::AnswerMemory;
use crate::proxy::failure::Failure;
use crate::proxy::rewrite::{self, Rewritten};

/// The time limit of the first attempt to read an object. While it runs, the object's room is not available to others.
const FIRST: Duration = Duration::from_secs(3);

/// How long an attempt waits for its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Until the probes must have noticed that an instance hangs.
    UntilProbed,
    /// The whole time limit: the request itself is slow.
    Full,
}

/// One attempt.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    pub edge: &'a Edge,
    pub read: &'a Read,
    pub request: &'a ReadRequest,
    pub instance: InstanceId,
    /// The instance's generation when it was chosen.
    pub since: Generation,
    pub patience: Patience,
    pub visit: Visit,
    /// The repairs that had begun before the instance was chosen.
    pub repairs: Before,
}

/// The outcome of an attempt that got an answer.
pub enum Came {
    /// The whole answer, with the ids that were used to ask for the read's collection.
    Whole(Ids, Answer),
    /// The beginning of an answer that is longer than what is held and need not be whole.
    Part(Box<Incoming>, Bytes),
    /// The instance lacks what the catalog says it has.
    Denied,
    /// A repair of the copy began in the meantime, so the answer may mix old and new records.
    Mixed,
}

/// Why an attempt got no usable answer.
pub enum Broken {
    Lost(Unanswered),
    /// The edge could not take the answer.
    Ours(Failure),
}

impl From<Unanswered> for Broken {
    fn from(lost: Unanswered) -> Self {
        Broken::Lost(lost)
    }
}

/// Asks the instance. With `memory`, the claim covers everything that is read. An answer that can be passed on in
/// pieces is then read only up to `limits.held_answer_bytes`, or as far as there is memory for it.
pub async fn ask(asker: Asker<'_>, memory: Option<&mut AnswerMemory>) -> Result<Came, Broken> {
    let Asker { edge, request, instance, .. } = asker;
    if request.weight.is_none() || asker.visit == Visit::Repeated {
        return asker.exchange(memory).await;
    }
    // A slow answer is no evidence against the instance: it may be busy.
    timeout(FIRST, Box::pin(asker.exchange(memory))).await.unwrap_or_else(|_| {
        edge.objects.note_slow(instance, clock::now());
        let error = SendError::InDoubt { reason: format!("no answer within {FIRST:?}") };
        Err(Broken::Lost(Unanswered { error, cause: Cause::Other }))
    })
}

impl Asker<'_> {
    fn deadline(&self) -> Duration {
        let limit = self.edge.registry.timeouts().read;
        match self.patience {
            Patience::UntilProbed => limit.min(self.edge.registry.health().verdict_within()),
            Patience::Full => limit,
        }
    }

    async fn exchange(&self, memory: Option<&mut AnswerMemory>) -> Result<Came, Broken> {
        let asked = self.read.on(self.edge, self.instance);
        match self.read.lookup(self.edge, self.instance, &asked) {
            None => self.send(asked.path, asked.ids, memory).await,
            Some(lookup) => Box::pin(self.look_up(lookup, asked.ids)).await,
        }
    }

    async fn send(&self, path: String, ids: Ids, memory: Option<&mut AnswerMemory>) -> Result<Came, Broken> {
        let Asker { edge, read, request, instance, .. } = *self;
        let stake = read.stake.as_ref();
        let repeat = match stake.is_some_and(|stake| stake.vouching() == Vouching::Unvouched) {
            // A restarted server must not get the read before the edge has noticed the death.
            true => Repeat::Never,
            false => Repeat::Once,
        };
        let until = clock::now() + self.deadline();
        let incoming = edge.client.open(instance, (&request.outgoing, &path), self.deadline(), repeat).await?;
        let status = incoming.status().as_u16();
        if read.denied(edge, status) {
            if let Some(stake) = stake {
                stake.answered(status);
            }
            return Ok(Came::Denied);
        }
        // Chroma has read everything by the time it begins to answer.
        if ids.is_some_and(|(_, collection)| edge.core.discovery().repairs().since(self.repairs, collection, instance))
        {
            return Ok(Came::Mixed);
        }
        self.take(incoming, ids, memory, until).await
    }

    /// Reads the answer's body: all of it, or as much as is held.
    async fn take(
        &self,
        mut incoming: Incoming,
        ids: Ids,
        mut memory: Option<&mut AnswerMemory>,
        until: Instant,
    ) -> Result<Came, Broken> {
        let edge = self.edge;
        let form = if memory.is_some() { self.form(&incoming) } else { Form::Whole };
        let most = edge.client.max_answer_bytes();
        let limit = if form == Form::MayPass { edge.options().answers.held_bytes.min(most) } else { most };
        let announced = if incoming.is_done() { None } else { incoming.announced() };
        if let Some(length) = announced {
            let covered = length <= limit && self.cover(form, memory.as_deref_mut(), length).await?;
            match (covered, form) {
                (true, _) => {}
                (false, Form::MayPass) => return Ok(Came::Part(Box::new(incoming), Bytes::new())),
                (false, Form::Whole) => return Err(too_long(most).into()),
            }
        }
        let mut body = BytesMut::with_capacity(announced.unwrap_or_default());
        let from = (self.instance, self.since);
        while !incoming.is_done() {
            let within = until.saturating_duration_since(clock::now());
            let Some(piece) = incoming.piece(&edge.registry, from, within).await? else { break };
            body.extend_from_slice(piece);
            if announced.is_some() {
                continue;
            }
            let covered = body.len() <= limit && self.cover(form, memory.as_deref_mut(), body.len()).await?;
            match (covered, form) {
                (true, _) => {}
                (false, Form::MayPass) if !incoming.is_done() => {
                    return Ok(Came::Part(Box::new(incoming), body.freeze()));
                }
                // The body is complete, so it can be passed on whole.
                (false, Form::MayPass) => {}
                (false, Form::Whole) => return Err(too_long(most).into()),
            }
        }
        let mut answer = incoming.answer(body.freeze());
        if self.request.outgoing.method == Method::HEAD
            && let Some(length) = incoming.headers().and_then(|headers| headers.get(CONTENT_LENGTH))
        {
            answer.headers.insert(CONTENT_LENGTH, length.clone());
        }
        edge.client.finish(incoming).await;
        Ok(Came::Whole(ids, answer))
    }

    fn form(&self, incoming: &Incoming) -> Form {
        let status = incoming.status().as_u16();
        let passed = match incoming.headers().and_then(|headers| chroma::classify_header(status, headers)) {
            Some(class) => class.read_advice() == ReadAdvice::PassOn,
            None => false,
        };
        let as_it_is = rewrite::is_rewritten(self.read, status) == Rewritten::No;
        if passed && as_it_is { Form::MayPass } else { Form::Whole }
    }

    /// Grows the claim to cover a body of this length and its rewritten form. Returns `false` if there is no memory for
    /// an answer that can be passed on in pieces.
    async fn cover(&self, form: Form, memory: Option<&mut AnswerMemory>, length: usize) -> Result<bool, Broken> {
        let Some(memory) = memory else { return Ok(true) };
        let admission = &self.edge.admission;
        match form {
            Form::MayPass => Ok(admission.try_grow_for_answer(memory, length)),
            Form::Whole => {
                let grown = admission.grow_for_answer(memory, length.saturating_mul(2)).await;
                grown.map(|()| true).map_err(Broken::Ours)
            }
        }
    }

    /// Finds the collection on an instance that has no route by id. Returns the answer that such a route would have
    /// given.
    async fn look_up(&self, mut lookup: Lookup, ids: Ids) -> Result<Came, Broken> {
        let (edge, instance) = (self.edge, self.instance);
        let request = ReadRequest::get(self.request.name);
        let mut path = lookup.path();
        loop {
            let outgoing = Outgoing { path, ..request.outgoing.clone() };
            let sent = edge.client.send_idempotent(instance, &outgoing, edge.registry.timeouts().read).await;
            let answer = sent.map_err(|error| Unanswered { error, cause: Cause::Other })?;
            let found = match lookup.take(answer.status, &answer.body) {
                Looked::Ask(next) => {
                    path = next;
                    continue;
                }
                Looked::Found(shown) => Answer { body: shown.into(), ..answer },
                Looked::Absent => Answer { status: 404, ..answer },
                Looked::Unclear => answer,
            };
            return Ok(if self.read.denied(edge, found.status) { Came::Denied } else { Came::Whole(ids, found) });
        }
    }
}

/// Whether an answer is needed whole.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Whole,
    /// It can be passed on to the client in pieces.
    MayPass,
}

fn too_long(most: usize) -> Unanswered {
    Unanswered { error: SendError::TooLong { most }, cause: Cause::Other }
}
