//! The facts that report a transaction's status: which status each end of a write has. What may follow which is the rule in
//! `status.rs`.

use super::{Fact, Status, TimingGap};
use crate::clock::Timestamp;
use crate::ids::{InstanceName, Seq};
use crate::order::{AckState, Verdict};

impl Fact {
    /// The client has a definite answer, `response_status`; `None` where no client asked.
    pub fn completed(
        seq: Seq,
        response_status: Option<u16>,
        executed_on: Option<InstanceName>,
        timing_gap: TimingGap,
        at: Timestamp,
    ) -> Fact {
        let (status, failure_reason) = (Status::Completed, None);
        Fact::Status { seq, status, response_status, failure_reason, timing_gap, executed_on, at }
    }

    /// The client was answered 503: the write is journaled, and recovery executes it.
    pub fn recovery_pending(seq: Seq, at: Timestamp) -> Fact {
        Fact::Status {
            seq,
            status: Status::Failed,
            response_status: Some(503),
            failure_reason: Some("no instance could take the write in time".to_owned()),
            timing_gap: TimingGap::Yes,
            executed_on: None,
            at,
        }
    }

    /// The client was answered 503 and may send it again: nothing of the write was or will be executed (rule R15).
    pub fn withdrawn(seq: Seq, at: Timestamp) -> Fact {
        Fact::Status {
            seq,
            status: Status::Abandoned,
            response_status: Some(503),
            failure_reason: Some(
                "withdrawn: no instance could take the write in time, and it has no id of its own".to_owned(),
            ),
            timing_gap: TimingGap::No,
            executed_on: None,
            at,
        }
    }

    /// Recovery finished the transaction: no client waits for it. `answered` is the instance's own status.
    pub fn recovered(
        seq: Seq,
        verdict: Verdict,
        ack_state: AckState,
        answered: Option<u16>,
        executed_on: Option<InstanceName>,
        timing_gap: TimingGap,
        at: Timestamp,
    ) -> Fact {
        let (status, response_status, failure_reason) = match (verdict, ack_state) {
            (Verdict::Applied, _) => (Status::Recovered, answered, None),
            // Either way nothing of it is left. Never contradict an acknowledgement a client may have received (G9).
            (Verdict::Void, AckState::MaybeAcknowledged) => {
                (Status::Recovered, Some(200), Some("a later write deleted its collection".to_owned()))
            }
            (Verdict::Rejected | Verdict::Void | Verdict::Abandoned | Verdict::Quarantined, _) => {
                (Status::Abandoned, answered, Some(format!("{} on recovery", verdict.as_str())))
            }
        };
        Fact::Status { seq, status, response_status, failure_reason, timing_gap, executed_on, at }
    }
}
