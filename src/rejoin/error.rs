//! Why an instance could not be inspected. It decides nothing; its callers do.

use crate::ids::shown;
use crate::order::Foreign;

/// The reason why an inspection failed.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error("{0}")]
    Unanswered(String),
    #[error("it answered {status} to {}", shown(.path))]
    Refused { status: u16, path: String },
    #[error("{} cannot be asked for: the path is too long", shown(.path))]
    PathTooLong { path: String },
    #[error("an item of {} is longer than any that is read", shown(.path))]
    TooLong { path: String },
    #[error("it is not what it was, and another edge may have the journal")]
    Succeeded,
    /// It is Chroma, but not supported. Logged once, where that was found out.
    #[error("this server is not supported: {0}")]
    Unsupported(String),
    /// Logged once, where that was found out.
    #[error("{0}")]
    Foreign(Foreign),
    #[error("another server answers there now, or one with other data")]
    Replaced,
    #[error("its answer to {} cannot be read: {error}", shown(.path))]
    Unreadable { path: String, error: serde_json::Error },
}

impl InspectError {
    /// Returns whether the same request would fail in the same way the next time.
    pub(super) fn is_definite(&self) -> bool {
        match self {
            InspectError::Refused { status, .. } => (400..500).contains(status) && !matches!(status, 408 | 429),
            InspectError::TooLong { .. }
            | InspectError::PathTooLong { .. }
            | InspectError::Unsupported(_)
            | InspectError::Foreign(_) => true,
            InspectError::Unanswered(_)
            | InspectError::Succeeded
            | InspectError::Replaced
            | InspectError::Unreadable { .. } => false,
        }
    }
}
