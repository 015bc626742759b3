//! The board's inputs: entries that became durable, outcomes of requests, and observations of the instances.
//!
//! Plain data. The [`Board`](super::Board) decides what an input means.

use super::effect::Evidence;
use super::rebuild::{CutoverOutcome, Rebuild, RepairWrites};
use super::wait::WaitId;
use crate::ids::{CollectionId, InstanceCollectionId, InstanceId, LaneId, Scope, Seq};
use crate::order::catalog::Deletion;
use crate::order::catalog_change::CatalogChange;
use crate::order::entry::{AckPolicy, Profile};
use crate::order::failures::{Signature, Touched, Writable};
use crate::order::merging::MergeLimits;
use crate::order::placement::Duty;
use crate::order::vouching::Company;

/// The effect that a catalog entry may have on the entries behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intent {
    Plain,
    /// It may add collections with these names to the catalog.
    Brings(Vec<(Scope, String)>),
    /// It changes this collection, but not its name.
    Changes(CollectionId),
    /// It may rename a collection: this one, to this name, if they are known.
    Renames(Option<CollectionId>, Option<String>),
    Deletes(Deletion),
}

impl Intent {
    /// The collection that it changes, if known.
    pub(super) fn changes(&self) -> Option<CollectionId> {
        match self {
            Intent::Changes(collection) => Some(*collection),
            Intent::Renames(collection, _) => *collection,
            Intent::Plain | Intent::Brings(_) | Intent::Deletes(_) => None,
        }
    }
}

/// A durable entry to put into its lane.
#[derive(Clone, Debug)]
pub struct Submission {
    pub seq: Seq,
    pub lane: LaneId,
    pub profile: Profile,
    pub intent: Intent,
    pub ack_policy: AckPolicy,
}

/// How well an instance can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    Away,
    /// Usable, but not preferred.
    Suspect,
    Here,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Applied(Consequences),
    /// Answered without a change (a `get_or_create` that found its collection).
    Void,
    /// A definite rejection. `about`: the collection that a rejected catalog entry leaves behind on the instance.
    Rejected {
        about: Option<CollectionId>,
    },
    /// Answered with an unexplained failure: the request is over, its effect and its cause are unknown (rule R12).
    /// `about`: as in `Rejected`.
    Failed {
        signature: Signature,
        about: Option<CollectionId>,
    },
    /// Nothing reached the instance, or it reports that nothing was executed.
    NotSent {
        retry: Retry,
    },
    InDoubt {
        instance_was: Health,
    },
    /// No answer, and the instance's process or write path is gone: it died while it had the request (rule R13), which
    /// is in doubt. `about`: as in `Rejected`.
    Died {
        company: Company,
        about: Option<CollectionId>,
    },
    /// No verdict at all: the instance is not in the state it should be in.
    Unfit,
}

/// The changes made by an applied catalog entry. Empty for record writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consequences {
    pub changes: Vec<CatalogChange>,
    /// Instances that must not serve a collection until it has been compared.
    pub diverged: Vec<(CollectionId, InstanceId)>,
}

/// When an attempt without effect may be repeated on the same instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    Immediately,
    AfterBackoff,
}

/// Whether the probes were green when an attempt got no answer. Rule R10 counts only attempts for which they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Healthy,
    Gone,
}

/// How the read of a limited delete's ids ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// The ids are durable.
    Durable,
    /// The instance rejected the condition, so it would reject the delete.
    Rejected,
    Failed {
        retry: Retry,
    },
    /// Answered with an unexplained failure (rule R12). Nothing was written.
    Unexplained {
        signature: Signature,
    },
    /// The instance died during the read (rule R13). Nothing was written.
    Died {
        company: Company,
    },
}

/// The result of rule R10's examination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Examination {
    AbsentEverywhere,
    Unclear,
}

/// Two instances that can be compared now. If they hold the same content and neither has moved, they are in step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    pub collection: CollectionId,
    pub reference: InstanceId,
    pub instance: InstanceId,
    /// The reference's position.
    pub at: Seq,
    /// The instance's latest wait. What was read before a later wait began proves nothing.
    pub wait: WaitId,
    /// How often a copy of the collection has diverged. A copy that diverged, was repaired and was admitted again
    /// during the comparison was not read as a whole.
    pub divergences: u32,
}

/// Something that happened. Each report that the board asked for comes exactly once. Where an input may be *late*, what
/// it is about may be over by then, and it changes nothing.
#[derive(Clone, Debug)]
pub enum Input {
    /// Entries became durable, in `seq` order, across inputs too (rule R6).
    Journaled(Vec<Submission>),
    /// The request of an [`Action::Send`](super::Action::Send) ended.
    Attempted {
        lane: LaneId,
        instance: InstanceId,
        outcome: Outcome,
    },
    /// The read of an [`Action::ReadIds`](super::Action::ReadIds) ended.
    IdsRead {
        lane: LaneId,
        instance: InstanceId,
        resolved: Resolved,
    },
    /// The [`Persist::Record`](super::Persist::Record) of this replica is durable.
    Recorded {
        lane: LaneId,
        instance: InstanceId,
    },
    /// The [`Persist::Voids`](super::Persist::Voids) are durable.
    VoidsRecorded {
        lane: LaneId,
        seqs: Vec<Seq>,
    },
    /// This wait is over, and the instance is reachable. May be late: another wait has begun since, or the lane is gone.
    Quiesced {
        lane: LaneId,
        instance: InstanceId,
        wait: WaitId,
    },
    /// The wait for the instance that a suspect is bound to is over (rule R13). May be late: the entry is no longer a suspect.
    ReturnAwaited {
        lane: LaneId,
        instance: InstanceId,
        wait: WaitId,
    },
    /// It no longer pays to wait for the clients that were answered up to `after`. May be late: they have written
    /// again, or others are expected.
    WritersAwaited {
        lane: LaneId,
        after: Seq,
    },
    /// The hold on replication to the instance, from this entry on, is over. May be late: the entries were sent.
    MoreAwaited {
        lane: LaneId,
        instance: InstanceId,
        from: Seq,
    },
    /// A read needs fresh copies of the collection: nothing of it may be held back from replication now.
    FreshWanted {
        collection: CollectionId,
    },
    Reached {
        instance: InstanceId,
        reach: Reach,
    },
    /// An operator makes this instance the preferred one (a switchover).
    Prefer {
        instance: InstanceId,
    },
    /// Writes no longer wait for the instance that has become the preferred one. May be late.
    HandedOver,
    /// An operator changes what the instance is used for (a drain, or its end).
    Assign {
        instance: InstanceId,
        duty: Duty,
    },
    /// Time has passed while an instance is drained. An open entry that was already waiting for another instance at the
    /// previous such input stops waiting.
    DeferredLongEnough,
    /// Collections that should be on the instance but are not.
    Missing {
        instance: InstanceId,
        collections: Vec<CollectionId>,
    },
    /// The instance has come back without something that it was given after this position (rule R16).
    Older {
        instance: InstanceId,
        through: Seq,
    },
    /// The instance's copy is known to be wrong (rule R17). May be late: no other copy is in step by now.
    Condemn {
        collection: CollectionId,
        instance: InstanceId,
        evidence: Evidence,
    },
    /// Of copies that differ, this one is kept, and the others are made equal to it (rule R18). May be late: it can no
    /// longer be kept ([`Board::can_keep`](super::Board::can_keep)).
    Keep {
        collection: CollectionId,
        instance: InstanceId,
        evidence: Evidence,
    },
    /// Another edge may have sent a write to the instance after its lease had ended.
    LateWrite {
        lane: LaneId,
        instance: InstanceId,
    },
    /// The journal has no capacity to keep what the instance lacks in this lane, and two others have all of it. May be late.
    LeftBehind {
        lane: LaneId,
        instance: InstanceId,
    },
    /// The client of this entry was answered "recovery pending". May be late.
    ClientGone {
        lane: LaneId,
        seq: Seq,
    },
    /// Withdraw this entry if nothing of it can have been executed, so that its client can be told to send the write
    /// again (rule R15). Ignored otherwise.
    Withdraw {
        lane: LaneId,
        seq: Seq,
    },
    /// The [`Persist::Withdrawal`](super::Persist::Withdrawal) is durable.
    WithdrawalRecorded {
        lane: LaneId,
        seq: Seq,
    },
    /// An [`Action::Examine`](super::Action::Examine) ended. May be late.
    Examined {
        lane: LaneId,
        seq: Seq,
        shows: Examination,
    },
    /// An [`Action::CheckWritable`](super::Action::CheckWritable) ended.
    WriteChecked {
        lane: LaneId,
        instance: InstanceId,
        seq: Seq,
        shows: Writable,
    },
    /// An [`Action::CompareTouched`](super::Action::CompareTouched) ended. May be late.
    TouchedCompared {
        lane: LaneId,
        seq: Seq,
        comparison: Touched,
    },
    /// An operator has dealt with this quarantined entry (rule R13). May be late: it is already lifted, or its
    /// collection is gone.
    Lift {
        lane: LaneId,
        seq: Seq,
    },
    /// An operator allows the instance's quarantined copy to be compared again: it becomes diverged like any other. May
    /// be late: the copy is no longer quarantined.
    Reconsider {
        lane: LaneId,
        instance: InstanceId,
    },
    /// The two instances hold the same content for the lane's collection. May be late.
    FoundEqual(Comparison),
    /// A diverged copy is about to be repaired where it is (rule R14). From now until [`Input::RepairEnded`], its
    /// instance may be written to outside the lane if [`Board::repairs`](super::Board::repairs) returns true. May be
    /// late: the copy can no longer be repaired.
    RepairBegun(Rebuild),
    /// Nothing more is written to the copy outside the lane. May be late: the lane is gone.
    RepairEnded {
        rebuild: Rebuild,
        writes: RepairWrites,
    },
    /// A new or repaired copy of a diverged replica is about to be compared with its source from the beginning. What enters the
    /// lane from now on may have touched what was already compared (rule R14). May be late: the lane is gone.
    CopyBegun(Rebuild),
    /// It is durable that the collection with this id on the target is the edge's own new copy. May be late: the lane is
    /// gone.
    CopyNoted(Rebuild, InstanceCollectionId),
    /// The new copy is nearly equal to its source. The lane is held from now on: it comes to a standstill, and
    /// [`Input::CutoverEnded`] reports the outcome (rule R14). May be late: the copy can no longer be made.
    CutoverWanted(Rebuild),
    /// The copy is in its place, or was given up. May be late: the board has given the cutover up itself.
    CutoverEnded {
        rebuild: Rebuild,
        outcome: CutoverOutcome,
    },
    /// From now on a merged request holds no more than this, and never more than is configured. Requests under way, and
    /// what counts as in doubt after a crash, do not change.
    Batches {
        limits: MergeLimits,
    },
    /// Sends what may be sent, even if no input announced it.
    LookAgain(Look),
}

/// Which lanes to look at again, of those in which something may be left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The next few, so that no step takes long. Called periodically, this reaches every lane in turn.
    Around,
    /// All of them.
    Everywhere,
}
