//! The content of each page.

use serde_json::{Value, json};

use super::collections::each_collection;
use super::earlier::{Pending, extend};
use super::{Admin, Page, instances};
use crate::chroma::{ByIdRoute, Capabilities, CopiedBy, MetadataArrays};
use crate::heal::HealPause;
use crate::ids::{CollectionId, InstanceId, LaneId, shown};
use crate::instance::BreakerState;
use crate::journal::retention::ApplicationQuota;
use crate::journal::{EventId, EventScope, Status, Totals};
use crate::metrics::{self, Gauges, InstanceGauges, Number};
use crate::order::{Board, Collection, LaneState, LaneView};
use crate::proxy::Objects;
use crate::traces::{self, Tracer};

/// The most collections that a list on a page names; its count gives the total.
const SHOWN_COLLECTIONS: usize = 100;

/// A snapshot of the board.
pub(super) struct Picture {
    pub lanes: Vec<LaneView>,
    pub collections: usize,
    entries: usize,
}

impl Picture {
    pub fn behind(&self, instance: InstanceId) -> u64 {
        self.lanes.iter().map(|lane| lane.behind[instance.0]).sum()
    }

    pub fn pending(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.pending).sum()
    }

    pub fn in_doubt(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.in_doubt).sum()
    }

    fn diverged(&self, instance: InstanceId) -> usize {
        self.lanes.iter().filter(|lane| lane.states[instance.0] != LaneState::InStep).count()
    }
}

impl Admin {
    pub(super) fn may_send(&self) -> bool {
        self.core.lease().check().is_ok()
    }

    pub(super) fn picture(&self) -> Picture {
        let board = self.core.board();
        let collections = board.catalog().count();
        Picture { lanes: board.lane_views(), collections, entries: board.entries() }
    }

    /// The health of the edge. 503 if no instance is in use. `degraded` while an instance is not in use, while a
    /// collection has no second copy in step, while a lane is halted, or while the journal takes no writes: reads are
    /// still served. A single configured instance is a choice of the operator, hence `healthy`; `redundancy` reports
    /// that nothing is kept twice.
    pub(super) async fn health(&self) -> Page {
        let journal_writable = self.journal_refusal().await.is_none();
        let registry = self.core.registry();
        let healthy = registry.ids().filter(|id| self.core.is_in_use(*id)).count();
        let all = registry.ids().len();
        let drained =
            registry.ids().filter(|id| self.core.drain_of(*id).is_some()).map(|id| registry.name(id).as_str());
        let (single_copies, pending) = {
            let board = self.core.board();
            (board.without_second_copy(0).0, board.lane_views().iter().map(|lane| lane.pending).sum::<u64>())
        };
        let redundancy = match single_copies {
            _ if all < 2 => "none",
            0 => "complete",
            _ => "incomplete",
        };
        let status = match healthy {
            0 => "unavailable",
            some if some < all || redundancy == "incomplete" => "degraded",
            _ if !journal_writable || !self.core.halted().is_empty() => "degraded",
            _ => "healthy",
        };
        let body = json!({
            "status": status,
            "service": "chroma-edge",
            "architecture": format!("write-ahead journal in {}", self.store.as_str()),
            "healthy_instances": format!("{healthy}/{all}"),
            "total_instances": all,
            "pending_writes": pending,
            "redundancy": redundancy,
            "collections_without_second_copy": single_copies,
            "halted_lanes": self.core.halted().len(),
            "journal_writable": journal_writable,
            "uptime_seconds": self.started.elapsed().as_secs(),
            "unsupported_instances": self.unsupported(),
            "drained_instances": drained.collect::<Vec<_>>(),
            "version": env!("CARGO_PKG_VERSION"),
        });
        Page::Json { status: if healthy == 0 { 503 } else { 200 }, body }
    }

    pub(super) fn instance(&self, id: InstanceId, picture: &Picture) -> Value {
        let registry = self.core.registry();
        let behind = picture.behind(id);
        let (drain, primary) = (self.core.drain_of(id), self.core.board().primary());
        let breaker = registry.breaker(id);
        json!({
            "name": registry.name(id).as_str(),
            "url": registry.url(id).to_string(),
            "role": if id == primary { "primary" } else { "replica" },
            "healthy": self.core.is_in_use(id),
            "drain": drain.as_ref().map(instances::drain_shown),
            "state": self.state_of(id, picture),
            "since": registry.since(id).millis(),
            "last_error": registry.last_error(id),
            "breaker": {
                "state": breaker.state.as_str(),
                "since": breaker.since.millis(),
                "opened": breaker.opened,
            },
            "pending_writes": behind,
            "in_flight": registry.in_flight(id),
            "diverged_collections": picture.diverged(id),
            "seen": self.core.discovery().is_seen(id),
            "not_seen": self.core.discovery().unseen_on(id),
            "capabilities": self.core.discovery().servers().capabilities(id).map(shown_capabilities),
            "unsupported": self.core.discovery().servers().why_unsupported(id),
            "foreign": self.core.discovery().markers().foreign(id).map(|foreign| foreign.to_string()),
            "foreign_rebuild": self.foreign_stage(id),
        })
    }

    /// Returns one line for each unsupported server.
    fn unsupported(&self) -> Vec<String> {
        let registry = self.core.registry();
        let why = |id: InstanceId| self.core.discovery().servers().why_unsupported(id);
        registry.ids().filter_map(|id| Some(format!("{}: {}", registry.name(id), why(id)?))).collect()
    }

    pub(super) async fn status(&self) -> Page {
        let (lags, refusal, picture) = (self.earlier.lags().await, self.journal_refusal().await, self.picture());
        let registry = self.core.registry();
        let shown = |(id, lag): (InstanceId, Option<f64>)| {
            let mut shown = self.instance(id, &picture);
            extend(&mut shown, self.earlier.instance(id, picture.behind(id), lag));
            shown
        };
        let instances: Vec<Value> = registry.ids().zip(lags).map(shown).collect();
        let mut body = json!({
            "role": "active",
            "journal": {
                "store": self.store.as_str(),
                "lease": if self.may_send() { "held" } else { "ended" },
                "writable": refusal.is_none(),
                "error": refusal,
            },
            "instances": instances,
            "switchover": self.switchover_shown(),
            "healthy_instances": registry.ids().filter(|id| self.core.is_in_use(*id)).count(),
            "total_instances": registry.ids().len(),
            "pending_writes": picture.pending(),
            "in_doubt": picture.in_doubt(),
            "collections": picture.collections,
            "protected_collections": self.options.get().earlier.protection.collections,
            "test_prefixes": self.options.get().earlier.protection.test_prefixes,
            "diverged": self.diverged(&picture),
            "quarantine": self.quarantine_counts().shown(),
            "healing": self.healing(),
            "healing_paused": self.healing.pause() == HealPause::Paused,
            "without_second_copy": self.without_second_copy(),
            "halted_lanes": self.halted_lanes(),
            "journal_held_back_by": self.held_back_by(),
            "requests": {
                "under_way": self.admission.under_way(),
                "waiting": self.admission.waiting(),
                "buffered_bytes": self.admission.buffered(),
            },
            "uptime_seconds": self.started.elapsed().as_secs(),
            "version": env!("CARGO_PKG_VERSION"),
        });
        extend(&mut body, self.earlier.status(self.store, self.pending_in_all(&picture)));
        Page::Json { status: 200, body }
    }

    fn pending_in_all(&self, picture: &Picture) -> Pending {
        let here = self.core.registry().ids().filter(|id| self.core.is_in_use(*id));
        Pending { all: picture.pending(), in_reach: here.map(|id| picture.behind(id)).sum() }
    }

    /// Counts the writes that some instance in step has yet to apply.
    pub(super) fn pending_now(&self) -> u64 {
        self.picture().pending()
    }

    /// Returns the instance for which the journal is kept beyond its limit.
    fn held_back_by(&self) -> Option<String> {
        self.core.capacity().held_back_by.map(|instance| instance.to_string())
    }

    /// Returns how many collections have at most one copy in step, and the first of them.
    fn without_second_copy(&self) -> Value {
        let board = self.core.board();
        let (count, shown_here) = board.without_second_copy(SHOWN_COLLECTIONS);
        let name = |id: &CollectionId| board.catalog().get(*id).map(|known| shown(&known.name).into_owned());
        let first: Vec<Value> = shown_here
            .iter()
            .map(|id| json!({ "collection_id": id.to_string(), "collection_name": name(id) }))
            .collect();
        json!({ "count": count, "first": first })
    }

    /// Lists each collection and instance where the collection is not served.
    fn diverged(&self, picture: &Picture) -> Vec<Value> {
        let registry = self.core.registry();
        let board = self.core.board();
        let mut found = Vec::new();
        for lane in &picture.lanes {
            let LaneId::Records(collection) = lane.lane else { continue };
            for id in registry.ids().filter(|id| lane.states[id.0] != LaneState::InStep) {
                let known = board.catalog().get(collection);
                found.push(json!({
                    "collection_id": collection.to_string(),
                    "collection_name": known.map(|known| known.name.as_str()),
                    "instance": registry.name(id).as_str(),
                    "mapped": known.is_some_and(|known| known.mappings[id.0].is_some()),
                    "difference": self.difference(collection, id),
                }));
            }
        }
        found
    }

    pub(super) async fn wal_status(&self) -> Page {
        let picture = self.picture();
        let registry = self.core.registry();
        let behind: serde_json::Map<String, Value> =
            registry.ids().map(|id| (registry.name(id).to_string(), json!(picture.behind(id)))).collect();
        let more = self.earlier.wal_status(self.store, self.pending_in_all(&picture));
        let totals = match self.core.store().totals().await {
            Ok(totals) => totals,
            Err(error) => {
                let mut body =
                    json!({ "available": false, "error": error.to_string(), "pending_writes": picture.pending() });
                extend(&mut body, more);
                return Page::Json { status: 200, body };
            }
        };
        let stats = self.core.journal().stats();
        let capacity = self.core.capacity();
        let mut body = json!({
            "available": true,
            "store": self.store.as_str(),
            "pending_writes": picture.pending(),
            "pending_by_instance": behind,
            "in_doubt": picture.in_doubt(),
            "entries_in_memory": picture.entries,
            "transactions": totals.transactions,
            "by_status": by_status(&totals).into_iter().collect::<serde_json::Map<_, _>>(),
            "bytes": totals.bytes,
            "used_bytes": capacity.used,
            "max_bytes": capacity.limit,
            "held_back_by": self.held_back_by(),
            "queue": stats.appends_waiting(),
            "commits": stats.commits(),
            "failed_commits": stats.commits_failed(),
        });
        extend(&mut body, more);
        Page::Json { status: 200, body }
    }

    pub(super) async fn mappings(&self) -> Page {
        let times = self.earlier.times().await;
        let shown = |board: &Board, collection: &Collection| {
            let mut shown = self.shown_mapping(board, collection);
            extend(&mut shown, self.earlier.mapping(collection, &times));
            Some(shown)
        };
        let mappings = each_collection(&self.core, shown).await;
        Page::Json { status: 200, body: json!({ "count": mappings.len(), "mappings": mappings }) }
    }

    fn shown_mapping(&self, board: &Board, collection: &Collection) -> Value {
        let registry = self.core.registry();
        let on = |id: InstanceId| {
            json!({
                "instance": registry.name(id).as_str(),
                "collection_id": collection.mappings[id.0].map(|id| id.to_string()),
                "in_step": collection.mappings[id.0].is_some()
                    && board.state_of(collection.id, id) == LaneState::InStep,
            })
        };
        json!({
            "collection_id": collection.id.to_string(),
            "collection_name": collection.name,
            "tenant": collection.scope.tenant,
            "database": collection.scope.database,
            "equal_as_of": self.audits.of(collection.id).and_then(|audit| audit.equal_as_of).map(|at| at.millis()),
            "complete": collection.mappings.iter().all(Option::is_some),
            "instances": registry.ids().map(on).collect::<Vec<_>>(),
        })
    }

    /// The limits on merged requests and on the request rate of one client.
    fn batch_numbers(&self) -> [(Number, i64); 5] {
        let (batches, sync) = (self.core.board().batches(), self.core.sync_numbers().counts());
        let (options, count) = (self.options.get(), |value: u64| i64::try_from(value).unwrap_or(i64::MAX));
        [
            (Number::ClientRateLimit, i64::from(options.client_rate)),
            (Number::BatchDocuments, i64::from(batches.documents)),
            (Number::BatchDocumentsLimit, i64::from(options.earlier.merge_documents)),
            (Number::MemoryShort, count(sync.memory_short)),
            (Number::BatchesReduced, count(sync.batches_reduced)),
        ]
    }

    /// Counters of healed and audited copies.
    fn copy_numbers(&self) -> [(Number, i64); 9] {
        let healed = self.healing.totals();
        let [audited, condemned, differing] = self.audits.totals();
        let numbers = [
            (Number::CopiesMade, healed.made),
            (Number::CopiesRepaired, healed.repaired),
            (Number::CopiesFailed, healed.failed),
            (Number::CopiedRecords, healed.copied_records),
            (Number::HealComparedRecords, healed.compared_records),
            (Number::HealRepairedRecords, healed.repaired_records),
            (Number::AuditedRecords, audited),
            (Number::CondemnedCopies, condemned),
            (Number::DifferingCollections, differing),
        ];
        numbers.map(|(number, value)| (number, i64::try_from(value).unwrap_or(i64::MAX)))
    }

    fn instance_gauges(&self, id: InstanceId, picture: &Picture) -> InstanceGauges {
        let registry = self.core.registry();
        let number = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        let breaker = registry.breaker(id);
        InstanceGauges {
            name: registry.name(id).to_string(),
            up: i64::from(registry.usable(id)),
            primary: i64::from(self.core.board().primary() == id),
            drained: i64::from(self.core.drain_of(id).is_some()),
            pending: i64::try_from(picture.behind(id)).unwrap_or(i64::MAX),
            lag_bytes: 0,
            lag_seconds: None,
            in_flight: number(registry.in_flight(id)),
            breaker: match breaker.state {
                BreakerState::Closed => 0,
                BreakerState::HalfOpen => 1,
                BreakerState::Open => 2,
            },
            breaker_opened: i64::try_from(breaker.opened).unwrap_or(i64::MAX),
            diverged: number(picture.diverged(id)),
            holds_journal: i64::from(self.core.capacity().held_back_by.as_ref() == Some(registry.name(id))),
        }
    }

    pub(super) async fn metrics(&self) -> Page {
        let picture = self.picture();
        let registry = self.core.registry();
        let number = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        let count = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let totals = self.core.store().totals().await;
        let mut gauges = Gauges::default();
        gauges.instances.extend(registry.ids().map(|id| self.instance_gauges(id, &picture)));
        self.set_lags(&mut gauges).await;
        let (limits, visitors) = (self.admission.limits(), self.admission.visitors());
        gauges.numbers = vec![
            (Number::Active, 1),
            (Number::LeaseHeld, i64::from(self.may_send())),
            (Number::PendingWrites, count(picture.pending())),
            (Number::InDoubt, count(picture.in_doubt())),
            (Number::Collections, number(picture.collections)),
            (Number::HaltedLanes, number(self.core.halted().len())),
            (Number::BacklogEntries, number(picture.entries)),
            (Number::BacklogLimit, number(limits.backlog_entries)),
            (Number::RequestsUnderWay, number(self.admission.under_way())),
            (Number::RequestsLimit, number(limits.concurrent_requests)),
            (Number::RequestsWaiting, number(self.admission.waiting())),
            (Number::WaitingLimit, number(limits.queued_requests)),
            (Number::BufferedBytes, number(self.admission.buffered())),
            (Number::BufferedBytesLimit, number(limits.buffered_bytes)),
            (Number::Connections, number(visitors.count())),
            (Number::ConnectionsLimit, number(visitors.limits().connections)),
            (Number::ConnectionsClosedIdle, count(visitors.sent_away())),
            (Number::ConnectionsRefused, count(visitors.refused())),
            (Number::IncomingBodies, number(self.admission.incoming())),
            (Number::IncomingBodiesLimit, number(limits.incoming_bodies)),
            (Number::BodyBytesLimit, number(limits.body_bytes)),
        ];
        gauges.numbers.extend(self.journal_numbers(totals.is_ok()));
        gauges.numbers.extend(application_numbers(self.core.applications_quota()));
        gauges.numbers.extend(self.batch_numbers());
        gauges.numbers.extend(self.quarantine_numbers());
        gauges.numbers.extend(cache_numbers(&self.objects));
        gauges.numbers.extend(self.copy_numbers());
        gauges.numbers.extend(self.heal_numbers());
        gauges.numbers.extend(self.recovery_numbers());
        gauges.numbers.extend(span_numbers());
        gauges.numbers.push((Number::EventStreams, number(self.listeners.hub.streams())));
        gauges.numbers.push((Number::EventStreamsLimit, number(self.listeners.hub.limit())));
        let (watching, limit) = self.dashboard.watchers();
        gauges.numbers.push((Number::Dashboards, number(watching)));
        gauges.numbers.push((Number::DashboardsLimit, number(limit)));
        if let Some(webhook) = &self.listeners.webhook {
            gauges.numbers.push((Number::WebhookFailed, count(webhook.failed())));
            if let Ok(last) = self.core.store().events(&EventScope::All, EventId::END, 0).await.map(|page| page.last) {
                gauges
                    .numbers
                    .push((Number::WebhookPending, count(last.get().saturating_sub(webhook.through().get()))));
            }
        }
        // If the journal cannot be read, the last known values stay, and `journal_readable` is 0.
        if let Ok(totals) = totals {
            gauges.numbers.push((Number::JournalBytes, count(totals.bytes)));
            let of = |status: Status| totals.by_status.iter().find(|(s, _)| *s == status).map_or(0, |(_, n)| *n);
            gauges.transactions = Status::ALL.iter().map(|status| (status.as_str(), count(of(*status)))).collect();
        }
        Page::Text { content_type: metrics::CONTENT_TYPE, body: metrics::page(&gauges) }
    }

    fn quarantine_numbers(&self) -> [(Number, i64); 4] {
        let number = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        let held = self.quarantine_counts();
        [
            (Number::QuarantinedWrites, number(held.writes)),
            (Number::QuarantinedReads, number(held.reads)),
            (Number::SuspectWrites, number(held.suspect_writes)),
            (Number::SuspectReads, number(held.suspect_reads)),
        ]
    }
}

fn span_numbers() -> [(Number, i64); 2] {
    let (waiting, most) = traces::tracer().map_or((0, 0), Tracer::waiting);
    let count = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
    [(Number::SpansWaiting, count(waiting)), (Number::SpansWaitingLimit, count(most))]
}

fn cache_numbers(objects: &Objects) -> [(Number, i64); 4] {
    let count = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let (hits, misses) = objects.hits_and_misses();
    [
        (Number::CollectionCacheBytes, count(objects.bytes() as u64)),
        (Number::CollectionCacheLimit, count(objects.limit() as u64)),
        (Number::CollectionCacheHits, count(hits)),
        (Number::CollectionCacheMisses, count(misses)),
    ]
}

fn application_numbers(quota: &ApplicationQuota) -> [(Number, i64); 6] {
    let count = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    [
        (Number::JournalApplicationBytes, count(quota.used())),
        (Number::JournalApplicationBytesLimit, count(quota.limit())),
        (Number::ApplicationsRefused, count(quota.refused())),
        (Number::ClientBytes, count(quota.largest())),
        (Number::ClientBytesLimit, count(quota.client_limit())),
        (Number::ClientsRefused, count(quota.clients_refused())),
    ]
}

fn shown_capabilities(can: Capabilities) -> Value {
    json!({
        "by_id": can.by_id == ByIdRoute::Present,
        "copied_by": match can.copied_by {
            CopiedBy::Schema => "schema",
            CopiedBy::Configuration => "configuration",
        },
        "metadata_arrays": can.arrays == MetadataArrays::Taken,
    })
}

fn by_status(totals: &Totals) -> Vec<(String, Value)> {
    let count = |status: Status| totals.by_status.iter().find(|(s, _)| *s == status).map_or(0, |(_, count)| *count);
    Status::ALL.iter().map(|status| (status.as_str().to_owned(), json!(count(*status)))).collect()
}
