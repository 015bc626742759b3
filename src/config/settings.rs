//! The configuration as the rooms get it: a field for each key, or the options of the one room that uses it.
//!
//! Types only. Which values they may have is decided in `check` and `outside`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use pingora::server::configuration::ServerConf;

use super::file::Notice;
use super::units::ByteSize;
use crate::audit::AuditOptions;
use crate::chroma::Envelope;
use crate::events::WebhookOptions;
use crate::heal::HealOptions;
use crate::instance::{HealthOptions, InstanceOptions, TargetUrl};
use crate::journal::Compression;
use crate::journal::postgres::DatabaseUrl;
use crate::journal::retention::RetentionOptions;
use crate::order::{ForeignPolicy, MergeLimits};
use crate::proxy::{AdmitLimits, ProxyOptions};

/// A configuration that has passed every check. A field has the name of its key, or of its section, unless it says
/// another. What one room alone uses is in that room's own options; what several rooms use is a field here. Durations and
/// sizes are within the limits that `docs/configuration.md` names.
#[derive(Debug)]
pub struct Config {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// At least two, in order of preference: the first is the primary. Names and addresses are unique.
    pub instances: Vec<InstanceOptions>,
    pub journal: JournalConfig,
    /// `read_consistency`, `read_replica_ratio`, the waits of clients' requests, `request_timeout`, `promise`,
    /// `trusted_proxies`; `protection`, `idempotency`, `cors`; and what one request may ask for, under `limits`.
    pub proxy: ProxyOptions,
    /// The time limit of one attempt on one instance; never longer than `request_timeout`.
    pub attempt_timeout: Duration,
    /// How long to wait, once an instance answers again, before a request in doubt is sent again.
    pub settle_time: Duration,
    /// How long an append may take before the write is refused.
    pub journal_timeout: Duration,
    /// How often recovery looks for open transactions.
    pub recovery_interval: Duration,
    /// How long requests in flight may take to finish after SIGTERM.
    pub shutdown_grace: Duration,
    pub connection_pooling: ConnectionPooling,
    /// The time limit of one probe is always shorter than the interval.
    pub health: HealthOptions,
    pub limits: Limits,
    /// What is vouched for without having been seen to succeed. In the file: `vouch`.
    pub vouch: Envelope,
    /// How long a suspect waits for the instance that died of it. In the file: `quarantine.wait`.
    pub quarantine_wait: Duration,
    pub adopt: Adopt,
    pub heal: HealOptions,
    /// Comparisons of contents. In the file: `audit`.
    pub audit: AuditOptions,
    /// How often each server is marked anew while it is written to. In the file: `heal.marker_interval`.
    pub marker_interval: Duration,
    /// What becomes of a server that holds somebody else's data. In the file: `heal.foreign`.
    pub foreign: ForeignPolicy,
    /// Where events are posted. In the file: `notify.webhook`.
    pub webhook: Option<WebhookConfig>,
    /// Which log lines are written, in the syntax of `tracing_subscriber::EnvFilter`; known to parse.
    pub log: String,
    /// Pingora's own keys. `grace_period_seconds` is `shutdown_grace` unless the file sets it.
    pub pingora: ServerConf,
    /// What deserves a warning at start.
    pub notices: Vec<Notice>,
}

/// Which store holds the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalStore {
    /// The SQLite file; its folder is created when it is missing.
    Sqlite {
        path: PathBuf,
    },
    Postgres {
        url: Box<DatabaseUrl>,
    },
}

/// The journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    pub store: JournalStore,
    /// How long an edge holds a shared journal without renewing it. Unused with SQLite.
    pub lease: Duration,
    /// How new bodies are stored.
    pub compression: Compression,
    /// In the file: `retention` and `journal.max_bytes`.
    pub retention: RetentionOptions,
}

/// Whether connections to instances are kept open and used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionPooling {
    Enabled,
    Disabled,
}

/// Upper bounds. What one request may ask for is in [`ProxyOptions::limits`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Beyond each, the proxy refuses a request with a reason of its own.
    pub admission: AdmitLimits,
    /// The largest answer of an instance that the edge holds in memory.
    pub answer_bytes: ByteSize,
    /// What is kept of what Chroma shows of collections; 0: nothing.
    pub collection_cache_bytes: ByteSize,
    /// Requests of the lanes to one instance at once; a quarter of them is kept for lanes with a waiting client.
    pub concurrent_attempts: usize,
    /// Streams of events that may be open at once.
    pub event_streams: usize,
    /// One merged request: `merge_documents`, `merge_bytes`.
    pub merge: MergeLimits,
}

/// Where existing content is looked for at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopt {
    /// Tenants besides `default_tenant` and those the edge remembers; Chroma cannot list its tenants.
    pub tenants: Vec<String>,
}

/// Where events are posted.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    pub url: TargetUrl,
    /// The certificate authority of an `https://` address, when it is not one the system trusts.
    pub ca_file: Option<PathBuf>,
    pub options: WebhookOptions,
}
