//! Reads run on connections of their own, on blocking threads, so that reads and the writer do not wait for each other.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension, Row, params};
use tokio::sync::Semaphore;

use super::failure::unread;
use super::{open, row};
use crate::ids::{LaneId, Seq};
use crate::journal::names::lane_name;
use crate::journal::{ClientKey, History, Lookup, ReadError, Request, TransactionRow};

/// The most reads that run at the same time. Others wait.
const READERS: usize = 8;

/// Read-only connections, opened when needed and kept.
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Arc<Readers> {
        Arc::new(Readers { path, idle: Mutex::new(Vec::new()), permits: Semaphore::new(READERS) })
    }

    /// Runs `read` on a connection.
    pub(super) async fn read<T, F>(self: &Arc<Self>, read: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let _permit = self.permits.acquire().await.map_err(ReadError::from_source)?;
        let readers = Arc::clone(self);
        #[allow(clippy::disallowed_methods, reason = "at most `READERS` at once: the permit is held until it ends")]
        let reading = tokio::task::spawn_blocking(move || {
            let idle = readers.idle().pop();
            let mut connection = idle.map_or_else(|| open::reader(&readers.path), Ok).map_err(unread)?;
            let result = read(&mut connection).map_err(unread);
            // A connection that failed may be broken, so the next read opens another.
            if result.is_ok() {
                readers.idle().push(connection);
            }
            result
        });
        reading.await.map_err(ReadError::from_source)?
    }

    /// Runs `work` on the file itself, without the writer's connection.
    pub(super) async fn beside<T, F>(self: &Arc<Self>, work: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&Path) -> rusqlite::Result<T> + Send + 'static,
    {
        let readers = Arc::clone(self);
        #[allow(
            clippy::disallowed_methods,
            reason = "one for each fault, and for each operator's request to forget some"
        )]
        let working = tokio::task::spawn_blocking(move || work(&readers.path).map_err(unread));
        working.await.map_err(ReadError::from_source)?
    }

    /// Closes the idle connections.
    pub(super) fn close(&self) {
        self.idle().clear();
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the size of the write-ahead log in bytes. The file does not exist until the first write.
    pub(super) fn wal_bytes(&self) -> u64 {
        let mut wal = self.path.clone().into_os_string();
        wal.push("-wal");
        std::fs::metadata(wal).map_or(0, |file| file.len())
    }
}

pub(super) fn requests(connection: &Connection, seqs: &[Seq]) -> rusqlite::Result<Vec<Request>> {
    let mut statement = connection
        .prepare_cached(&format!("SELECT {} FROM transactions JOIN bodies USING (seq) WHERE seq = ?1", row::REQUEST))?;
    let found = seqs.iter().map(|seq| statement.query_row([row::number(*seq)], row::request).optional());
    found.filter_map(Result::transpose).collect()
}

/// Reads the floor last, because what retention removes in between lies below it.
pub(super) fn history(connection: &Connection, lane: LaneId, after: Seq, most: u32) -> rusqlite::Result<History> {
    let lane = lane_name(lane);
    let select = format!(
        "SELECT {}, verdict FROM transactions JOIN bodies USING (seq) WHERE lane = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
        row::REQUEST
    );
    let mut statement = connection.prepare_cached(&select)?;
    let entry = |found: &Row<'_>| Ok((row::request(found)?, row::verdict(found)?));
    let entries = statement.query_map(params![lane, row::number(after), most], entry)?.collect::<Result<_, _>>()?;
    let floor = connection.prepare_cached("SELECT floor FROM floors WHERE lane = ?1")?;
    let floor = { floor }.query_row([lane], |found| row::seq(found, "floor")).optional()?.unwrap_or(Seq::ZERO);
    Ok(History { floor, entries })
}

pub(super) fn transaction(connection: &Connection, lookup: &Lookup) -> rusqlite::Result<Option<TransactionRow>> {
    let select = |condition| format!("SELECT {} FROM transactions WHERE {condition}", row::TRANSACTION);
    match lookup {
        Lookup::Id(id) => connection
            .prepare_cached(&select("transaction_id = ?1"))?
            .query_row([id.uuid().as_bytes()], row::transaction)
            .optional(),
        Lookup::Position(seq) => {
            connection.prepare_cached(&select("seq = ?1"))?.query_row([row::number(*seq)], row::transaction).optional()
        }
        Lookup::ClientKey { tenant, key } => connection
            .prepare_cached(&select("client_tenant = ?1 AND client_key = ?2"))?
            .query_row([tenant, key], row::transaction)
            .optional(),
        Lookup::Key { key, of, outside } => connection
            .prepare_cached(&select(
                "client_key = ?1 AND substr(client_tenant, 1, length(?2)) = ?2 AND client_tenant IS NOT ?3
                    ORDER BY seq DESC LIMIT 1",
            ))?
            .query_row(params![key, scopes(of.as_deref()), outside], row::transaction)
            .optional(),
    }
}

/// Returns the prefix of the scopes of a principal's ids; an empty one matches every principal.
pub(super) fn scopes(principal: Option<&str>) -> String {
    principal.map(ClientKey::scopes_of).unwrap_or_default()
}

/// Returns the bytes of the pages that are in use.
pub(super) fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row(
        "SELECT (page_count - freelist_count) * page_size AS bytes
        FROM pragma_page_count(), pragma_freelist_count(), pragma_page_size()",
        [],
        |found| row::unsigned(found, "bytes"),
    )
}
