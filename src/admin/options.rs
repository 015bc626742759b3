//! What the pages need of the configuration. It decides nothing.

use std::time::Duration;

use crate::auth::Protection;
use crate::web::{KeyHeaders, ResetPolicy};

/// Where the journal is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    Sqlite,
    Postgres,
}

impl StoreKind {
    /// As shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            StoreKind::Sqlite => "sqlite",
            StoreKind::Postgres => "postgres",
        }
    }
}

/// What the pages need of the configuration.
#[derive(Clone, Debug)]
pub struct AdminOptions {
    /// Between two runs of recovery when nothing has changed.
    pub recovery_interval: Duration,
    pub store: StoreKind,
    /// Which request headers bring the client's own id of an operation.
    pub key_headers: KeyHeaders,
    /// How long a cleanup leaves ids that a client may repeat.
    pub keep_ids: Duration,
    /// Dashboards that may be open at once.
    pub dashboards: usize,
    /// Requests a second that one client may make; 0: any number.
    pub client_rate: u32,
    pub earlier: EarlierOptions,
}

/// What the pages in an earlier system's names need of the configuration.
#[derive(Clone, Debug)]
pub struct EarlierOptions {
    /// `MAX_MEMORY_MB`: what request bodies may take together.
    pub buffered_bytes: usize,
    /// `MAX_WORKERS`.
    pub workers: usize,
    /// `DEFAULT_BATCH_SIZE`, and `MAX_BATCH_SIZE`, which lowers it: documents in one merged request.
    pub merge_documents: u32,
    /// `REQUEST_TIMEOUT`.
    pub request_timeout: Duration,
    /// How long finished transactions are kept.
    pub retention: Duration,
    /// `ENABLE_CONNECTION_POOLING`; the most idle connections that are kept.
    pub kept_connections: Option<usize>,
    /// `ENABLE_GRANULAR_LOCKING`.
    pub lanes: Lanes,
    /// Collections that no client may delete.
    pub protection: Protection,
    /// Whether everything may be reset.
    pub reset: ResetPolicy,
}

/// Whether record writes of different collections go to an instance side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lanes {
    SideBySide,
    OneByOne,
}
