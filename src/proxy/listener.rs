//! The listener: answers as a standby, then delegates to the [`Edge`].
//!
//! A standby executes and reads nothing. The standby's own pages answer; everything else is refused with a reason and
//! the advice to try again. When an edge is built is decided by `server/leadership/`.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::UPGRADE;
use pingora::Result;
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use super::context::Context;
use super::failure::Failure;
use super::forwarded::page_request;
use super::outlet::{AnswerLimits, Outlet};
use super::receive::refusal;
use super::respond::internal;
use super::{Admission, Edge, ProxyOptions, live, respond};
use crate::auth::page_need;
use crate::clock;
use crate::current::Current;
use crate::lasting::LastingStates;
use crate::web::{Denied, Guard, OwnPages, PageAnswer, Transport, harden, no_such_page};
use crate::wire::{self, Serving, Visitors};

/// Why this process has no edge so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StandbyReason {
    /// The journal is being claimed, or loaded.
    Starting,
    /// Another edge, of this name, holds the journal.
    Held { by: String },
    /// The journal cannot be reached.
    Unreachable { why: String },
}

/// What a standby waits for. Set by the service that claims the journal, read by the listener and the pages.
#[derive(Debug)]
pub struct StandbyState(Mutex<StandbyReason>);

impl Default for StandbyState {
    fn default() -> Self {
        StandbyState(Mutex::new(StandbyReason::Starting))
    }
}

impl StandbyState {
    /// What the standby waits for now.
    pub fn get(&self) -> StandbyReason {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets what the standby waits for. Returns whether that is news: another failure to reach the journal is not.
    pub fn set(&self, waiting: StandbyReason) -> bool {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *now, waiting);
        let again = matches!((&before, &*now), (StandbyReason::Unreachable { .. }, StandbyReason::Unreachable { .. }));
        !again && before != *now
    }
}

/// The slot that receives the edge once it is built.
#[derive(Clone)]
pub struct EdgeSlot(Arc<OnceLock<Arc<Edge>>>);

impl EdgeSlot {
    /// Opens the listener to this edge, which answers from now on. Only the first call counts.
    pub fn open(&self, edge: Edge) {
        let _ = self.0.set(Arc::new(edge));
    }
}

/// Which requests a listener answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Everything,
    /// Everything except the edge's own pages, but including its health and the pages that applications use.
    Clients,
    /// Only the edge's own pages.
    Pages,
}

impl Door {
    fn opens_for(self, path: &str, is_own_page: bool) -> bool {
        match self {
            Door::Everything => true,
            Door::Clients => !is_own_page || path == "/health" || path.starts_with("/transaction/safety/"),
            Door::Pages => is_own_page,
        }
    }
}

/// The proxy as Pingora sees it.
pub struct Listener {
    door: Door,
    edge: Arc<OnceLock<Arc<Edge>>>,
    standby: Arc<StandbyState>,
    /// The standby's own pages.
    pages: Arc<dyn OwnPages>,
    admission: Arc<Admission>,
    options: Current<ProxyOptions>,
    /// How long a connection may be idle between two requests.
    idle_timeout: Duration,
    turned_away: LastingStates<&'static str>,
}

impl Listener {
    /// A standby, until its slot is filled.
    pub fn new(
        standby: Arc<StandbyState>,
        pages: Arc<dyn OwnPages>,
        admission: Arc<Admission>,
        (options, idle_timeout): (Current<ProxyOptions>, Duration),
    ) -> Listener {
        let turned_away = LastingStates::default();
        let door = Door::Everything;
        Listener { door, edge: Arc::default(), standby, pages, admission, options, idle_timeout, turned_away }
    }

    /// The clients' connections.
    pub fn visitors(&self) -> &Arc<Visitors> {
        self.admission.visitors()
    }

    /// The same proxy on another listener.
    pub fn behind(&self, door: Door) -> Listener {
        Listener {
            door,
            edge: Arc::clone(&self.edge),
            standby: Arc::clone(&self.standby),
            pages: Arc::clone(&self.pages),
            admission: Arc::clone(&self.admission),
            options: self.options.clone(),
            idle_timeout: self.idle_timeout,
            turned_away: LastingStates::default(),
        }
    }

    /// Returns the slot for the edge.
    pub fn edge_slot(&self) -> EdgeSlot {
        EdgeSlot(Arc::clone(&self.edge))
    }

    pub(super) fn edge(&self) -> Option<&Arc<Edge>> {
        self.edge.get()
    }

    /// Begins a request on its connection, and sets how long the connection may be idle afterwards.
    pub(super) fn greet(&self, session: &mut Session) -> Result<Option<Serving>> {
        let visitor = wire::visitor_of(session.digest());
        let serving = match visitor.as_ref() {
            // Sent away at this very moment: nothing has been done for the request.
            Some(visitor) => Some(visitor.serve().ok_or_else(|| {
                let mut gone = internal("the connection had to make room");
                gone.as_down();
                gone
            })?),
            None => None,
        };
        // The edge offers no protocol upgrade, and instances must not see a request for one.
        let header = session.req_header_mut();
        header.remove_header(&UPGRADE);
        header.remove_header("http2-settings");
        let downstream = session.as_downstream_mut();
        // Without this, Pingora keeps a connection open indefinitely if the client asks for it.
        if downstream.get_keepalive().is_some() {
            let parting = visitor.is_some_and(|visitor| visitor.is_parting());
            downstream.set_keepalive((!parting).then(|| self.idle_timeout.as_secs().max(1)));
        }
        Ok(serving)
    }

    /// Returns why the request is refused outright: a browser may have been tricked into sending it, for example.
    pub(super) fn turned_away(&self, session: &Session) -> Option<Failure> {
        let header = session.req_header();
        if let Some(flaw) = wire::flaw_of(header.uri.path()) {
            return Some(Failure::BadHead(flaw));
        }
        let tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
        let transport = if tls { Transport::Tls } else { Transport::Plain };
        let options = self.options.get();
        let guard = Guard::new(&options.hosts, &options.origins);
        let failure = match guard.check(&header.method, &header.uri, &header.headers, transport) {
            Ok(()) => return self.is_shut(header).then(|| Failure::Chroma(no_such_page())),
            Err(Denied::Host(host)) => Failure::HostNotAllowed(host),
            Err(Denied::Origin(origin)) => Failure::OriginNotAllowed(origin),
        };
        if let Some(times) = self.turned_away.seen(failure.reason(), clock::now()).times() {
            tracing::warn!(reason = failure.reason(), times, "refused: {}", failure.text());
        }
        Some(failure)
    }

    /// Returns whether the path is answered only on another listener.
    fn is_shut(&self, header: &RequestHeader) -> bool {
        let path = header.uri.path();
        let pages = self.edge().map_or(&self.pages, |edge| &edge.pages);
        let is_own_page = !path.starts_with("/api/") && pages.takes(&header.method, path).is_some();
        !self.door.opens_for(path, is_own_page)
    }

    pub(super) async fn stand_by(&self, session: &mut Session, context: &mut Context) -> Result<()> {
        context.permit = Some(self.admission.pass());
        let header = session.req_header();
        let need = page_need(header.method.as_str(), header.uri.path());
        let need = need.filter(|_| self.pages.takes(&header.method, header.uri.path()).is_some());
        let page = match need.map(|need| self.options.get().entrance.admit(session, need)) {
            Some(Ok(principal)) => Some(self.pages.respond(page_request(session, Bytes::new(), &[], principal)).await),
            Some(Err(failure)) => {
                context.failure = Some(failure.reason());
                Some(PageAnswer::Whole(refusal(&failure, None)))
            }
            None => None,
        };
        let mut outlet = Outlet::new(session, AnswerLimits::default(), None);
        if let Some(page) = page {
            context.operation = "own_page";
            return match page {
                PageAnswer::Whole(mut page) => {
                    harden(&mut page.headers);
                    respond::write(&mut outlet, page, context.trace).await
                }
                PageAnswer::Live(live) => live::write(&mut outlet, live, &self.admission, HeaderMap::new()).await,
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
        respond::write(&mut outlet, refusal(&failure, None), context.trace).await
    }
}
