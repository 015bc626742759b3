//! What is kept about a panic in a step of the board, after the process ends and for the next edge.
//!
//! It decides what is kept, and when faults count as happening in a row. The coordinator decides when a lane is halted
//! because of them.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::ids::LaneId;

/// Two faults of a lane that are further apart than this are not in a row: the first one is forgotten.
pub(super) const IN_A_ROW: Duration = Duration::from_secs(60 * 60);

/// How many characters of a fault's text are kept.
const REASON_CHARS: usize = 500;

/// Steps of the board that panicked in one lane, in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub lane: LaneId,
    /// How many faults in a row.
    pub times: u64,
    /// When the last fault happened.
    pub at: Timestamp,
    /// The text of the last fault.
    pub reason: String,
}

/// Returns the reason as it is stored: short, and without NUL, which not every store accepts.
pub(super) fn stored_reason(reason: &str) -> String {
    reason.chars().filter(|character| *character != '\0').take(REASON_CHARS).collect()
}
