//! Which keys a reload may change, and how two configurations differ.
//!
//! Decides, for each key, whether it takes effect in a running edge. The server decides what a reload does with it.

use std::collections::BTreeSet;

use super::settings::Config;
use crate::auth::Issuer;
use crate::instance::InstanceOptions;

/// When a new value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// After a reload.
    Live,
    /// At the next start: a reload that changes the value is refused.
    Restart,
}

use Effect::{Live, Restart};

/// Every key under `edge:` except `instances`, which a reload may change. The last rows stand for the remaining keys
/// under `limits`, `auth` and `vouch`. Pingora's own keys, above `edge:`, take effect at the next start.
pub const KEYS: &[(&str, Effect)] = &[
    ("access_log", Live),
    ("admin_listen", Restart),
    ("adopt.tenants", Restart),
    ("attempt_timeout", Live),
    ("audit.interval", Live),
    ("audit.rate", Live),
    ("auth", Live),
    ("batching.hold", Restart),
    ("batching.replica_lag", Restart),
    ("catalog_wait", Live),
    ("connection_pooling", Restart),
    ("cors.origins", Live),
    ("granular_locking", Restart),
    ("h2c", Restart),
    ("handover_linger", Live),
    ("heal.concurrent", Live),
    ("heal.enabled", Live),
    ("heal.foreign", Live),
    ("heal.hold", Live),
    ("heal.marker_interval", Live),
    ("heal.memory", Live),
    ("heal.rate", Live),
    ("health.breaker_pause", Live),
    ("health.breaker_percent", Live),
    ("health.breaker_reads", Live),
    ("health.breaker_window", Live),
    ("health.failures", Live),
    ("health.interval", Live),
    ("health.timeout", Live),
    ("hosts", Live),
    ("idempotency.headers", Live),
    ("idempotency.keep", Live),
    ("journal.application_age", Live),
    ("journal.application_bytes", Live),
    ("journal.application_client_bytes", Live),
    ("journal.compression", Restart),
    ("journal.lease", Restart),
    ("journal.max_bytes", Live),
    ("journal.path", Restart),
    ("journal.postgres", Restart),
    ("journal_timeout", Restart),
    ("limits.answer_bytes", Restart),
    ("limits.backlog_entries", Restart),
    ("limits.body_bytes", Restart),
    ("limits.body_rate", Restart),
    ("limits.body_timeout", Restart),
    ("limits.buffered_bytes", Restart),
    ("limits.client_rate", Live),
    ("limits.client_rate_window", Live),
    ("limits.client_write_timeout", Live),
    ("limits.collection_cache_bytes", Restart),
    ("limits.concurrent_attempts", Restart),
    ("limits.concurrent_requests", Restart),
    ("limits.connections", Restart),
    ("limits.connections_per_address", Restart),
    ("limits.dashboards", Restart),
    ("limits.event_streams", Restart),
    ("limits.event_streams_per_address", Restart),
    ("limits.header_bytes", Restart),
    ("limits.header_timeout", Restart),
    ("limits.headers", Restart),
    ("limits.held_answer_bytes", Live),
    ("limits.idle_timeout", Restart),
    ("limits.incoming_bodies", Restart),
    ("limits.merge_bytes", Restart),
    ("limits.merge_documents", Restart),
    ("limits.queue_wait", Restart),
    ("limits.queued_attempts", Restart),
    ("limits.queued_requests", Restart),
    ("limits.uri_bytes", Restart),
    ("listen", Restart),
    ("log", Live),
    ("log_format", Restart),
    ("notify.webhook.ca_file", Restart),
    ("notify.webhook.events", Restart),
    ("notify.webhook.secret", Restart),
    ("notify.webhook.secret_file", Restart),
    ("notify.webhook.timeout", Restart),
    ("notify.webhook.url", Restart),
    ("promise", Live),
    ("protection.allow_reset", Live),
    ("protection.collections", Live),
    ("protection.test_prefixes", Live),
    ("quarantine.wait", Live),
    ("read_consistency", Live),
    ("read_replica_ratio", Live),
    ("read_wait", Live),
    ("recovery_interval", Live),
    ("request_timeout", Live),
    ("retention", Live),
    ("settle_time", Live),
    ("shutdown_grace", Restart),
    ("tls.cert", Restart),
    ("tls.client_ca", Restart),
    ("tls.key", Restart),
    ("tls.more", Restart),
    ("traces.ca_file", Restart),
    ("traces.endpoint", Restart),
    ("traces.headers", Restart),
    ("traces.queue", Restart),
    ("traces.sample_ratio", Restart),
    ("traces.service_name", Restart),
    ("traces.timeout", Restart),
    ("trusted_proxies", Live),
    ("write_wait", Live),
    // The limits on a single request: every other key under `limits`.
    ("limits.", Live),
    // Who may use the edge.
    ("auth.", Live),
    // Which requests are vouched for.
    ("vouch.", Restart),
    // Above `edge:`.
    ("", Restart),
];

/// Stands for a value that is never shown.
pub(super) const HIDDEN: &str = "(not shown)";

/// Keys whose values are never shown.
pub(super) const SECRET: [&str; 5] =
    ["journal.postgres", "notify.webhook.secret", "notify.webhook.url", "traces.endpoint", "traces.headers"];

/// Returns the row for this key; `None` for a key above `edge:`.
pub(super) fn row(key: &str) -> Option<&'static (&'static str, Effect)> {
    KEYS.iter().find(|row| row.0 == key || (row.0.ends_with('.') && key.starts_with(row.0)))
}

/// Returns when a new value of this key takes effect.
pub fn effect(key: &str) -> Effect {
    row(key).map_or(Restart, |(_, effect)| *effect)
}

/// A key whose value changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedKey {
    pub key: String,
    pub from: String,
    pub to: String,
    pub effect: Effect,
}

/// The changes to the set of instances.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    pub added: Vec<InstanceOptions>,
    /// By name.
    pub removed: Vec<String>,
    /// Changed address, headers, or TLS files: before and after.
    pub readdressed: Vec<(InstanceOptions, InstanceOptions)>,
    /// All names in the new order, if the order of the remaining instances changed.
    pub reordered: Option<Vec<String>>,
}

impl Moves {
    /// Returns whether nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Moves::default()
    }

    /// Returns whether instances were added, removed, or reordered.
    pub fn changes_the_set(&self) -> bool {
        !self.added.is_empty() || !self.removed.is_empty() || self.reordered.is_some()
    }

    fn between(old: &[InstanceOptions], new: &[InstanceOptions]) -> Moves {
        let in_old = |one: &InstanceOptions| old.iter().find(|other| other.name == one.name);
        let stays = |one: &&InstanceOptions, all: &[InstanceOptions]| all.iter().any(|other| other.name == one.name);
        let names = |all: &[InstanceOptions], others: &[InstanceOptions]| -> Vec<String> {
            all.iter().filter(|one| stays(one, others)).map(|one| one.name.to_string()).collect()
        };
        let order: Vec<String> = new.iter().map(|one| one.name.to_string()).collect();
        let moved = |one: &InstanceOptions| {
            in_old(one).filter(|before| *before != one).map(|before| (before.clone(), one.clone()))
        };
        // A new instance in front of a remaining one also changes the order.
        let kept_first = names(new, old).len();
        let appended = new.iter().take(kept_first).all(|one| in_old(one).is_some());
        Moves {
            added: new.iter().filter(|one| in_old(one).is_none()).cloned().collect(),
            removed: old.iter().filter(|one| !stays(one, new)).map(|one| one.name.to_string()).collect(),
            readdressed: new.iter().filter_map(moved).collect(),
            reordered: (names(old, new) != names(new, old) || !appended).then_some(order),
        }
    }
}

/// The differences of a new configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub keys: Vec<ChangedKey>,
    pub instances: Moves,
}

impl Difference {
    /// Compares the two configurations.
    pub fn between(old: &Config, new: &Config) -> Difference {
        let (before, after) = (&old.values, &new.values);
        let names: BTreeSet<&str> = before.keys().chain(after.keys()).collect();
        let changed = |key: &&str| before.get(key) != after.get(key);
        let keys = names.into_iter().filter(changed).map(|key| ChangedKey {
            key: key.to_owned(),
            from: shown(key, before.get(key)),
            to: shown(key, after.get(key)),
            effect: effect(key),
        });
        let mut keys: Vec<ChangedKey> = keys.collect();
        if !keys.iter().any(|one| one.key.starts_with("auth")) {
            keys.extend(changed_tokens(old, new));
            keys.extend(changed_issuer(old, new));
        }
        if !keys.iter().any(|one| one.key.starts_with("traces")) {
            keys.extend(changed_trace_headers(old, new));
        }
        Difference { keys, instances: Moves::between(&old.instances, &new.instances) }
    }

    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.instances.is_empty()
    }

    /// Returns the keys that take effect at the next start.
    pub fn needs_restart(&self) -> Vec<&str> {
        self.keys.iter().filter(|one| one.effect == Restart).map(|one| one.key.as_str()).collect()
    }
}

/// Reports changed tokens by name: tokens in a file can change while the configuration's text stays the same.
fn changed_tokens(old: &Config, new: &Config) -> Option<ChangedKey> {
    let (before, after) = (old.proxy.entrance.gate.tokens(), new.proxy.entrance.gate.tokens());
    replaced("auth.tokens", before, after, |token| token.name.to_string())
}

/// Reports changed JWT keys by name: they are in a file or in the environment.
fn changed_issuer(old: &Config, new: &Config) -> Option<ChangedKey> {
    let marks = |config: &Config| config.proxy.entrance.gate.issuer().map(Issuer::key_marks).unwrap_or_default();
    replaced("auth.jwt", &marks(old), &marks(new), |(name, _)| name.clone())
}

/// Lists the removed and the added items under this key by name; `None` if nothing changed.
fn replaced<T: PartialEq>(key: &str, before: &[T], after: &[T], name: impl Fn(&T) -> String) -> Option<ChangedKey> {
    let names = |ours: &[T], others: &[T]| {
        let names: BTreeSet<String> = ours.iter().filter(|one| !others.contains(one)).map(&name).collect();
        Vec::from_iter(names).join(", ")
    };
    let (from, to) = (names(before, after), names(after, before));
    let is_same = from.is_empty() && to.is_empty();
    (!is_same).then(|| ChangedKey { key: key.to_owned(), from, to, effect: Live })
}

/// Reports changed headers for the collector: headers in a file can change while the configuration's text stays the
/// same.
fn changed_trace_headers(old: &Config, new: &Config) -> Option<ChangedKey> {
    let [before, after] = [old, new].map(|config| config.traces.as_ref().map(|traces| &traces.headers));
    let key = "traces.headers";
    let hidden = || shown(key, Some(""));
    (before != after).then(|| ChangedKey { key: key.to_owned(), from: hidden(), to: hidden(), effect: Restart })
}

fn shown(key: &str, value: Option<&str>) -> String {
    match value {
        Some(_) if SECRET.contains(&key) || key.starts_with("auth") => HIDDEN.to_owned(),
        Some(text) => text.to_owned(),
        None => String::new(),
    }
}
