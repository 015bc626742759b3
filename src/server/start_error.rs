//! Why the edge cannot serve: the errors that `serve` returns, and that stop a standby holding the journal from loading it.

use crate::journal::{CommitError, ReadError, postgres, sqlite};

/// Why the edge cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Journal(#[from] sqlite::OpenError),
    #[error(transparent)]
    SharedJournal(#[from] postgres::OpenError),
    #[error(transparent)]
    Restore(#[from] ReadError),
    #[error(transparent)]
    Finish(#[from] CommitError),
    #[error("cannot set up the instances: {0}")]
    Setup(String),
    #[error("cannot listen on {address}: {error}")]
    Listen { address: std::net::SocketAddr, error: std::io::Error },
    #[error("cannot start a runtime or listen for signals: {0}")]
    Runtime(std::io::Error),
}
