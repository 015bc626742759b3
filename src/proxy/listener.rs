//! What clients meet: the [`Edge`] once there is one, and before that an edge that stands by.
//!
//! Standing by, nothing is executed and nothing read: the edge's own pages answer, everything else is refused with a
//! name and the advice to come again. It decides that only; when there is an edge is decided by whoever holds the
//! journal.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};

use super::context::Context;
use super::failure::Failure;
use super::hooks::{internal, refusal};
use super::{Admission, Edge, OwnPages, PageAnswer, PageRequest, live, respond};
use crate::metrics;

/// Why there is no edge yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StandbyReason {
    /// The journal is being claimed, or loaded.
    Starting,
    /// Another edge, by its own name, holds it.
    Held { by: String },
    /// It cannot be reached.
    Unreachable { why: String },
}

/// What an edge that stands by waits for; shared with whoever knows.
#[derive(Debug)]
pub struct StandbyState(Mutex<StandbyReason>);

impl Default for StandbyState {
    fn default() -> Self {
        StandbyState(Mutex::new(StandbyReason::Starting))
    }
}

impl StandbyState {
    /// What it waits for now.
    pub fn get(&self) -> StandbyReason {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on it waits for this. `true`: for something else than before.
    pub fn set(&self, waiting: StandbyReason) -> bool {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *now, waiting);
        let again = matches!((&before, &*now), (StandbyReason::Unreachable { .. }, StandbyReason::Unreachable { .. }));
        !again && before != *now
    }
}

/// Where the edge comes in.
#[derive(Clone)]
pub struct EdgeSlot(Arc<OnceLock<Edge>>);

impl EdgeSlot {
    /// From now on this edge answers. Once.
    pub fn open(&self, edge: Edge) {
        let _ = self.0.set(edge);
    }
}

/// The proxy as Pingora knows it.
pub struct Listener {
    edge: Arc<OnceLock<Edge>>,
    standby: Arc<StandbyState>,
    /// For as long as it stands by.
    pages: Arc<dyn OwnPages>,
    admission: Arc<Admission>,
}

impl Listener {
    /// Stands by until its door is opened.
    pub fn new(standby: Arc<StandbyState>, pages: Arc<dyn OwnPages>, admission: Arc<Admission>) -> Listener {
        Listener { edge: Arc::default(), standby, pages, admission }
    }

    /// The door through which the edge comes in.
    pub fn edge_slot(&self) -> EdgeSlot {
        EdgeSlot(Arc::clone(&self.edge))
    }

    fn edge(&self) -> Option<&Edge> {
        self.edge.get()
    }

    async fn stand_by(&self, session: &mut Session, context: &mut Context) -> Result<()> {
        context.permit = Some(self.admission.pass());
        let header = session.req_header();
        if self.pages.takes(&header.method, header.uri.path()).is_some() {
            context.operation = "own_page";
            return match self.pages.respond(PageRequest::of(session, Bytes::new(), &[])).await {
                PageAnswer::Whole(page) => respond::write(session, page).await,
                PageAnswer::Live(live) => live::write(session, live, &self.admission, HeaderMap::new()).await,
            };
        }
        let failure = match self.standby.get() {
            StandbyReason::Starting => Failure::Standby("This edge does not serve yet".to_owned()),
            StandbyReason::Held { by } => {
                Failure::Standby(format!("This edge stands by: another one ({by}) serves its journal"))
            }
            StandbyReason::Unreachable { why } => Failure::NoJournal(why),
        };
        context.failure = Some(failure.reason());
        respond::write(session, refusal(&failure, None)).await
    }
}

/// Each hook is the edge's own; before there is one, no request gets past the first.
#[async_trait]
impl ProxyHttp for Listener {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::new()
    }

    async fn request_filter(&self, session: &mut Session, context: &mut Context) -> Result<bool> {
        match self.edge() {
            Some(edge) => edge.request_filter(session, context).await,
            None => self.stand_by(session, context).await.map(|()| true),
        }
    }

    async fn upstream_peer(&self, session: &mut Session, context: &mut Context) -> Result<Box<HttpPeer>> {
        match self.edge() {
            Some(edge) => edge.upstream_peer(session, context).await,
            None => Err(internal("this edge stands by")),
        }
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        context: &mut Context,
    ) -> Result<()> {
        match self.edge() {
            Some(edge) => edge.request_body_filter(session, body, end_of_stream, context).await,
            None => Ok(()),
        }
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        context: &mut Context,
    ) -> Result<()> {
        match self.edge() {
            Some(edge) => edge.upstream_request_filter(session, request, context).await,
            None => Ok(()),
        }
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        match self.edge() {
            Some(edge) => edge.upstream_response_filter(session, response, context).await,
            None => Ok(()),
        }
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        match self.edge() {
            Some(edge) => edge.response_filter(session, response, context).await,
            None => Ok(()),
        }
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        context: &mut Context,
    ) -> Result<Option<Duration>> {
        self.edge().map_or(Ok(None), |edge| edge.response_body_filter(session, body, end_of_stream, context))
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        peer: &HttpPeer,
        context: &mut Context,
        error: Box<Error>,
    ) -> Box<Error> {
        match self.edge() {
            Some(edge) => edge.fail_to_connect(session, peer, context, error),
            None => error,
        }
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        context: &mut Context,
        client_reused: bool,
    ) -> Box<Error> {
        match self.edge() {
            Some(edge) => edge.error_while_proxy(peer, session, error, context, client_reused),
            None => error,
        }
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, context: &mut Context) -> FailToProxy
    where
        Self::CTX: Send + Sync,
    {
        match self.edge() {
            Some(edge) => edge.fail_to_proxy(session, error, context).await,
            None => FailToProxy { error_code: 0, can_reuse_downstream: false },
        }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, context: &mut Context) {
        if let Some(edge) = self.edge() {
            return edge.logging(session, error, context).await;
        }
        let status = session.response_written().map_or(0, |response| response.status.as_u16());
        metrics::request(context.operation, status, context.failure, context.started.elapsed());
        context.permit = None;
    }

    fn suppress_error_log(&self, _session: &Session, _context: &Context, _error: &Error) -> bool {
        true
    }
}
