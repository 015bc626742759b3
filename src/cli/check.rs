//! What `check` prints: the configuration in effect, after defaults and environment.
//!
//! Decides the layout only. Keys are named as in the file, so that a line can be copied into it.

use std::fmt::Write;

use crate::config::{
    ByteSize, Config, ConnectionPooling, GranularLocking, JournalStore, Limits, LogFormat, show_duration,
};
use crate::journal::Compression;
use crate::journal::retention::RetentionOptions;
use crate::order::Consistency;
use crate::proxy::AccessLog;
use crate::web::{Hosts, Origins, ResetPolicy};

/// The lines about `limits`.
fn limits(limits: &Limits, line: &mut impl FnMut(&str, String)) {
    line("limits.body_bytes", bytes(limits.admission.body_bytes as u64));
    line("limits.answer_bytes", limits.answer_bytes.to_string());
    line("limits.buffered_bytes", bytes(limits.admission.buffered_bytes as u64));
    line("limits.incoming_bodies", limits.admission.incoming_bodies.to_string());
    line("limits.body_timeout", show_duration(limits.admission.body_timeout));
    line("limits.body_rate", bytes(limits.admission.body_rate as u64));
    line("limits.collection_cache_bytes", limits.collection_cache_bytes.to_string());
    line("limits.concurrent_requests", limits.admission.concurrent_requests.to_string());
    line("limits.queued_requests", limits.admission.queued_requests.to_string());
    line("limits.concurrent_attempts", limits.admission.concurrent_attempts.to_string());
    line("limits.queued_attempts", limits.admission.queued_attempts.to_string());
    line("limits.backlog_entries", limits.admission.backlog_entries.to_string());
    line("limits.event_streams", limits.event_streams.to_string());
    line("limits.dashboards", limits.dashboards.to_string());
    line("limits.event_streams_per_address", limits.event_streams_per_address.to_string());
    let wire = &limits.wire;
    line("limits.connections", wire.connections.to_string());
    line("limits.connections_per_address", wire.connections_per_address.to_string());
    line("limits.idle_timeout", show_duration(wire.front.idle_timeout));
    line("limits.header_timeout", show_duration(wire.front.header_timeout));
    line("limits.uri_bytes", bytes(wire.front.head.uri_bytes as u64));
    line("limits.headers", wire.front.head.headers.to_string());
    line("limits.header_bytes", bytes(wire.front.head.header_bytes as u64));
    line("limits.merge_documents", limits.merge.documents.to_string());
    line("limits.merge_bytes", bytes(limits.merge.bytes));
}

/// One key a line, with the file's names.
pub(super) fn summary(config: &Config) -> String {
    let mut text = String::from("the configuration is correct; in effect:\n");
    for (key, value) in lines(config) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {key:<28}{value}");
    }
    for notice in &config.notices {
        let _ = writeln!(text, "note: {}", notice.0);
    }
    text
}

fn of_retention(options: &RetentionOptions) -> [(&'static str, String); 4] {
    [
        ("journal.max_bytes", bytes(options.max_bytes)),
        ("journal.application_bytes", bytes(options.application_bytes)),
        ("journal.application_client_bytes", bytes(options.application_client_bytes)),
        ("journal.application_age", show_duration(options.application_age)),
    ]
}

fn lines(config: &Config) -> Vec<(String, String)> {
    let mut lines = vec![("listen".to_owned(), config.listen.to_string())];
    listening(config, &mut lines);
    for (index, instance) in config.instances.iter().enumerate() {
        let role = if index == 0 { "primary" } else { "replica" };
        let trust = &instance.trust;
        let ca_file = trust.ca_file.as_ref().map_or(String::new(), |file| format!(", ca_file {}", file.display()));
        let own = trust.own.as_ref().map_or(String::new(), |own| format!(", cert_file {}", own.cert_file.display()));
        let shown = format!("{} at {} ({role}{ca_file}{own})", instance.name, instance.url);
        lines.push((format!("instances[{index}]"), shown));
    }
    let mut line = |key: &str, value: String| lines.push((key.to_owned(), value));
    match &config.journal.store {
        JournalStore::Sqlite { path } => line("journal.path", path.display().to_string()),
        JournalStore::Postgres { url } => line("journal.postgres", url.to_string()),
    }
    line("journal.compression", compression(config.journal.compression).to_owned());
    for (key, value) in of_retention(&config.journal.retention) {
        line(key, value);
    }
    line("read_consistency", consistency(config.proxy.consistency).to_owned());
    line("read_replica_ratio", config.proxy.replica_ratio.to_string());
    for (key, span) in [
        ("journal.lease", config.journal.lease),
        ("write_wait", config.proxy.write_wait),
        ("read_wait", config.proxy.read_wait),
        ("catalog_wait", config.proxy.catalog_wait),
        ("attempt_timeout", config.attempt_timeout),
        ("request_timeout", config.proxy.request_timeout),
        ("settle_time", config.settle_time),
        ("journal_timeout", config.journal_timeout),
        ("recovery_interval", config.recovery_interval),
        ("retention", config.journal.retention.keep),
        ("shutdown_grace", config.shutdown_grace),
        ("handover_linger", config.handover_linger),
        ("health.interval", config.health.interval),
        ("health.timeout", config.health.timeout),
        ("limits.queue_wait", config.limits.admission.queue_wait),
    ] {
        line(key, show_duration(span));
    }
    line("health.failures", config.health.failures.to_string());
    line("connection_pooling", (config.connection_pooling == ConnectionPooling::Enabled).to_string());
    line("granular_locking", (config.granular_locking == GranularLocking::Enabled).to_string());
    limits(&config.limits, &mut line);
    line("audit.interval", show_duration(config.audit.interval));
    line("audit.rate", config.audit.rate.to_string());
    line("protection.allow_reset", (config.proxy.reset == ResetPolicy::Allowed).to_string());
    line("protection.collections", format!("[{}]", config.proxy.protection.collections.join(", ")));
    line("protection.test_prefixes", format!("[{}]", config.proxy.protection.test_prefixes.join(", ")));
    line("auth", config.proxy.entrance.gate.to_string());
    line("adopt.tenants", format!("[{}]", config.adopt.tenants.join(", ")));
    let headers: Vec<&str> = config.proxy.idempotency.names().iter().map(http::HeaderName::as_str).collect();
    line("idempotency.headers", format!("[{}]", headers.join(", ")));
    line("idempotency.keep", show_duration(config.keep_ids));
    let nets: Vec<String> = config.proxy.entrance.trusted.iter().map(ToString::to_string).collect();
    line("trusted_proxies", format!("[{}]", nets.join(", ")));
    browsers(config, &mut line);
    if let Some(webhook) = &config.webhook {
        line("notify.webhook.url", webhook.url.to_string());
        line("notify.webhook.events", format!("[{}]", webhook.options.events.join(", ")));
        line("notify.webhook.timeout", show_duration(webhook.options.timeout));
    }
    traces(config, &mut line);
    line("log", config.log.clone());
    line("log_format", if config.log_format == LogFormat::Json { "json" } else { "text" }.to_owned());
    line("access_log", (config.proxy.access_log == AccessLog::On).to_string());
    line("threads", config.pingora.threads.to_string());
    lines
}

/// The listeners, besides the first.
fn listening(config: &Config, lines: &mut Vec<(String, String)>) {
    if let Some(address) = config.admin_listen {
        lines.push(("admin_listen".to_owned(), address.to_string()));
    }
    for files in config.tls.iter().flat_map(|tls| &tls.certificates) {
        lines.push(("tls.cert".to_owned(), files.cert.display().to_string()));
    }
    if let Some(file) = config.tls.as_ref().and_then(|tls| tls.client_ca.as_ref()) {
        lines.push(("tls.client_ca".to_owned(), file.display().to_string()));
    }
}

/// Where spans go, if anything is traced.
fn traces(config: &Config, line: &mut impl FnMut(&str, String)) {
    let Some(traces) = &config.traces else { return };
    line("traces.endpoint", traces.url.to_string());
    line("traces.sample_ratio", traces.sample_ratio.to_string());
    line("traces.timeout", show_duration(traces.timeout));
}

/// What pages in browsers may do.
fn browsers(config: &Config, line: &mut impl FnMut(&str, String)) {
    let names = match &config.proxy.hosts {
        Hosts::Any => "*".to_owned(),
        Hosts::These(names) => names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    line("hosts", format!("[{names}]"));
    line(
        "cors.origins",
        match &config.proxy.origins {
            Origins::None => "[]".to_owned(),
            Origins::Any => "[*]".to_owned(),
            Origins::These(origins) => format!("[{}]", origins.join(", ")),
        },
    );
}

fn bytes(count: u64) -> String {
    ByteSize::bytes(count).to_string()
}

fn compression(choice: Compression) -> &'static str {
    match choice {
        Compression::None => "none",
        Compression::Zstd => "zstd",
    }
}

fn consistency(choice: Consistency) -> &'static str {
    match choice {
        Consistency::Fresh => "fresh",
        Consistency::Any => "any",
    }
}
