//! What is remembered of a panic in a step of the board, across the end of the process and for the next edge.
//!
//! Decides what is kept and when faults count as a row of them. When a lane is halted for it is the coordinator's.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::ids::LaneId;

/// Two faults of a lane with more time between them are not of one row: the first is forgotten.
pub(super) const IN_A_ROW: Duration = Duration::from_secs(60 * 60);

/// Text of a fault that is kept.
const REASON_CHARS: usize = 500;

/// Steps of the board that panicked in one lane, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub lane: LaneId,
    /// How often in a row.
    pub times: u64,
    /// The last time.
    pub at: Timestamp,
    /// What the last one said.
    pub reason: String,
}

/// The reason as it is stored: short, and such as every store takes.
pub(super) fn stored_reason(reason: &str) -> String {
    reason.chars().filter(|character| *character != '\0').take(REASON_CHARS).collect()
}
