//! The second step: from what was written to a [`Config`] that can work.
//!
//! Decides every key's type, default and limits, and what must hold between keys. It touches nothing but
//! `ca_file`, whose absence would otherwise show only at the first connection.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pingora::server::configuration::ServerConf;
use tracing_subscriber::EnvFilter;

use super::file::{Notice, Raw};
use super::mistake::{Ledger, Location};
use super::outside;
use super::pingora_keys::EDGE;
use super::section::{Located, Section};
use super::settings::{Adopt, Config, ConnectionPooling, JournalConfig, JournalStore, Limits};
use super::tree::Node;
use super::units::{ByteSize, show_duration};
use crate::audit::AuditOptions;
use crate::chroma::{Envelope, Numbers, RequestLimits, Setting, Unit};
use crate::heal::{HealMode, HealOptions};
use crate::ids::InstanceName;
use crate::instance::{HealthOptions, InstanceOptions, InstanceUrl, Tls};
use crate::journal::Compression;
use crate::journal::postgres::DatabaseUrl;
use crate::journal::retention::RetentionOptions;
use crate::order::{Consistency, ForeignPolicy, MergeLimits};
use crate::proxy::{AdmitLimits, ProxyOptions};
use crate::web::{Promise, ResetPolicy};

/// How many documents one merged request holds unless something else is said.
pub(super) const DEFAULT_MERGE_DOCUMENTS: usize = 500;
/// Chroma's own `max_batch_size`; its clients never send more documents at once.
const MAX_MERGE_DOCUMENTS: usize = 5461;
/// Chroma refuses bodies of 40 MiB; a merged request stays well below.
const MAX_MERGE_BYTES: ByteSize = ByteSize::bytes(30_000_000);

/// What a deployment of one server is told at each start.
const ONE_INSTANCE: &str = "one instance is configured: nothing is kept twice, and nothing is served while that server is away. \
    A second one in edge.instances is given everything after the next start";

/// An upper limit that no one needs to exceed.
const MAX_JOURNAL_BYTES: ByteSize = ByteSize::mib(1 << 24);

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

const HOUR: Duration = secs(3_600);
const DAY: Duration = secs(86_400);

/// Checks everything; None, or mistakes in the ledger, mean that it cannot be used.
pub(super) fn check(raw: Raw, mut pingora: ServerConf, ledger: &Ledger) -> Option<Config> {
    let edge = Section::new(EDGE, raw.root.get(EDGE), ledger);
    let instances = instances(&edge, ledger);
    let mut notices = raw.notices;
    if instances.len() == 1 {
        notices.push(Notice(ONE_INSTANCE.to_owned()));
    }
    let (attempt_timeout, request_timeout) = timeouts(&edge, ledger);
    let (limits, requests) = limits(&edge, ledger);
    let (heal, marker_interval, foreign) = heal(&edge);
    let pooling = [("true", ConnectionPooling::Enabled), ("false", ConnectionPooling::Disabled)];
    let shutdown_grace = edge.duration("shutdown_grace", secs(8), ms(0)..=secs(300));
    if pingora.grace_period_seconds.is_none() {
        pingora.grace_period_seconds = Some(shutdown_grace.as_millis().div_ceil(1000) as u64);
    }
    let config = Config {
        listen: edge.text("listen", "127.0.0.1:8000", |text| {
            text.parse().map_err(|_| format!("{text:?} is not an address and port such as 127.0.0.1:8000"))
        })?,
        instances,
        journal: journal(&edge),
        proxy: proxy(&edge, request_timeout, requests),
        attempt_timeout,
        settle_time: edge.duration("settle_time", secs(2), ms(0)..=secs(60)),
        journal_timeout: edge.duration("journal_timeout", secs(5), ms(100)..=secs(600)),
        recovery_interval: edge.duration("recovery_interval", secs(30), ms(100)..=HOUR),
        shutdown_grace,
        connection_pooling: edge.choice("connection_pooling", "true", &pooling, ConnectionPooling::Enabled),
        health: health(&edge, ledger),
        limits,
        vouch: vouch(&edge),
        quarantine_wait: quarantine_wait(&edge),
        adopt: adopt(&edge),
        heal,
        marker_interval,
        foreign,
        audit: audit(&edge),
        webhook: outside::webhook(&edge, ledger),
        log: edge.text("log", LOG, log_filter)?,
        pingora,
        notices,
    };
    edge.finish();
    Some(config)
}

/// The edge's own lines, and of the libraries only what someone should act on. Pingora's errors about single requests
/// and clients' connections (one that is reset is an error to it) stay out: the edge tries the next instance, and reports
/// what comes of it.
/// Its connectors call it an error that two requests wanted the same kept connection (one opens another), and a warning
/// that one was closed with something unread (it is not used again).
const LOG: &str = "info,refinery_core=warn,pingora_core=warn,pingora_core::connectors=off,pingora_load_balancing=error,\
    pingora_proxy=off";

fn log_filter(text: &str) -> Result<String, String> {
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{text:?} is not a log filter such as info or chroma_edge=debug,info: {error}")),
    }
}

fn timeouts(edge: &Section<'_>, ledger: &Ledger) -> (Duration, Duration) {
    let attempt = edge.located_duration("attempt_timeout", secs(30), ms(100)..=HOUR);
    let request = edge.located_duration("request_timeout", secs(120), ms(100)..=HOUR);
    if attempt.value > request.value
        && let Some(place) = attempt.place
    {
        let place = request.place.filter(|place| matches!(place, Location::Variable(_))).unwrap_or(place);
        let (attempt, request) = (show_duration(attempt.value), show_duration(request.value));
        ledger.report(
            place,
            format!("edge.attempt_timeout ({attempt}) must not be longer than edge.request_timeout ({request})"),
        );
    }
    // The default gives way to a shorter request_timeout, which needs no second key then.
    (attempt.value.min(request.value), request.value)
}

fn proxy(edge: &Section<'_>, request_timeout: Duration, limits: RequestLimits) -> ProxyOptions {
    let consistency = [("fresh", Consistency::Fresh), ("any", Consistency::Any)];
    let promises = [("always", Promise::Always), ("with_id", Promise::WithId)];
    let (reset, protected) = protection(edge);
    ProxyOptions {
        consistency: edge.choice("read_consistency", "fresh", &consistency, Consistency::Fresh),
        replica_ratio: edge.number("read_replica_ratio", 0.8, 0.0..=1.0),
        write_wait: edge.duration("write_wait", secs(5), ms(0)..=secs(600)),
        promise: edge.choice("promise", "always", &promises, Promise::Always),
        read_wait: edge.duration("read_wait", secs(5), ms(0)..=secs(600)),
        catalog_wait: edge.duration("catalog_wait", secs(3), ms(0)..=secs(600)),
        request_timeout,
        limits,
        reset,
        protected,
        idempotency: outside::idempotency(edge),
        trusted_proxies: outside::trusted_proxies(edge),
        origins: outside::origins(edge),
    }
}

fn instances(edge: &Section<'_>, ledger: &Ledger) -> Vec<InstanceOptions> {
    let place = edge.place("instances");
    let items = edge.list("instances").unwrap_or_default();
    if items.is_empty() {
        let message =
            "edge.instances must list the Chroma servers, at least one; PRIMARY_URL and REPLICA_URL name them as well";
        ledger.report(place, message);
    }
    let mut names = HashMap::new();
    let mut urls = HashMap::new();
    items.iter().enumerate().filter_map(|(index, item)| instance(index, item, &mut names, &mut urls, ledger)).collect()
}

fn instance(
    index: usize,
    node: &Node,
    names: &mut HashMap<String, usize>,
    urls: &mut HashMap<String, usize>,
    ledger: &Ledger,
) -> Option<InstanceOptions> {
    let section = Section::new(&format!("edge.instances[{index}]"), Some(node), ledger);
    let name = section.required("name", node.place, instance_name);
    let url = section.required("url", node.place, |text| InstanceUrl::parse(text).map_err(|error| error.to_string()));
    let ca_file = section.optional("ca_file", |text| Ok(PathBuf::from(text)));
    section.finish();
    if let Some(name) = &name {
        unique("name", &name.value, name.place, index, names, ledger);
    }
    if let Some(url) = &url {
        unique("url", &url.value.to_string(), url.place, index, urls, ledger);
        transport(url, ca_file.as_ref(), ledger);
    }
    let (name, url) = (name?, url?);
    let name = InstanceName::new(&name.value);
    Some(InstanceOptions { name, url: url.value, ca_file: ca_file.map(|file| file.value) })
}

fn instance_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    match !text.is_empty() && text.len() <= 64 && text.chars().all(plain) {
        true => Ok(text.to_owned()),
        false => Err(format!("{text:?} must be 1 to 64 letters, digits, _ or -")),
    }
}

fn unique(
    what: &str,
    value: &str,
    place: Option<Location>,
    index: usize,
    seen: &mut HashMap<String, usize>,
    ledger: &Ledger,
) {
    if let Some(first) = seen.insert(value.to_owned(), index) {
        let message = format!("edge.instances[{index}].{what}: {value} is taken by edge.instances[{first}]");
        ledger.report(place.unwrap_or(Location::Whole), message);
    }
}

fn transport(url: &Located<InstanceUrl>, ca_file: Option<&Located<PathBuf>>, ledger: &Ledger) {
    let tls = url.value.tls() == Tls::Yes;
    if tls && !cfg!(feature = "tls") {
        let place = url.place.unwrap_or(Location::Whole);
        ledger.report(place, "https:// instances need a build with the feature `tls`");
    }
    let Some(file) = ca_file else { return };
    let place = file.place.unwrap_or(Location::Whole);
    if !tls {
        ledger.report(place, "ca_file requires an https:// url");
    } else if let Err(error) = readable(&file.value) {
        ledger.report(place, format!("ca_file {} cannot be read: {error}", file.value.display()));
    }
}

pub(super) fn readable(path: &Path) -> std::io::Result<()> {
    std::fs::File::open(path).map(drop)
}

fn journal(edge: &Section<'_>) -> JournalConfig {
    let section = edge.section("journal");
    let url = section.optional("postgres", DatabaseUrl::parse);
    let default = "./data/journal.db";
    let path = section.text("path", default, |text| match text.is_empty() {
        true => Err("must name a file".to_owned()),
        false => Ok(PathBuf::from(text)),
    });
    let lease = section.duration("lease", secs(3), secs(1)..=secs(60));
    let compressions = [("none", Compression::None), ("zstd", Compression::Zstd)];
    let compression = section.choice("compression", "none", &compressions, Compression::None);
    let max_bytes = section.size("max_bytes", ByteSize::bytes(10_000_000_000), ByteSize::mib(1)..=MAX_JOURNAL_BYTES);
    section.finish();
    let store = match url {
        Some(url) => JournalStore::Postgres { url: Box::new(url.value) },
        None => JournalStore::Sqlite { path: path.unwrap_or_else(|| PathBuf::from(default)) },
    };
    let keep = edge.duration("retention", 7 * DAY, secs(1)..=3650 * DAY);
    let retention = RetentionOptions { keep, max_bytes: max_bytes.value.get(), ..RetentionOptions::default() };
    JournalConfig { store, lease, compression, retention }
}

fn health(edge: &Section<'_>, ledger: &Ledger) -> HealthOptions {
    let section = edge.section("health");
    let interval = section.located_duration("interval", secs(2), ms(100)..=secs(300));
    let timeout = section.located_duration("timeout", ms(500), ms(10)..=secs(60));
    let failures = section.count("failures", 2, 1..=100);
    // The limit above fits any integer.
    let failures = u32::try_from(failures).unwrap_or(u32::MAX);
    if timeout.value >= interval.value {
        let place = timeout.place.max(interval.place).unwrap_or(Location::Whole);
        let (timeout, interval) = (show_duration(timeout.value), show_duration(interval.value));
        ledger.report(
            place,
            format!("edge.health.timeout ({timeout}) must be shorter than edge.health.interval ({interval})"),
        );
    }
    section.finish();
    HealthOptions { interval: interval.value, timeout: timeout.value, failures }
}

/// The limits, and those on what one request may ask for.
fn limits(edge: &Section<'_>, ledger: &Ledger) -> (Limits, RequestLimits) {
    let section = edge.section("limits");
    let kib = ByteSize::bytes(1024);
    let body = section.size("body_bytes", ByteSize::mib(40), kib..=ByteSize::mib(1024));
    let buffered = section.size("buffered_bytes", ByteSize::mib(512), kib..=ByteSize::mib(1 << 20));
    if buffered.value < body.value {
        let place = buffered.place.max(body.place).unwrap_or(Location::Whole);
        let message = format!(
            "edge.limits.buffered_bytes ({}) must hold at least one body, edge.limits.body_bytes ({})",
            buffered.value, body.value
        );
        ledger.report(place, message);
    }
    let admission = AdmitLimits {
        concurrent_requests: section.count("concurrent_requests", 1000, 1..=1_000_000),
        queued_requests: section.count("queued_requests", 2000, 0..=1_000_000),
        queue_wait: section.duration("queue_wait", secs(5), ms(0)..=secs(600)),
        body_bytes: body.value.as_usize(),
        buffered_bytes: buffered.value.as_usize(),
        backlog_entries: section.count("backlog_entries", 2_000_000, 1..=1_000_000_000),
    };
    let documents = section.count("merge_documents", DEFAULT_MERGE_DOCUMENTS, 1..=MAX_MERGE_DOCUMENTS);
    let merge = MergeLimits {
        // The limit above fits any integer.
        documents: u32::try_from(documents).unwrap_or(u32::MAX),
        bytes: section.size("merge_bytes", ByteSize::mib(8), kib..=MAX_MERGE_BYTES).value.get(),
    };
    let limits = Limits {
        admission,
        answer_bytes: section.size("answer_bytes", ByteSize::mib(256), kib..=ByteSize::mib(16 << 10)).value,
        collection_cache_bytes: section
            .size("collection_cache_bytes", ByteSize::mib(64), ByteSize::bytes(0)..=ByteSize::mib(16 << 10))
            .value,
        concurrent_attempts: section.count("concurrent_attempts", 64, 1..=1_000_000),
        event_streams: section.count("event_streams", 1000, 0..=100_000),
        merge,
    };
    let requests = RequestLimits::from_fn(|limit| number(&section, limit.setting(), 1));
    section.finish();
    (limits, requests)
}

/// A number of bytes, or of anything else.
fn number(section: &Section<'_>, setting: Setting, least: u64) -> u64 {
    let Setting { key, unit, default, most } = setting;
    match unit {
        Unit::Bytes => {
            let range = ByteSize::bytes(least)..=ByteSize::bytes(most);
            section.size(key, ByteSize::bytes(default), range).value.get()
        }
        Unit::Count => {
            let count = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
            u64::try_from(section.count(key, count(default), count(least)..=count(most))).unwrap_or(u64::MAX)
        }
    }
}

fn vouch(edge: &Section<'_>) -> Envelope {
    let section = edge.section("vouch");
    // 0 vouches for nothing that has the number.
    let numbers = Numbers::from_fn(|vouched| number(&section, vouched.setting(), 0));
    section.finish();
    Envelope::new(numbers)
}

fn quarantine_wait(edge: &Section<'_>) -> Duration {
    let section = edge.section("quarantine");
    let wait = section.duration("wait", secs(10), ms(0)..=secs(600));
    section.finish();
    wait
}

/// Whether a reset is allowed, and the collections that no client may delete.
fn protection(edge: &Section<'_>) -> (ResetPolicy, Vec<String>) {
    let section = edge.section("protection");
    let policies = [("true", ResetPolicy::Allowed), ("false", ResetPolicy::Refused)];
    let reset = section.choice("allow_reset", "false", &policies, ResetPolicy::Refused);
    let collections = section.texts("collections", &["global"]);
    section.finish();
    (reset, collections)
}

/// How copies are made, and how often each server is marked anew.
fn heal(edge: &Section<'_>) -> (HealOptions, Duration, ForeignPolicy) {
    let section = edge.section("heal");
    let modes = [("true", HealMode::Automatic), ("false", HealMode::Off)];
    let mode = section.choice("enabled", "true", &modes, HealMode::Automatic);
    let hold = section.duration("hold", secs(1), ms(50)..=secs(60));
    let marker_interval = section.duration("marker_interval", secs(10), secs(1)..=secs(3600));
    let policies = [("report", ForeignPolicy::Report), ("rebuild", ForeignPolicy::Rebuild)];
    let foreign = section.choice("foreign", "report", &policies, ForeignPolicy::Report);
    section.finish();
    (HealOptions { mode, hold }, marker_interval, foreign)
}

fn audit(edge: &Section<'_>) -> AuditOptions {
    let section = edge.section("audit");
    let interval = section.duration("interval", DAY, ms(0)..=365 * DAY);
    let rate = section.count("rate", 1000, 1..=1_000_000);
    section.finish();
    AuditOptions { interval, rate: u32::try_from(rate).unwrap_or(u32::MAX) }
}

fn adopt(edge: &Section<'_>) -> Adopt {
    let section = edge.section("adopt");
    let tenants = section.texts("tenants", &[]);
    section.finish();
    Adopt { tenants }
}
