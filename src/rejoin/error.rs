//! Why an instance could not be looked at. It decides nothing; who looks does.

use crate::ids::shown;
use crate::order::Foreign;

/// An instance that could not be looked at.
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
    /// It is Chroma, and not supported; said once, by who found it out.
    #[error("this server is not supported: {0}")]
    Unsupported(String),
    /// Said once, by who found it out.
    #[error("{0}")]
    Foreign(Foreign),
    #[error("another server answers there now, or one with other data")]
    Replaced,
    #[error("its answer to {} cannot be read: {error}", shown(.path))]
    Unreadable { path: String, error: serde_json::Error },
}

impl InspectError {
    /// Whether the same request has the same end the next time.
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
