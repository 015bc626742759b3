//! What a commit records about transactions, lanes and instances that are already in the journal.
//!
//! A fact may arrive twice, or be about a transaction that retention has removed. Neither is an error.

use bytes::Bytes;

use super::{ApplicationDraft, EventId, LateWriteId, Status, StoredAnswer, TimingGap};
use crate::clock::Timestamp;
use crate::ids::{InstanceName, LaneId, Seq};
use crate::order::{CatalogChange, Generation, Verdict};

/// One fact to make durable. Facts that are passed in together become durable together, or not at all.
#[derive(Clone, Debug)]
pub enum Fact {
    /// Everything in the lane up to `through` is applied or skipped on the instance.
    Progress { lane: LaneId, instance: InstanceName, through: Seq },
    /// The instance executes the lane in order, from now on.
    InStep { lane: LaneId, instance: InstanceName },
    /// The instance gets no requests in the lane, and serves none, until it is compared or rebuilt. The reason is for
    /// operators.
    Diverged { lane: LaneId, instance: InstanceName, reason: String },
    /// Like `Diverged`, but the old copy is compared only after an operator confirms that it may be read (rule R13).
    Quarantined { lane: LaneId, instance: InstanceName, reason: String },
    /// Like `Diverged`, until the copy is made anew, because it is known to be wrong (rule R17).
    Condemned { lane: LaneId, instance: InstanceName, reason: String },
    /// Like `Condemned`, but only the records are known to be wrong, so the copy may be repaired instead (rule R14).
    Contradicted { lane: LaneId, instance: InstanceName, reason: String },
    /// The entry's verdict, given by this instance, with the answer, which is kept for replays and copies.
    Verdict { seq: Seq, verdict: Verdict, by: Option<InstanceName>, answer: Option<StoredAnswer> },
    /// Binds the entry, which has no verdict, to the instance that died while it had it, or to none (rule R13).
    Suspected { seq: Seq, on: Option<InstanceName> },
    /// An operator has dealt with this quarantined entry. Its class is accepted again, unless another quarantined entry
    /// of that class remains.
    Lifted { seq: Seq },
    /// The ids that a limited delete resolved to. From now on, every instance executes `body`.
    Resolved { seq: Seq, body: Bytes },
    /// A change of the catalog.
    Catalog(CatalogChange),
    /// The client's side of the transaction ended or changed. Shown to operators; it has no part in ordering.
    Status {
        seq: Seq,
        status: Status,
        response_status: Option<u16>,
        failure_reason: Option<String>,
        timing_gap: TimingGap,
        executed_on: Option<InstanceName>,
        at: Timestamp,
    },
    /// An attempt failed on an instance that was believed healthy, and will be repeated there at `next_retry_at`.
    /// `None` if the write has gone to another instance already.
    Retried { seq: Seq, reason: String, next_retry_at: Option<Timestamp> },
    /// A late write of an earlier edge has been handled.
    LateWriteHandled(LateWriteId),
    /// An application began an operation of its own. Has no effect if its id or its client key is taken.
    ApplicationBegan(Box<ApplicationDraft>),
    /// An application reported how its operation went. Has no effect on any other kind of transaction. The first final
    /// report stays.
    ApplicationReported { seq: Seq, report: ApplicationReport, at: Timestamp },
    /// The instance's server carries this marker (rule R16). Generations only grow.
    Marked { instance: InstanceName, generation: Generation },
    /// The webhook has accepted every event up to this one.
    Delivered(EventId),
}

/// The outcome that an application reports for its operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplicationReport {
    /// The operation is done: RECOVERED if an attempt had met a timing gap, otherwise COMPLETED.
    Done { answer: StoredAnswer },
    /// An attempt failed. The operation may still be reported as done later.
    Failed { reason: String, timing_gap: TimingGap },
    /// The operation failed for good: ABANDONED.
    GivenUp { reason: String, timing_gap: TimingGap },
}
