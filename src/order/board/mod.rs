//! The board: every lane and the catalog, and the one function that moves them, [`Board::step`].
//!
//! What happened comes in as an [`Input`], what is to be done goes out as [`Effect`]s. The board decides who
//! executes what and when, what is in doubt, skipped, answered, diverged. It performs nothing itself, and it
//! does not know bodies, answers, sockets or time.

mod abandon;
mod breach;
mod cross_lane;
mod inspection;
mod late_write;
mod launch;
mod outcome;
mod record;
mod restore;
mod view;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};

pub use restore::{RestoredEntry, RestoredLane, RestoredProgress};
pub use view::{Comparison, Consistency, LaneView};

use super::catalog::{Catalog, Deletion};
use super::catalog_change::CatalogChange;
use super::entry::{AckPolicy, AckState, ClientState, Entry, Profile, Verdict};
use super::lane::{Dimension, InFlight, Lane, LaneState, MergeLimits, ReplicaProgress};
use super::precedence::Precedence;
use crate::ids::{CollectionId, InstanceId, InstanceName, LaneId, Seq};

/// What a catalog entry may do to others that wait behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intent {
    Plain,
    Renames,
    Deletes(Deletion),
}

/// A durable entry, to be put into its lane.
#[derive(Clone, Debug)]
pub struct Submission {
    pub seq: Seq,
    pub lane: LaneId,
    pub profile: Profile,
    pub intent: Intent,
    pub ack_policy: AckPolicy,
}

/// How far an instance can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    Away,
    /// Usable, but not preferred.
    Suspect,
    Here,
}

/// What an attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Applied(Consequences),
    /// Answered without a change (a `get_or_create` that found its collection).
    Void,
    /// A definite refusal. `about`: the collection that a refused catalog entry leaves behind on the instance.
    Rejected {
        about: Option<CollectionId>,
    },
    /// Nothing reached the instance, or it says that nothing happened.
    NotSent {
        retry: Retry,
    },
    InDoubt {
        instance_was: Health,
    },
    /// No verdict at all: the instance is not what it should be.
    Unfit,
}

/// What an applied catalog entry changes. Empty for record writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consequences {
    pub changes: Vec<CatalogChange>,
    /// Instances that must not serve a collection until it has been compared.
    pub diverged: Vec<(CollectionId, InstanceId)>,
}

/// When an attempt that did nothing may be repeated on the same instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    Immediately,
    AfterBackoff,
}

/// Whether the probes were green when an attempt went unanswered (rule R10 counts only those).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Healthy,
    Gone,
}

/// What reading the ids of a limited delete came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// The ids are durable.
    Durable,
    /// The instance refused the condition: so it would the delete.
    Rejected,
    Failed {
        retry: Retry,
    },
}

/// What rule R10's examination showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Examination {
    AbsentEverywhere,
    Unclear,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// Entries became durable: in `seq` order, across inputs too (rule R6).
    Journaled(Vec<Submission>),
    Attempted {
        lane: LaneId,
        instance: InstanceId,
        outcome: Outcome,
    },
    IdsRead {
        lane: LaneId,
        instance: InstanceId,
        resolved: Resolved,
    },
    /// The [`Effect::Record`] of this place is durable.
    Recorded {
        lane: LaneId,
        instance: InstanceId,
    },
    /// The [`Effect::RecordVoids`] is durable.
    VoidsRecorded {
        lane: LaneId,
        seqs: Vec<Seq>,
    },
    /// This rest of the place is over, and the instance is there.
    Quiesced {
        lane: LaneId,
        instance: InstanceId,
        wait: u64,
    },
    Reached {
        instance: InstanceId,
        reach: Reach,
    },
    /// Collections that should be on the instance and are not.
    Missing {
        instance: InstanceId,
        collections: Vec<CollectionId>,
    },
    /// Another edge may have sent something to the instance behind this one's back.
    LateWrite {
        lane: LaneId,
        instance: InstanceId,
    },
    /// The journal has no room to keep what the instance lacks in this lane, and two others have all of it.
    LeftBehind {
        lane: LaneId,
        instance: InstanceId,
    },
    /// The client of this entry has been told "recovery pending".
    ClientGone {
        lane: LaneId,
        seq: Seq,
    },
    Examined {
        lane: LaneId,
        seq: Seq,
        shows: Examination,
    },
    /// The two instances hold the same content for the lane's collection.
    FoundEqual(Comparison),
    /// Time for the safety net: whatever may be sent is, even if nothing has been heard of it.
    LookAgain,
}

/// Why a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// No instance has given a verdict yet.
    Execute,
    /// Applied elsewhere, carried here.
    Replicate,
    /// Refused elsewhere, and to be refused here too (rule R4).
    ExpectRefusal,
}

/// Whether the request may have been executed there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    First,
    /// `unanswered` requests in a row went without an answer while the instance was there.
    Retry {
        unanswered: u32,
    },
}

/// When a request is sent, among those of other lanes, and how often the like has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendPriority {
    pub precedence: Precedence,
    /// Requests of the lane in a row that came to nothing on this instance though it was there.
    pub failures: u32,
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send these entries as one request. A crash here leaves them in doubt on this instance.
    Send {
        lane: LaneId,
        instance: InstanceId,
        seqs: Vec<Seq>,
        purpose: Purpose,
        repeat: Repeat,
        send_priority: SendPriority,
    },
    /// Read the ids of a limited delete there, make them durable, report [`Input::IdsRead`].
    ReadIds { lane: LaneId, instance: InstanceId, seq: Seq, send_priority: SendPriority },
    /// Make durable, in one commit; report [`Input::Recorded`].
    Record { lane: LaneId, instance: InstanceId, record: Record },
    /// Make durable; nothing waits for it.
    Note { record: Record },
    /// Make these entries' void verdicts durable; report [`Input::VoidsRecorded`].
    RecordVoids { lane: LaneId, seqs: Vec<Seq> },
    /// Answer the client, if one waits. `from`: whose answer, `None` for "no such collection". `ack_state`: what it may have
    /// heard from an earlier edge.
    Answer { lane: LaneId, seq: Seq, from: Option<InstanceId>, verdict: Verdict, ack_state: AckState },
    /// Report [`Input::Calm`] when the instance is there and has been left alone for a while.
    AwaitQuiescence { lane: LaneId, instance: InstanceId, wait: u64, why: WaitReason },
    /// Look whether the instance still holds what it should.
    Inspect { instance: InstanceId },
    /// Find out whether an unanswered entry is absent everywhere (rule R10).
    Examine { lane: LaneId, seq: Seq },
}

/// Why a place rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// A request went unanswered: an abandoned one may still be executed for the settle time. If that happens again and
    /// again while the instance is there, it is left alone for longer.
    Settle { in_a_row: u32 },
    /// Nothing happened there, and at once it would not go better: the more often in a row, the longer the pause.
    Backoff { in_a_row: u32 },
}

/// What one place makes durable in one commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub through: Option<Seq>,
    pub verdicts: Vec<(Seq, Verdict)>,
    pub changes: Vec<CatalogChange>,
    pub diverged: Vec<(LaneId, InstanceId)>,
    /// Diverged because the journal could not keep what they lack.
    pub left_behind: Vec<(LaneId, InstanceId)>,
    pub admitted: Vec<(LaneId, InstanceId)>,
}

/// How far the examination of an entry is (rule R10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// Until no abandoned request can be executed any more.
    UntilQuiescent(Seq),
    /// [`Effect::Examine`] is under way.
    Asked(Seq),
}

/// Every lane and the catalog.
#[derive(Clone, Debug)]
pub struct Board {
    pub(super) reach: Vec<Reach>,
    pub(super) lanes: HashMap<LaneId, Lane>,
    pub(super) catalog: Catalog,
    pub(super) limits: MergeLimits,
    /// Unsettled deletions and renames of the catalog lane (rule R7).
    pub(super) deletions: BTreeMap<Seq, Deletion>,
    pub(super) renames: BTreeSet<Seq>,
    /// Settled deletions, until every instance has them, and the lanes they closed.
    pub(super) settled_deletions: BTreeMap<Seq, Vec<LaneId>>,
    /// Entries held back for rule R10.
    pub(super) held: BTreeMap<LaneId, Held>,
    pub(super) dirty: BTreeSet<LaneId>,
    pub(super) last: Seq,
}

impl Board {
    /// The board of a blank journal.
    pub fn new(instances: Vec<InstanceName>, limits: MergeLimits) -> Self {
        let replicas = instances.iter().map(|_| ReplicaProgress::new(Seq::ZERO, LaneState::InStep)).collect();
        let catalog_lane = Lane::new(replicas, Dimension::Known);
        Board {
            reach: vec![Reach::Away; instances.len()],
            lanes: HashMap::from([(LaneId::Catalog, catalog_lane)]),
            catalog: Catalog::new(instances),
            limits,
            deletions: BTreeMap::new(),
            renames: BTreeSet::new(),
            settled_deletions: BTreeMap::new(),
            held: BTreeMap::new(),
            dirty: BTreeSet::new(),
            last: Seq::ZERO,
        }
    }

    /// Takes one input and says what is to be done.
    pub fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Journaled(submissions) => {
                for submission in submissions {
                    self.submit(submission, &mut effects);
                }
            }
            Input::Attempted { lane, instance, outcome } => self.attempted(lane, instance, outcome, &mut effects),
            Input::IdsRead { lane, instance, resolved } => self.ids_read(lane, instance, resolved, &mut effects),
            Input::Recorded { lane, instance } => self.recorded(lane, instance, &mut effects),
            Input::VoidsRecorded { lane, seqs } => self.voids_recorded(lane, &seqs, &mut effects),
            Input::Quiesced { lane, instance, wait } => self.quiesced(lane, instance, wait, &mut effects),
            Input::Reached { instance, reach } => self.reached(instance, reach),
            Input::Missing { instance, collections } => self.missing(instance, &collections, &mut effects),
            Input::LateWrite { lane, instance } => self.late_write(lane, instance, &mut effects),
            Input::LeftBehind { lane, instance } => self.left_behind(lane, instance, &mut effects),
            Input::ClientGone { lane, seq } => {
                if let Some(lane) = self.lanes.get_mut(&lane)
                    && let Some(slot) = lane.slot_mut(seq)
                {
                    slot.client = ClientState::Gone;
                    lane.stops_waiting(seq);
                }
            }
            Input::Examined { lane, seq, shows } => self.examined(lane, seq, shows, &mut effects),
            Input::FoundEqual(comparison) => self.found_equal(&comparison, &mut effects),
            Input::LookAgain => self.look_again(&mut effects),
        }
        self.launch_all(&mut effects);
        effects
    }

    fn submit(&mut self, submission: Submission, effects: &mut Vec<Effect>) {
        let Submission { seq, lane: id, profile, intent, ack_policy } = submission;
        assert!(seq > self.last, "entries are submitted in seq order (R6)");
        self.last = seq;
        match intent {
            Intent::Plain => {}
            Intent::Renames => {
                self.renames.insert(seq);
            }
            Intent::Deletes(deletion) => {
                self.deletions.insert(seq, deletion);
            }
        }
        let record = self.ensure_lane(id);
        if !record.diverged.is_empty() {
            effects.push(Effect::Note { record });
        }
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.push(Entry { seq, profile, verdict: None }, ack_policy, ClientState::Waiting);
        self.dirty.insert(id);
        let gone = match id {
            LaneId::Catalog => false,
            LaneId::Records(collection) => self.catalog.get(collection).is_none(),
        };
        if gone {
            lane.closed_by.get_or_insert(seq);
            self.void(id, vec![seq], effects);
        }
    }

    /// The lane exists from now on. Returned: where it begins diverged.
    pub(super) fn ensure_lane(&mut self, id: LaneId) -> Record {
        if self.lanes.contains_key(&id) {
            return Record::default();
        }
        let replicas = self.instances().map(|_| ReplicaProgress::new(Seq::ZERO, LaneState::InStep)).collect();
        self.lanes.insert(id, Lane::new(replicas, Dimension::Unknown));
        let without = self.instances().filter(|instance| self.never_mapped(id, *instance));
        self.diverge(without.map(|instance| (id, instance)).collect())
    }

    /// Whether the instance lacks the collection, and its catalog lane will not bring it: it needs a rebuild, and
    /// nothing may wait for it until then (rule R11).
    pub(super) fn never_mapped(&self, id: LaneId, instance: InstanceId) -> bool {
        let LaneId::Records(collection) = id else { return false };
        let stopped =
            self.lanes.get(&LaneId::Catalog).is_some_and(|lane| lane.progress(instance).state == LaneState::Diverged);
        stopped && self.catalog.mapping(collection, instance).is_none()
    }

    fn quiesced(&mut self, id: LaneId, instance: InstanceId, wait: u64, effects: &mut Vec<Effect>) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let closed = lane.closed_by.is_some();
        let progress = lane.progress_mut(instance);
        if matches!(progress.in_flight, InFlight::InDoubt | InFlight::Paused) && progress.wait == wait {
            progress.in_flight = InFlight::None;
            progress.declined = None;
            if closed || progress.state == LaneState::Diverged {
                progress.doubt = Seq::ZERO;
            }
            self.late_write_wait_over(id, instance, effects);
        }
        self.dirty.insert(id);
        self.dirty.insert(LaneId::Catalog);
        self.examine_when_quiescent(id, effects);
    }

    /// The net under every wake-up: costs one look at each lane.
    fn look_again(&mut self, effects: &mut Vec<Effect>) {
        let held: Vec<_> = self.held.keys().copied().collect();
        for id in held {
            self.examine_when_quiescent(id, effects);
        }
        self.dirty.extend(self.lanes.keys().copied());
    }

    fn reached(&mut self, instance: InstanceId, reach: Reach) {
        let before = std::mem::replace(&mut self.reach[instance.0], reach);
        if before == Reach::Away {
            // What failed there before it went away says nothing of what will fail now.
            self.lanes.values_mut().for_each(|lane| lane.progress_mut(instance).backoffs = 0);
        }
        if reach == Reach::Away {
            self.release_held();
        }
        self.dirty.extend(self.lanes.keys().copied());
    }

    fn missing(&mut self, instance: InstanceId, collections: &[CollectionId], effects: &mut Vec<Effect>) {
        let lanes: Vec<_> = collections
            .iter()
            .filter(|id| self.catalog.mapping(**id, instance).is_some() && self.first_deletion(**id) == Seq::MAX)
            .map(|id| LaneId::Records(*id))
            .collect();
        let record = self.diverge(lanes.into_iter().map(|lane| (lane, instance)).collect());
        if !record.diverged.is_empty() {
            effects.push(Effect::Note { record });
        }
    }

    /// Rule R11: only a collection's lane, and only if two others in step durably have more. The instance may have moved
    /// since it was found to be the last.
    fn left_behind(&mut self, id: LaneId, instance: InstanceId, effects: &mut Vec<Effect>) {
        let Some(lane) = self.lanes.get(&id).filter(|_| id != LaneId::Catalog) else { return };
        let has = lane.durably_covered(instance);
        let ahead =
            |other: &InstanceId| lane.progress(*other).state == LaneState::InStep && lane.durably_covered(*other) > has;
        if self.instances().filter(ahead).count() < 2 {
            return;
        }
        let record = self.diverge(vec![(id, instance)]);
        if !record.diverged.is_empty() {
            effects.push(Effect::Note { record: Record { left_behind: record.diverged, ..Record::default() } });
        }
    }

    /// Stops sending and serving at once; the returned record makes it durable.
    pub(super) fn diverge(&mut self, replicas: Vec<(LaneId, InstanceId)>) -> Record {
        let mut record = Record::default();
        for (id, instance) in replicas {
            let begins = self.ensure_lane(id);
            record.diverged.extend(begins.diverged);
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            let progress = lane.progress_mut(instance);
            if progress.state == LaneState::InStep {
                progress.state = LaneState::Diverged;
                record.diverged.push((id, instance));
                self.dirty.insert(id);
            }
        }
        record
    }
}
