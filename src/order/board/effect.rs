//! The board's effects, by who carries them out: answers go to clients at once, facts go to the journal in the order of
//! the effects, actions are performed one by one, each in its own time.
//!
//! Plain data. The order of the effects of one step is part of their meaning.

use super::wait::{WaitId, WaitReason};
use crate::ids::{InstanceId, LaneId, Seq};
use crate::order::catalog_change::CatalogChange;
use crate::order::entry::{AckState, Verdict};
use crate::order::precedence::Precedence;

/// One thing that the board wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Answer the client, if one waits.
    Answer(ClientAnswer),
    /// Make this durable, in the order of the effects.
    Persist(Persist),
    /// Perform this. Actions on different replicas need no order.
    Perform(Action),
}

/// The outcome of an entry, for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAnswer {
    pub lane: LaneId,
    pub seq: Seq,
    /// The instance that gave the answer; `None` for the edge's own: "no such collection", or that the write is withdrawn.
    pub from: Option<InstanceId>,
    pub verdict: Verdict,
    /// The answer that an earlier edge may have given to the client.
    pub ack_state: AckState,
}

/// Something to make durable in one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Persist {
    /// One replica's outcome; report [`Input::Recorded`](super::Input::Recorded).
    Record { lane: LaneId, instance: InstanceId, record: Record, urgency: Urgency },
    /// These replicas are diverged. No report.
    Divergence { replicas: Vec<(LaneId, InstanceId)>, cause: DivergenceCause },
    /// The void verdicts of these entries; report [`Input::VoidsRecorded`](super::Input::VoidsRecorded).
    Voids { lane: LaneId, seqs: Vec<Seq> },
    /// The open entry is bound to this instance, or no longer to any (rule R13). No report.
    Suspected { seq: Seq, on: Option<InstanceId> },
    /// An operator has dealt with the quarantined entry. No report.
    Lifted { seq: Seq },
    /// This entry, which was never executed anywhere, is abandoned (rule R15); report
    /// [`Input::WithdrawalRecorded`](super::Input::WithdrawalRecorded).
    Withdrawal { lane: LaneId, seq: Seq },
}

/// How soon a record must be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// A client, or the lane's next entry, waits for it.
    Now,
    /// Nothing waits for it, so it may become durable with the next append. After a crash before that, its entries are
    /// sent again, as after any crash before the record.
    WithTheNext,
}

/// Why replicas are diverged, as far as operators need to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DivergenceCause {
    /// Their content is not known to be equal to the others'.
    Unverified,
    /// The journal had no capacity to keep what they lack (rule R11).
    LeftBehind,
    /// They died of a write to the collection, and are not read until an operator decides so (rule R13).
    Quarantined,
    /// They are known to be wrong (rule R17).
    Condemned(Evidence),
}

/// The evidence that a copy is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// It fails queries that another copy answers.
    FailsQueries,
    /// Its content is not what the journal's entries produce.
    ContradictsJournal,
    /// An operator has decided for another copy.
    OperatorsWord,
    /// It was empty when the edge first saw it, and another copy was not.
    WasEmpty,
}

impl Evidence {
    /// The text that operators see.
    pub const fn as_str(self) -> &'static str {
        match self {
            Evidence::FailsQueries => "it fails queries that another copy answers: its index may be damaged",
            Evidence::ContradictsJournal => "its content is not what the journal's writes make of it",
            Evidence::OperatorsWord => "an operator decided for another copy",
            Evidence::WasEmpty => "it was empty where another copy was not, when the edge came",
        }
    }
}

/// Everything about one replica that becomes durable in one commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Everything up to here is applied or skipped on the instance.
    pub through: Option<Seq>,
    pub verdicts: Vec<(Seq, Verdict)>,
    pub changes: Vec<CatalogChange>,
    pub diverged: Vec<(LaneId, InstanceId)>,
    /// Diverged because they died of a write (rule R13).
    pub quarantined: Vec<(LaneId, InstanceId)>,
    /// Condemned because another copy is kept (rule R18).
    pub condemned: Vec<((LaneId, InstanceId), Evidence)>,
    pub admitted: Vec<(LaneId, InstanceId)>,
}

impl Record {
    /// Returns whether it contains only the replica's progress and verdicts.
    pub(super) fn is_progress(&self) -> bool {
        let Record { through: _, verdicts: _, changes, diverged, quarantined, condemned, admitted } = self;
        changes.is_empty()
            && diverged.is_empty()
            && quarantined.is_empty()
            && condemned.is_empty()
            && admitted.is_empty()
    }
}

/// Something to perform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send these entries as one request; report [`Input::Attempted`](super::Input::Attempted). A crash here leaves
    /// them in doubt on this instance.
    Send {
        lane: LaneId,
        instance: InstanceId,
        seqs: Vec<Seq>,
        purpose: Purpose,
        repeat: Repeat,
        send_priority: SendPriority,
    },
    /// Read the ids of a limited delete on the instance and make them durable; report
    /// [`Input::IdsRead`](super::Input::IdsRead).
    ReadIds { lane: LaneId, instance: InstanceId, seq: Seq, send_priority: SendPriority },
    /// Wait; report [`Input::Quiesced`](super::Input::Quiesced) when the wait is over and the instance is reachable.
    AwaitQuiescence { lane: LaneId, instance: InstanceId, wait: WaitId, why: WaitReason },
    /// Wait for as long as a suspect waits for its instance (rule R13); report
    /// [`Input::ReturnAwaited`](super::Input::ReturnAwaited), whether or not it has returned.
    AwaitReturn { lane: LaneId, instance: InstanceId, wait: WaitId },
    /// This many clients that wrote to a busy lane were just answered: wait for as long as it pays to have their next
    /// writes in the lane's next request (rule R19); report [`Input::WritersAwaited`](super::Input::WritersAwaited),
    /// unless [`Board::expects_after`](super::Board::expects_after) shows that the wait is over. `instance`: the one
    /// that executed their writes.
    AwaitWriters { lane: LaneId, instance: InstanceId, after: Seq, writers: u32 },
    /// Replication to the instance is held from this entry on, because the lane is busy and `leader` executes more of
    /// it: wait for as long as that pays (rule R19); report [`Input::MoreAwaited`](super::Input::MoreAwaited), unless
    /// [`Board::trails_since`](super::Board::trails_since) shows that the hold is over.
    AwaitMore { lane: LaneId, instance: InstanceId, leader: InstanceId, from: Seq },
    /// Check that the instance still holds what it should.
    Inspect { instance: InstanceId },
    /// Send a write that changes nothing to the same replica; report
    /// [`Input::WriteChecked`](super::Input::WriteChecked) (rule R12).
    CheckWritable { lane: LaneId, instance: InstanceId, seq: Seq },
    /// Compare what the entry was about on these instances, which all failed it; report
    /// [`Input::TouchedCompared`](super::Input::TouchedCompared) (rule R12).
    CompareTouched { lane: LaneId, seq: Seq, instances: Vec<InstanceId> },
    /// Find out whether an unanswered entry is absent everywhere (rule R10); report
    /// [`Input::Examined`](super::Input::Examined).
    Examine { lane: LaneId, seq: Seq },
}

impl Action {
    /// The lane that the action is about, if any.
    pub const fn lane(&self) -> Option<LaneId> {
        match self {
            Action::Send { lane, .. }
            | Action::ReadIds { lane, .. }
            | Action::AwaitQuiescence { lane, .. }
            | Action::AwaitReturn { lane, .. }
            | Action::AwaitWriters { lane, .. }
            | Action::AwaitMore { lane, .. }
            | Action::CheckWritable { lane, .. }
            | Action::CompareTouched { lane, .. }
            | Action::Examine { lane, .. } => Some(*lane),
            Action::Inspect { .. } => None,
        }
    }
}

/// Why a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// No instance has given a verdict yet.
    Execute,
    /// Applied on another instance, replicated to this one.
    Replicate,
    /// Rejected by another instance, or quarantined, and expected to be rejected here (rule R4).
    ExpectRefusal,
}

/// Whether the request may have been executed there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    First,
    /// `unanswered` requests in a row got no answer while the instance was healthy.
    Retry {
        unanswered: u32,
    },
}

/// When a request is sent, relative to those of other lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendPriority {
    pub precedence: Precedence,
    /// How many requests of the lane failed in a row on this instance while it was reachable.
    pub failures: u32,
}
