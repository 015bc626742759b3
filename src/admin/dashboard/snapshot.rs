//! The content of the page at one moment. Each number has a single source, which the other pages use as well.

use serde_json::{Value, json};

use super::timeline::Observation;
use super::verdict::{Facts, JournalSeen, Seen, Service, verdict};
use crate::admin::Admin;
use crate::admin::earlier::extend;
use crate::admin::pages::Picture;
use crate::clock::Timestamp;
use crate::heal::{HealPause, HealStage};
use crate::ids::{LaneId, shown};
use crate::metrics;

/// The most lanes to list.
const LANES: usize = 10;

impl Admin {
    /// Returns the observation of each second; it must be cheap.
    pub(super) fn observation(&self, picture: &Picture) -> Observation {
        let registry = self.core.registry();
        let name = |id| registry.name(id).as_str().to_owned();
        // A separate statement: inside the expression below, the board would stay locked while the copies are named.
        let primary = name(self.core.board().primary());
        let copying = self.healing.views().into_iter().filter(|view| view.stage == HealStage::Copying);
        let healing = copying.map(|view| {
            let board = self.core.board();
            let collection = board.catalog().get(view.collection).map(|known| shown(&known.name).into_owned());
            (collection.unwrap_or_else(|| view.collection.to_string()), name(view.target))
        });
        let quarantine = self.quarantine_counts();
        Observation {
            instances: registry.ids().map(|id| (name(id), self.state_of(id, picture))).collect(),
            primary,
            healing: healing.collect(),
            halted_lanes: self.core.halted().len(),
            quarantined: quarantine.writes + quarantine.reads,
            pending: picture.pending(),
            traffic: metrics::traffic(),
        }
    }

    /// Returns the full content of the page.
    pub(super) async fn snapshot(&self, picture: &Picture) -> Value {
        let registry = self.core.registry();
        let totals = self.core.store().totals().await.ok();
        let by_status = totals.as_ref().map(|totals| {
            let count = |(status, count): &(crate::journal::Status, u64)| (status.as_str().to_owned(), json!(count));
            totals.by_status.iter().map(count).collect::<serde_json::Map<_, _>>()
        });
        let capacity = self.core.capacity();
        let facts = self.facts(picture, self.journal_refusal().await);
        let lags = self.earlier.lags().await;
        let timeline = self.dashboard.timeline();
        let instances: Vec<Value> = registry
            .ids()
            .zip(lags)
            .map(|(id, lag)| {
                let mut shown = self.instance(id, picture);
                extend(&mut shown, self.earlier.instance(id, picture.behind(id), lag));
                shown["timeline"] = timeline.states_of(registry.name(id).as_str()).into();
                shown
            })
            .collect();
        json!({
            "at": Timestamp::now().millis(),
            "version": env!("CARGO_PKG_VERSION"),
            "verdict": verdict(&facts).shown(),
            "instances": instances,
            "pending_writes": picture.pending(),
            "in_doubt": picture.in_doubt(),
            "collections": facts.collections,
            "without_second_copy": facts.single_copies,
            "quarantine": self.quarantine_counts().shown(),
            "transactions": by_status,
            "journal": { "store": self.store.as_str(), "used_bytes": capacity.used, "max_bytes": capacity.limit },
            "requests": { "under_way": self.admission.under_way(), "waiting": self.admission.waiting() },
            "lanes": self.worst_lanes(picture),
            "healing": self.healing(),
            "healing_paused": self.healing.pause() == HealPause::Paused,
            "audit": self.audits.running().map(|running| json!({ "records": running.records })),
            "differing_collections": self.audits.totals()[2],
            "changes": timeline.changes(),
            "samples": timeline.samples(),
        })
    }

    fn facts(&self, picture: &Picture, refusal: Option<String>) -> Facts {
        let registry = self.core.registry();
        let instances = registry.ids().map(|id| {
            let service = if self.core.is_in_use(id) { Service::Serving } else { Service::NotServing };
            let name = registry.name(id).as_str().to_owned();
            Seen { name, state: self.state_of(id, picture), service, behind: picture.behind(id) }
        });
        let single_copies = self.core.board().without_second_copy(0).0;
        Facts {
            instances: instances.collect(),
            collections: picture.collections,
            single_copies,
            pending: picture.pending(),
            halted_lanes: self.core.halted().len(),
            journal: refusal.map_or(JournalSeen::Writable, JournalSeen::Refusing),
        }
    }

    /// Lists the lanes with the most left to do.
    fn worst_lanes(&self, picture: &Picture) -> Vec<Value> {
        let mut lanes: Vec<_> = picture.lanes.iter().filter(|lane| lane.pending > 0 || lane.in_doubt > 0).collect();
        lanes.sort_by_key(|lane| std::cmp::Reverse((lane.in_doubt, lane.pending)));
        let board = self.core.board();
        let named = |lane: LaneId| match lane {
            LaneId::Catalog => "(collections, databases, tenants)".to_owned(),
            LaneId::Records(collection) => {
                let known = board.catalog().get(collection);
                known.map_or_else(|| collection.to_string(), |known| shown(&known.name).into_owned())
            }
        };
        let row = |lane: &&crate::order::LaneView| json!({ "name": named(lane.lane), "pending": lane.pending, "in_doubt": lane.in_doubt });
        lanes.iter().take(LANES).map(row).collect()
    }
}
