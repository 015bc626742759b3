//! Pingora's hooks, each a few lines that call a room.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};

use super::body::{BodyError, Passing, read_up_to, read_whole};
use super::context::{Context, Patience, Reading, Stage, TimedOut};
use super::discovery;
use super::failure::Failure;
use super::prepare::label;
use super::read::{self, ATTEMPTS, Plan};
use super::respond::{self, Connection, INSTANCE, Reply, TRANSACTION_ID};
use super::rewrite::{self, Holding};
use super::{Edge, PageAnswer, PageRequest, live};
use crate::chroma::{Operation, route};
use crate::instance::Observation;
use crate::metrics;
use crate::proof::{self, CrashPoint};

#[async_trait]
impl ProxyHttp for Edge {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::new()
    }

    /// Writes are journaled, executed and answered here; reads are planned and passed on.
    async fn request_filter(&self, session: &mut Session, context: &mut Context) -> Result<bool> {
        match self.receive(session, context).await {
            Ok(Received::PassOn) => Ok(false),
            Ok(Received::Preflight(reply)) => respond::write(session, reply).await.map(|()| true),
            Ok(Received::Answer(PageAnswer::Whole(reply))) => self.answer(session, reply).await.map(|()| true),
            Ok(Received::Answer(PageAnswer::Live(live))) => {
                let more = self.options.origins.answer(&session.req_header().headers);
                live::write(session, live, &self.admission, more).await.map(|()| true)
            }
            Err(BodyError::Failure(failure)) => {
                context.failure = Some(failure.reason());
                self.answer(session, refusal(&failure, context.idempotency_key.as_deref())).await.map(|()| true)
            }
            Err(BodyError::Client(mut error)) => {
                // Else it would be counted, and answered, as a failure of the instances.
                error.as_down();
                Err(error)
            }
        }
    }

    /// Chooses among the fresh instances, with the same `choose` as the lanes.
    async fn upstream_peer(&self, _session: &mut Session, context: &mut Context) -> Result<Box<HttpPeer>> {
        let Some(reading) = context.reading() else { return Err(internal("no read was planned")) };
        let chosen = read::next(self, &reading.read, &reading.tried, &reading.unfit).await;
        let instance = match chosen {
            Ok(instance) => instance,
            Err(failure) => return Err(self.give_up(context, &failure)),
        };
        reading.tried.push(instance);
        reading.chosen = Some(instance);
        reading.in_flight = Some(self.registry.enter(instance));
        let mut peer = self.registry.peer(instance).ok_or_else(|| internal("the instance's address is not known"))?;
        if reading.patience == Patience::UntilProbed {
            let patience = self.registry.health().verdict_within();
            peer.options.read_timeout = peer.options.read_timeout.map(|limit| limit.min(patience));
        }
        Ok(Box::new(peer))
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        context: &mut Context,
    ) -> Result<()> {
        if let Some(whole) = context.reading().and_then(|reading| reading.body.as_ref()) {
            *body = match (end_of_stream, whole.is_empty()) {
                (false, _) => Some(Bytes::new()),
                (true, true) => None,
                (true, false) => Some(whole.clone()),
            };
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        request: &mut RequestHeader,
        context: &mut Context,
    ) -> Result<()> {
        let Some(reading) = context.reading() else { return Ok(()) };
        let Some(instance) = reading.chosen else { return Ok(()) };
        let asked = reading.read.on(self, instance);
        reading.ids = asked.ids;
        request.set_uri(asked.path.parse().map_err(|_| internal("the instance's path is no URI"))?);
        request.insert_header(HOST, self.registry.url(instance).authority())?;
        request.remove_header(&EXPECT);
        if let Some(body) = &reading.body {
            request.remove_header(&TRANSFER_ENCODING);
            request.insert_header(CONTENT_LENGTH, body.len())?;
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        let head = session.req_header().method == http::Method::HEAD;
        let Some(reading) = context.reading() else { return Ok(()) };
        let status = response.status.as_u16();
        // Nothing has gone to the client yet: a passing error is tried elsewhere, or here again.
        let passing = status == 500 && reading.tried.len() < ATTEMPTS && reading.read.may_repeat();
        let denied = reading.read.denied(self, status);
        if denied && let Some(instance) = reading.chosen {
            self.core.doubt_contents(instance);
            reading.unfit.push(instance);
        }
        if passing || denied {
            let mut error = Error::explain(ErrorType::HTTPStatus(status), "a read failed");
            error.as_up();
            error.set_retry(true);
            return Err(error);
        }
        reading.status = status;
        let holding = if head { Holding::No } else { rewrite::holding(&reading.read, status) };
        if holding != Holding::No {
            let announced = response.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
            let length: usize = announced.unwrap_or(self.options.answer_bytes);
            // Held as it came, and as it goes.
            match self.admission.claim_for_answer(length.saturating_mul(2)).await {
                Ok(memory) => reading.answer_memory = Some(memory),
                Err(failure) => return Err(self.give_up(context, &failure)),
            }
            reading.held = Some(Vec::with_capacity(announced.unwrap_or_default().min(self.options.answer_bytes)));
        }
        if holding == Holding::NewLength {
            response.remove_header(&CONTENT_LENGTH);
        }
        if let Some(instance) = reading.chosen {
            response.insert_header(INSTANCE, self.registry.name(instance).as_str())?;
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        _context: &mut Context,
    ) -> Result<()> {
        for name in self.options.origins.replaced() {
            response.remove_header(name);
        }
        for (name, value) in &self.options.origins.answer(&session.req_header().headers) {
            response.append_header(name.clone(), value.clone())?;
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        context: &mut Context,
    ) -> Result<Option<Duration>> {
        let limit = self.options.answer_bytes;
        let Some(reading) = context.reading() else { return Ok(None) };
        let Some(held) = reading.held.as_mut() else { return Ok(None) };
        if let Some(piece) = body.take() {
            held.extend_from_slice(&piece);
        }
        if held.len() > limit {
            return Err(internal("the answer is too long to be rewritten"));
        }
        if end_of_stream && let Some(held) = reading.held.take() {
            *body = Some(rewrite::body(self, &reading.read, reading.ids, reading.status, held).into());
        }
        Ok(None)
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        context: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        let Some(reading) = context.reading() else { return error };
        reading.in_flight = None;
        if let Some(instance) = reading.chosen {
            let seen = match error.etype() {
                ErrorType::ConnectRefused => Observation::Refused,
                _ => Observation::Unanswered,
            };
            self.registry.observe_because(instance, seen, &error.to_string());
        }
        error.set_retry(reading.tried.len() < ATTEMPTS);
        error
    }

    /// A read may be sent again as long as the client has seen nothing of an answer.
    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        context: &mut Context,
        _client_reused: bool,
    ) -> Box<Error> {
        let mut error = error.more_context(format!("Peer: {peer}"));
        let untold = session.response_written().is_none_or(|response| response.status.is_informational());
        let truncated = session.as_mut().retry_buffer_truncated();
        let Some(reading) = context.reading() else {
            error.set_retry(false);
            return error;
        };
        reading.in_flight = None;
        reading.held = None;
        reading.answer_memory = None;
        let timed_out = matches!(error.etype(), ErrorType::ReadTimedout | ErrorType::WriteTimedout);
        reading.timed_out = if timed_out { TimedOut::Yes } else { TimedOut::No };
        // A closed connection may be the handler's panic on this very request: no reason to doubt the instance.
        if timed_out && let Some(instance) = reading.chosen {
            match reading.patience {
                // The probes' verdict is there: sound means that the request takes long.
                Patience::UntilProbed if self.registry.usable(instance) => reading.patience = Patience::Full,
                Patience::UntilProbed => {}
                Patience::Full => {
                    self.registry.observe_because(instance, Observation::Unanswered, &error.to_string());
                }
            }
        }
        let repeatable = reading.body.is_some() || !truncated;
        let from_instance = error.esource() == &ErrorSource::Upstream;
        error.set_retry(from_instance && untold && repeatable && reading.tried.len() < ATTEMPTS);
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, context: &mut Context) -> FailToProxy
    where
        Self::CTX: Send + Sync,
    {
        let client_is_gone = error.esource() == &ErrorSource::Downstream && context.given_up.is_none();
        if client_is_gone || session.response_written().is_some() {
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        }
        let failure = context.given_up.take().unwrap_or_else(|| context.last_failure());
        context.failure = Some(failure.reason());
        let code = failure.status();
        let mut reply = Reply::from(&failure);
        reply.connection = Connection::Close;
        if let Err(error) = self.answer(session, reply).await {
            tracing::debug!(%error, "the client is gone before its error");
        }
        FailToProxy { error_code: code, can_reuse_downstream: false }
    }

    /// Marks the transaction complete: the answer has been given, or its client is gone.
    async fn logging(&self, session: &mut Session, error: Option<&Error>, context: &mut Context) {
        if let (Stage::Answered(completion), Some(journal)) = (&context.stage, self.core.journal()) {
            // A crash before this is durable: the status is derived from the verdict at the next start.
            proof::pass(CrashPoint::BeforeCompleted);
            journal.record_later(vec![completion.fact(&self.registry)]);
        }
        let status = session.response_written().map_or(0, |response| response.status.as_u16());
        metrics::request(context.operation, status, context.failure, context.started.elapsed());
        tracing::debug!(
            method = %session.req_header().method,
            path = session.req_header().uri.path(),
            status,
            operation = context.operation,
            millis = context.started.elapsed().as_millis(),
            error = error.map(tracing::field::display),
            "request"
        );
        context.permit = None;
        context.memory = None;
        if let Some(reading) = context.reading() {
            reading.answer_memory = None;
        }
    }

    fn suppress_error_log(&self, _session: &Session, _context: &Context, _error: &Error) -> bool {
        // Told by the metrics and the access log; Pingora's own line says ERROR for a client that hung up.
        true
    }
}

/// What becomes of a request.
enum Received {
    /// A read for an instance.
    PassOn,
    /// A browser asks first: all that there is to say about origins is in the answer.
    Preflight(Reply),
    Answer(PageAnswer),
}

impl From<Option<Reply>> for Received {
    fn from(reply: Option<Reply>) -> Self {
        reply.map_or(Received::PassOn, |reply| Received::Answer(PageAnswer::Whole(reply)))
    }
}

impl Edge {
    /// Writes the whole answer, with what other origins may read of it.
    async fn answer(&self, session: &mut Session, mut reply: Reply) -> Result<()> {
        for name in self.options.origins.replaced() {
            reply.headers.remove(name);
        }
        for (name, value) in self.options.origins.answer(&session.req_header().headers).iter() {
            reply.headers.append(name, value.clone());
        }
        respond::write(session, reply).await
    }

    /// What becomes of a request: an answer now, or a read that is passed on.
    async fn receive(&self, session: &mut Session, context: &mut Context) -> Result<Received, BodyError> {
        // A client that hangs up cancels nothing: the lane owns the write.
        session.as_downstream_mut().set_abort_on_close(false);
        let header = session.req_header();
        let method = header.method.clone();
        let path = header.uri.path_and_query().map_or_else(|| header.uri.path(), |path| path.as_str()).to_owned();
        if let Some(reply) = self.options.origins.preflight(&method, &header.headers) {
            context.operation = "preflight";
            return Ok(Received::Preflight(closing(reply)));
        }
        if !path.starts_with("/api/") {
            let own = path.split_once('?').map_or(path.as_str(), |(path, _)| path);
            if let Some(body_bytes) = self.pages.takes(&method, own) {
                context.permit = Some(self.admission.pass());
                context.operation = "own_page";
                return self.own_page(session, context, body_bytes).await.map(Received::Answer);
            }
        }
        context.permit = Some(self.admission.enter().await?);
        let operation = route(method.as_str(), &path);
        context.operation = label(&operation);
        let reply = match operation {
            Operation::Unsupported(unsupported) => Ok(Some(closing(unsupported.answer().into()))),
            Operation::UnknownWrite(unknown) => Ok(Some(closing(unknown.answer().into()))),
            Operation::RecordWrite { .. } | Operation::CatalogWrite(_) => {
                super::write::write(self, session, context, &operation).await.map(Some)
            }
            Operation::System | Operation::RecordRead { .. } | Operation::CatalogRead(_) => {
                self.receive_read(session, context, operation, &path).await
            }
        };
        reply.map(Received::from)
    }

    /// Never refused by the limits on requests: the edge's own pages must answer when everything else waits.
    async fn own_page(
        &self,
        session: &mut Session,
        context: &mut Context,
        body_bytes: usize,
    ) -> Result<PageAnswer, BodyError> {
        let mut body = Bytes::new();
        if body_bytes > 0 {
            let read = read_up_to(session, &self.admission, body_bytes).await?;
            context.memory = Some(read.memory);
            body = read.bytes;
        }
        let request = PageRequest::of(session, body, &self.options.trusted_proxies);
        Ok(match self.pages.respond(request).await {
            PageAnswer::Whole(reply) => PageAnswer::Whole(closing(reply)),
            live @ PageAnswer::Live(_) => live,
        })
    }

    async fn receive_read(
        &self,
        session: &mut Session,
        context: &mut Context,
        operation: Operation,
        path: &str,
    ) -> Result<Option<Reply>, BodyError> {
        if let Some(reply) = discovery::discover(self, &operation).await? {
            return Ok(Some(reply));
        }
        let headers = &session.req_header().headers;
        let mut planned = read::plan(self, operation.clone(), path, headers);
        if let Err(failure) = &planned
            && discovery::may_be_premature(self, failure)
        {
            discovery::first_look(self, self.options.read_wait).await;
            planned = read::plan(self, operation, path, headers).map_err(|failure| discovery::as_known(self, failure));
        }
        let read = match planned? {
            Plan::Answer(reply) => return Ok(Some(reply)),
            Plan::Pass(read) => read,
        };
        if let Some(reply) = read::assemble(self, &read).await? {
            return Ok(Some(reply));
        }
        let header = session.req_header();
        if header.version < http::Version::HTTP_11 && rewrite::holding(&read, 200) == Holding::NewLength {
            // Pingora would send it chunked, which such a client cannot read.
            let (method, headers) = (header.method.clone(), header.headers.clone());
            return Ok(Some(closing(read::fetch(self, &read, method, &headers, Bytes::new()).await?)));
        }
        let mut whole = None;
        let has_body = session.req_header().headers.contains_key(CONTENT_LENGTH)
            || session.req_header().headers.contains_key(TRANSFER_ENCODING);
        if has_body {
            let body = read_whole(session, &self.admission).await?;
            context.memory = Some(body.memory);
            read::reject_crashing(&read.operation, &body.bytes)?;
            read::check_limits(&self.options.limits, &read.operation, &body.bytes)?;
            if body.passing == Passing::Impossible {
                let header = session.req_header();
                let (method, headers) = (header.method.clone(), header.headers.clone());
                return Ok(Some(read::fetch(self, &read, method, &headers, body.bytes).await?));
            }
            whole = Some(body.bytes);
        }
        context.stage = Stage::Reading(Box::new(Reading::new(read, whole)));
        Ok(None)
    }

    /// Ends Pingora's attempts with our own words.
    fn give_up(&self, context: &mut Context, failure: &Failure) -> Box<Error> {
        // All attempts used up: what went wrong with the last says more than that nobody is left.
        let used_up = context.reading().is_some_and(|reading| reading.tried.len() >= ATTEMPTS);
        let definite = matches!(failure, Failure::Chroma(_));
        context.given_up = Some(if used_up && !definite { context.last_failure() } else { failure.clone() });
        internal("no instance can serve the read")
    }
}

/// The answer to a refused request. What was not read of its body ends the connection.
pub(super) fn refusal(failure: &Failure, idempotency_key: Option<&str>) -> Reply {
    let reply = Reply::from(failure);
    closing(match idempotency_key {
        Some(id) => reply.with(TRANSACTION_ID, id),
        None => reply,
    })
}

fn closing(mut reply: Reply) -> Reply {
    reply.connection = Connection::CloseUnlessRead;
    reply
}

pub(super) fn internal(why: &'static str) -> Box<Error> {
    Error::explain(ErrorType::InternalError, why)
}
