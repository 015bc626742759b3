//! Opening a journal file: its directory, its lock, its settings and its schema.
//!
//! One edge per file: opening takes an exclusive lock on a file beside it. The system releases the lock when the
//! process ends, however it ends. A schema from a newer version is refused, never guessed at.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::Access;
use uuid::Uuid;

use super::schema;

/// A journal file that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot create the journal's directory {path}: {source}")]
    Directory { path: PathBuf, source: io::Error },
    #[error("nothing can be made in {path}: {source}")]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("cannot open the journal file {path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("the journal {path} is in use by another edge: one journal serves one edge at a time")]
    InUse { path: PathBuf },
    #[error("cannot lock {path}: {source}")]
    Lock { path: PathBuf, source: io::Error },
    #[error("the journal {path} has schema version {found}, and this binary knows up to {known}: use a newer binary")]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("cannot bring the journal {path} to this binary's schema: {text}")]
    Migration { path: PathBuf, text: String },
    #[error("cannot open the journal {path}: {source}")]
    Database { path: PathBuf, source: rusqlite::Error },
    #[error("cannot start the journal's writer thread: {0}")]
    Thread(io::Error),
}

/// The default time that a statement waits for a lock, such as one held by an SQL shell.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// If the write-ahead log's file is larger than this, it shrinks again after a checkpoint.
const WAL_KEEP_BYTES: i64 = 64 * 1024 * 1024;
/// Prepared statements kept per connection: more than there are statements in this room.
const STATEMENTS: usize = 64;

/// A locked journal file. The lock is held as long as this lives.
pub(super) struct Locked {
    pub(super) path: PathBuf,
    _lock: File,
}

/// Creates the directory and the file if needed, and takes the lock.
pub(super) fn lock(path: &Path) -> Result<Locked, OpenError> {
    let path = resolve(path)?;
    let mut beside = path.clone().into_os_string();
    beside.push(".lock");
    let beside = PathBuf::from(beside);
    let lock = private().open(&beside).map_err(|source| OpenError::Lock { path: beside.clone(), source })?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { path }),
        Err(TryLockError::Error(source)) => return Err(OpenError::Lock { path: beside, source }),
    }
    let at_file = |source| OpenError::File { path: path.clone(), source };
    private().open(&path).map_err(at_file)?;
    if let Some(directory) = path.parent() {
        // The name of a new file is durable only once its directory is synced.
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(at_file)?;
    }
    Ok(Locked { path, _lock: lock })
}

/// Checks that this account may create the file, and the directories that are missing above it. Creates nothing.
///
/// # Errors
/// If it may not, or if something that is not a directory is in the way.
pub fn could_be_made(path: &Path) -> Result<(), OpenError> {
    let there = path.ancestors().skip(1).map(|above| if above.as_os_str().is_empty() { Path::new(".") } else { above });
    let Some(nearest) = there.into_iter().find(|above| above.symlink_metadata().is_ok()) else { return Ok(()) };
    let access = match nearest.metadata() {
        Ok(found) if !found.is_dir() => Err(io::ErrorKind::NotADirectory.into()),
        Ok(_) => rustix::fs::access(nearest, Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from),
        Err(error) => Err(error),
    };
    access.map_err(|source| OpenError::Unwritable { path: nearest.to_path_buf(), source })
}

/// Returns the canonical path of the file, so that two spellings of it share one lock.
fn resolve(path: &Path) -> Result<PathBuf, OpenError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let at_directory = |source| OpenError::Directory { path: directory.to_owned(), source };
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory).map_err(at_directory)?;
    let directory = directory.canonicalize().map_err(at_directory)?;
    let Some(name) = path.file_name() else {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "it names no file");
        return Err(OpenError::File { path: path.to_owned(), source });
    };
    let path = directory.join(name);
    match path.canonicalize() {
        Ok(target) => Ok(target),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path),
        Err(source) => Err(OpenError::File { path, source }),
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Brings the schema of the file up to this binary's. Returns the names of the migrations that were applied.
pub fn migrate(path: &Path) -> Result<Vec<String>, OpenError> {
    let locked = lock(path)?;
    let at = |source| OpenError::Database { path: locked.path.clone(), source };
    let mut connection = writer_again(&locked.path, BUSY_TIMEOUT).map_err(at)?;
    let applied = schema::migrate(&mut connection, &locked.path)?;
    found(&connection).map_err(at)?;
    Ok(applied)
}

/// Gives a new journal its identity.
fn found(connection: &Connection) -> rusqlite::Result<()> {
    let sql = "INSERT INTO meta (one, journal_id, last_seq, fence) VALUES (1, ?1, 0, 0) ON CONFLICT DO NOTHING";
    connection.execute(sql, [Uuid::new_v4().into_bytes()]).map(drop)
}

/// Opens the connection that writes, and brings the schema up to this binary's.
pub(super) fn writer(path: &Path, patience: Duration) -> Result<Connection, OpenError> {
    let at = |source| OpenError::Database { path: path.to_owned(), source };
    let mut connection = writer_again(path, patience).map_err(at)?;
    schema::migrate(&mut connection, path)?;
    found(&connection).map_err(at)?;
    Ok(connection)
}

/// Opens a connection that writes, and leaves the schema as it is.
pub(super) fn writer_again(path: &Path, patience: Duration) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(patience)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        let text = format!("the file system does not support write-ahead logging (journal mode {mode})");
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN),
            Some(text),
        ));
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "journal_size_limit", WAL_KEEP_BYTES)?;
    keep_statements(&connection)?;
    Ok(connection)
}

/// Opens a connection that only reads.
pub(super) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    keep_statements(&connection)?;
    Ok(connection)
}

/// Keeps prepared statements, and makes SQLite prepare each of them only once. Without the second setting, SQLite
/// prepares a statement again whenever a value is bound that a partial index might match, which is each time that the
/// statement is run for a lane, because one partial index is for a certain lane.
fn keep_statements(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}
