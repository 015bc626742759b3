//! Builds a board from the journal's snapshot. The journal stores instances by name; the board knows them by their
//! position in the configuration.
//!
//! [`rebuild`] decides everything and does no I/O; the simulation starts its edges with it too.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::markers::Markers;
use super::{fail_stop, intent};
use crate::clock::Timestamp;
use crate::ids::{CollectionId, InstanceId, InstanceName, LaneId, Seq};
use crate::journal::{
    CollectionRow, EntryRow, Fault, ProgressRow, ReadError, Request, Resolution, Snapshot, Status, Store,
};
use crate::order::{
    AckPolicy, AckState, Board, Catalog, CatalogChange, Dimension, Effect, Intent, Kind, LaneState, MergeLimits,
    RequestClass, RestoredEntry, RestoredLane, RestoredProgress,
};

/// A board, and the effects to perform first.
pub struct Restored {
    pub board: Board,
    pub effects: Vec<Effect>,
    /// The halted lanes, and why.
    pub halted: Vec<Fault>,
    /// The servers' markers as the journal records them.
    pub markers: Markers,
}

/// Restores the board from the store, for these configured instances.
///
/// # Errors
/// When the journal cannot be read.
pub async fn restore(
    store: &dyn Store,
    instances: &[InstanceName],
    limits: MergeLimits,
) -> Result<Restored, ReadError> {
    let snapshot = store.load(instances).await?;
    let requests = requests_that_matter(store, &snapshot).await?;
    let halted = fail_stop::halting(store.faults().await?);
    rebuild_around(halted, &snapshot, &requests, instances, limits)
}

/// Rebuilds the board of this snapshot without what the halted lanes would do. Lanes that make the rebuild panic are
/// halted as well.
fn rebuild_around(
    mut halted: Vec<Fault>,
    snapshot: &Snapshot,
    requests: &HashMap<Seq, Request>,
    instances: &[InstanceName],
    limits: MergeLimits,
) -> Result<Restored, ReadError> {
    // Each iteration but the last adds a lane.
    loop {
        let lanes = fail_stop::lanes(&halted);
        let mut board = Board::new(instances.to_vec(), limits);
        let filled = catch_unwind(AssertUnwindSafe(|| fill(&mut board, snapshot, requests, instances, &lanes)));
        let panic = match filled {
            Ok(effects) => {
                for Fault { lane, times, reason, .. } in &halted {
                    tracing::error!(%lane, times, reason, "the lane is halted: nothing of it is sent, and writes to it are refused");
                }
                return Ok(Restored { board, effects, halted, markers: Markers::of(snapshot, instances) });
            }
            Err(panic) => panic,
        };
        let reason = fail_stop::text(&*panic).to_owned();
        match board.at().filter(|lane| !lanes.contains(lane)) {
            Some(lane) => halted.push(Fault { lane, times: 1, at: Timestamp::now(), reason }),
            None => return Err(ReadError::new(format!("the board cannot be restored from the journal: {reason}"))),
        }
    }
}

/// Rebuilds the board of this snapshot. `requests` are those of its catalog entries and limited deletes.
pub fn rebuild(
    snapshot: &Snapshot,
    requests: &HashMap<Seq, Request>,
    instances: &[InstanceName],
    limits: MergeLimits,
) -> Restored {
    let mut board = Board::new(instances.to_vec(), limits);
    let effects = fill(&mut board, snapshot, requests, instances, &BTreeSet::new());
    Restored { board, effects, halted: Vec::new(), markers: Markers::of(snapshot, instances) }
}

fn fill(
    board: &mut Board,
    snapshot: &Snapshot,
    requests: &HashMap<Seq, Request>,
    instances: &[InstanceName],
    halted: &BTreeSet<LaneId>,
) -> Vec<Effect> {
    let catalog = catalog_of(snapshot, instances);
    let lanes = lanes_of(snapshot, instances, &catalog, requests);
    board.fill(catalog, lanes, snapshot.last, halted)
}

/// Reads the requests of catalog entries again for their intents, and those of limited deletes for whether their ids
/// are durable.
async fn requests_that_matter(store: &dyn Store, snapshot: &Snapshot) -> Result<HashMap<Seq, Request>, ReadError> {
    let matters = |entry: &&EntryRow| entry.lane == LaneId::Catalog || entry.profile.kind == Kind::DeleteLimited;
    let seqs: Vec<Seq> = snapshot.entries.iter().filter(matters).map(|entry| entry.seq).collect();
    let mut requests = HashMap::with_capacity(seqs.len());
    for some in seqs.chunks(256) {
        requests.extend(store.requests(some).await?.into_iter().map(|request| (request.seq, request)));
    }
    Ok(requests)
}

fn catalog_of(snapshot: &Snapshot, instances: &[InstanceName]) -> Catalog {
    let mut catalog = Catalog::new(instances.to_vec());
    let mut fold = |change: CatalogChange| catalog.fold(snapshot.last, &change);
    for tenant in &snapshot.tenants {
        fold(CatalogChange::TenantCreated { tenant: tenant.clone() });
    }
    for (scope, database_id) in &snapshot.databases {
        fold(CatalogChange::DatabaseCreated { scope: scope.clone(), database_id: *database_id });
    }
    // The departed first: a collection that lives may have the name of one that an instance has yet to delete.
    for row in &snapshot.departed {
        add(&mut catalog, snapshot.last, row);
        let deleted = row.deleted.unwrap_or(snapshot.last);
        catalog.fold(deleted, &CatalogChange::CollectionDeleted { collection: row.collection });
    }
    for row in &snapshot.collections {
        add(&mut catalog, snapshot.last, row);
    }
    // The journal does not store which entry was the last about a collection, so every journaled one counts (rule R5).
    let last = snapshot.entries.iter().rev().find(|entry| entry.lane == LaneId::Catalog).map(|entry| entry.seq);
    for row in &snapshot.collections {
        catalog.touch(row.collection, last.unwrap_or(row.created));
    }
    catalog
}

fn add(catalog: &mut Catalog, last: Seq, row: &CollectionRow) {
    let change = CatalogChange::CollectionCreated {
        collection: row.collection,
        scope: row.scope.clone(),
        name: row.name.clone(),
        created: row.created,
        origin: row.origin,
    };
    catalog.fold(last, &change);
    for (instance, id) in &row.mappings {
        catalog.fold(last, &CatalogChange::Mapped { collection: row.collection, instance: instance.clone(), id: *id });
    }
}

fn lanes_of(
    snapshot: &Snapshot,
    instances: &[InstanceName],
    catalog: &Catalog,
    requests: &HashMap<Seq, Request>,
) -> Vec<RestoredLane> {
    let mut entries: BTreeMap<LaneId, Vec<RestoredEntry>> = BTreeMap::from([(LaneId::Catalog, Vec::new())]);
    for row in &snapshot.entries {
        let request = requests.get(&row.seq);
        entries.entry(row.lane).or_default().push(RestoredEntry {
            seq: row.seq,
            profile: row.profile,
            verdict: row.verdict,
            intent: request.map_or(Intent::Plain, |r| intent::of(row.profile.kind, &r.method, &r.path, &r.body)),
            resolved: request.is_some_and(|request| request.resolved == Resolution::Resolved),
            ack_state: ack_state(row),
            suspect_on: suspect_on(row, request, catalog, instances),
        });
    }
    // A lane without entries counts too: an instance below its floor must not be served from (rule R11).
    let stored = snapshot.progress.iter().map(|row| row.lane).chain(snapshot.floors.iter().map(|(lane, _)| *lane));
    for lane in stored.chain(snapshot.quarantined.iter().map(|(lane, ..)| *lane)) {
        entries.entry(lane).or_default();
    }
    let dimensioned: HashMap<_, _> = snapshot.collections.iter().map(|row| (row.collection, row.dimensioned)).collect();
    let floors: HashMap<LaneId, Seq> = snapshot.floors.iter().copied().collect();
    let mut quarantined: HashMap<LaneId, Vec<(Seq, RequestClass)>> = HashMap::new();
    for (lane, seq, class) in &snapshot.quarantined {
        quarantined.entry(*lane).or_default().push((*seq, *class));
    }
    let progress = snapshot.progress.iter().map(|row| ((row.lane, &row.instance), row)).collect();
    let progress = ProgressIndex { progress, instances };
    entries
        .into_iter()
        .map(|(id, entries)| RestoredLane {
            id,
            dimension: match id {
                LaneId::Catalog => Dimension::Known,
                LaneId::Records(collection) if dimensioned.get(&collection) == Some(&true) => Dimension::Known,
                LaneId::Records(_) => Dimension::Unknown,
            },
            floor: floors.get(&id).copied().unwrap_or(Seq::ZERO),
            quarantined: quarantined.remove(&id).unwrap_or_default(),
            entries,
            replicas: (0..instances.len()).map(|index| progress.of(id, InstanceId(index))).collect(),
        })
        .collect()
}

/// Returns the instance that the entry is bound to. One that is no longer configured is sent nothing and binds nothing.
fn suspect_on(
    row: &EntryRow,
    request: Option<&Request>,
    catalog: &Catalog,
    instances: &[InstanceName],
) -> Option<(InstanceId, Option<CollectionId>)> {
    let name = row.suspect_on.as_ref()?;
    let instance = instances.iter().position(|configured| configured == name).map(InstanceId)?;
    let about = request
        .filter(|_| row.lane == LaneId::Catalog)
        .and_then(|request| intent::about(catalog, &request.method, &request.path));
    Some((instance, about))
}

/// Returns whether the entry may have been acknowledged. A suspect is answered when its outcome is durable, and an
/// entry that may have been acknowledged never becomes a suspect. FAILED: the client was answered "recovery pending"
/// and nothing else. (ATTEMPTING proves nothing: the journal may have been unavailable when the client got that
/// answer.)
fn ack_state(row: &EntryRow) -> AckState {
    let at_once = row.lane != LaneId::Catalog && row.ack_policy == AckPolicy::Applied;
    let may_be = at_once && row.verdict.is_none() && row.status == Status::Attempting && row.suspect_on.is_none();
    if may_be { AckState::MaybeAcknowledged } else { AckState::Unacknowledged }
}

struct ProgressIndex<'a> {
    progress: HashMap<(LaneId, &'a InstanceName), &'a ProgressRow>,
    instances: &'a [InstanceName],
}

impl ProgressIndex<'_> {
    fn of(&self, lane: LaneId, instance: InstanceId) -> RestoredProgress {
        let row = self.progress.get(&(lane, &self.instances[instance.0]));
        RestoredProgress {
            durable: row.map_or(Seq::ZERO, |row| row.through),
            state: row.map_or(LaneState::InStep, |row| row.state),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ids::{CollectionId, TransactionId};
    use crate::order::{Profile, Verdict};

    fn row(lane: LaneId, verdict: Option<Verdict>, status: Status, ack_policy: AckPolicy) -> EntryRow {
        let profile = Profile::of(Kind::Add, 1);
        EntryRow {
            seq: Seq::new(1),
            transaction_id: TransactionId::random(),
            lane,
            profile,
            verdict,
            status,
            ack_policy,
            suspect_on: None,
        }
    }

    #[test]
    fn only_an_open_write_that_was_being_answered_at_once_may_have_been_acknowledged() {
        let records = LaneId::Records(CollectionId::new(Uuid::from_u128(1)));
        for lane in [records, LaneId::Catalog] {
            for verdict in [None, Some(Verdict::Applied), Some(Verdict::Void)] {
                for status in Status::ALL {
                    for ack_policy in [AckPolicy::Applied, AckPolicy::Durable] {
                        let perhaps = (lane, verdict, status, ack_policy)
                            == (records, None, Status::Attempting, AckPolicy::Applied);
                        let expected = if perhaps { AckState::MaybeAcknowledged } else { AckState::Unacknowledged };
                        let row = row(lane, verdict, status, ack_policy);
                        assert_eq!(ack_state(&row), expected);
                        let suspect = EntryRow { suspect_on: Some(InstanceName::new("primary")), ..row };
                        assert_eq!(ack_state(&suspect), AckState::Unacknowledged);
                    }
                }
            }
        }
    }

    #[test]
    fn a_lane_that_cannot_be_restored_is_halted_and_the_others_are_there() {
        let [broken, sound] = [1, 2].map(|id| LaneId::Records(CollectionId::new(Uuid::from_u128(id))));
        let at = |lane, seq| EntryRow { seq: Seq::new(seq), ..row(lane, None, Status::Failed, AckPolicy::Durable) };
        let snapshot = Snapshot {
            journal_id: Uuid::nil(),
            last: Seq::new(3),
            floors: Vec::new(),
            // Out of order.
            entries: vec![at(broken, 2), at(sound, 3), at(broken, 1)],
            progress: Vec::new(),
            tenants: Vec::new(),
            databases: Vec::new(),
            collections: Vec::new(),
            departed: Vec::new(),
            quarantined: Vec::new(),
            marked: Vec::new(),
        };
        let instances = [InstanceName::new("a")];
        let limits = MergeLimits { documents: 1, bytes: 1 };
        let noted =
            Fault { lane: LaneId::Catalog, times: 2, at: Timestamp::from_millis(0), reason: "earlier".to_owned() };
        let restored = rebuild_around(vec![noted], &snapshot, &HashMap::new(), &instances, limits).unwrap();
        let halted: Vec<LaneId> = restored.halted.iter().map(|fault| fault.lane).collect();
        assert_eq!(halted, [LaneId::Catalog, broken]);
        assert_eq!([broken, sound].map(|lane| restored.board.is_halted(lane)), [true, false]);
        assert_eq!(restored.board.halted_entries(broken), 2);
        assert!(restored.halted[1].reason.contains("seq order"), "{:?}", restored.halted);
    }
}
