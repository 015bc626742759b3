//! A read on its way through Pingora: the state of its attempts, and what each hook does with it.
//!
//! [`read`](super::read) decides where a read may go, `chroma::classify` what an answer means. Pingora passes an
//! answer on as it comes, so it must not pass on an answer whose meaning is in its body: the edge then executes the read
//! itself ([`Reading::finish`]).

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Method};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};

use super::Edge;
use super::admit::AnswerMemory;
use super::failure::Failure;
use super::read::{self, Attempts, Loss, Losses, Read, ReadRequest, Target, Wait};
use super::rewrite::{self, Holding};
use crate::chroma::{self, ReadAdvice};
use crate::ids::{CollectionId, InstanceCollectionId, InstanceId};
use crate::instance::{Generation, InFlight, Observation};
use crate::web::{INSTANCE, Reply, TRACE_ID, TraceId};

/// A read that is passed on to instances.
pub struct Reading {
    edge: Arc<Edge>,
    read: Read,
    trace: TraceId,
    /// The whole body, to be sent again as often as needed.
    body: Option<Bytes>,
    attempts: Attempts,
    chosen: Option<InstanceId>,
    /// Of the chosen instance.
    generation: Generation,
    /// An attempt that was lost with its connection and has yet to be looked into.
    lost: Option<Loss>,
    losses: Losses,
    /// The ids of its collection: on the chosen instance, and as clients know it.
    ids: Option<(InstanceCollectionId, CollectionId)>,
    patience: Patience,
    in_flight: Option<InFlight>,
    /// The part of the answer that is held back to be rewritten.
    held: Option<Vec<u8>>,
    /// What the answer may take while it is held back and rewritten.
    answer_memory: Option<AnswerMemory>,
    /// The status of the answer that is coming in.
    status: u16,
    last: LastAttempt,
}

/// How long an attempt waits for its instance. Pingora cannot learn that the probes have given an instance up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// Until the probes must have noticed an instance that hangs.
    UntilProbed,
    /// The request itself is slow: the whole time limit.
    Full,
}

/// How the last attempt failed.
#[derive(Clone, Debug)]
enum LastAttempt {
    /// Without an answer.
    Unanswered,
    TimedOut,
    /// With an answer whose meaning is in its body.
    Unclear,
    /// No further instance was asked.
    NotMade(Failure),
}

/// Whether the request's body, if any, can be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resend {
    Possible,
    Impossible,
}

impl Reading {
    /// A read that is about to be passed on; `body` is the request's whole body, where it has one.
    pub fn new(edge: Arc<Edge>, read: Read, body: Option<Bytes>, trace: TraceId) -> Self {
        Reading {
            edge,
            read,
            trace,
            body,
            attempts: Attempts::default(),
            chosen: None,
            generation: Generation(0),
            lost: None,
            losses: Losses::default(),
            ids: None,
            patience: Patience::UntilProbed,
            in_flight: None,
            held: None,
            answer_memory: None,
            status: 0,
            last: LastAttempt::Unanswered,
        }
    }

    /// Chooses among the fresh instances, with the same `choose` as the lanes.
    pub async fn peer(&mut self) -> Result<Box<HttpPeer>> {
        self.look_into_loss().await;
        if self.is_given_up() {
            return Err(internal("the read may have cost an instance its life"));
        }
        let instance = match read::next(&self.edge, &self.read, &self.attempts, Wait::ForFresh).await {
            Ok(instance) => instance,
            Err(failure) => {
                // With all attempts used up, the last one's end says more than that no instance is left.
                if !self.attempts.used_up() || matches!(failure, Failure::Chroma(_)) {
                    self.last = LastAttempt::NotMade(failure);
                }
                return Err(internal("no instance can serve the read"));
            }
        };
        let registry = &self.edge.registry;
        self.attempts.begin(instance);
        self.chosen = Some(instance);
        self.generation = registry.generation(instance);
        self.in_flight = Some(registry.enter(instance));
        let mut peer = registry.peer(instance).ok_or_else(|| internal("the instance's address is not known"))?;
        if self.patience == Patience::UntilProbed {
            let patience = registry.health().verdict_within();
            peer.options.read_timeout = peer.options.read_timeout.map(|limit| limit.min(patience));
        }
        Ok(Box::new(peer))
    }

    /// Replaces what Pingora has of the request's body by the whole of it.
    pub fn send_body(&self, body: &mut Option<Bytes>, end_of_stream: bool) {
        if let Some(whole) = &self.body {
            *body = match (end_of_stream, whole.is_empty()) {
                (false, _) => Some(Bytes::new()),
                (true, true) => None,
                (true, false) => Some(whole.clone()),
            };
        }
    }

    /// Addresses the request to the chosen instance.
    pub fn send_header(&mut self, request: &mut RequestHeader) -> Result<()> {
        let Some(instance) = self.chosen else { return Ok(()) };
        let asked = self.read.on(&self.edge, instance);
        self.ids = asked.ids;
        request.set_uri(asked.path.parse().map_err(|_| internal("the instance's path is no URI"))?);
        request.insert_header(HOST, self.edge.registry.url(instance).authority())?;
        request.insert_header(TRACE_ID, self.trace.header())?;
        request.remove_header(&EXPECT);
        if let Some(body) = &self.body {
            request.remove_header(&TRANSFER_ENCODING);
            request.insert_header(CONTENT_LENGTH, body.len())?;
        }
        Ok(())
    }

    /// Takes the header of an answer; an error keeps the answer from the client.
    pub async fn receive_header(&mut self, method: &Method, response: &mut ResponseHeader) -> Result<()> {
        let Some(instance) = self.chosen else { return Ok(()) };
        let status = response.status.as_u16();
        if self.read.denied(&self.edge, status) {
            self.edge.core.doubt_contents(instance);
            self.attempts.exclude(instance);
            return Err(kept_back(status, "the instance lacks what is read"));
        }
        match chroma::classify_header(status, &response.headers).map(chroma::Class::read_advice) {
            Some(ReadAdvice::PassOn) => {}
            Some(ReadAdvice::Again | ReadAdvice::Elsewhere) => return Err(kept_back(status, "no answer of Chroma's")),
            // It has nothing to do with collections: every instance would say the same.
            None if self.read.target == Target::Anything && status < 500 => {}
            None => {
                self.attempts.unclear(instance, status);
                self.last = LastAttempt::Unclear;
                return Err(kept_back(status, "what the answer means is in its body"));
            }
        }
        self.status = status;
        let holding = if method == Method::HEAD { Holding::No } else { rewrite::holding(&self.read, status) };
        if holding != Holding::No {
            self.hold(response).await?;
        }
        if holding == Holding::NewLength {
            response.remove_header(&CONTENT_LENGTH);
        }
        response.insert_header(INSTANCE, self.edge.registry.name(instance).as_str())
    }

    /// Holds the answer's body back, within the memory for answers.
    async fn hold(&mut self, response: &ResponseHeader) -> Result<()> {
        let most = self.edge.client.max_answer_bytes();
        let announced = response.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let length: usize = announced.unwrap_or(most);
        // Held as it came, and as it goes.
        match self.edge.admission.claim_for_answer(length.saturating_mul(2)).await {
            Ok(memory) => self.answer_memory = Some(memory),
            Err(failure) => {
                self.last = LastAttempt::NotMade(failure);
                return Err(internal("no memory for the answer"));
            }
        }
        self.held = Some(Vec::with_capacity(announced.unwrap_or_default().min(most)));
        Ok(())
    }

    /// Gives the memory for the answer back.
    pub fn release(&mut self) {
        self.answer_memory = None;
    }

    /// Takes a piece of an answer's body, and holds it back while the answer is to be rewritten.
    pub fn receive_body(&mut self, body: &mut Option<Bytes>, end_of_stream: bool) -> Result<()> {
        if let Some(stake) = self.read.stake.as_ref().filter(|_| end_of_stream) {
            stake.answered(self.status);
        }
        let Some(held) = self.held.as_mut() else { return Ok(()) };
        if let Some(piece) = body.take() {
            held.extend_from_slice(&piece);
        }
        if held.len() > self.edge.client.max_answer_bytes() {
            return Err(internal("the answer is too long to be rewritten"));
        }
        if end_of_stream && let Some(held) = self.held.take() {
            *body = Some(rewrite::body(&self.edge, &self.read, self.ids, self.status, held).into());
        }
        Ok(())
    }

    /// Reports a connection that could not be opened, and decides whether to try again.
    pub fn connect_failed(&mut self, error: &mut Error) {
        self.in_flight = None;
        self.last = LastAttempt::Unanswered;
        if let Some(instance) = self.chosen {
            let seen = match error.etype() {
                ErrorType::ConnectRefused => Observation::Refused,
                _ => Observation::Unanswered,
            };
            self.edge.registry.observe_because(instance, seen, &error.to_string());
        }
        error.set_retry(!self.attempts.used_up());
    }

    /// Reports an attempt that failed after it was connected, and decides whether Pingora tries again.
    pub fn attempt_failed(&mut self, error: &mut Error, resend: Resend) {
        self.in_flight = None;
        self.held = None;
        self.answer_memory = None;
        if matches!(self.last, LastAttempt::Unclear | LastAttempt::NotMade(_)) {
            return error.set_retry(false);
        }
        let timed_out = matches!(error.etype(), ErrorType::ReadTimedout | ErrorType::WriteTimedout);
        self.last = if timed_out { LastAttempt::TimedOut } else { LastAttempt::Unanswered };
        // A closed connection may be the handler's panic on this very request: no reason to suspect the instance.
        if timed_out && let Some(instance) = self.chosen {
            match self.patience {
                // The probes have decided by now: an instance that is usable is slow at this request.
                Patience::UntilProbed if self.edge.registry.usable(instance) => self.patience = Patience::Full,
                Patience::UntilProbed => {}
                Patience::Full => {
                    self.edge.registry.observe_because(instance, Observation::Unanswered, &error.to_string());
                }
            }
        }
        let from_instance = error.esource() == &ErrorSource::Upstream;
        let answered = matches!(error.etype(), ErrorType::HTTPStatus(_));
        if let Some(instance) = self.chosen.filter(|_| from_instance && !timed_out && !answered) {
            let flights = self.edge.registry.flights(instance);
            self.lost = Some(Loss { instance, since: self.generation, flights });
        }
        let resend = self.body.is_some() || resend == Resend::Possible;
        error.set_retry(from_instance && resend && !self.attempts.used_up());
    }

    /// Finds out whether the instance of a lost attempt has died: then the read may end here.
    pub async fn look_into_loss(&mut self) {
        let Some(loss) = self.lost.take() else { return };
        if let Err(failure) = self.losses.add(&self.edge, &self.read, loss).await {
            self.last = LastAttempt::NotMade(failure);
        }
    }

    /// Whether the client is owed an answer, in spite of Pingora's error.
    pub fn is_given_up(&self) -> bool {
        matches!(self.last, LastAttempt::NotMade(_))
    }

    /// The answer when Pingora's attempts are over: the edge executes the read itself where an answer was unclear.
    ///
    /// # Errors
    /// What to answer when no instance could.
    pub async fn finish(&mut self, method: &Method, headers: &HeaderMap) -> Result<Reply, Failure> {
        self.look_into_loss().await;
        match &self.last {
            LastAttempt::Unanswered => Err(Failure::InstancesFailed),
            LastAttempt::TimedOut => Err(Failure::InstanceTimedOut),
            LastAttempt::NotMade(failure) => Err(failure.clone()),
            LastAttempt::Unclear => {
                let body = self.body.clone().unwrap_or_default();
                let request = ReadRequest::of(method.clone(), headers, body, self.trace);
                read::fetch(&self.edge, &self.read, &request, std::mem::take(&mut self.attempts)).await
            }
        }
    }
}

/// Keeps an answer from the client; [`Reading::attempt_failed`] decides what comes next.
fn kept_back(status: u16, why: &'static str) -> Box<Error> {
    let mut error = Error::explain(ErrorType::HTTPStatus(status), why);
    error.as_up();
    error
}

/// An error of the edge's own.
pub(super) fn internal(why: &'static str) -> Box<Error> {
    Error::explain(ErrorType::InternalError, why)
}
