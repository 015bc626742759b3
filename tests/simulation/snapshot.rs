//! What an edge finds in the journal when it starts: the snapshot that a store loads, rebuilt into a board by the
//! product's own code.
//!
//! Decides what a store would load. [`rebuild`] decides what it means.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use chroma_edge::coordinator::{Restored, rebuild};
use chroma_edge::ids::{CollectionId, InstanceId, LaneId, Seq, TransactionId};
use chroma_edge::journal::{CollectionRow, EntryRow, ProgressRow, Request, Resolution, Snapshot};
use chroma_edge::order::{Board, Collection, Effect, Kind, RequestClass, Verdict};
use uuid::Uuid;

use crate::body::Wire;
use crate::journal::{Journal, LIMITS, Row};

impl Journal {
    /// Restarts the edge: everything that was not durable is gone.
    pub fn restart(&mut self) -> (Board, Vec<Effect>) {
        self.queue.clear();
        let snapshot = self.snapshot();
        let requests = self.requests(&snapshot);
        let Restored { board, effects, .. } = rebuild(&snapshot, &requests, &self.names, LIMITS);
        (board, effects)
    }

    fn snapshot(&self) -> Snapshot {
        // A lane without entries counts too, so that an instance's divergence in it stays known.
        let recorded = self.durable.keys().chain(self.states.keys()).map(|(lane, _)| lane);
        let lanes: BTreeSet<LaneId> = self.lanes.keys().chain(recorded).chain(self.floors.keys()).copied().collect();
        let lanes: Vec<LaneId> = lanes.into_iter().filter(|lane| self.is_loaded(*lane)).collect();
        let mut entries: Vec<EntryRow> = lanes.iter().flat_map(|lane| self.entries(*lane)).collect();
        entries.sort_by_key(|entry| entry.seq);
        let replicas = lanes.iter().flat_map(|lane| self.instances().map(|instance| (*lane, instance)));
        let (collections, departed) = self.collections();
        let databases = self.catalog.databases().map(|scope| (scope.clone(), Uuid::nil()));
        Snapshot {
            journal_id: Uuid::nil(),
            last: self.last,
            floors: lanes.iter().map(|lane| (*lane, self.floor(*lane))).collect(),
            entries,
            quarantined: lanes.iter().flat_map(|lane| self.quarantined(*lane)).collect(),
            progress: replicas.map(|(lane, instance)| self.progress(lane, instance)).collect(),
            marked: Vec::new(),
            tenants: self.catalog.tenants().map(str::to_owned).collect(),
            databases: databases.collect(),
            collections,
            departed,
        }
    }

    /// Returns whether the lane is loaded. Lanes of deleted collections are loaded only if they have an open entry.
    fn is_loaded(&self, id: LaneId) -> bool {
        match id {
            LaneId::Catalog => true,
            LaneId::Records(collection) => {
                self.catalog.get(collection).is_some()
                    || self.between(id, Seq::ZERO, Seq::MAX).any(|row| row.verdict.is_none())
            }
        }
    }

    fn entries(&self, lane: LaneId) -> impl Iterator<Item = EntryRow> {
        let low = self.low(lane);
        let wanted = move |row: &&Row| !row.trimmed && (row.seq > low || row.verdict.is_none());
        self.between(lane, Seq::ZERO, Seq::MAX).filter(wanted).map(move |row| EntryRow {
            seq: row.seq,
            transaction_id: TransactionId::random(),
            lane,
            profile: row.profile,
            verdict: row.verdict,
            status: row.status,
            ack_policy: row.ack_policy,
            suspect_on: row.suspect_on.map(|instance| self.names[instance.0].clone()),
        })
    }

    fn quarantined(&self, lane: LaneId) -> impl Iterator<Item = (LaneId, Seq, RequestClass)> {
        let kept = |row: &&Row| row.verdict == Some(Verdict::Quarantined) && !row.lifted;
        let rows = self.between(lane, Seq::ZERO, Seq::MAX).filter(kept);
        rows.map(move |row| (lane, row.seq, row.profile.class()))
    }

    fn progress(&self, lane: LaneId, instance: InstanceId) -> ProgressRow {
        let name = self.names[instance.0].clone();
        let state = self.step(lane, instance);
        ProgressRow { lane, instance: name, through: self.durable(lane, instance), state, reason: None }
    }

    /// Returns the living and the deleted collections, each with what created and deleted it.
    fn collections(&self) -> (Vec<CollectionRow>, Vec<CollectionRow>) {
        let closed = self.closed.iter().flat_map(|(seq, collections)| collections.iter().map(|id| (*id, *seq)));
        let deleted: HashMap<CollectionId, Seq> = closed.collect();
        let (mut living, mut departed) = (Vec::new(), Vec::new());
        for (seq, created) in self.rows.values().filter_map(|row| Some((row.seq, row.created?))) {
            if let Some(collection) = self.catalog.get(created) {
                living.push(self.collection(collection, seq, None));
            } else if let Some(collection) = self.catalog.departed(created) {
                let deleted = deleted.get(&created).copied().unwrap_or(self.last);
                departed.push(self.collection(collection, seq, Some(deleted)));
            }
        }
        (living, departed)
    }

    fn collection(&self, collection: &Collection, created: Seq, deleted: Option<Seq>) -> CollectionRow {
        let mapped = self.names.iter().zip(&collection.mappings);
        CollectionRow {
            collection: collection.id,
            scope: collection.scope.clone(),
            name: collection.name.clone(),
            created,
            origin: collection.origin,
            dimensioned: self.dimensioned.contains(&collection.id),
            deleted,
            mappings: mapped.filter_map(|(name, id)| Some((name.clone(), (*id)?))).collect(),
        }
    }

    /// Returns the requests of catalog entries, whose intents are read again, and of limited deletes.
    fn requests(&self, snapshot: &Snapshot) -> HashMap<Seq, Request> {
        let read = |row: &&Row| row.lane == LaneId::Catalog || row.profile.kind == Kind::DeleteLimited;
        let rows = snapshot.entries.iter().map(|entry| &self.rows[&entry.seq]).filter(read);
        rows.map(|row| (row.seq, request(row))).collect()
    }
}

fn request(row: &Row) -> Request {
    let Wire { method, path, body } = row.body.wire();
    Request {
        seq: row.seq,
        lane: row.lane,
        profile: row.profile,
        method: method.to_owned(),
        path,
        content_type: None,
        body: Bytes::from(body),
        resolved: if row.resolved.is_some() { Resolution::Resolved } else { Resolution::AsReceived },
        answer: None,
        trace_context: None,
    }
}
