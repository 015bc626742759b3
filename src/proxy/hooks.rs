//! Pingora's hooks: the [`Edge`](super::Edge), once there is one, receives and answers each request.
//!
//! Pingora's own path to an upstream is not used: an answer that it has begun to pass on can no longer be held back
//! ([decision 0036](../../docs/decisions/0036-how-a-read-is-passed-on.md)).

use async_trait::async_trait;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};

use super::access;
use super::context::{Context, Stage};
use super::listener::Listener;
use super::outlet::{AnswerLimits, Outlet};
use super::receive::refusal;
use super::respond::{self, internal};
use super::spans;
use crate::proof::{self, CrashPoint};
use crate::traces;
use crate::web::TraceId;

#[async_trait]
impl ProxyHttp for Listener {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::new()
    }

    /// Writes are journaled, executed and answered here; reads are sent to instances.
    async fn request_filter(&self, session: &mut Session, context: &mut Context) -> Result<bool> {
        let headers = &session.req_header().headers;
        context.trace = TraceId::of(headers);
        if let Some(tracer) = traces::tracer() {
            context.traced = tracer.request(headers, context.started);
        }
        context.serving = self.greet(session)?;
        if let Some(failure) = self.turned_away(session) {
            context.failure = Some(failure.reason());
            let mut outlet = Outlet::new(session, AnswerLimits::default(), None);
            return respond::write(&mut outlet, refusal(&failure, None), context.trace).await.map(|()| true);
        }
        match self.edge() {
            Some(edge) => edge.receive(session, context).await,
            None => Box::pin(self.stand_by(session, context)).await,
        }
        .map(|()| true)
    }

    /// Never called: every request has been answered by then.
    async fn upstream_peer(&self, _session: &mut Session, _context: &mut Context) -> Result<Box<HttpPeer>> {
        Err(internal("nothing is passed on by Pingora"))
    }

    /// The client is gone, or has received part of an answer: it gets no other one.
    async fn fail_to_proxy(&self, _session: &mut Session, _error: &Error, _context: &mut Context) -> FailToProxy
    where
        Self::CTX: Send + Sync,
    {
        FailToProxy { error_code: 0, can_reuse_downstream: false }
    }

    /// Marks the transaction complete: the answer has been given, or the client is gone.
    async fn logging(&self, session: &mut Session, error: Option<&Error>, context: &mut Context) {
        if let Some(edge) = self.edge()
            && let Stage::Answered(completion) = &context.stage
        {
            // A crash before this is durable: the status is derived from the verdict at the next start.
            proof::pass(CrashPoint::BeforeCompleted);
            edge.core.journal().record_later(vec![completion.fact(&edge.registry)]);
        }
        access::ended(session, error, context, self.edge());
        spans::request_ended(session, context);
        context.permit = None;
        context.serving = None;
        context.memory = None;
        context.answer_memory = None;
    }

    fn suppress_error_log(&self, _session: &Session, _context: &Context, _error: &Error) -> bool {
        // The metrics and the access log cover it. Pingora would log a client that hung up as an ERROR.
        true
    }
}
