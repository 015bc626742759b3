//! A journal file that is read to be moved elsewhere: locked, so that no edge works with it meanwhile.

use std::path::Path;

use rusqlite::Connection;

use super::open::{self, Locked, OpenError};

/// A journal file of this binary's schema that no other process uses.
pub struct Source {
    connection: Connection,
    _locked: Locked,
}

impl Source {
    /// Opens an existing journal, and brings its schema up to date.
    ///
    /// # Errors
    /// There is none at `path`, or an edge works with it, or it cannot be opened.
    pub fn open(path: &Path) -> Result<Source, OpenError> {
        let missing = |source| OpenError::File { path: path.to_owned(), source };
        std::fs::metadata(path).map_err(missing)?;
        let locked = open::lock(path)?;
        let connection = open::writer(&locked.path, open::BUSY_TIMEOUT)?;
        Ok(Source { connection, _locked: locked })
    }

    /// The file's tables.
    pub(in crate::journal) fn connection(&self) -> &Connection {
        &self.connection
    }
}
