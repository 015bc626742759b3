//! The configuration as the rooms get it: a field for each key, or the options of the one room that uses it.
//!
//! Types only. Which values they may have is decided in `check` and `outside`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use pingora::server::configuration::ServerConf;

use super::file::Notice;
use super::units::ByteSize;
use super::values::{Source, Values};
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
use crate::traces::TraceOptions;
use crate::wire::{FrontOptions, TlsOptions};

/// A configuration that has passed every check. A field has the name of its key, or of its section, unless it says
/// another. What one room alone uses is in that room's own options; what several rooms use is a field here. Durations and
/// sizes are within the limits that `docs/configuration.md` names.
#[derive(Debug)]
pub struct Config {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where the edge's own pages are; `None`: where clients connect.
    pub admin_listen: Option<SocketAddr>,
    /// TLS on both; `None`: in clear.
    pub tls: Option<TlsOptions>,
    /// At least one, in order of preference: the first is the primary. Names and addresses are unique.
    pub instances: Vec<InstanceOptions>,
    pub journal: JournalConfig,
    /// `read_consistency`, `read_replica_ratio`, the waits of clients' requests, `request_timeout`, `promise`,
    /// `trusted_proxies`; `auth`, `protection`, `idempotency`, `cors`; and what one request may ask for, under `limits`.
    pub proxy: ProxyOptions,
    /// How long a cleanup leaves ids that a client may repeat. In the file: `idempotency.keep`.
    pub keep_ids: Duration,
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
    /// How long kept connections have to end by themselves before a restart in place.
    pub handover_linger: Duration,
    pub connection_pooling: ConnectionPooling,
    pub granular_locking: GranularLocking,
    /// The time limit of one probe is always shorter than the interval.
    pub health: HealthOptions,
    pub limits: Limits,
    pub batching: Batching,
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
    /// Where spans of distributed traces are sent; `None`: nothing is traced.
    pub traces: Option<TraceOptions>,
    /// Which log lines are written, in the syntax of `tracing_subscriber::EnvFilter`; known to parse.
    pub log: String,
    /// How a log line is written.
    pub log_format: LogFormat,
    /// Pingora's own keys. `grace_period_seconds` is `shutdown_grace` unless the file sets it.
    pub pingora: ServerConf,
    /// What deserves a warning at start.
    pub notices: Vec<Notice>,
    /// Every key's value as it is written, for a comparison with another configuration.
    pub values: Values,
    /// Where it was read from.
    pub source: Source,
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
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

/// Whether record writes of different collections go to an instance side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GranularLocking {
    Enabled,
    /// One at a time over all collections.
    Disabled,
}

/// Upper bounds. What one request may ask for is in [`ProxyOptions::limits`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Beyond each, the proxy refuses a request with a reason of its own. A quarter of `concurrent_attempts` is kept for
    /// lanes with a waiting client.
    pub admission: AdmitLimits,
    /// The largest answer of an instance that the edge holds in memory.
    pub answer_bytes: ByteSize,
    /// What is kept of what Chroma shows of collections; 0: nothing.
    pub collection_cache_bytes: ByteSize,
    /// Streams of events that may be open at once.
    pub event_streams: usize,
    /// Dashboards that are open at once.
    pub dashboards: usize,
    /// Of them by clients of one address.
    pub event_streams_per_address: usize,
    /// One merged request: `merge_documents`, `merge_bytes`.
    pub merge: MergeLimits,
    /// Connections, and the heads of requests.
    pub wire: WireLimits,
}

/// What a connection is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireLimits {
    /// `uri_bytes`, `headers`, `header_bytes`, `header_timeout`, `idle_timeout`, and `h2c` beside `limits`.
    pub front: FrontOptions,
    /// As many as the process may open files for, at most.
    pub connections: usize,
    pub connections_per_address: usize,
}

/// How long requests wait so that more writes share them; zero: not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// A busy collection's next request, for writers.
    pub hold: Duration,
    /// What is replicated of a busy collection, for more.
    pub replica_lag: Duration,
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
