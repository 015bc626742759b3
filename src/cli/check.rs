//! What `check` prints: the configuration in effect, after defaults and environment.
//!
//! Decides the layout only. Keys are named as in the file, so that a line can be copied into it.

use std::fmt::Write;

use crate::config::{ByteSize, Config, ConnectionPooling, JournalStore, Limits, show_duration};
use crate::journal::Compression;
use crate::order::Consistency;
use crate::web::{Origins, ResetPolicy};

/// The lines about `limits`.
fn limits(limits: &Limits, line: &mut impl FnMut(&str, String)) {
    line("limits.body_bytes", bytes(limits.admission.body_bytes as u64));
    line("limits.answer_bytes", limits.answer_bytes.to_string());
    line("limits.buffered_bytes", bytes(limits.admission.buffered_bytes as u64));
    line("limits.collection_cache_bytes", limits.collection_cache_bytes.to_string());
    line("limits.concurrent_requests", limits.admission.concurrent_requests.to_string());
    line("limits.queued_requests", limits.admission.queued_requests.to_string());
    line("limits.concurrent_attempts", limits.concurrent_attempts.to_string());
    line("limits.backlog_entries", limits.admission.backlog_entries.to_string());
    line("limits.event_streams", limits.event_streams.to_string());
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

fn lines(config: &Config) -> Vec<(String, String)> {
    let mut lines = vec![("listen".to_owned(), config.listen.to_string())];
    for (index, instance) in config.instances.iter().enumerate() {
        let role = if index == 0 { "primary" } else { "replica" };
        let ca_file = instance.ca_file.as_ref().map_or(String::new(), |file| format!(", ca_file {}", file.display()));
        lines.push((format!("instances[{index}]"), format!("{} at {} ({role}{ca_file})", instance.name, instance.url)));
    }
    let mut line = |key: &str, value: String| lines.push((key.to_owned(), value));
    match &config.journal.store {
        JournalStore::Sqlite { path } => line("journal.path", path.display().to_string()),
        JournalStore::Postgres { url } => line("journal.postgres", url.to_string()),
    }
    line("journal.compression", compression(config.journal.compression).to_owned());
    line("journal.max_bytes", bytes(config.journal.retention.max_bytes));
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
        ("health.interval", config.health.interval),
        ("health.timeout", config.health.timeout),
        ("limits.queue_wait", config.limits.admission.queue_wait),
    ] {
        line(key, show_duration(span));
    }
    line("health.failures", config.health.failures.to_string());
    line("connection_pooling", (config.connection_pooling == ConnectionPooling::Enabled).to_string());
    limits(&config.limits, &mut line);
    line("audit.interval", show_duration(config.audit.interval));
    line("audit.rate", config.audit.rate.to_string());
    line("protection.allow_reset", (config.proxy.reset == ResetPolicy::Allowed).to_string());
    line("protection.collections", format!("[{}]", config.proxy.protected.join(", ")));
    line("adopt.tenants", format!("[{}]", config.adopt.tenants.join(", ")));
    let headers: Vec<&str> = config.proxy.idempotency.names().iter().map(http::HeaderName::as_str).collect();
    line("idempotency.headers", format!("[{}]", headers.join(", ")));
    let nets: Vec<String> = config.proxy.trusted_proxies.iter().map(ToString::to_string).collect();
    line("trusted_proxies", format!("[{}]", nets.join(", ")));
    line(
        "cors.origins",
        match &config.proxy.origins {
            Origins::None => "[]".to_owned(),
            Origins::Any => "[*]".to_owned(),
            Origins::These(origins) => format!("[{}]", origins.join(", ")),
        },
    );
    if let Some(webhook) = &config.webhook {
        line("notify.webhook.url", webhook.url.to_string());
        line("notify.webhook.events", format!("[{}]", webhook.options.events.join(", ")));
        line("notify.webhook.timeout", show_duration(webhook.options.timeout));
    }
    line("log", config.log.clone());
    line("threads", config.pingora.threads.to_string());
    lines
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
