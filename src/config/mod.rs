//! The configuration: one YAML file and the environment, checked once, before anything starts.
//!
//! Two steps: `file` and `environment` say what was written, `check` says whether it can be used. Every
//! mistake is reported at once, with its line or its variable. After [`load`] nothing has to be checked
//! again: a [`Config`] holds only what can work. What each key does is decided in the rooms that use it;
//! every key, limit and variable is described in `docs/configuration.md`, which a test holds to the code.

mod check;
mod environment;
mod file;
mod mistake;
mod outside;
mod pingora_keys;
mod section;
#[cfg(test)]
mod tests;
mod tree;
mod units;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pingora::server::configuration::ServerConf;

use ipnet::IpNet;

pub use environment::VARIABLES;
pub use file::Notice;
pub use mistake::{Location, Mistake, Mistakes};
pub use outside::WebhookConfig;
pub use units::{ByteSize, show_duration};

use crate::audit::AuditOptions;
use crate::chroma::{Envelope, RequestLimits};
use crate::heal::HealMode;
use crate::instance::{HealthOptions, InstanceOptions};
use crate::journal::Compression;
use crate::journal::postgres::DatabaseUrl;
use crate::order::{Consistency, ForeignPolicy};
use crate::web::{KeyHeaders, Origins, Promise, ResetPolicy};
use mistake::Ledger;

/// How many documents one merged request holds unless something else is said.
const DEFAULT_MERGE_DOCUMENTS: usize = 500;

/// A configuration that has passed every check. Field names are the file's; durations and sizes are
/// within the limits that `docs/configuration.md` names.
#[derive(Debug)]
pub struct Config {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// At least two, in order of preference: the first is the primary. Names and addresses are unique.
    pub instances: Vec<InstanceOptions>,
    pub journal: JournalConfig,
    /// Which instances may serve a read that says nothing itself.
    pub read_consistency: Consistency,
    pub read_replica_ratio: ReplicaRatio,
    /// How long a write waits for an instance that can take it.
    pub write_wait: Duration,
    /// Which writes are kept that no instance could take in time.
    pub promise: Promise,
    /// How long a read waits for a fresh instance.
    pub read_wait: Duration,
    /// How long a catalog write waits for the other healthy instances.
    pub catalog_wait: Duration,
    /// The time limit of one attempt on one instance; never longer than `request_timeout`.
    pub attempt_timeout: Duration,
    /// The time limit of a client's request, all attempts and waits together.
    pub request_timeout: Duration,
    /// How long to wait, once an instance answers again, before a request in doubt is sent again.
    pub settle_time: Duration,
    /// How long an append may take before the write is refused.
    pub journal_timeout: Duration,
    /// How often recovery looks for open transactions.
    pub recovery_interval: Duration,
    /// How long completed transactions are kept.
    pub retention: Duration,
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
    pub protection: Protection,
    pub adopt: Adopt,
    pub heal: Heal,
    pub audit: AuditOptions,
    /// Which request headers bring the client's own id of a write. In the file: `idempotency.headers`.
    pub idempotency: KeyHeaders,
    /// Proxies in front of the edge whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whose pages may read answers in browsers. In the file: `cors.origins`.
    pub origins: Origins,
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
    /// Above this, finished transactions are removed before `retention` is over.
    pub max_bytes: ByteSize,
}

/// The share of reads that replicas serve, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct ReplicaRatio(f64);

impl ReplicaRatio {
    /// The share, 0 to 1.
    pub fn get(self) -> f64 {
        self.0
    }
}

/// Whether connections to instances are kept open and used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionPooling {
    Enabled,
    Disabled,
}

/// Upper bounds; beyond each a request is refused with a reason of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest request body.
    pub body_bytes: ByteSize,
    /// The largest answer of an instance that has to be held in memory.
    pub answer_bytes: ByteSize,
    /// All request bodies held in memory together; at least `body_bytes`.
    pub buffered_bytes: ByteSize,
    pub concurrent_requests: usize,
    /// How many requests may wait for one of `concurrent_requests`.
    pub queued_requests: usize,
    /// How long a request waits for one of `concurrent_requests`.
    pub queue_wait: Duration,
    /// Requests of the lanes to one instance at once; a quarter of them is kept for lanes with a waiting client.
    pub concurrent_attempts: usize,
    /// Journaled entries in memory, over all lanes.
    pub backlog_entries: usize,
    /// Streams of events that may be open at once.
    pub event_streams: usize,
    /// Documents in one merged request.
    pub merge_documents: usize,
    /// Bytes in one merged request.
    pub merge_bytes: ByteSize,
    /// What one request may ask for; each limit is a key of its own beside the others.
    pub requests: RequestLimits,
}

/// Operations that are refused to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protection {
    /// Whether `POST /api/v2/reset` may reach the instances.
    pub reset: ResetPolicy,
    /// Names of collections that cannot be deleted, in any database.
    pub collections: Vec<String>,
}

/// Where existing content is looked for at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopt {
    /// Tenants besides `default_tenant` and those the edge remembers; Chroma cannot list its tenants.
    pub tenants: Vec<String>,
}

/// Diverged copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heal {
    /// Whether they are made anew without anybody's word. In the file: `heal.enabled`.
    pub mode: HealMode,
    /// How long writers of one collection may wait for that.
    pub hold: Duration,
    /// How often each server is marked anew while it is written to.
    pub marker_interval: Duration,
    /// What becomes of a server that holds somebody else's data.
    pub foreign: ForeignPolicy,
}

/// Reads the file, if one is named, and the environment through `lookup`.
///
/// # Errors
/// Every mistake found, in the order of the file, those of the environment last.
pub fn load(path: Option<&Path>, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Config, Mistakes> {
    let Some(path) = path else { return parse("no configuration file", "", lookup) };
    let source = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&source, &text, lookup),
        Err(error) => {
            let message = format!("the configuration file cannot be read: {error}");
            Err(Mistakes { source, list: vec![Mistake { place: Location::Whole, message }] })
        }
    }
}

/// Like [`load`], from text; `source` is how messages name it.
///
/// # Errors
/// As [`load`].
pub fn parse(source: &str, text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Config, Mistakes> {
    let ledger = Ledger::default();
    match read(text, lookup, &ledger) {
        Some(config) if ledger.is_clean() => Ok(config),
        Some(_) | None => Err(Mistakes { source: source.to_owned(), list: ledger.into_list() }),
    }
}

fn read(text: &str, lookup: &dyn Fn(&str) -> Option<String>, ledger: &Ledger) -> Option<Config> {
    let mut raw = file::Raw::parse(text, ledger);
    if !ledger.is_clean() && raw.root.get(pingora_keys::EDGE).is_none() {
        // The text could not be read at all: complaints about missing keys would only hide that.
        return None;
    }
    let mut pingora = pingora_keys::server_conf(&raw, ledger);
    environment::apply_environment(&mut raw, lookup, ledger);
    if let Some(threads) = environment::workers(lookup, ledger) {
        pingora.threads = threads;
    }
    check::check(raw, pingora, ledger)
}
