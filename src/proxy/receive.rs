//! What becomes of a request: one of the edge's own pages, a write, or a read that is planned and passed on.
//!
//! It sorts and admits. [`write`](super::write) decides how to execute a write, [`read`](super::read) where a read may go.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use pingora::Result;
use pingora::proxy::Session;

use super::body::{BodyError, PassThrough, read_up_to, read_whole};
use super::context::{Context, Stage};
use super::failure::Failure;
use super::forwarded::page_request;
use super::prepare::label;
use super::read::{self, Attempts, List, Plan, Portion, ReadRequest};
use super::reading::Reading;
use super::respond::Rest;
use super::rewrite::{self, Holding};
use super::{Edge, discovery, live, respond, stream};
use crate::chroma::{self, Operation, route};
use crate::web::{Connection, PageAnswer, Reply, TRANSACTION_ID};

/// What becomes of a request.
enum Received {
    /// A read for an instance.
    PassOn,
    /// The answer to a browser's preflight, complete with its headers about origins.
    Preflight(Reply),
    /// A list that is not in one piece.
    List(Box<(List, Portion)>),
    Answer(PageAnswer),
}

impl From<Option<Reply>> for Received {
    fn from(reply: Option<Reply>) -> Self {
        reply.map_or(Received::PassOn, |reply| Received::Answer(PageAnswer::Whole(reply)))
    }
}

impl Edge {
    /// Answers the request (`true`), or leaves a read in the context to be passed on (`false`).
    pub(super) async fn receive(self: &Arc<Self>, session: &mut Session, context: &mut Context) -> Result<bool> {
        match self.decide(session, context).await {
            Ok(Received::PassOn) => return Ok(false),
            Ok(Received::Preflight(reply)) => respond::write(session, reply, context.trace).await?,
            Ok(Received::List(list)) => {
                let (list, first) = *list;
                let more = self.options.origins.answer(&session.req_header().headers);
                stream::write(session, list, first, more).await?;
            }
            Ok(Received::Answer(PageAnswer::Whole(reply))) => self.answer(session, reply, context).await?,
            Ok(Received::Answer(PageAnswer::Live(live))) => {
                let more = self.options.origins.answer(&session.req_header().headers);
                live::write(session, live, &self.admission, more).await?;
            }
            Err(BodyError::Failure(failure)) => {
                context.failure = Some(failure.reason());
                self.note_reused(&failure, context);
                let reply = refusal(&failure, context.idempotency_key.as_ref().map(|key| key.text.as_str()));
                self.answer(session, reply, context).await?;
            }
            Err(BodyError::Client(mut error)) => {
                // Else it would be counted, and answered, as a failure of the instances.
                error.as_down();
                return Err(error);
            }
        }
        Ok(true)
    }

    /// Writes the whole answer, with the headers about origins.
    pub(super) async fn answer(&self, session: &mut Session, mut reply: Reply, context: &Context) -> Result<()> {
        for name in self.options.origins.replaced() {
            reply.headers.remove(name);
        }
        for (name, value) in &self.options.origins.answer(&session.req_header().headers) {
            reply.headers.append(name, value.clone());
        }
        respond::write(session, reply, context.trace).await
    }

    /// An id that many different writes come under is no id of theirs: a gateway's correlation header, most likely.
    fn note_reused(&self, failure: &Failure, context: &Context) {
        if let (Failure::TransactionIdReused, Some(key)) = (failure, &context.idempotency_key) {
            self.reused.note(&key.header, context.started);
        }
    }

    /// An answer now, or a read that is passed on.
    async fn decide(self: &Arc<Self>, session: &mut Session, context: &mut Context) -> Result<Received, BodyError> {
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
                return self.edge_page(session, context, body_bytes).await.map(Received::Answer);
            }
        }
        context.permit = Some(self.admission.enter().await?);
        let operation = route(method.as_str(), &path);
        context.operation = label(&operation);
        if let Some(answer) = chroma::hidden(&operation) {
            return Ok(Received::from(Some(closing(answer.into()))));
        }
        match operation {
            Operation::Unsupported(unsupported) => Ok(Received::from(Some(closing(unsupported.answer().into())))),
            Operation::UnknownWrite(unknown) => Ok(Received::from(Some(closing(unknown.answer().into())))),
            Operation::RecordWrite { .. } | Operation::CatalogWrite(_) => {
                super::write::write(self, session, context, &operation).await.map(|reply| Received::from(Some(reply)))
            }
            Operation::System | Operation::RecordRead { .. } | Operation::CatalogRead(_) => {
                self.receive_read(session, context, operation, &path).await
            }
        }
    }

    /// Never refused by the limits on requests: the edge's own pages must answer when everything else waits.
    async fn edge_page(
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
        let request = page_request(session, body, &self.options.trusted_proxies);
        Ok(match self.pages.respond(request).await {
            PageAnswer::Whole(reply) => PageAnswer::Whole(closing(reply)),
            live @ PageAnswer::Live(_) => live,
        })
    }

    async fn receive_read(
        self: &Arc<Self>,
        session: &mut Session,
        context: &mut Context,
        operation: Operation,
        path: &str,
    ) -> Result<Received, BodyError> {
        if let Some(reply) = discovery::discover(self, &operation, context.trace).await? {
            return Ok(Received::from(Some(reply)));
        }
        discovery::whole(self, &operation).await?;
        let headers = &session.req_header().headers;
        let mut planned = read::plan(self, operation.clone(), path, headers);
        if let Err(failure) = &planned
            && discovery::may_be_premature(self, failure)
        {
            discovery::first_look(self, self.options.read_wait).await;
            planned = read::plan(self, operation, path, headers).map_err(|failure| discovery::as_known(self, failure));
        }
        let mut read = match planned? {
            Plan::Answer(reply) => return Ok(Received::from(Some(reply))),
            Plan::Object(read) => {
                let reply = read::object(self, &read, context.trace).await?;
                context.answer_memory = Some(self.admission.claim_for_answer(reply.body.len()).await?);
                return Ok(Received::from(Some(closing(reply))));
            }
            Plan::List(listing) => {
                return self.list(List::new(self, listing, context.trace), context).await.map_err(BodyError::from);
            }
            Plan::Pass(read) => read,
        };
        let header = session.req_header();
        // Pingora would send it chunked, which such a client cannot read.
        let unreadable = header.version < http::Version::HTTP_11 && rewrite::holding(&read, 200) == Holding::NewLength;
        if unreadable || read.needs_lookup(self) {
            let request = ReadRequest::of(header.method.clone(), &header.headers, Bytes::new(), context.trace);
            let reply = read::fetch(self, &read, &request, Attempts::default()).await?;
            return Ok(Received::from(Some(closing(reply))));
        }
        let mut whole = None;
        let has_body = session.req_header().headers.contains_key(CONTENT_LENGTH)
            || session.req_header().headers.contains_key(TRANSFER_ENCODING);
        if has_body {
            let body = read_whole(session, &self.admission).await?;
            context.memory = Some(body.memory);
            read::reject_crashing(&read.operation, &body.bytes)?;
            read::stake(self, &mut read, &body.bytes)?;
            if body.pass_through == PassThrough::Impossible {
                let header = session.req_header();
                let request = ReadRequest::of(header.method.clone(), &header.headers, body.bytes, context.trace);
                return Ok(Received::from(Some(read::fetch(self, &read, &request, Attempts::default()).await?)));
            }
            whole = Some(body.bytes);
        }
        context.stage = Stage::Reading(Box::new(Reading::new(Arc::clone(self), read, whole, context.trace)));
        Ok(Received::PassOn)
    }

    /// A short list is answered whole; of a longer one the first portion is read before its client is told anything.
    async fn list(&self, mut list: List, context: &mut Context) -> Result<Received, Failure> {
        let mut first = list.next().await?;
        if first.rest == Rest::Follows || first.pieces.len() > 1 {
            return Ok(Received::List(Box::new((list, first))));
        }
        context.answer_memory = Some(list.into_memory());
        Ok(Received::from(Some(closing(Reply::json(200, first.pieces.pop().unwrap_or_default())))))
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
