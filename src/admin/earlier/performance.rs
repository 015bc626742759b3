//! `high_volume_config`, `unified_wal`, `performance_stats`, `concurrency_details`, and the fields of instances: in
//! `/status`, `/wal/status`, `/admin/instances` and `/admin/scalability_status`.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::counts::Counts;
use super::{Earlier, percent, percent_text, rounded};
use crate::admin::options::{Lanes, StoreKind};
use crate::clock::Timestamp;
use crate::ids::{InstanceId, Seq};
use crate::web::rfc3339;

const MIB: f64 = 1024.0 * 1024.0;
/// How long a request for the current state waits for the probes.
const PROBES: Duration = Duration::from_secs(5);

/// Entries that are not replicated everywhere yet, as counted by the page that shows them.
#[derive(Clone, Copy, Debug)]
pub(in crate::admin) struct Pending {
    pub all: u64,
    /// Of these, those that an instance in use lacks.
    pub in_reach: u64,
}

fn set(fields: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        fields.insert(name.to_owned(), value.into());
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// Adds these fields to a page.
pub(in crate::admin) fn extend(page: &mut Value, more: Value) {
    if let (Value::Object(page), Value::Object(more)) = (page, more) {
        page.extend(more);
    }
}

impl Earlier {
    /// Probes every instance now, for requests that want the current state. Concurrent requests share one round of
    /// probes.
    pub(in crate::admin) async fn probe(&self) {
        if let Ok(_turn) = self.probing.try_acquire() {
            let _ = tokio::time::timeout(PROBES, self.health.probe()).await;
        }
    }

    /// Returns for how many seconds each instance has lacked its oldest missing write; `None` if the journal cannot be
    /// read.
    pub(in crate::admin) async fn lags(&self) -> Vec<Option<f64>> {
        let oldest: Vec<Option<Seq>> = {
            let board = self.core.board();
            self.core.registry().ids().map(|id| board.oldest_lacked(id)).collect()
        };
        let asked: Vec<Seq> = oldest.iter().flatten().copied().collect();
        let known = match asked.is_empty() {
            true => Some(Vec::new()),
            false => self.core.store().journaled_at(&asked).await.ok(),
        };
        let now = Timestamp::now();
        let seconds = |seq: &Option<Seq>| {
            let Some(seq) = seq else { return Some(0.0) };
            let at = known.as_ref()?.iter().find(|(known, _)| known == seq)?.1;
            Some(rounded((now.millis().saturating_sub(at.millis())).max(0) as f64 / 1000.0))
        };
        oldest.iter().map(seconds).collect()
    }

    fn high_volume_config(&self) -> Value {
        let (options, limits) = (self.options.get(), self.admission.limits());
        let options = &options.earlier;
        let mut fields = object(json!({
            "max_memory_mb": rounded(options.buffered_bytes as f64 / MIB),
            "max_workers": options.workers,
            "default_batch_size": options.merge_documents,
            "max_batch_size": options.merge_documents,
            "current_batch_size": self.core.board().batches().documents,
            "max_concurrent_requests": limits.concurrent_attempts,
            "request_queue_size": limits.queued_attempts,
            "request_timeout": options.request_timeout.as_secs_f64(),
        }));
        let memory = self.observer.memory();
        let used = memory.and_then(|memory| memory.percent()).map(rounded);
        set(&mut fields, "current_memory_percent", used);
        set(&mut fields, "peak_memory_usage", memory.map(|memory| rounded(memory.peak as f64 / MIB)));
        Value::Object(fields)
    }

    fn unified_wal(&self, store: StoreKind, pending: Pending) -> Value {
        json!({
            "pending_writes": pending.all,
            "is_syncing": pending.in_reach > 0,
            "sync_interval_seconds": self.options.get().recovery_interval.as_secs_f64(),
            "database": match store {
                StoreKind::Sqlite => "SQLite",
                StoreKind::Postgres => "PostgreSQL",
            },
            "approach": format!("write-ahead journal in {}", store.as_str()),
        })
    }

    fn performance_stats(&self, counts: &Counts, since: Timestamp) -> Value {
        let (sync, traffic) = (&counts.sync, &counts.traffic);
        let mut fields = object(json!({
            "since": rfc3339::text(since),
            "batches_processed": sync.requests,
            "successful_syncs": sync.applied,
            "failed_syncs": sync.failed,
            "sync_cycles": sync.rounds,
            "connection_pool_hits": traffic.hits,
            "connection_pool_misses": traffic.misses,
            "lock_contention_avoided": sync.side_by_side,
            "concurrent_requests_active": self.admission.clients(),
            "total_requests_processed": counts.processed,
            "timeout_requests": counts.timed_out,
            "queue_full_rejections": counts.queue_full,
            "mapping_failures": sync.catalog_failures,
            "memory_pressure_events": sync.memory_short,
            "adaptive_batch_reductions": sync.batches_reduced,
        }));
        let throughput = (sync.micros > 0).then(|| rounded(sync.applied as f64 * 1e6 / sync.micros as f64));
        set(&mut fields, "avg_sync_throughput", throughput);
        set(&mut fields, "pool_hit_rate", percent_text(traffic.hits, traffic.hits + traffic.misses));
        Value::Object(fields)
    }

    fn concurrency_details(&self) -> Value {
        let limits = self.admission.limits();
        json!({
            "max_concurrent_requests": limits.concurrent_attempts,
            "request_queue_size": limits.queued_attempts,
            "lanes_with_clients": self.admission.lanes().busy(),
            "clients": self.admission.clients(),
            "max_clients": limits.concurrent_requests,
            "waiting_clients": self.admission.waiting(),
            "max_waiting_clients": limits.queued_requests,
            "requests_to_instances": self.under_way(),
        })
    }

    fn under_way(&self) -> usize {
        let registry = self.core.registry();
        registry.ids().map(|id| registry.in_flight(id)).sum()
    }

    /// The additional fields of `/status`.
    pub(in crate::admin) fn status(&self, store: StoreKind, pending: Pending) -> Value {
        let (counts, since) = self.counts();
        let traffic = &counts.traffic;
        let mut stats = object(json!({
            "total_requests": traffic.requests,
            "successful_requests": traffic.answered,
            "failed_requests": traffic.requests.saturating_sub(traffic.answered),
        }));
        set(&mut stats, "success_rate", percent_text(traffic.answered, traffic.requests));
        json!({
            "service": "chroma-edge",
            "architecture": format!("write-ahead journal in {}", store.as_str()),
            "high_volume_config": self.high_volume_config(),
            "unified_wal": self.unified_wal(store, pending),
            "performance_stats": self.performance_stats(&counts, since),
            "concurrency_details": self.concurrency_details(),
            "stats": stats,
            "timestamp": rfc3339::text(Timestamp::now()),
        })
    }

    /// The additional fields of `/wal/status`, whether or not the journal can be read.
    pub(in crate::admin) fn wal_status(&self, store: StoreKind, pending: Pending) -> Value {
        let (counts, since) = self.counts();
        json!({
            "wal_system": self.unified_wal(store, pending),
            "performance_stats": self.performance_stats(&counts, since),
            "high_volume_config": self.high_volume_config(),
            "pending": pending.all,
            "failed_syncs": counts.sync.failed,
            "successful_syncs": counts.sync.applied,
            "successful": counts.sync.applied,
        })
    }

    /// The additional fields of an instance in `/status`.
    pub(in crate::admin) fn instance(&self, id: InstanceId, behind: u64, lag: Option<f64>) -> Value {
        let traffic = self.core.registry().traffic(id);
        let numbers = traffic.numbers();
        let mut fields = object(json!({
            "total_requests": numbers.requests,
            "consecutive_failures": traffic.failed_probes(),
            "lag_transactions": behind,
        }));
        set(&mut fields, "success_rate", percent_text(numbers.answered, numbers.requests));
        set(&mut fields, "last_health_check", traffic.last_probe().map(rfc3339::text));
        set(&mut fields, "lag_seconds", lag);
        Value::Object(fields)
    }

    /// `GET /admin/instances`.
    pub(in crate::admin) fn instances(&self) -> Value {
        let registry = self.core.registry();
        let shown = |(place, id): (usize, InstanceId)| {
            let traffic = registry.traffic(id);
            let numbers = traffic.numbers();
            let mut fields = object(json!({
                "name": registry.name(id).as_str(),
                "url": registry.url(id).to_string(),
                "healthy": self.core.is_in_use(id),
                "priority": place + 1,
                "consecutive_failures": traffic.failed_probes(),
                "total_requests": numbers.requests,
                "successful_requests": numbers.answered,
            }));
            set(&mut fields, "success_rate", percent(numbers.answered, numbers.requests));
            set(&mut fields, "last_health_check", traffic.last_probe().map(rfc3339::text));
            Value::Object(fields)
        };
        json!({
            "instances": registry.ids().enumerate().map(shown).collect::<Vec<_>>(),
            "healthy_count": registry.ids().filter(|id| self.core.is_in_use(*id)).count(),
            "total_count": registry.ids().len(),
        })
    }

    /// `GET /admin/scalability_status`.
    pub(in crate::admin) fn scalability(&self) -> Value {
        let (counts, since) = self.counts();
        let traffic = &counts.traffic;
        let mut performance = self.performance_stats(&counts, since);
        extend(&mut performance, json!({ "hits": traffic.hits, "misses": traffic.misses }));
        let options = self.options.get();
        let kept = options.earlier.kept_connections;
        let mut pooling = object(json!({
            "available": true,
            "enabled": kept.is_some(),
            // Connections are opened on demand.
            "min_connections": 0,
        }));
        set(&mut pooling, "max_connections", kept);
        let (granular, locks) = match options.earlier.lanes {
            Lanes::SideBySide => (true, json!(["catalog", "collection"])),
            Lanes::OneByOne => (false, json!(["catalog", "collection", "instance"])),
        };
        json!({
            "timestamp": rfc3339::text(Timestamp::now()),
            "scalability_features": {
                "connection_pooling": pooling,
                "granular_locking": { "available": true, "enabled": granular, "lock_types": locks },
            },
            "performance_stats": performance,
            "performance_impact": { "lock_contention_avoided": counts.sync.side_by_side },
            "current_load": self.concurrency_details(),
        })
    }
}
