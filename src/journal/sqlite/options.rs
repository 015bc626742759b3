//! How a journal file is used, as the store and its writer need it. What each option does is decided there.

use std::time::Duration;

use super::open;
use crate::journal::Compression;

/// How a journal file is used.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// A commit waits this long for a lock that someone else holds on the file, then it is refused. Shorter than its
    /// callers wait: one that gives up during a commit cannot learn its outcome.
    pub patience: Duration,
    /// How new bodies are stored.
    pub compression: Compression,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        SqliteOptions { patience: open::BUSY_TIMEOUT, compression: Compression::None }
    }
}
