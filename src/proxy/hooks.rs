//! Pingora's hooks, each a few lines that call a room.
//!
//! A request is received by the [`Edge`](super::Edge), once there is one. The hooks after the first concern only reads
//! that are passed on: they go to the [`Reading`](super::reading::Reading) in the request's context.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, Result};

use super::context::{Context, Stage};
use super::failure::Failure;
use super::listener::Listener;
use super::reading::{Resend, internal};
use crate::metrics;
use crate::proof::{self, CrashPoint};
use crate::web::{Connection, Reply, TraceId};

#[async_trait]
impl ProxyHttp for Listener {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::new()
    }

    /// Writes are journaled, executed and answered here; reads are planned and passed on.
    async fn request_filter(&self, session: &mut Session, context: &mut Context) -> Result<bool> {
        context.trace = TraceId::of(&session.req_header().headers);
        match self.edge() {
            Some(edge) => edge.receive(session, context).await,
            None => self.stand_by(session, context).await.map(|()| true),
        }
    }

    async fn upstream_peer(&self, _session: &mut Session, context: &mut Context) -> Result<Box<HttpPeer>> {
        match context.reading() {
            Some(reading) => reading.peer().await,
            None => Err(internal("no read was planned")),
        }
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        context: &mut Context,
    ) -> Result<()> {
        if let Some(reading) = context.reading() {
            reading.send_body(body, end_of_stream);
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        request: &mut RequestHeader,
        context: &mut Context,
    ) -> Result<()> {
        context.reading().map_or(Ok(()), |reading| reading.send_header(request))
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        let method = &session.req_header().method;
        match context.reading() {
            Some(reading) => reading.receive_header(method, response).await,
            None => Ok(()),
        }
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        _context: &mut Context,
    ) -> Result<()> {
        let Some(edge) = self.edge() else { return Ok(()) };
        for name in edge.options.origins.replaced() {
            response.remove_header(name);
        }
        for (name, value) in &edge.options.origins.answer(&session.req_header().headers) {
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
        context.reading().map_or(Ok(()), |reading| reading.receive_body(body, end_of_stream)).map(|()| None)
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        context: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        if let Some(reading) = context.reading() {
            reading.connect_failed(&mut error);
        }
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
        let unanswered = session.response_written().is_none_or(|response| response.status.is_informational());
        let whole = !session.as_mut().retry_buffer_truncated();
        match context.reading() {
            Some(reading) => {
                reading.attempt_failed(&mut error, if whole { Resend::Possible } else { Resend::Impossible })
            }
            None => error.set_retry(false),
        }
        if !unanswered {
            error.set_retry(false);
        }
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, context: &mut Context) -> FailToProxy
    where
        Self::CTX: Send + Sync,
    {
        if let Some(reading) = context.reading() {
            // Also where the client has had a part of an answer, and gets no other.
            reading.look_into_loss().await;
        }
        let given_up = context.reading().is_some_and(|reading| reading.is_given_up());
        let client_is_gone = error.esource() == &ErrorSource::Downstream && !given_up;
        if client_is_gone || session.response_written().is_some() {
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        }
        let Some(edge) = self.edge() else { return FailToProxy { error_code: 0, can_reuse_downstream: false } };
        let (method, headers) = (session.req_header().method.clone(), session.req_header().headers.clone());
        let finished = match context.reading() {
            Some(reading) => reading.finish(&method, &headers).await,
            None => Err(Failure::InstancesFailed),
        };
        let mut reply = finished.unwrap_or_else(|failure| {
            context.failure = Some(failure.reason());
            Reply { connection: Connection::Close, ..Reply::from(&failure) }
        });
        // An instance's answer ends the connection no more than one that Pingora passed on.
        let mut can_reuse_downstream = false;
        if reply.connection == Connection::Keep {
            reply.connection = Connection::CloseUnlessRead;
            can_reuse_downstream = session.as_mut().is_body_done();
        }
        let code = reply.status;
        if let Err(error) = edge.answer(session, reply, context).await {
            tracing::debug!(%error, "the client is gone before its answer");
            can_reuse_downstream = false;
        }
        FailToProxy { error_code: code, can_reuse_downstream }
    }

    /// Marks the transaction complete: the answer has been given, or its client is gone.
    async fn logging(&self, session: &mut Session, error: Option<&Error>, context: &mut Context) {
        if let Some(edge) = self.edge()
            && let Stage::Answered(completion) = &context.stage
        {
            // A crash before this is durable: the status is derived from the verdict at the next start.
            proof::pass(CrashPoint::BeforeCompleted);
            edge.core.journal().record_later(vec![completion.fact(&edge.registry)]);
        }
        let status = session.response_written().map_or(0, |response| response.status.as_u16());
        metrics::request(context.operation, status, context.failure, context.started.elapsed());
        tracing::debug!(
            trace = %context.trace,
            method = %session.req_header().method,
            path = session.req_header().uri.path(),
            status,
            operation = context.operation,
            failure = context.failure,
            millis = context.started.elapsed().as_millis(),
            error = error.map(tracing::field::display),
            "request"
        );
        context.permit = None;
        context.memory = None;
        context.answer_memory = None;
        if let Some(reading) = context.reading() {
            reading.release();
        }
    }

    fn suppress_error_log(&self, _session: &Session, _context: &Context, _error: &Error) -> bool {
        // The metrics and the access log have it; Pingora's own line says ERROR for a client that hung up.
        true
    }
}
