//! The facts that report a transaction's status: which status each end of a write has. `status.rs` has the rule for
//! which status may follow which.

use super::names::Named;
use super::{Fact, Status, TimingGap};
use crate::clock::Timestamp;
use crate::ids::{InstanceName, Seq};
use crate::order::{AckState, Verdict};

/// Returns why a write failed, for a verdict whose answer does not come from an instance.
const fn reason_of(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Quarantined => Some("quarantined: an instance died while it executed the write"),
        Verdict::Abandoned => Some("abandoned: no instance answered the write, and none has it"),
        Verdict::Applied | Verdict::Rejected | Verdict::Void => None,
    }
}

/// Fills in `{reason}` in a statement: the reason of each verdict that has one.
pub(super) fn with_reasons(sql: &str) -> String {
    let reason = |(verdict, name): &(Verdict, &str)| Some(format!(" WHEN '{name}' THEN '{}'", reason_of(*verdict)?));
    let reasons: String = Verdict::NAMES.iter().filter_map(reason).collect();
    sql.replace("{reason}", &format!("CASE verdict{reasons} ELSE failure_reason END"))
}

impl Fact {
    /// The client has a definite answer, `response_status`, or `None` if no client waited. If the answer did not come
    /// from an instance, the reason is recorded.
    pub fn completed(
        seq: Seq,
        verdict: Verdict,
        response_status: Option<u16>,
        executed_on: Option<InstanceName>,
        timing_gap: TimingGap,
        at: Timestamp,
    ) -> Fact {
        let (status, failure_reason) = (Status::Completed, reason_of(verdict).map(str::to_owned));
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

    /// The client was answered 503 and may send the write again: nothing of it was or will be executed (rule R15).
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
            // Nothing of it is left either way. Never contradict an acknowledgement that a client may have received
            // (G9).
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

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(verdict: Verdict) -> (Status, Option<String>) {
        match Fact::completed(Seq::new(1), verdict, Some(500), None, TimingGap::No, Timestamp::from_millis(1)) {
            Fact::Status { status, failure_reason, .. } => (status, failure_reason),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_no_instance_answered_is_completed_with_a_reason() {
        for (verdict, _) in Verdict::NAMES.iter().copied() {
            let (status, reason) = completed(verdict);
            assert_eq!(status, Status::Completed);
            let own = matches!(verdict, Verdict::Quarantined | Verdict::Abandoned);
            assert_eq!(reason.is_some_and(|reason| reason.starts_with(verdict.as_str())), own, "{verdict:?}");
        }
    }
}
