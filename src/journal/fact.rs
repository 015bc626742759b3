//! What a commit records about transactions, lanes and instances that the journal already knows.
//!
//! A fact may arrive twice, and about a transaction that retention has removed: neither is an error.

use bytes::Bytes;

use super::{ApplicationDraft, EventId, LateWriteId, Status, StoredAnswer, TimingGap};
use crate::clock::Timestamp;
use crate::ids::{InstanceName, LaneId, Seq};
use crate::order::{CatalogChange, Generation, Verdict};

/// One fact to make durable. Facts handed over together become durable together, or not at all.
#[derive(Clone, Debug)]
pub enum Fact {
    /// Everything in the lane up to `through` is applied or skipped on the instance.
    Progress { lane: LaneId, instance: InstanceName, through: Seq },
    /// The instance executes the lane in order, from now on.
    InStep { lane: LaneId, instance: InstanceName },
    /// The instance is neither sent to nor served from in the lane until compared or rebuilt; the reason is for operators.
    Diverged { lane: LaneId, instance: InstanceName, reason: String },
    /// As `Diverged`, until an operator says that the instance may be looked at (rule R13).
    Quarantined { lane: LaneId, instance: InstanceName, reason: String },
    /// As `Diverged`, until the copy is made anew: it is known to be wrong (rule R17).
    Condemned { lane: LaneId, instance: InstanceName, reason: String },
    /// As `Condemned`, for its records alone: it may be repaired, too (rule R14).
    Contradicted { lane: LaneId, instance: InstanceName, reason: String },
    /// The entry's verdict, by this instance, with the answer (kept for replays and copies).
    Verdict { seq: Seq, verdict: Verdict, by: Option<InstanceName>, answer: Option<StoredAnswer> },
    /// Whether the entry, which has no verdict, is bound to an instance that died while it had it (rule R13).
    Suspected { seq: Seq, on: Option<InstanceName> },
    /// An operator has dealt with this quarantined entry: its class is taken again, if no other of it is left.
    Lifted { seq: Seq },
    /// The ids that a limited delete resolved to: from now on `body` is what every instance executes.
    Resolved { seq: Seq, body: Bytes },
    /// A change of the catalog.
    Catalog(CatalogChange),
    /// The client's side of the transaction ended, or changed: shown to operators, no part in ordering.
    Status {
        seq: Seq,
        status: Status,
        response_status: Option<u16>,
        failure_reason: Option<String>,
        timing_gap: TimingGap,
        executed_on: Option<InstanceName>,
        at: Timestamp,
    },
    /// An attempt failed on an instance that was believed healthy, and will be repeated: there at `next_retry_at`, unless
    /// another instance has been asked already.
    Retried { seq: Seq, reason: String, next_retry_at: Option<Timestamp> },
    /// A late write of an earlier edge has been handled.
    LateWriteHandled(LateWriteId),
    /// An application began an operation of its own. Nothing, if its id or its client key is taken.
    ApplicationBegan(Box<ApplicationDraft>),
    /// An application said how its operation went. Nothing, for any other transaction; the first final report stays.
    ApplicationReported { seq: Seq, report: ApplicationReport, at: Timestamp },
    /// The instance's server carries this marker (rule R16). Generations only grow.
    Marked { instance: InstanceName, generation: Generation },
    /// The webhook has accepted every event up to this one.
    Delivered(EventId),
}

/// How an application's operation went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplicationReport {
    /// It is done: RECOVERED if an attempt had met a timing gap, else COMPLETED.
    Done { answer: StoredAnswer },
    /// An attempt failed; it may be reported done later.
    Failed { reason: String, timing_gap: TimingGap },
    /// It failed for good: ABANDONED.
    GivenUp { reason: String, timing_gap: TimingGap },
}
