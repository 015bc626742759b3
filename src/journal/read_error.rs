//! Any read of the journal that failed, with its cause.

use std::error::Error;
use std::sync::Arc;

/// A read of the journal that did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot read the journal: {reason}")]
pub struct ReadError {
    reason: String,
    #[source]
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl ReadError {
    /// A failure that no other error caused.
    pub fn new(reason: impl Into<String>) -> ReadError {
        ReadError { reason: reason.into(), source: None }
    }

    /// A failure that `source` caused, and says itself.
    pub fn from_source(source: impl Error + Send + Sync + 'static) -> ReadError {
        ReadError::caused_by(source.to_string(), source)
    }

    /// A failure that `source` caused; `reason` says it in an operator's words.
    pub fn caused_by(reason: impl Into<String>, source: impl Error + Send + Sync + 'static) -> ReadError {
        ReadError { reason: reason.into(), source: Some(Arc::new(source)) }
    }
}
