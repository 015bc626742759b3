//! The configuration values that the pages use. It decides nothing.

use std::time::Duration;

use crate::auth::Protection;
use crate::web::{KeyHeaders, ResetPolicy};

/// Which database holds the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    Sqlite,
    Postgres,
}

impl StoreKind {
    /// The name shown on pages.
    pub const fn as_str(self) -> &'static str {
        match self {
            StoreKind::Sqlite => "sqlite",
            StoreKind::Postgres => "postgres",
        }
    }
}

/// The configuration values that the pages use.
#[derive(Clone, Debug)]
pub struct AdminOptions {
    /// The pause between two runs of recovery when nothing has changed.
    pub recovery_interval: Duration,
    pub store: StoreKind,
    /// The request headers that carry the client's own id of an operation.
    pub key_headers: KeyHeaders,
    /// How long a cleanup leaves ids that a client may repeat.
    pub keep_ids: Duration,
    /// Dashboards that may be open at once.
    pub dashboards: usize,
    /// Requests per second that one client may make; 0: no limit.
    pub client_rate: u32,
    pub earlier: EarlierOptions,
}

/// The configuration values for the pages in an earlier system's names.
#[derive(Clone, Debug)]
pub struct EarlierOptions {
    /// `MAX_MEMORY_MB`: the total size of request bodies in memory.
    pub buffered_bytes: usize,
    /// `MAX_WORKERS`.
    pub workers: usize,
    /// `DEFAULT_BATCH_SIZE`, or `MAX_BATCH_SIZE` if that is lower: documents in one merged request.
    pub merge_documents: u32,
    /// `REQUEST_TIMEOUT`.
    pub request_timeout: Duration,
    /// How long finished transactions are kept.
    pub retention: Duration,
    /// `ENABLE_CONNECTION_POOLING`; the most idle connections to keep.
    pub kept_connections: Option<usize>,
    /// `ENABLE_GRANULAR_LOCKING`.
    pub lanes: Lanes,
    /// Collections that no client may delete.
    pub protection: Protection,
    /// Whether a reset is allowed.
    pub reset: ResetPolicy,
}

/// Whether record writes of different collections go to an instance concurrently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lanes {
    SideBySide,
    OneByOne,
}
