//! The journal in memory: durable entries survive a crash of the edge, queued ones do not.
//!
//! Commits become durable in the order in which they were handed over. Checks R2, R3, R4 and R10 on what becomes
//! durable. What an edge loads when it starts is in `snapshot.rs`.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use chroma_edge::coordinator::facts_of;
use chroma_edge::ids::{CollectionId, InstanceId, InstanceName, LaneId, Seq};
use chroma_edge::journal::{Fact, Status};
use chroma_edge::order::{
    AckPolicy, Catalog, CatalogChange, DivergenceCause, Input, Intent, LaneState, MergeLimits, Persist, Profile,
    Resolved, Submission, Verdict,
};
use uuid::Uuid;

use crate::body::Body;
use crate::deaths::Deadly;
use crate::invariants::violated;

/// A journaled write.
#[derive(Clone, Debug)]
pub struct Row {
    pub seq: Seq,
    pub lane: LaneId,
    pub profile: Profile,
    pub intent: Intent,
    pub ack_policy: AckPolicy,
    pub body: Body,
    pub status: Status,
    pub verdict: Option<Verdict>,
    pub resolved: Option<Vec<u8>>,
    pub created: Option<CollectionId>,
    pub trimmed: bool,
    /// Where it kills instances.
    pub deadly: Option<Deadly>,
    /// The instance that it is bound to (rule R13).
    pub suspect_on: Option<InstanceId>,
    pub lifted: bool,
    /// The number of its client's write.
    pub number: usize,
}

pub enum Commit {
    Append(Row),
    Persist(Persist),
    Resolution {
        lane: LaneId,
        instance: InstanceId,
        seq: Seq,
        ids: Vec<u8>,
    },
    /// The client of this entry was answered "recovery pending".
    Pending(Seq),
    /// This late write has been handled.
    Handled(u64),
}

pub const LIMITS: MergeLimits = MergeLimits { documents: 6, bytes: 1_000 };

pub struct Journal {
    pub names: Vec<InstanceName>,
    pub rows: BTreeMap<Seq, Row>,
    pub lanes: BTreeMap<LaneId, Vec<Seq>>,
    pub queue: VecDeque<Commit>,
    pub catalog: Catalog,
    pub last: Seq,
    /// What each applied deletion deleted.
    pub closed: HashMap<Seq, Vec<CollectionId>>,
    /// The names that each deletion would take, as reported by the board when the deletion was the next entry.
    pub foretold: HashMap<Seq, Vec<String>>,
    pub durable: HashMap<(LaneId, InstanceId), Seq>,
    pub states: HashMap<(LaneId, InstanceId), LaneState>,
    pub floors: BTreeMap<LaneId, Seq>,
    pub dimensioned: BTreeSet<CollectionId>,
    changes: Vec<CatalogChange>,
    late_writes: BTreeMap<u64, (LaneId, InstanceId)>,
    late_writes_recorded: u64,
}

impl Journal {
    pub fn new(names: Vec<InstanceName>) -> Self {
        Journal {
            catalog: Catalog::new(names.clone()),
            names,
            rows: BTreeMap::new(),
            lanes: BTreeMap::new(),
            queue: VecDeque::new(),
            last: Seq::ZERO,
            closed: HashMap::new(),
            foretold: HashMap::new(),
            durable: HashMap::new(),
            states: HashMap::new(),
            floors: BTreeMap::new(),
            dimensioned: BTreeSet::new(),
            changes: Vec::new(),
            late_writes: BTreeMap::new(),
            late_writes_recorded: 0,
        }
    }

    /// Records a late write: the only thing that an edge may still write after a takeover.
    pub fn record_late_write(&mut self, replica: (LaneId, InstanceId)) {
        self.late_writes_recorded += 1;
        self.late_writes.insert(self.late_writes_recorded, replica);
    }

    pub fn late_writes(&self) -> Vec<(u64, (LaneId, InstanceId))> {
        self.late_writes.iter().map(|(id, replica)| (*id, *replica)).collect()
    }

    pub fn durable(&self, lane: LaneId, instance: InstanceId) -> Seq {
        self.durable.get(&(lane, instance)).copied().unwrap_or(Seq::ZERO)
    }

    /// Returns the position after its durable progress and the entries right after it that may be skipped.
    pub fn scan_from(&self, lane: LaneId, instance: InstanceId) -> Seq {
        let durable = self.durable(lane, instance);
        let left_out = |row: &&Row| row.verdict.is_some_and(|verdict| verdict != Verdict::Applied);
        self.between(lane, durable, Seq::MAX).take_while(left_out).last().map_or(durable, |row| row.seq)
    }

    pub fn step(&self, lane: LaneId, instance: InstanceId) -> LaneState {
        self.states.get(&(lane, instance)).copied().unwrap_or(LaneState::InStep)
    }

    pub fn floor(&self, lane: LaneId) -> Seq {
        self.floors.get(&lane).copied().unwrap_or(Seq::ZERO)
    }

    /// Returns the living collection with this id on the instance, even if that is not durable yet.
    pub fn mapped_to(&self, instance: InstanceId, asked: Uuid) -> Option<CollectionId> {
        let known = self.catalog.by_id(asked).filter(|c| c.mappings[instance.0].is_some_and(|m| m.uuid() == asked));
        let queued = || {
            let records = self.queue.iter().filter_map(|commit| match commit {
                Commit::Persist(Persist::Record { record, .. }) => Some(&record.changes),
                _ => None,
            });
            records.flatten().find_map(|change| match change {
                CatalogChange::Mapped { collection, id, .. } if id.uuid() == asked => Some(*collection),
                _ => None,
            })
        };
        known.map(|collection| collection.id).or_else(queued)
    }

    /// Returns whether this was ever a collection's id on any instance, including deleted collections.
    pub fn was_mapped(&self, asked: Uuid) -> bool {
        let maps = |change: &CatalogChange| matches!(change, CatalogChange::Mapped { id, .. } if id.uuid() == asked);
        self.changes.iter().any(maps)
    }

    pub fn instances(&self) -> impl Iterator<Item = InstanceId> + use<> {
        (0..self.names.len()).map(InstanceId)
    }

    /// Returns the entries of the lane in `(after, through]`.
    pub fn between(&self, lane: LaneId, after: Seq, through: Seq) -> impl Iterator<Item = &Row> {
        let seqs = self.lanes.get(&lane).map(Vec::as_slice).unwrap_or_default();
        let from = seqs.partition_point(|seq| *seq <= after);
        seqs[from..].iter().take_while(move |seq| **seq <= through).map(|seq| &self.rows[seq])
    }

    /// Makes up to `most` commits durable, and returns the reports to the edge.
    pub fn flush(&mut self, most: usize) -> Vec<(Input, Vec<(Seq, Verdict)>)> {
        let mut reports = Vec::new();
        let mut appended = Vec::new();
        for _ in 0..most {
            let Some(commit) = self.queue.pop_front() else { break };
            if let Commit::Append(row) = commit {
                appended.push(self.append(row));
                continue;
            }
            if !appended.is_empty() {
                reports.push((Input::Journaled(std::mem::take(&mut appended)), Vec::new()));
            }
            reports.extend(self.commit(commit));
        }
        if !appended.is_empty() {
            reports.push((Input::Journaled(appended), Vec::new()));
        }
        reports
    }

    fn append(&mut self, mut row: Row) -> Submission {
        self.last = self.last.next();
        row.seq = self.last;
        let Row { seq, lane, profile, ack_policy, .. } = row;
        let submission = Submission { seq, lane, profile, intent: row.intent.clone(), ack_policy };
        self.lanes.entry(lane).or_default().push(seq);
        self.rows.insert(seq, row);
        submission
    }

    fn commit(&mut self, commit: Commit) -> Option<(Input, Vec<(Seq, Verdict)>)> {
        match commit {
            Commit::Append(_) => None,
            Commit::Pending(seq) => {
                if let Some(row) = self.rows.get_mut(&seq).filter(|row| row.verdict.is_none()) {
                    row.status = Status::Failed;
                }
                None
            }
            Commit::Handled(id) => {
                self.late_writes.remove(&id);
                None
            }
            Commit::Persist(persist) => {
                if let Persist::Divergence { replicas, cause: DivergenceCause::LeftBehind } = &persist {
                    self.r11_left_behind(replicas);
                }
                for fact in facts_of(&persist, None, &|instance| self.names[instance.0].clone()) {
                    self.apply(fact);
                }
                report(persist)
            }
            Commit::Resolution { lane, instance, seq, ids } => {
                let row = self.rows.get_mut(&seq)?;
                if row.resolved.as_ref().is_some_and(|old| *old != ids) {
                    violated("R3", &format!("the resolution of {seq} changes"));
                }
                row.resolved = Some(ids);
                Some((Input::IdsRead { lane, instance, resolved: Resolved::Durable }, Vec::new()))
            }
        }
    }

    fn apply(&mut self, fact: Fact) {
        match fact {
            Fact::Verdict { seq, verdict, .. } => self.settle(seq, verdict),
            Fact::Catalog(change) => self.change(change),
            Fact::InStep { lane, instance } => {
                self.states.insert((lane, self.id_of(&instance)), LaneState::InStep);
            }
            Fact::Diverged { lane, instance, .. } => {
                self.states.insert((lane, self.id_of(&instance)), LaneState::Diverged);
            }
            Fact::Suspected { seq, on } => {
                let on = on.map(|name| self.id_of(&name));
                if let Some(row) = self.rows.get_mut(&seq) {
                    row.suspect_on = on;
                }
            }
            Fact::Lifted { seq } => {
                if let Some(row) = self.rows.get_mut(&seq) {
                    row.lifted = true;
                }
            }
            Fact::Quarantined { lane, instance, .. } => {
                self.states.insert((lane, self.id_of(&instance)), LaneState::Quarantined);
            }
            Fact::Condemned { lane, instance, .. } => {
                self.states.insert((lane, self.id_of(&instance)), LaneState::Condemned);
            }
            Fact::Contradicted { lane, instance, .. } => {
                self.states.insert((lane, self.id_of(&instance)), LaneState::Contradicted);
            }
            Fact::Progress { lane, instance, through } => {
                let durable = self.durable.entry((lane, self.id_of(&instance))).or_insert(Seq::ZERO);
                *durable = (*durable).max(through);
            }
            other => violated("the shell", &format!("the board makes {other:?} durable")),
        }
    }

    fn id_of(&self, name: &InstanceName) -> InstanceId {
        let known = self.names.iter().position(|known| known == name);
        InstanceId(known.expect("a configured instance"))
    }

    fn change(&mut self, change: CatalogChange) {
        match &change {
            CatalogChange::Dimensioned { collection } => {
                self.dimensioned.insert(*collection);
            }
            CatalogChange::CollectionCreated { collection, created, .. } => {
                if let Some(row) = self.rows.get_mut(created) {
                    row.created = Some(*collection);
                }
            }
            _ => {}
        }
        self.catalog.fold(self.last, &change);
        self.changes.push(change);
    }

    /// R11: only in a collection's lane, and only if two other instances in step durably have everything that it has.
    /// (They had more when the board decided, but its own last progress may have become durable since.)
    fn r11_left_behind(&self, replicas: &[(LaneId, InstanceId)]) {
        for (lane, instance) in replicas {
            let durable = self.durable(*lane, *instance);
            let ahead = |other: &InstanceId| {
                self.step(*lane, *other) == LaneState::InStep && self.scan_from(*lane, *other) >= durable
            };
            if *lane == LaneId::Catalog || self.instances().filter(ahead).count() < 2 {
                violated("R11", &format!("{instance:?} is left behind in {lane:?}, durable through {durable}"));
            }
        }
    }

    fn settle(&mut self, seq: Seq, verdict: Verdict) {
        let Some(row) = self.rows.get_mut(&seq) else { return };
        if row.verdict.is_some_and(|old| old != verdict) {
            violated("R3", &format!("the durable verdict of {seq} changes from {:?} to {verdict:?}", row.verdict));
        }
        row.verdict = Some(verdict);
        if let (Intent::Deletes(deletion), Verdict::Applied) = (&row.intent, verdict) {
            let hit = self.catalog.hit_by(deletion);
            let names: Vec<_> =
                hit.iter().filter_map(|id| self.catalog.get(*id)).map(|known| known.name.clone()).collect();
            self.closed.entry(seq).or_insert(hit);
            // R7: the protection of collections has judged the deletion by these names.
            if let Some(foretold) = self.foretold.remove(&seq)
                && let Some(name) = names.iter().find(|name| !foretold.contains(name))
            {
                violated("R7", &format!("{seq} deletes {name}, and would have deleted {foretold:?}"));
            }
        }
    }

    /// Returns the lowest progress of the instances in step: nothing above it may be trimmed.
    pub fn low(&self, lane: LaneId) -> Seq {
        let in_step = self.instances().filter(|instance| self.step(lane, *instance) == LaneState::InStep);
        in_step.map(|instance| self.durable(lane, instance)).min().unwrap_or(Seq::ZERO)
    }

    /// Performs retention: forgets what every instance in step has. Returns whether there was anything to forget.
    pub fn trim(&mut self, lane: LaneId) -> bool {
        let low = self.low(lane);
        let seqs: Vec<_> = self
            .between(lane, self.floor(lane), low)
            .take_while(|row| row.verdict.is_some())
            .map(|row| row.seq)
            .collect();
        let Some(last) = seqs.last() else { return false };
        self.floors.insert(lane, *last);
        for seq in &seqs {
            if let Some(row) = self.rows.get_mut(seq) {
                row.trimmed = true;
            }
        }
        true
    }

    /// Configures one more blank instance, from the next start on.
    pub fn configure(&mut self, name: InstanceName) {
        self.names.push(name);
        self.catalog = Catalog::new(self.names.clone());
        for change in &self.changes {
            self.catalog.fold(self.last, change);
        }
    }
}

/// Returns the report to the board once this is durable, and the verdicts in it.
fn report(persist: Persist) -> Option<(Input, Vec<(Seq, Verdict)>)> {
    match persist {
        Persist::Record { lane, instance, record, .. } => Some((Input::Recorded { lane, instance }, record.verdicts)),
        Persist::Voids { lane, seqs } => {
            let verdicts = seqs.iter().map(|seq| (*seq, Verdict::Void)).collect();
            Some((Input::VoidsRecorded { lane, seqs }, verdicts))
        }
        Persist::Withdrawal { lane, seq } => {
            Some((Input::WithdrawalRecorded { lane, seq }, vec![(seq, Verdict::Abandoned)]))
        }
        Persist::Divergence { .. } | Persist::Suspected { .. } | Persist::Lifted { .. } => None,
    }
}
