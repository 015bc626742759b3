//! How a request passes through Pingora.
//!
//! Start at [`hooks`]: each hook is a few lines that call another file. [`receive`] dispatches requests, [`write`] is
//! the life of a write, [`read`] decides where a read may go. Besides `server/` and `instance/`, only this room depends
//! on Pingora. Order and verdicts are not decided here.

mod access;
mod admit;
mod body;
mod client_rate;
mod context;
mod discovery;
mod entrance;
mod failure;
mod forwarded;
mod guard;
mod hooks;
mod incoming;
mod intake;
mod known;
mod lane_admission;
mod listener;
mod live;
mod objects;
mod outlet;
mod prepare;
mod quarantine;
mod read;
mod receive;
mod replay;
mod respond;
mod reused;
mod rewrite;
mod single_flight;
mod spans;
mod stream;
mod unanswered;
mod vouch;
mod write;
mod write_request;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

pub use self::admit::{Admission, AdmitLimits};
pub use self::client_rate::ClientRate;
pub use self::entrance::Entrance;
pub use self::failure::read_case;
pub use self::guard::{Guard, Policy};
pub use self::listener::{Door, EdgeSlot, Listener, StandbyReason, StandbyState};
pub use self::objects::Objects;
pub use self::outlet::AnswerLimits;
pub use self::vouch::Vouch;
use crate::auth::Protection;
use crate::chroma::RequestLimits;
use crate::coordinator::Core;
use crate::current::Current;
use crate::instance::{Client, Health, Registry};
use crate::lasting::LastingStates;
use crate::order::Consistency;
use crate::web::{Hosts, KeyHeaders, Origins, OwnPages, Promise, ResetPolicy};

/// What the proxy allows and how long it waits. Unless its comment names a configuration key, a field is named like its
/// key.
#[derive(Clone, Debug)]
pub struct ProxyOptions {
    /// Which instances may serve a read that does not specify it: `read_consistency`.
    pub consistency: Consistency,
    /// The share of reads that replicas serve, 0 to 1: `read_replica_ratio`.
    pub replica_ratio: f64,
    /// How long a write waits for an instance that can take it.
    pub write_wait: Duration,
    /// Which writes stay journaled when no instance could take them in time.
    pub promise: Promise,
    /// How long a read waits for a fresh instance.
    pub read_wait: Duration,
    /// How long a catalog write waits for the other healthy instances.
    pub catalog_wait: Duration,
    /// The time limit for a client's request, including all attempts and waits.
    pub request_timeout: Duration,
    /// What one request may ask for. Each limit is a key of its own under `limits`.
    pub limits: RequestLimits,
    pub answers: AnswerLimits,
    /// What one client may ask for; `None` means no limit. `limits.client_rate`, `limits.client_rate_window`.
    pub client_rate: Option<ClientRate>,
    /// Whether `POST /api/v2/reset` may reach the instances: `protection.allow_reset`.
    pub reset: ResetPolicy,
    /// Which collections are deleted only on purpose: `protection`.
    pub protection: Protection,
    /// Which request headers carry the client's own id of a write: `idempotency.headers`.
    pub idempotency: KeyHeaders,
    /// Who is let in: `auth`, `trusted_proxies`.
    pub entrance: Entrance,
    /// The host names that the edge answers to.
    pub hosts: Hosts,
    /// The origins whose pages may read answers in browsers: `cors.origins`.
    pub origins: Origins,
    /// Whether each request is logged.
    pub access_log: AccessLog,
}

/// Whether each request is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessLog {
    On,
    Off,
}

/// The proxy: everything that its hooks need.
pub struct Edge {
    pub(crate) core: Arc<Core>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) health: Arc<Health>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) pages: Arc<dyn OwnPages>,
    options: Current<ProxyOptions>,
    /// For requests that are read and answered whole. Belongs to the proxy's runtime.
    pub(crate) client: Client,
    pub(crate) reads: AtomicU64,
    pub(crate) single_flight: Arc<single_flight::SingleFlight>,
    pub(crate) reused: reused::ReusedKeys,
    client_rates: client_rate::ClientRates,
    pub(crate) vouch: Arc<Vouch>,
    pub(crate) objects: Arc<Objects>,
    /// Tracks reads that fail on every instance.
    pub(crate) failed_reads: LastingStates<&'static str>,
}

impl Edge {
    /// The proxy on top of these rooms.
    pub fn new(
        core: Arc<Core>,
        health: Arc<Health>,
        admission: Arc<Admission>,
        pages: Arc<dyn OwnPages>,
        client: Client,
        (vouch, objects): (Arc<Vouch>, Arc<Objects>),
        options: Current<ProxyOptions>,
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
            reused: reused::ReusedKeys::default(),
            client_rates: client_rate::ClientRates::default(),
            vouch,
            objects,
            failed_reads: LastingStates::default(),
        }
    }

    /// The current configuration.
    pub(crate) fn options(&self) -> Arc<ProxyOptions> {
        self.options.get()
    }
}
