//! The second step: from the raw text to a [`Config`] that can work.
//!
//! Decides every key's type, default and limits, and the constraints between keys. It accesses no files except those
//! that keys name, whose absence would otherwise show only at the first connection.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pingora::server::configuration::ServerConf;
use tracing_subscriber::EnvFilter;

use super::file::{Notice, Raw};
use super::mistake::{Ledger, Location};
use super::pingora_keys::EDGE;
use super::section::Section;
use super::settings::{
    Adopt, Batching, Config, ConnectionPooling, GranularLocking, JournalConfig, JournalStore, Limits, LogFormat,
};
use super::tree::Node;
use super::units::{ByteSize, show_duration};
use super::values::{Source, Values};
use super::{access, outside, traces, upstream, wire};
use crate::audit::AuditOptions;
use crate::auth::{Gate, Openness};
use crate::chroma::{Envelope, Numbers, RequestLimits, Setting, Unit};
use crate::heal::{HealMode, HealOptions};
use crate::ids::InstanceName;
use crate::instance::{BreakerRules, HealthOptions, InstanceOptions, InstanceUrl, Tls};
use crate::journal::Compression;
use crate::journal::postgres::DatabaseUrl;
use crate::journal::retention::{APPLICATION_AGE, RetentionOptions, client_share_of, share_of};
use crate::order::{Consistency, ForeignPolicy, MergeLimits};
use crate::proxy::{AccessLog, AdmitLimits, AnswerLimits, ClientRate, Entrance, ProxyOptions};
use crate::web::{KeyHeaders, Promise};

/// How many documents one merged request holds by default.
pub(super) const DEFAULT_MERGE_DOCUMENTS: usize = 500;
/// Chroma's own `max_batch_size`; its clients never send more documents at once.
const MAX_MERGE_DOCUMENTS: usize = 5461;
/// Chroma refuses bodies of 40 MiB; a merged request stays well below that.
const MAX_MERGE_BYTES: ByteSize = ByteSize::bytes(30_000_000);

/// The notice at each start with a single server.
const ONE_INSTANCE: &str = "one instance is configured: nothing is kept twice, and nothing is served while that server is away. \
    A second one in edge.instances is given everything after the next start";

/// An upper limit that nobody needs to exceed.
const MAX_JOURNAL_BYTES: ByteSize = ByteSize::mib(1 << 24);
const LEAST_APPLICATION_BYTES: ByteSize = ByteSize::bytes(64 * 1024);
const LEAST_CLIENT_BYTES: ByteSize = ByteSize::bytes(32 * 1024);

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

const HOUR: Duration = secs(3_600);
const DAY: Duration = secs(86_400);

/// Looks up an environment variable.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Checks everything. None, or mistakes in the ledger, mean that the configuration cannot be used.
pub(super) fn check(raw: Raw, mut pingora: ServerConf, lookup: Lookup<'_>, ledger: &Ledger) -> Option<Config> {
    let edge = Section::new(EDGE, raw.root.get(EDGE), ledger);
    let instances = instances(&edge, lookup, ledger);
    let mut notices = raw.notices;
    if instances.len() == 1 {
        notices.push(Notice(ONE_INSTANCE.to_owned()));
    }
    let (attempt_timeout, request_timeout) = timeouts(&edge, ledger);
    let (limits, of_requests) = limits(&edge, ledger);
    let (heal, marker_interval, foreign) = heal(&edge);
    let granular = [("true", GranularLocking::Enabled), ("false", GranularLocking::Disabled)];
    let (key_headers, keep_ids) = outside::idempotency(&edge);
    let pooling = [("true", ConnectionPooling::Enabled), ("false", ConnectionPooling::Disabled)];
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let shutdown_grace = edge.duration("shutdown_grace", secs(8), ms(0)..=secs(300));
    if pingora.grace_period_seconds.is_none() {
        pingora.grace_period_seconds = Some(shutdown_grace.as_millis().div_ceil(1000) as u64);
    }
    let (listen, admin_listen) = wire::listeners(&edge, ledger)?;
    let config = Config {
        listen,
        admin_listen,
        tls: wire::tls(&edge, ledger),
        instances,
        journal: journal(&edge, keep_ids, ledger),
        proxy: proxy(&edge, request_timeout, of_requests, key_headers, (lookup, ledger)),
        keep_ids,
        attempt_timeout,
        settle_time: edge.duration("settle_time", secs(2), ms(0)..=secs(60)),
        journal_timeout: edge.duration("journal_timeout", secs(5), ms(100)..=secs(600)),
        recovery_interval: edge.duration("recovery_interval", secs(30), ms(100)..=HOUR),
        shutdown_grace,
        handover_linger: edge.duration("handover_linger", secs(6), ms(0)..=secs(300)),
        connection_pooling: edge.choice("connection_pooling", "true", &pooling, ConnectionPooling::Enabled),
        granular_locking: edge.choice("granular_locking", "true", &granular, GranularLocking::Enabled),
        health: health(&edge, ledger),
        limits,
        batching: batching(&edge),
        vouch: vouch(&edge),
        quarantine_wait: quarantine_wait(&edge),
        adopt: adopt(&edge),
        heal,
        marker_interval,
        foreign,
        audit: audit(&edge),
        webhook: outside::webhook(&edge, ledger),
        traces: traces::traces(&edge, lookup, ledger),
        log: edge.text("log", LOG, log_filter)?,
        log_format: edge.choice("log_format", "text", &formats, LogFormat::Text),
        pingora,
        notices: Vec::new(),
        values: Values::default(),
        source: Source::Environment,
    };
    edge.finish();
    notices.extend(open_to_others(&config));
    Some(Config { notices, ..config })
}

/// The edge's own lines, and from libraries only those that someone should act on. Pingora's errors about single
/// requests and clients' connections (it logs a reset connection as an error) stay out: the edge tries the next
/// instance and reports the outcome. Pingora's applications log an error if a client leaves while HTTP/2 is being set
/// up. Its connectors log an error if two requests want the same kept connection (one of them opens another), and a
/// warning if a connection is closed with unread data (it is not reused).
const LOG: &str = "info,refinery_core=warn,pingora_core=warn,pingora_core::apps=off,pingora_core::connectors=off,\
    pingora_load_balancing=error,pingora_proxy=off";

fn log_filter(text: &str) -> Result<String, String> {
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{text:?} is not a log filter such as info or chroma_edge=debug,info: {error}")),
    }
}

/// A notice at each start until the operator declares that open access is intended.
fn open_to_others(config: &Config) -> Option<Notice> {
    let unsaid = matches!(config.proxy.entrance.gate, Gate::Open(Openness::Unsaid));
    (unsaid && !config.listen.ip().is_loopback()).then(|| {
        Notice(format!(
            "whoever reaches {} can read, change and delete all data: no token is asked for. Set edge.auth.tokens, or \
             edge.auth: none (AUTH=none) if that is meant",
            config.listen
        ))
    })
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
    // The default yields to a shorter request_timeout, so that setting that key alone is enough.
    (attempt.value.min(request.value), request.value)
}

fn proxy(
    edge: &Section<'_>,
    request_timeout: Duration,
    (limits, answers, client_rate): (RequestLimits, AnswerLimits, Option<ClientRate>),
    idempotency: KeyHeaders,
    (lookup, ledger): (Lookup<'_>, &Ledger),
) -> ProxyOptions {
    let consistency = [("fresh", Consistency::Fresh), ("any", Consistency::Any)];
    let promises = [("always", Promise::Always), ("with_id", Promise::WithId)];
    let (reset, protection) = access::protection(edge, ledger);
    let (gate, credentials) = access::auth(edge, lookup, ledger);
    ProxyOptions {
        consistency: edge.choice("read_consistency", "fresh", &consistency, Consistency::Fresh),
        replica_ratio: edge.number("read_replica_ratio", 0.8, 0.0..=1.0),
        write_wait: edge.duration("write_wait", secs(5), ms(0)..=secs(600)),
        promise: edge.choice("promise", "always", &promises, Promise::Always),
        access_log: edge.choice(
            "access_log",
            "false",
            &[("true", AccessLog::On), ("false", AccessLog::Off)],
            AccessLog::Off,
        ),
        read_wait: edge.duration("read_wait", secs(5), ms(0)..=secs(600)),
        catalog_wait: edge.duration("catalog_wait", secs(3), ms(0)..=secs(600)),
        request_timeout,
        limits,
        answers,
        client_rate,
        reset,
        protection,
        idempotency,
        entrance: Entrance { gate, trusted: outside::trusted_proxies(edge), credentials },
        hosts: outside::hosts(edge),
        origins: outside::origins(edge),
    }
}

fn instances(edge: &Section<'_>, lookup: Lookup<'_>, ledger: &Ledger) -> Vec<InstanceOptions> {
    let place = edge.place("instances");
    let items = edge.list("instances").unwrap_or_default();
    if items.is_empty() {
        let message =
            "edge.instances must list the Chroma servers, at least one; PRIMARY_URL and REPLICA_URL name them as well";
        ledger.report(place, message);
    }
    let mut names = HashMap::new();
    let mut urls = HashMap::new();
    let mut one = |(index, item)| instance((index, item), (&mut names, &mut urls), lookup, ledger);
    items.iter().enumerate().filter_map(&mut one).collect()
}

fn instance(
    (index, node): (usize, &Node),
    (names, urls): (&mut HashMap<String, usize>, &mut HashMap<String, usize>),
    lookup: Lookup<'_>,
    ledger: &Ledger,
) -> Option<InstanceOptions> {
    let section = Section::new(&format!("edge.instances[{index}]"), Some(node), ledger);
    let name = section.required("name", node.place, instance_name);
    let url = section.required("url", node.place, |text| InstanceUrl::parse(text).map_err(|error| error.to_string()));
    let trust = upstream::trust(&section, url.as_ref().map(|url| url.value.tls()), node.place, ledger);
    let headers = upstream::headers(&section, lookup, ledger);
    section.finish();
    if let Some(name) = &name {
        unique("name", &name.value, name.place, index, names, ledger);
    }
    if let Some(url) = &url {
        unique("url", &url.value.to_string(), url.place, index, urls, ledger);
        if url.value.tls() == Tls::Yes && !cfg!(feature = "tls") {
            let place = url.place.unwrap_or(Location::Whole);
            ledger.report(place, "https:// instances need a build with the feature `tls`");
        }
    }
    let (name, url) = (name?, url?);
    let name = InstanceName::new(&name.value);
    Some(InstanceOptions { name, url: url.value, trust, headers })
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

pub(super) fn readable(path: &Path) -> std::io::Result<()> {
    std::fs::File::open(path).map(drop)
}

fn journal(edge: &Section<'_>, keep_ids: Duration, ledger: &Ledger) -> JournalConfig {
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
    let retention = retention(edge, &section, max_bytes.value.get(), keep_ids, ledger);
    section.finish();
    let store = match url {
        Some(url) => JournalStore::Postgres { url: Box::new(url.value) },
        None => JournalStore::Sqlite { path: path.unwrap_or_else(|| PathBuf::from(default)) },
    };
    JournalConfig { store, lease, compression, retention }
}

fn retention(
    edge: &Section<'_>,
    journal: &Section<'_>,
    max_bytes: u64,
    keep_ids: Duration,
    ledger: &Ledger,
) -> RetentionOptions {
    let keep = edge.duration("retention", 7 * DAY, secs(1)..=3650 * DAY);
    let share = ByteSize::bytes(share_of(max_bytes));
    let application = journal.size("application_bytes", share, LEAST_APPLICATION_BYTES..=MAX_JOURNAL_BYTES);
    if let Some(place) = application.place
        && application.value.get() > max_bytes / 2
    {
        ledger.report(place, "application_bytes is at most half of journal.max_bytes");
    }
    let application_age = journal.duration("application_age", APPLICATION_AGE, HOUR..=3650 * DAY);
    let application_bytes = application.value.get();
    let share = ByteSize::bytes(client_share_of(application_bytes));
    let client = journal.size("application_client_bytes", share, LEAST_CLIENT_BYTES..=MAX_JOURNAL_BYTES);
    if let Some(place) = client.place
        && client.value.get() > application_bytes
    {
        ledger.report(place, "application_client_bytes is at most journal.application_bytes");
    }
    RetentionOptions {
        keep,
        max_bytes,
        application_bytes,
        application_client_bytes: client.value.get(),
        application_age,
        keep_ids,
        ..RetentionOptions::default()
    }
}

fn health(edge: &Section<'_>, ledger: &Ledger) -> HealthOptions {
    let section = edge.section("health");
    let interval = section.located_duration("interval", secs(2), ms(100)..=secs(300));
    let timeout = section.located_duration("timeout", ms(500), ms(10)..=secs(60));
    let failures = section.count("failures", 2, 1..=100);
    // The range above fits in a u32.
    let failures = u32::try_from(failures).unwrap_or(u32::MAX);
    if timeout.value >= interval.value {
        let place = timeout.place.max(interval.place).unwrap_or(Location::Whole);
        let (timeout, interval) = (show_duration(timeout.value), show_duration(interval.value));
        ledger.report(
            place,
            format!("edge.health.timeout ({timeout}) must be shorter than edge.health.interval ({interval})"),
        );
    }
    let small = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let reads = BreakerRules {
        percent: small(section.count("breaker_percent", 50, 1..=100)),
        reads: small(section.count("breaker_reads", 20, 0..=1_000_000)),
        window: section.duration("breaker_window", secs(10), secs(1)..=secs(600)),
        pause: section.duration("breaker_pause", secs(5), ms(100)..=secs(600)),
    };
    section.finish();
    HealthOptions { interval: interval.value, timeout: timeout.value, failures, reads }
}

/// Reads the limits, and separately those that a reload may change: on a single request, on answers, and on one client.
fn limits(edge: &Section<'_>, ledger: &Ledger) -> (Limits, (RequestLimits, AnswerLimits, Option<ClientRate>)) {
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
        incoming_bodies: section.count("incoming_bodies", 1000, 1..=1_000_000),
        body_timeout: section.duration("body_timeout", secs(15), ms(100)..=HOUR),
        body_rate: section
            .size("body_rate", ByteSize::bytes(32 * 1024), ByteSize::bytes(1)..=ByteSize::mib(1024))
            .value
            .as_usize(),
        backlog_entries: section.count("backlog_entries", 2_000_000, 1..=1_000_000_000),
        concurrent_attempts: section.count("concurrent_attempts", 64, 1..=1_000_000),
        queued_attempts: section.count("queued_attempts", 10_000, 0..=1_000_000),
    };
    let documents = section.count("merge_documents", DEFAULT_MERGE_DOCUMENTS, 1..=MAX_MERGE_DOCUMENTS);
    let merge = MergeLimits {
        // The range above fits in a u32.
        documents: u32::try_from(documents).unwrap_or(u32::MAX),
        bytes: section.size("merge_bytes", ByteSize::mib(8), kib..=MAX_MERGE_BYTES).value.get(),
    };
    let limits = Limits {
        admission,
        answer_bytes: section.size("answer_bytes", ByteSize::mib(256), kib..=ByteSize::mib(16 << 10)).value,
        collection_cache_bytes: section
            .size("collection_cache_bytes", ByteSize::mib(64), ByteSize::bytes(0)..=ByteSize::mib(16 << 10))
            .value,
        event_streams: section.count("event_streams", 1000, 0..=100_000),
        dashboards: section.count("dashboards", 20, 0..=1000),
        event_streams_per_address: section.count("event_streams_per_address", 250, 0..=100_000),
        merge,
        wire: wire::limits(&section, wire::clear_h2(edge, ledger)),
    };
    let requests = RequestLimits::from_fn(|limit| number(&section, limit.setting(), 1));
    let answers = AnswerLimits {
        held_bytes: section
            .size("held_answer_bytes", ByteSize::bytes(256 * 1024), ByteSize::bytes(0)..=ByteSize::mib(64))
            .value
            .as_usize(),
        client_write_timeout: section.duration("client_write_timeout", secs(30), secs(1)..=HOUR),
    };
    let client_rate = outside::client_rate(&section);
    section.finish();
    (limits, (requests, answers, client_rate))
}

fn batching(edge: &Section<'_>) -> Batching {
    let section = edge.section("batching");
    let batching = Batching {
        hold: section.duration("hold", ms(20), ms(0)..=secs(1)),
        replica_lag: section.duration("replica_lag", ms(40), ms(0)..=secs(1)),
    };
    section.finish();
    batching
}

/// Reads a limit in its own unit: bytes or a count.
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
    // With 0, no request that has this number is vouched for.
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

/// Reads how copies are healed, how often markers are renewed, and what to do with foreign servers.
fn heal(edge: &Section<'_>) -> (HealOptions, Duration, ForeignPolicy) {
    let section = edge.section("heal");
    let modes = [("true", HealMode::Automatic), ("false", HealMode::Off)];
    let mode = section.choice("enabled", "true", &modes, HealMode::Automatic);
    let hold = section.duration("hold", secs(1), ms(50)..=secs(60));
    let marker_interval = section.duration("marker_interval", secs(10), secs(1)..=secs(3600));
    let policies = [("report", ForeignPolicy::Report), ("rebuild", ForeignPolicy::Rebuild)];
    let foreign = section.choice("foreign", "report", &policies, ForeignPolicy::Report);
    let rate = section.count("rate", 0, 0..=1_000_000);
    let rate = u32::try_from(rate).ok().and_then(NonZeroU32::new);
    let concurrent = section.count("concurrent", 1, 1..=16);
    let memory = section.size("memory", ByteSize::mib(32), ByteSize::mib(1)..=ByteSize::mib(1024)).value;
    let memory = usize::try_from(memory.get()).unwrap_or(usize::MAX);
    section.finish();
    (HealOptions { mode, hold, rate, concurrent, memory }, marker_interval, foreign)
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
