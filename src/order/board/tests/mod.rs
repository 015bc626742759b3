//! Each rule of docs/rules.md, by the failure that it prevents: short scenarios, step by step.

mod abandoning;
mod agreement;
mod capacity;
mod coming_names;
mod condemned;
mod deaths;
mod deletions;
mod gathering;
mod going_first;
mod halted;
mod inspection;
mod joining;
mod keeping;
mod late_writes;
mod left_behind;
mod objects;
mod older;
mod order_and_doubt;
mod placed;
mod properties;
mod rebuilds;
mod refusals;
mod repairs;
mod restarts;
mod returning;
mod withdrawing;

use uuid::Uuid;

use super::*;
use crate::ids::{InstanceCollectionId, Scope};
use crate::order::catalog::{DEFAULT_DATABASE, DEFAULT_TENANT};
use crate::order::catalog_change::{CatalogChange, Origin};
pub(super) use crate::order::entry::Priority;
use crate::order::entry::{AckPolicy, AckState, Encoding, Kind, MAX_RETRIES, Merge, Profile, Verdict};

pub(super) const A: InstanceId = InstanceId(0);
pub(super) const B: InstanceId = InstanceId(1);
pub(super) const LIMITS: MergeLimits = MergeLimits { documents: 100, bytes: 1 << 20 };

pub(super) fn collection() -> CollectionId {
    CollectionId::new(Uuid::from_u128(7))
}

pub(super) fn lane() -> LaneId {
    LaneId::Records(collection())
}

pub(super) fn scope() -> Scope {
    Scope::new(DEFAULT_TENANT, DEFAULT_DATABASE)
}

pub(super) fn names(count: usize) -> Vec<InstanceName> {
    (0..count).map(|index| InstanceName::new(&format!("instance-{index}"))).collect()
}

pub(super) fn profile(kind: Kind) -> Profile {
    let mergeable = matches!(kind, Kind::Add | Kind::Update | Kind::Upsert);
    let merge = mergeable.then_some(Merge { docs: 1, encoding: Encoding::Base64 });
    Profile { merge, ..Profile::of(kind, 10) }
}

pub(super) fn created(seq: Seq) -> Vec<CatalogChange> {
    let (collection, scope, name) = (collection(), scope(), "docs".to_owned());
    vec![CatalogChange::CollectionCreated { collection, scope, name, created: seq, origin: Origin::Created }]
}

pub(super) fn mapped(instance: InstanceId) -> CatalogChange {
    let name = InstanceName::new(&format!("instance-{}", instance.0));
    let id = InstanceCollectionId::new(Uuid::from_u128(100 + instance.0 as u128));
    CatalogChange::Mapped { collection: collection(), instance: name, id }
}

/// A catalog with the collection, mapped on every instance.
pub(super) fn catalog(count: usize) -> Catalog {
    let mut catalog = Catalog::new(names(count));
    for change in created(Seq::new(1)) {
        catalog.fold(Seq::new(1), &change);
    }
    for index in 0..count {
        catalog.fold(Seq::new(1), &mapped(InstanceId(index)));
    }
    catalog
}

/// A board with one collection that has a dimension and is mapped everywhere, and every instance reachable.
pub(super) struct Rig {
    pub board: Board,
    pub seq: u64,
    holds: Holds,
}

/// How the shell reacts when it is asked to hold something (rule R19).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    /// It ends every hold at once.
    EndAtOnce,
    /// The test ends the holds.
    Last,
}

impl Rig {
    pub fn new(count: usize) -> Self {
        Rig::restored(count, Dimension::Known, Vec::new())
    }

    pub fn restored(count: usize, dimension: Dimension, lanes: Vec<RestoredLane>) -> Self {
        let last = lanes.iter().flat_map(|lane| &lane.entries).map(|entry| entry.seq).max().unwrap_or(Seq::new(1));
        let mut lanes = lanes;
        if !lanes.iter().any(|restored| restored.id == lane()) {
            lanes.push(restored_lane(count, Vec::new()));
        }
        if !lanes.iter().any(|restored| restored.id == LaneId::Catalog) {
            lanes.push(restored_catalog(count, Vec::new()));
        }
        for restored in lanes.iter_mut().filter(|restored| restored.id == lane()) {
            restored.dimension = dimension;
        }
        let (board, _) = Board::restore(names(count), LIMITS, catalog(count), lanes, last);
        let mut rig = Rig::of(board, last.get());
        for index in 0..count {
            rig.reach(InstanceId(index), Reach::Here);
        }
        rig
    }

    /// Returns a rig with this board, whose last entry is at `seq`.
    pub fn of(board: Board, seq: u64) -> Self {
        Rig { board, seq, holds: Holds::EndAtOnce }
    }

    /// Returns a rig whose holds the test ends.
    pub fn holding(count: usize) -> Self {
        Rig { holds: Holds::Last, ..Rig::new(count) }
    }

    pub fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = self.board.step(input);
        let is_hold =
            |effect: &Effect| matches!(effect, Effect::Perform(Action::AwaitWriters { .. } | Action::AwaitMore { .. }));
        while self.holds == Holds::EndAtOnce
            && let Some(at) = effects.iter().position(is_hold)
        {
            let hold = effects.remove(at);
            effects.extend(match hold {
                Effect::Perform(Action::AwaitWriters { lane, after, .. }) => {
                    self.board.step(Input::WritersAwaited { lane, after })
                }
                Effect::Perform(Action::AwaitMore { lane, instance, from, .. }) => {
                    self.board.step(Input::MoreAwaited { lane, instance, from })
                }
                _ => Vec::new(),
            });
        }
        effects
    }

    pub fn reach(&mut self, instance: InstanceId, reach: Reach) -> Vec<Effect> {
        self.step(Input::Reached { instance, reach })
    }

    pub fn submit(&mut self, lane: LaneId, profile: Profile, intent: Intent, ack_policy: AckPolicy) -> Vec<Effect> {
        self.seq += 1;
        let submission = Submission { seq: Seq::new(self.seq), lane, profile, intent, ack_policy };
        self.step(Input::Journaled(vec![submission]))
    }

    pub fn write(&mut self, kind: Kind) -> Vec<Effect> {
        self.submit(lane(), profile(kind), Intent::Plain, AckPolicy::Applied)
    }

    pub fn delete_collection(&mut self) -> Vec<Effect> {
        let deletion = Deletion::Collection { scope: scope(), name: "docs".to_owned() };
        let kind = Kind::DeleteCollection;
        self.submit(LaneId::Catalog, profile(kind), Intent::Deletes(deletion), AckPolicy::Durable)
    }

    pub fn outcome(&mut self, lane: LaneId, instance: InstanceId, outcome: Outcome) -> Vec<Effect> {
        self.step(Input::Attempted { lane, instance, outcome })
    }

    pub fn applied(&mut self, instance: InstanceId) -> Vec<Effect> {
        self.outcome(lane(), instance, Outcome::Applied(Consequences::default()))
    }

    pub fn deleted(&mut self, instance: InstanceId) -> Vec<Effect> {
        let changes = vec![CatalogChange::CollectionDeleted { collection: collection() }];
        let outcome = Outcome::Applied(Consequences { changes, diverged: Vec::new() });
        self.outcome(LaneId::Catalog, instance, outcome)
    }

    pub fn rejected(&mut self, instance: InstanceId) -> Vec<Effect> {
        self.outcome(lane(), instance, Outcome::Rejected { about: None })
    }

    pub fn in_doubt(&mut self, instance: InstanceId) -> Vec<Effect> {
        self.outcome(lane(), instance, Outcome::InDoubt { instance_was: Health::Healthy })
    }

    pub fn recorded(&mut self, lane: LaneId, instance: InstanceId) -> Vec<Effect> {
        self.step(Input::Recorded { lane, instance })
    }

    /// Reports that the replica's wait is over.
    pub fn quiesced(&mut self, lane: LaneId, instance: InstanceId) -> Vec<Effect> {
        let wait = self.board.lanes[&lane].progress(instance).wait;
        self.step(Input::Quiesced { lane, instance, wait })
    }

    /// Applies and records whatever is open or replicated in the collection's lane, on all instances, until nothing is
    /// left to send.
    pub fn settle(&mut self, mut effects: Vec<Effect>) {
        while let Some(effect) = effects.pop() {
            effects.extend(match effect {
                Effect::Perform(Action::Send { lane: LaneId::Records(_), instance, .. }) => self.applied(instance),
                Effect::Persist(Persist::Record { lane, instance, .. }) => self.recorded(lane, instance),
                _ => Vec::new(),
            });
        }
    }

    pub fn state_of(&self, instance: InstanceId) -> LaneState {
        self.board.state_of(collection(), instance)
    }

    pub fn fresh(&self) -> Vec<InstanceId> {
        self.board.readers(collection(), Consistency::Fresh).iter().map(|reader| reader.instance).collect()
    }
}

pub(super) fn restored_lane(count: usize, entries: Vec<RestoredEntry>) -> RestoredLane {
    let replicas = (0..count).map(|_| RestoredProgress { durable: Seq::new(1), state: LaneState::InStep }).collect();
    RestoredLane {
        id: lane(),
        dimension: Dimension::Known,
        floor: Seq::ZERO,
        quarantined: Vec::new(),
        entries,
        replicas,
    }
}

pub(super) fn restored_catalog(count: usize, entries: Vec<RestoredEntry>) -> RestoredLane {
    RestoredLane { id: LaneId::Catalog, ..restored_lane(count, entries) }
}

pub(super) fn restored_entry(seq: u64, kind: Kind, verdict: Option<Verdict>) -> RestoredEntry {
    let intent = match kind {
        Kind::DeleteCollection => Intent::Deletes(Deletion::Collection { scope: scope(), name: "docs".to_owned() }),
        _ => Intent::Plain,
    };
    RestoredEntry {
        seq: Seq::new(seq),
        profile: profile(kind),
        verdict,
        intent,
        resolved: false,
        suspect_on: None,
        ack_state: AckState::Unacknowledged,
    }
}

/// What is sent, and where.
pub(super) fn sends(effects: &[Effect]) -> Vec<(InstanceId, Vec<u64>)> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Perform(Action::Send { instance, seqs, .. }) => {
                Some((*instance, seqs.iter().map(|seq| seq.get()).collect()))
            }
            _ => None,
        })
        .collect()
}

/// The answers that clients get.
pub(super) fn answers(effects: &[Effect]) -> Vec<(u64, Verdict)> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Answer(ClientAnswer { seq, verdict, .. }) => Some((seq.get(), *verdict)),
            _ => None,
        })
        .collect()
}

pub(super) fn examines(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Perform(Action::Examine { .. })))
}
