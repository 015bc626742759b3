//! The way of a request through Pingora.
//!
//! Start at [`hooks`]: each hook is a few lines that call a room. [`write`] tells the life of a write, [`read`]
//! where a read may go. The only room, with `server/` and `instance/`, that knows Pingora.

mod admit;
mod body;
mod context;
mod cors;
mod discovery;
mod failure;
mod forwarded;
mod hooks;
pub(crate) mod idempotency_key;
mod listener;
mod live;
mod prepare;
mod read;
mod replay;
mod respond;
mod rewrite;
mod single_flight;
mod write;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ipnet::IpNet;
use pingora::proxy::Session;

pub use self::admit::{Admission, AdmitLimits};
pub use self::cors::Origins;
pub use self::listener::{EdgeSlot, Listener, StandbyReason, StandbyState};
pub use self::live::Live;
pub(crate) use self::respond::{REPLAYED, Reply, TRANSACTION_ID};
use crate::chroma::RequestLimits;
use crate::coordinator::Core;
use crate::instance::{Client, Health, Registry};
use crate::order::Consistency;

/// What the proxy allows and how long it waits.
#[derive(Clone, Debug)]
pub struct ProxyOptions {
    pub consistency: Consistency,
    /// The share of reads that replicas serve, 0 to 1.
    pub replica_ratio: f64,
    /// How long a write waits for an instance that can take it.
    pub write_wait: Duration,
    /// How long a read waits for a fresh instance.
    pub read_wait: Duration,
    /// How long a catalog write waits for the other healthy instances.
    pub catalog_wait: Duration,
    /// A client's request, all attempts and waits together.
    pub request_timeout: Duration,
    /// Journaled entries that instances may be behind with, all together.
    pub backlog_entries: usize,
    /// The largest answer of an instance that is held in memory to be rewritten.
    pub answer_bytes: usize,
    /// What one request may ask for.
    pub limits: RequestLimits,
    pub reset: Reset,
    /// Collections that cannot be deleted, by name, in any database.
    pub protected: Vec<String>,
    /// Proxies in front of the edge whose word about a client's address is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whose pages may read answers in browsers.
    pub origins: Origins,
}

/// A request for one of the edge's own pages, read whole.
#[derive(Clone, Debug)]
pub struct PageRequest {
    pub method: http::Method,
    /// Without the query.
    pub path: String,
    /// Without its question mark; empty if there is none.
    pub query: String,
    pub headers: http::HeaderMap,
    pub body: Bytes,
    pub client_ip: Option<String>,
}

impl PageRequest {
    /// The request of this session, whose body has been read.
    fn of(session: &Session, body: Bytes, trusted_proxies: &[IpNet]) -> PageRequest {
        let header = session.req_header();
        PageRequest {
            method: header.method.clone(),
            path: header.uri.path().to_owned(),
            query: header.uri.query().unwrap_or_default().to_owned(),
            headers: header.headers.clone(),
            body,
            client_ip: forwarded::client_of(session, trusted_proxies),
        }
    }
}

/// The edge's own pages, whatever they are: the proxy only asks for them.
#[async_trait]
pub trait OwnPages: Send + Sync + 'static {
    /// Whether a page of theirs is at this path, and how many bytes of body such a request may have. A body is not
    /// read where none is taken.
    fn takes(&self, method: &http::Method, path: &str) -> Option<usize>;

    /// The page of a request that [`OwnPages::takes`] has taken.
    async fn respond(&self, request: PageRequest) -> PageAnswer;
}

/// What a page is.
pub enum PageAnswer {
    Whole(Reply),
    /// It goes on while its client listens.
    Live(Box<dyn Live>),
}

impl From<Reply> for PageAnswer {
    fn from(reply: Reply) -> Self {
        PageAnswer::Whole(reply)
    }
}

/// Whether a reset may reach the instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    Refused,
    Allowed,
}

/// The proxy: everything that its hooks need.
pub struct Edge {
    pub(crate) core: Arc<Core>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) health: Arc<Health>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) pages: Arc<dyn OwnPages>,
    pub(crate) options: ProxyOptions,
    /// For requests that are read whole and answered whole. Belongs to the proxy's runtime.
    pub(crate) client: Client,
    pub(crate) reads: AtomicU64,
    pub(crate) single_flight: Arc<single_flight::SingleFlight>,
}

impl Edge {
    /// The proxy over these rooms.
    pub fn new(
        core: Arc<Core>,
        health: Arc<Health>,
        admission: Arc<Admission>,
        pages: Arc<dyn OwnPages>,
        client: Client,
        options: ProxyOptions,
    ) -> Edge {
        let registry = Arc::clone(core.registry());
        Edge {
            core,
            registry,
            health,
            admission,
            pages,
            options,
            client,
            reads: AtomicU64::new(0),
            single_flight: single_flight::SingleFlight::new(),
        }
    }
}
