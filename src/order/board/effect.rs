//! What the board wants done, by who does it: answers go to clients at once, facts go to the journal in the effects'
//! order, actions are performed one by one, each in its own time.
//!
//! Plain data. The order of the effects of one step is part of their meaning.

use super::wait::{WaitId, WaitReason};
use crate::ids::{InstanceId, LaneId, Seq};
use crate::order::catalog_change::CatalogChange;
use crate::order::entry::{AckState, Verdict};
use crate::order::precedence::Precedence;

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Answer the client, if one waits.
    Answer(ClientAnswer),
    /// Make this durable, in the order of the effects.
    Persist(Persist),
    /// Do this. Actions of different replicas need no order.
    Perform(Action),
}

/// How an entry ended, for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAnswer {
    pub lane: LaneId,
    pub seq: Seq,
    /// Whose answer it is; `None` for "no such collection", the edge's own.
    pub from: Option<InstanceId>,
    pub verdict: Verdict,
    /// What an earlier edge may have answered to the client.
    pub ack_state: AckState,
}

/// Something to be made durable, in one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Persist {
    /// One replica's outcome; report [`Input::Recorded`](super::Input::Recorded).
    Record { lane: LaneId, instance: InstanceId, record: Record, urgency: Urgency },
    /// These replicas are diverged. No report.
    Divergence { replicas: Vec<(LaneId, InstanceId)>, cause: DivergenceCause },
    /// The void verdicts of these entries; report [`Input::VoidsRecorded`](super::Input::VoidsRecorded).
    Voids { lane: LaneId, seqs: Vec<Seq> },
    /// The open entry is bound to this instance, or to none any more (rule R13). No report.
    Suspected { seq: Seq, on: Option<InstanceId> },
    /// The quarantined entry was dealt with. No report.
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
    /// Nothing waits for it: it may go along with the next append. A crash before that sends its entries again, as any crash
    /// before the record does.
    WithTheNext,
}

/// Why replicas are diverged, as far as operators should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DivergenceCause {
    /// Their content is not known to be equal to the others'.
    Unverified,
    /// The journal had no capacity to keep what they lack (rule R11).
    LeftBehind,
    /// They died of a write to it, and are not looked at before an operator says so (rule R13).
    Quarantined,
    /// They are known to be wrong (rule R17).
    Condemned(Evidence),
}

/// What shows that a copy is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// It fails queries that another copy answers.
    FailsQueries,
    /// Its content is not what the journal's entries make of it.
    ContradictsJournal,
    /// An operator has decided for another copy.
    OperatorsWord,
    /// It was empty when the edge came, and another copy was not.
    WasEmpty,
}

impl Evidence {
    /// For operators.
    pub const fn as_str(self) -> &'static str {
        match self {
            Evidence::FailsQueries => "it fails queries that another copy answers: its index may be damaged",
            Evidence::ContradictsJournal => "its content is not what the journal's writes make of it",
            Evidence::OperatorsWord => "an operator decided for another copy",
            Evidence::WasEmpty => "it was empty where another copy was not, when the edge came",
        }
    }
}

/// What one replica makes durable in one commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Everything up to here is applied or skipped there.
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
    /// Whether it says how far the replica is and what became of entries, and nothing else.
    pub(super) fn is_progress(&self) -> bool {
        let Record { through: _, verdicts: _, changes, diverged, quarantined, condemned, admitted } = self;
        changes.is_empty()
            && diverged.is_empty()
            && quarantined.is_empty()
            && condemned.is_empty()
            && admitted.is_empty()
    }
}

/// Something to be performed.
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
    /// Read the ids of a limited delete there and make them durable; report [`Input::IdsRead`](super::Input::IdsRead).
    ReadIds { lane: LaneId, instance: InstanceId, seq: Seq, send_priority: SendPriority },
    /// Wait; report [`Input::Quiesced`](super::Input::Quiesced) when the wait is over and the instance is reachable.
    AwaitQuiescence { lane: LaneId, instance: InstanceId, wait: WaitId, why: WaitReason },
    /// Wait for as long as a suspect waits for its instance (rule R13); report
    /// [`Input::ReturnAwaited`](super::Input::ReturnAwaited), whether it has returned or not.
    AwaitReturn { lane: LaneId, instance: InstanceId, wait: WaitId },
    /// So many clients that wrote to the lane were just answered, and the lane is busy: wait for as long as it pays to have
    /// their next writes in its next request (rule R19); report [`Input::WritersAwaited`](super::Input::WritersAwaited), unless
    /// [`Board::expects_after`](super::Board::expects_after) says that it is over. `instance`: who executed what they wrote.
    AwaitWriters { lane: LaneId, instance: InstanceId, after: Seq, writers: u32 },
    /// What is replicated to the instance from this entry on is held, since the lane is busy and `leader` executes more of it:
    /// wait for as long as that pays (rule R19); report [`Input::MoreAwaited`](super::Input::MoreAwaited), unless
    /// [`Board::trails_since`](super::Board::trails_since) says that it is over.
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
    /// The lane that it is about, if it is about one.
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
    /// Refused by another instance, and expected to be refused here too (rule R4).
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

/// When a request is sent, among those of other lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendPriority {
    pub precedence: Precedence,
    /// Requests of the lane that failed in a row on this instance while it was reachable.
    pub failures: u32,
}
