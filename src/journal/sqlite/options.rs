//! Options of a journal file, for the store and its writer. It decides nothing: they decide what each option does.

use std::time::Duration;

use super::open;
use crate::journal::Compression;

/// The options of a journal file.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// How long a commit waits for a lock that another process holds on the file before it is refused. Shorter than its
    /// callers wait: a caller that gives up during a commit cannot learn the outcome.
    pub patience: Duration,
    /// How new bodies are stored.
    pub compression: Compression,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        SqliteOptions { patience: open::BUSY_TIMEOUT, compression: Compression::None }
    }
}
