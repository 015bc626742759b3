//! What `check` prints: the configuration in effect, after defaults and environment.
//!
//! Decides the layout only. Keys are named as in the file, so that a line can be copied into it.

use std::fmt::Write;

use crate::config::{ByteSize, Config, ConnectionPooling, JournalStore, Limits, show_duration};
use crate::journal::Compression;
use crate::order::Consistency;
use crate::web::{Origins, ResetPolicy};

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
    line("journal.max_bytes", config.journal.max_bytes.to_string());
    line("read_consistency", consistency(config.read_consistency).to_owned());
    line("read_replica_ratio", config.read_replica_ratio.get().to_string());
    for (key, span) in [
        ("journal.lease", config.journal.lease),
        ("write_wait", config.write_wait),
        ("read_wait", config.read_wait),
        ("catalog_wait", config.catalog_wait),
        ("attempt_timeout", config.attempt_timeout),
        ("request_timeout", config.request_timeout),
        ("settle_time", config.settle_time),
        ("journal_timeout", config.journal_timeout),
        ("recovery_interval", config.recovery_interval),
        ("retention", config.retention),
        ("shutdown_grace", config.shutdown_grace),
        ("health.interval", config.health.interval),
        ("health.timeout", config.health.timeout),
        ("limits.queue_wait", config.limits.queue_wait),
    ] {
        line(key, show_duration(span));
    }
    line("health.failures", config.health.failures.to_string());
    line("connection_pooling", (config.connection_pooling == ConnectionPooling::Enabled).to_string());
    for (key, size) in sizes(&config.limits) {
        line(key, size.to_string());
    }
    line("limits.concurrent_requests", config.limits.concurrent_requests.to_string());
    line("limits.queued_requests", config.limits.queued_requests.to_string());
    line("limits.concurrent_attempts", config.limits.concurrent_attempts.to_string());
    line("limits.backlog_entries", config.limits.backlog_entries.to_string());
    line("limits.event_streams", config.limits.event_streams.to_string());
    line("limits.merge_documents", config.limits.merge_documents.to_string());
    line("limits.merge_bytes", config.limits.merge_bytes.to_string());
    line("protection.allow_reset", (config.protection.reset == ResetPolicy::Allowed).to_string());
    line("protection.collections", format!("[{}]", config.protection.collections.join(", ")));
    line("adopt.tenants", format!("[{}]", config.adopt.tenants.join(", ")));
    let headers: Vec<&str> = config.idempotency.names().iter().map(http::HeaderName::as_str).collect();
    line("idempotency.headers", format!("[{}]", headers.join(", ")));
    let nets: Vec<String> = config.trusted_proxies.iter().map(ToString::to_string).collect();
    line("trusted_proxies", format!("[{}]", nets.join(", ")));
    line(
        "cors.origins",
        match &config.origins {
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

fn sizes(limits: &Limits) -> [(&'static str, ByteSize); 4] {
    [
        ("limits.body_bytes", limits.body_bytes),
        ("limits.answer_bytes", limits.answer_bytes),
        ("limits.buffered_bytes", limits.buffered_bytes),
        ("limits.collection_cache_bytes", limits.collection_cache_bytes),
    ]
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
