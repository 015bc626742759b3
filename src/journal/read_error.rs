//! A failed read of the journal, with its cause.

use std::error::Error;
use std::sync::Arc;

#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot read the journal: {reason}")]
pub struct ReadError {
    reason: String,
    #[source]
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl ReadError {
    /// Creates an error that has no underlying cause.
    pub fn new(reason: impl Into<String>) -> ReadError {
        ReadError { reason: reason.into(), source: None }
    }

    /// Creates an error caused by `source`, with the text of `source` as the reason.
    pub fn from_source(source: impl Error + Send + Sync + 'static) -> ReadError {
        ReadError::caused_by(source.to_string(), source)
    }

    /// Creates an error caused by `source`. `reason` describes it to an operator.
    pub fn caused_by(reason: impl Into<String>, source: impl Error + Send + Sync + 'static) -> ReadError {
        ReadError { reason: reason.into(), source: Some(Arc::new(source)) }
    }
}
