//! The listener: answers as a standby, then delegates to the [`Edge`].
//!
//! As a standby it executes and reads nothing: the standby's own pages answer, everything else is refused with a reason
//! and the advice to try again. When there is an edge is decided by `server/leadership/`.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use http::HeaderMap;
use pingora::Result;
use pingora::proxy::Session;

use super::context::Context;
use super::failure::Failure;
use super::forwarded::page_request;
use super::receive::refusal;
use super::{Admission, Edge, live, respond};
use crate::web::{OwnPages, PageAnswer};

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

/// What a standby waits for: set by the service that claims the journal, read by the listener and the pages.
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

    /// Sets what it waits for. `true` if that differs from before.
    pub fn set(&self, waiting: StandbyReason) -> bool {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *now, waiting);
        let again = matches!((&before, &*now), (StandbyReason::Unreachable { .. }, StandbyReason::Unreachable { .. }));
        !again && before != *now
    }
}

/// Where the edge is put when it is built.
#[derive(Clone)]
pub struct EdgeSlot(Arc<OnceLock<Arc<Edge>>>);

impl EdgeSlot {
    /// From now on this edge answers. Only the first call counts.
    pub fn open(&self, edge: Edge) {
        let _ = self.0.set(Arc::new(edge));
    }
}

/// The proxy as Pingora knows it.
pub struct Listener {
    edge: Arc<OnceLock<Arc<Edge>>>,
    standby: Arc<StandbyState>,
    /// The standby's own.
    pages: Arc<dyn OwnPages>,
    admission: Arc<Admission>,
}

impl Listener {
    /// A standby, until its slot is filled.
    pub fn new(standby: Arc<StandbyState>, pages: Arc<dyn OwnPages>, admission: Arc<Admission>) -> Listener {
        Listener { edge: Arc::default(), standby, pages, admission }
    }

    /// Where the edge is to be put.
    pub fn edge_slot(&self) -> EdgeSlot {
        EdgeSlot(Arc::clone(&self.edge))
    }

    pub(super) fn edge(&self) -> Option<&Arc<Edge>> {
        self.edge.get()
    }

    /// Answers as a standby.
    pub(super) async fn stand_by(&self, session: &mut Session, context: &mut Context) -> Result<()> {
        context.permit = Some(self.admission.pass());
        let header = session.req_header();
        if self.pages.takes(&header.method, header.uri.path()).is_some() {
            context.operation = "own_page";
            return match self.pages.respond(page_request(session, Bytes::new(), &[])).await {
                PageAnswer::Whole(page) => respond::write(session, page, context.trace).await,
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
        respond::write(session, refusal(&failure, None), context.trace).await
    }
}
