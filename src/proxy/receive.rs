//! Dispatches a request: to one of the edge's own pages, or as a write or a read.
//!
//! It sorts and admits. [`write`](super::write) decides how to execute a write, [`read`](super::read) where a read may
//! go.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use pingora::Result;
use pingora::proxy::Session;

use super::body::{BodyError, read_up_to, read_whole};
use super::context::Context;
use super::failure::Failure;
use super::forwarded::{address_of, page_request};
use super::outlet::{Outlet, PIECE, Rest};
use super::prepare::{OWN_PAGE, PREFLIGHT, label};
use super::read::{self, Fetched, List, Passing, Plan, Portion, Read, ReadRequest};
use super::{Edge, discovery, live, respond, spans, stream};
use crate::auth::{Client, Decision, Need, Principal, Role, decide, is_among_pages, need, page_need};
use crate::chroma::{self, Operation, route};
use crate::clock;
use crate::web::{Connection, PageAnswer, Reply, TRANSACTION_ID, harden, no_such_page};

/// The outcome of a request.
enum Received {
    /// A read's answer that an instance is still sending.
    Passing(Box<(Passing, Read)>),
    /// The answer to a browser's preflight, complete with its headers about origins.
    Preflight(Reply),
    /// A list that is not in one piece.
    List(Box<(List, Portion)>),
    Answer(PageAnswer),
}

impl From<Reply> for Received {
    fn from(reply: Reply) -> Self {
        Received::Answer(PageAnswer::Whole(reply))
    }
}

impl Edge {
    /// Answers the request. Everything off the path of a read is boxed: a request's future is copied as a whole, and is
    /// as large as its largest path.
    pub(super) async fn receive(self: &Arc<Self>, session: &mut Session, context: &mut Context) -> Result<()> {
        let received = self.decide(session, context).await;
        let trace = context.trace;
        let origins = |session: &Session| self.options().origins.answer(&session.req_header().headers);
        match received {
            Ok(Received::Preflight(reply)) => respond::write(&mut self.outlet(session, context), reply, trace).await,
            Ok(Received::List(list)) => {
                let ((list, first), more) = (*list, origins(session));
                Box::pin(stream::write(&mut self.outlet(session, context), list, first, more)).await
            }
            Ok(Received::Passing(passing)) => {
                let (passing, read) = *passing;
                let mut headers = passing.headers(self);
                self.about_origins(session, &mut headers);
                Box::pin(respond::pass(&mut self.outlet(session, context), self, &read, (passing, headers))).await
            }
            Ok(Received::Answer(PageAnswer::Whole(reply))) => {
                let reply = self.counted(reply, context).await;
                self.answer(session, reply, context).await
            }
            Ok(Received::Answer(PageAnswer::Live(live))) => {
                let more = origins(session);
                Box::pin(live::write(&mut self.outlet(session, context), live, &self.admission, more)).await
            }
            Err(BodyError::Failure(failure)) => {
                context.failure = Some(failure.reason());
                self.note_reused(&failure, context);
                let reply = refusal(&failure, context.idempotency_key.as_ref().map(|key| key.text.as_str()));
                self.answer(session, reply, context).await
            }
            Err(BodyError::Client(mut error)) => {
                // Otherwise it would be counted as a failure of the edge.
                error.as_down();
                Err(error)
            }
        }
    }

    /// Counts the answer's memory until the client has read it. A large page of the edge's own is refused if there is
    /// no memory; the answer to a write never is.
    async fn counted(&self, reply: Reply, context: &mut Context) -> Reply {
        let memory = context.answer_memory.get_or_insert_default();
        if reply.body.len() <= PIECE {
            self.admission.try_grow_for_answer(memory, reply.body.len());
            return reply;
        }
        match self.admission.grow_for_answer(memory, reply.body.len()).await {
            Err(failure) if context.operation == OWN_PAGE => {
                context.failure = Some(failure.reason());
                refusal(&failure, None)
            }
            Ok(()) | Err(_) => reply,
        }
    }

    fn outlet<'a>(&self, session: &'a mut Session, context: &'a mut Context) -> Outlet<'a> {
        Outlet::new(session, self.options().answers, context.permit.as_mut())
    }

    /// Writes the whole answer, with the headers about origins.
    async fn answer(&self, session: &mut Session, mut reply: Reply, context: &mut Context) -> Result<()> {
        self.about_origins(session, &mut reply.headers);
        let trace = context.trace;
        respond::write(&mut self.outlet(session, context), reply, trace).await
    }

    /// Replaces the answer's headers about origins.
    fn about_origins(&self, session: &Session, headers: &mut HeaderMap) {
        for name in self.options().origins.replaced() {
            headers.remove(name);
        }
        for (name, value) in &self.options().origins.answer(&session.req_header().headers) {
            headers.append(name, value.clone());
        }
    }

    /// Notes a reused id. An id that comes with many different writes does not identify a write: most likely the header
    /// is a gateway's correlation header.
    fn note_reused(&self, failure: &Failure, context: &Context) {
        if let (Failure::TransactionIdReused, Some(key)) = (failure, &context.idempotency_key) {
            self.reused.note(&key.header, context.started);
        }
    }

    /// Decides what becomes of the request: an answer now, or a read that is passed on.
    async fn decide(self: &Arc<Self>, session: &mut Session, context: &mut Context) -> Result<Received, BodyError> {
        // A client that hangs up cancels nothing: the lane owns the write.
        session.as_downstream_mut().set_abort_on_close(false);
        let header = session.req_header();
        let method = header.method.clone();
        let path = header.uri.path_and_query().map_or_else(|| header.uri.path(), |path| path.as_str()).to_owned();
        if let Some(reply) = self.options().origins.preflight(&method, &header.headers) {
            context.operation = PREFLIGHT;
            return Ok(Received::Preflight(closing(reply)));
        }
        let own = path.split_once(['?', '#']).map_or(path.as_str(), |(path, _)| path);
        if !path.starts_with("/api/")
            && let (Some(need), Some(body_bytes)) = (page_need(method.as_str(), own), self.pages.takes(&method, own))
        {
            context.permit = Some(self.admission.pass());
            context.operation = OWN_PAGE;
            let principal = self.options().entrance.admit(session, need)?;
            if need == Need::Whole(Role::Admin) && !method.is_safe() {
                let who = principal.name().unwrap_or("this machine");
                tracing::info!(principal = who, %method, path = own, trace = %context.trace, "requested by an operator");
            }
            context.principal = Some(principal.clone());
            let page = Box::pin(self.edge_page(session, context, body_bytes, principal)).await;
            return page.map(Received::Answer);
        }
        context.permit = Some(self.admission.arrived());
        let operation = route(method.as_str(), &path);
        context.operation = label(&operation);
        // Before the request takes a permit, so that no client waits behind requests that are not allowed.
        let needed = need(&operation, own);
        let principal = self.options().entrance.admit(session, needed)?;
        context.principal = Some(principal.clone());
        self.within_rate(session, needed, &principal)?;
        if !own.starts_with("/api/") && is_among_pages(own) {
            return Ok(Received::from(closing(no_such_page().into())));
        }
        match decide(&principal, &operation, own) {
            Decision::Allow => {}
            Decision::Answer(answer) => return Ok(Received::from(closing(answer.into()))),
            Decision::Deny(denied) => return Err(Failure::Denied(denied).into()),
        }
        if let Some(answer) = chroma::hidden(&operation) {
            return Ok(Received::from(closing(answer.into())));
        }
        match operation {
            Operation::Unsupported(unsupported) => Ok(Received::from(closing(unsupported.answer().into()))),
            Operation::UnknownWrite(unknown) => Ok(Received::from(closing(unknown.answer().into()))),
            Operation::RecordWrite { .. } | Operation::CatalogWrite(_) => {
                let written = super::write::write(self, session, context, &operation, &principal);
                Box::pin(written).await.map(Received::from)
            }
            Operation::System | Operation::RecordRead { .. } | Operation::CatalogRead(_) => {
                self.receive_read(session, context, operation, &path, &principal).await
            }
        }
    }

    /// Counts a client's request. Requests that need no token are free, because load balancers send heartbeats as often
    /// as they like.
    fn within_rate(&self, session: &Session, needed: Need, principal: &Principal) -> Result<(), Failure> {
        let options = self.options();
        let Some(rate) = options.client_rate.filter(|_| needed != Need::Nothing) else { return Ok(()) };
        let client = Client::of(principal.name(), || address_of(session, &options.entrance.trusted));
        self.client_rates.admit(client, rate, clock::now()).map_err(|wait| Failure::TooManyRequests {
            per_second: rate.per_second.get(),
            retry_seconds: u32::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u32::MAX),
        })
    }

    /// Answers one of the edge's own pages. The limits on requests do not apply: these pages must answer when
    /// everything else waits.
    async fn edge_page(
        &self,
        session: &mut Session,
        context: &mut Context,
        body_bytes: usize,
        principal: Principal,
    ) -> Result<PageAnswer, BodyError> {
        let mut body = Bytes::new();
        if body_bytes > 0 {
            let read = read_up_to(session, &self.admission, body_bytes).await?;
            context.memory = Some(read.memory);
            body = read.bytes;
        }
        let request = page_request(session, body, &self.options().entrance.trusted, principal);
        Ok(match self.pages.respond(request).await {
            PageAnswer::Whole(mut reply) => {
                harden(&mut reply.headers);
                PageAnswer::Whole(closing(reply))
            }
            live @ PageAnswer::Live(_) => live,
        })
    }

    async fn receive_read(
        self: &Arc<Self>,
        session: &mut Session,
        context: &mut Context,
        operation: Operation,
        path: &str,
        principal: &Principal,
    ) -> Result<Received, BodyError> {
        let headers = &session.req_header().headers;
        let framed = headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
        // HTTP/2 frames a body without either header.
        let has_body = framed || !session.as_downstream_mut().is_body_empty();
        // The permit is taken once the body has been read, not while it trickles in.
        let body = if has_body { Some(read_whole(session, &self.admission).await?) } else { None };
        self.enter(context).await?;
        if let Some(reply) = discovery::discover(self, &operation, context.name()).await? {
            return Ok(Received::from(reply));
        }
        discovery::whole(self, &operation).await?;
        let headers = &session.req_header().headers;
        let mut planned = read::plan(self, operation, path, headers, principal);
        if let Err(failure) = &planned
            && discovery::may_be_premature(self, failure)
        {
            Box::pin(discovery::first_look(self, self.options().read_wait)).await;
            let operation = route(session.req_header().method.as_str(), path);
            planned = read::plan(self, operation, path, headers, principal)
                .map_err(|failure| discovery::as_known(self, failure));
        }
        let planned = planned?;
        spans::planned(&planned, &mut context.traced);
        let mut read = match planned {
            Plan::Answer(reply) => return Ok(Received::from(reply)),
            Plan::Object(read) => {
                let reply = Box::pin(read::object(self, &read, context.name())).await?;
                context.answer_memory = Some(self.admission.claim_for_answer(reply.body.len()).await?);
                return Ok(Received::from(closing(reply)));
            }
            Plan::List(listing) => {
                let list = List::new(self, listing, context.name());
                return Box::pin(self.list(list, context)).await.map_err(BodyError::from);
            }
            Plan::Pass(read) => read,
        };
        let mut whole = Bytes::new();
        if let Some(body) = body {
            context.memory = Some(body.memory);
            whole = body.bytes;
            read::stake(self, &mut read, &whole)?;
        }
        let credentials = self.options().entrance.credentials;
        let header = session.req_header();
        let request = ReadRequest::of(header.method.clone(), &header.headers, whole, context.name(), credentials);
        let memory = context.answer_memory.get_or_insert_default();
        Ok(match read::pass(self, &read, &request, memory).await? {
            Fetched::Whole(reply) => Received::from(closing(reply)),
            Fetched::Passing(passing) => Received::Passing(Box::new((*passing, read))),
        })
    }

    /// Gives the request a permit, once all of it has been read.
    pub(super) async fn enter(&self, context: &mut Context) -> Result<(), Failure> {
        match &mut context.permit {
            Some(permit) => self.admission.enter(permit).await,
            None => Ok(()),
        }
    }

    /// Answers a short list whole. Of a longer one, reads the first portion before anything is sent to the client.
    async fn list(&self, mut list: List, context: &mut Context) -> Result<Received, Failure> {
        let mut first = list.next().await?;
        if first.rest == Rest::Follows || first.pieces.len() > 1 {
            return Ok(Received::List(Box::new((list, first))));
        }
        context.answer_memory = Some(list.into_memory());
        Ok(Received::from(closing(Reply::json(200, first.pieces.pop().unwrap_or_default()))))
    }
}

/// The answer to a refused request. The connection closes if part of the request's body is unread.
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
