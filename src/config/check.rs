//! The second step: from what was written to a [`Config`] that can work.
//!
//! Decides every key's type, default and limits, and what must hold between keys. It touches nothing but
//! `ca_file`, whose absence would otherwise show only at the first connection.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pingora::server::configuration::ServerConf;
use tracing_subscriber::EnvFilter;

use super::file::Raw;
use super::mistake::{Ledger, Location};
use super::outside;
use super::pingora_keys::EDGE;
use super::section::{Located, Section};
use super::tree::Node;
use super::units::{ByteSize, show_duration};
use super::{
    Adopt, Config, ConnectionPooling, DEFAULT_MERGE_DOCUMENTS, Heal, JournalConfig, JournalStore, Limits, Protection,
    ReplicaRatio,
};
use crate::audit::AuditOptions;
use crate::chroma::{Envelope, Limit, Number, Numbers, RequestLimits, Unit};
use crate::heal::HealMode;
use crate::ids::InstanceName;
use crate::instance::{HealthOptions, InstanceOptions, InstanceUrl, Tls};
use crate::journal::Compression;
use crate::journal::postgres::DatabaseUrl;
use crate::order::{Consistency, ForeignPolicy};
use crate::web::{Promise, ResetPolicy};

/// Chroma's own `max_batch_size`; its clients never send more documents at once.
const MAX_MERGE_DOCUMENTS: usize = 5461;
/// Chroma refuses bodies of 40 MiB; a merged request stays well below.
const MAX_MERGE_BYTES: ByteSize = ByteSize::bytes(30_000_000);

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
    let (attempt_timeout, request_timeout) = timeouts(&edge, ledger);
    let ratio = edge.number("read_replica_ratio", 0.8, 0.0..=1.0);
    let consistency = [("fresh", Consistency::Fresh), ("any", Consistency::Any)];
    let promises = [("always", Promise::Always), ("with_id", Promise::WithId)];
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
        read_consistency: edge.choice("read_consistency", "fresh", &consistency, Consistency::Fresh),
        read_replica_ratio: ReplicaRatio(ratio),
        write_wait: edge.duration("write_wait", secs(5), ms(0)..=secs(600)),
        promise: edge.choice("promise", "always", &promises, Promise::Always),
        read_wait: edge.duration("read_wait", secs(5), ms(0)..=secs(600)),
        catalog_wait: edge.duration("catalog_wait", secs(3), ms(0)..=secs(600)),
        attempt_timeout,
        request_timeout,
        settle_time: edge.duration("settle_time", secs(2), ms(0)..=secs(60)),
        journal_timeout: edge.duration("journal_timeout", secs(5), ms(100)..=secs(600)),
        recovery_interval: edge.duration("recovery_interval", secs(30), ms(100)..=HOUR),
        retention: edge.duration("retention", 7 * DAY, secs(1)..=3650 * DAY),
        shutdown_grace,
        connection_pooling: edge.choice("connection_pooling", "true", &pooling, ConnectionPooling::Enabled),
        health: health(&edge, ledger),
        limits: limits(&edge, ledger),
        vouch: vouch(&edge),
        quarantine_wait: quarantine_wait(&edge),
        protection: protection(&edge),
        adopt: adopt(&edge),
        heal: heal(&edge),
        audit: audit(&edge),
        idempotency: outside::idempotency(&edge),
        trusted_proxies: outside::trusted_proxies(&edge),
        origins: outside::origins(&edge),
        webhook: outside::webhook(&edge, ledger),
        log: edge.text("log", LOG, log_filter)?,
        pingora,
        notices: raw.notices,
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

fn instances(edge: &Section<'_>, ledger: &Ledger) -> Vec<InstanceOptions> {
    let place = edge.place("instances");
    let items = edge.list("instances").unwrap_or_default();
    if items.len() < 2 {
        let message = format!(
            "edge.instances must list at least two Chroma servers and lists {}; PRIMARY_URL and REPLICA_URL name two as well",
            items.len()
        );
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
    JournalConfig { store, lease, compression, max_bytes: max_bytes.value }
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

fn limits(edge: &Section<'_>, ledger: &Ledger) -> Limits {
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
    let limits = Limits {
        body_bytes: body.value,
        answer_bytes: section.size("answer_bytes", ByteSize::mib(256), kib..=ByteSize::mib(16 << 10)).value,
        buffered_bytes: buffered.value,
        concurrent_requests: section.count("concurrent_requests", 1000, 1..=1_000_000),
        queued_requests: section.count("queued_requests", 2000, 0..=1_000_000),
        queue_wait: section.duration("queue_wait", secs(5), ms(0)..=secs(600)),
        concurrent_attempts: section.count("concurrent_attempts", 64, 1..=1_000_000),
        backlog_entries: section.count("backlog_entries", 2_000_000, 1..=1_000_000_000),
        event_streams: section.count("event_streams", 1000, 0..=100_000),
        merge_documents: section.count("merge_documents", DEFAULT_MERGE_DOCUMENTS, 1..=MAX_MERGE_DOCUMENTS),
        merge_bytes: section.size("merge_bytes", ByteSize::mib(8), kib..=MAX_MERGE_BYTES).value,
        requests: RequestLimits::from_fn(|limit| request_limit(&section, limit)),
    };
    section.finish();
    limits
}

/// One of the limits on what a request may ask for, at least 1.
fn request_limit(section: &Section<'_>, limit: Limit) -> u64 {
    number(section, limit.key(), limit.unit(), limit.default_value(), 1..=limit.most())
}

/// A number of bytes, or of anything else.
fn number(section: &Section<'_>, key: &'static str, unit: Unit, default: u64, range: RangeInclusive<u64>) -> u64 {
    let (least, most) = range.into_inner();
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
    let numbers = Numbers::from_fn(|number| vouched(&section, number));
    section.finish();
    Envelope::new(numbers)
}

/// The highest value of one number that is vouched for; 0 vouches for nothing that has it.
fn vouched(section: &Section<'_>, vouched: Number) -> u64 {
    number(section, vouched.key(), vouched.unit(), vouched.default_value(), 0..=vouched.most())
}

fn quarantine_wait(edge: &Section<'_>) -> Duration {
    let section = edge.section("quarantine");
    let wait = section.duration("wait", secs(10), ms(0)..=secs(600));
    section.finish();
    wait
}

fn protection(edge: &Section<'_>) -> Protection {
    let section = edge.section("protection");
    let policies = [("true", ResetPolicy::Allowed), ("false", ResetPolicy::Refused)];
    let reset = section.choice("allow_reset", "false", &policies, ResetPolicy::Refused);
    let collections = section.texts("collections", &["global"]);
    section.finish();
    Protection { reset, collections }
}

fn heal(edge: &Section<'_>) -> Heal {
    let section = edge.section("heal");
    let modes = [("true", HealMode::Automatic), ("false", HealMode::Off)];
    let mode = section.choice("enabled", "true", &modes, HealMode::Automatic);
    let hold = section.duration("hold", secs(1), ms(50)..=secs(60));
    let marker_interval = section.duration("marker_interval", secs(10), secs(1)..=secs(3600));
    let policies = [("report", ForeignPolicy::Report), ("rebuild", ForeignPolicy::Rebuild)];
    let foreign = section.choice("foreign", "report", &policies, ForeignPolicy::Report);
    section.finish();
    Heal { mode, hold, marker_interval, foreign }
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
