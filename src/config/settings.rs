//! The configuration as the rooms receive it: one field per key, or the options of the one room that uses the key.
//!
//! Types only. `check` and `outside` decide which values are allowed.

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

/// A configuration that has passed every check. Each field is named after its key or section unless its comment names
/// another. Settings of a single room are in that room's own options; settings that several rooms share are fields
/// here. Durations and sizes are within the limits given in `docs/configuration.md`.
#[derive(Debug)]
pub struct Config {
    /// The address that clients connect to.
    pub listen: SocketAddr,
    /// The address of the edge's own pages; `None`: they share `listen`.
    pub admin_listen: Option<SocketAddr>,
    /// TLS on both listeners; `None`: plain text.
    pub tls: Option<TlsOptions>,
    /// At least one, in order of preference: the first is the primary. Names and addresses are unique.
    pub instances: Vec<InstanceOptions>,
    pub journal: JournalConfig,
    /// `read_consistency`, `read_replica_ratio`, the waits of clients' requests, `request_timeout`, `promise`,
    /// `trusted_proxies`; `auth`, `protection`, `idempotency`, `cors`; and the limits on a single request, under
    /// `limits`.
    pub proxy: ProxyOptions,
    /// How long a cleanup keeps ids that a client may repeat. In the file: `idempotency.keep`.
    pub keep_ids: Duration,
    /// The time limit of one attempt on one instance; never longer than `request_timeout`.
    pub attempt_timeout: Duration,
    /// How long an instance must be reachable again before a request in doubt is sent again.
    pub settle_time: Duration,
    /// How long an append may take before the write is refused.
    pub journal_timeout: Duration,
    /// How often recovery looks for open transactions.
    pub recovery_interval: Duration,
    /// How long requests in flight may take to finish after SIGTERM.
    pub shutdown_grace: Duration,
    /// How long open connections may remain in use before a restart in place.
    pub handover_linger: Duration,
    pub connection_pooling: ConnectionPooling,
    pub granular_locking: GranularLocking,
    /// The time limit of one probe is always shorter than the interval between probes.
    pub health: HealthOptions,
    pub limits: Limits,
    pub batching: Batching,
    /// The envelope within which requests are vouched for, even if nothing like them has succeeded yet. In the file:
    /// `vouch`.
    pub vouch: Envelope,
    /// How long a suspect waits for the instance that died while it had it. In the file: `quarantine.wait`.
    pub quarantine_wait: Duration,
    pub adopt: Adopt,
    pub heal: HealOptions,
    /// Comparisons of contents. In the file: `audit`.
    pub audit: AuditOptions,
    /// How often the marker of a server is renewed while the server receives writes. In the file:
    /// `heal.marker_interval`.
    pub marker_interval: Duration,
    /// What to do with a server that carries another instance's or another journal's data. In the file: `heal.foreign`.
    pub foreign: ForeignPolicy,
    /// Where events are posted. In the file: `notify.webhook`.
    pub webhook: Option<WebhookConfig>,
    /// Where spans of distributed traces are sent; `None`: tracing is off.
    pub traces: Option<TraceOptions>,
    /// Which log lines are written, in the syntax of `tracing_subscriber::EnvFilter`. Already validated.
    pub log: String,
    /// The format of log lines.
    pub log_format: LogFormat,
    /// Pingora's own keys. `grace_period_seconds` is `shutdown_grace` unless the file sets it.
    pub pingora: ServerConf,
    /// Warnings to log at start.
    pub notices: Vec<Notice>,
    /// The text of every key's value, to compare with another configuration.
    pub values: Values,
    /// Where the configuration was read from.
    pub source: Source,
}

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Plain text, for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Which store holds the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalStore {
    /// The SQLite file; its folder is created if missing.
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

/// Whether connections to instances are kept open and reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionPooling {
    Enabled,
    Disabled,
}

/// Whether record writes of different collections go to an instance concurrently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GranularLocking {
    Enabled,
    /// One write at a time, over all collections.
    Disabled,
}

/// Upper bounds. Those on a single request are in [`ProxyOptions::limits`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Beyond each of these, the proxy refuses a request with its own reason. A quarter of `concurrent_attempts` is
    /// reserved for lanes with a waiting client.
    pub admission: AdmitLimits,
    /// The largest answer of an instance that the edge holds in memory.
    pub answer_bytes: ByteSize,
    /// The memory for cached collection objects; 0: nothing is cached.
    pub collection_cache_bytes: ByteSize,
    /// Streams of events that may be open at once.
    pub event_streams: usize,
    /// Dashboards that may be open at once.
    pub dashboards: usize,
    /// Event streams that may be open at once to clients of one address.
    pub event_streams_per_address: usize,
    /// One merged request: `merge_documents`, `merge_bytes`.
    pub merge: MergeLimits,
    /// Connections, and the heads of requests.
    pub wire: WireLimits,
}

/// The limits on connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireLimits {
    /// `uri_bytes`, `headers`, `header_bytes`, `header_timeout`, `idle_timeout`, and `h2c`, which is not under
    /// `limits`.
    pub front: FrontOptions,
    /// Capped by the number of files that the process may open.
    pub connections: usize,
    pub connections_per_address: usize,
}

/// How long requests wait so that more writes can share one; zero: they never wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// For the next request of a busy collection: the wait for its writers.
    pub hold: Duration,
    /// For replication of a busy collection: the wait for more writes.
    pub replica_lag: Duration,
}

/// Where to look for existing content at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopt {
    /// Tenants besides `default_tenant` and those that the edge already knows; Chroma cannot list its tenants.
    pub tenants: Vec<String>,
}

/// Where events are posted.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    pub url: TargetUrl,
    /// The certificate authority for an `https://` address, unless the system trusts it already.
    pub ca_file: Option<PathBuf>,
    pub options: WebhookOptions,
}
