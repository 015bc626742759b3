//! A journal file that is read in order to move it elsewhere. It is locked, so that no edge uses it meanwhile.

use std::path::Path;

use rusqlite::Connection;

use super::open::{self, Locked, OpenError};

/// A journal file with this binary's schema that no other process uses.
pub struct Source {
    connection: Connection,
    _locked: Locked,
}

impl Source {
    /// Opens an existing journal, and brings its schema up to date.
    ///
    /// # Errors
    /// If there is no journal at `path`, an edge uses it, or it cannot be opened.
    pub fn open(path: &Path) -> Result<Source, OpenError> {
        let missing = |source| OpenError::File { path: path.to_owned(), source };
        std::fs::metadata(path).map_err(missing)?;
        let locked = open::lock(path)?;
        let connection = open::writer(&locked.path, open::BUSY_TIMEOUT)?;
        Ok(Source { connection, _locked: locked })
    }

    /// Returns the connection to the file.
    pub(in crate::journal) fn connection(&self) -> &Connection {
        &self.connection
    }
}
