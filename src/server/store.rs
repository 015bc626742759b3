//! Which store holds the journal: the one place that chooses a store.

use std::sync::Arc;

use super::start_error::StartError;
use crate::admin::StoreKind;
use crate::config::{Config, JournalStore};
use crate::journal::postgres::{PostgresOptions, PostgresStore};
use crate::journal::sqlite::{SqliteOptions, SqliteStore};
use crate::journal::{Leadership, Store};

/// A store and its parts.
pub(super) struct Opened {
    pub store: Arc<dyn Store>,
    pub leadership: Arc<dyn Leadership>,
    pub kind: StoreKind,
    pub claiming: Claiming,
}

/// Whether opening the journal is enough to hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claiming {
    /// No other process can have it while this one lives. Anything wrong with it shows at once.
    Ours,
    /// Another edge may hold it, or it may be out of reach.
    Needed,
}

/// Opens the configured store.
pub(super) fn open(config: &Config) -> Result<Opened, StartError> {
    match &config.journal.store {
        JournalStore::Sqlite { path } => {
            let options =
                SqliteOptions { patience: config.journal_timeout / 4, compression: config.journal.compression };
            let store = Arc::new(SqliteStore::open_with(path, &options)?);
            Ok(Opened { leadership: Arc::clone(&store) as _, store, kind: StoreKind::Sqlite, claiming: Claiming::Ours })
        }
        JournalStore::Postgres { url } => {
            let limits = PostgresOptions {
                // Shorter than the time that writes wait, so that a failed commit can still be reported to them.
                commit: config.journal_timeout / 2,
                term: config.journal.lease,
                compression: config.journal.compression,
                ..PostgresOptions::default()
            };
            let store = Arc::new(PostgresStore::open(url, limits)?);
            Ok(Opened {
                leadership: Arc::clone(&store) as _,
                store,
                kind: StoreKind::Postgres,
                claiming: Claiming::Needed,
            })
        }
    }
}
