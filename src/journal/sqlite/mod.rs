//! The embedded journal: one SQLite file, one thread that writes, and readers on connections of their own.
//!
//! It uses write-ahead logging with `synchronous=FULL`: a commit returns after its flush. One process per file.
//! [`Store`] says what a journal promises; the modules here say how each table is used.

mod append;
mod application;
mod audit;
mod catalog;
mod events;
mod facts;
mod failure;
mod faults;
mod lanes;
mod load;
mod open;
mod options;
mod quarantine;
mod read;
mod row;
mod schema;
mod source;
mod synced;
#[cfg(test)]
mod tests;
mod times;
mod trim;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

pub use open::{OpenError, could_be_made, migrate};
pub use options::SqliteOptions;
pub use schema::differences;
pub use source::Source;

use self::read::Readers;
use self::writer::{Command, Writer};
use super::{
    ApplicationUse, AuditPage, AuditQuery, Batch, Claim, CollectionTimes, CommitError, Details, EventId, EventPage,
    EventScope, Fault, HeldLane, History, LateWrite, LateWriteId, Leadership, LeadershipError, LeaseTerm, Lookup,
    Predecessor, QuarantineRow, ReadError, Recent, Request, Snapshot, StatusSummary, Store, Totals, TransactionRow,
    Trimmed, Trimming,
};
use crate::clock::Timestamp;
use crate::ids::{InstanceName, LaneId, Seq};

/// The most commands that wait for the writer. Small, because the group commit bounds what waits in front of it.
const COMMANDS: usize = 4;

/// A journal in one SQLite file.
pub struct SqliteStore {
    /// `None` only while the store is dropped.
    commands: Option<mpsc::Sender<Command>>,
    thread: Option<JoinHandle<()>>,
    readers: Arc<Readers>,
    doubt: Arc<AtomicBool>,
}

impl SqliteStore {
    /// Opens the journal at `path`, creating it and its directory if needed, and brings its schema up to date.
    ///
    /// The file belongs to this process until the store is dropped. Opening it again, in this or another process, fails
    /// with [`OpenError::InUse`]. A schema from a newer version fails with [`OpenError::Newer`]. Blocks: do not call
    /// this on a runtime's threads under load.
    pub fn open(path: &Path) -> Result<SqliteStore, OpenError> {
        Self::open_with(path, &SqliteOptions::default())
    }

    /// Like [`SqliteStore::open`], with options.
    pub fn open_with(path: &Path, options: &SqliteOptions) -> Result<SqliteStore, OpenError> {
        let locked = open::lock(path)?;
        let connection = open::writer(&locked.path, options.patience)?;
        let readers = Readers::new(locked.path.clone());
        let doubt = Arc::new(AtomicBool::new(false));
        let writer = Writer::new(connection, Arc::clone(&doubt), options, locked);
        let (commands, received) = mpsc::channel(COMMANDS);
        let thread = std::thread::Builder::new().name("journal".to_owned());
        #[allow(clippy::disallowed_methods, reason = "one thread for each store: it ends when `commands` is dropped")]
        let thread = thread.spawn(move || writer.run(received)).map_err(OpenError::Thread)?;
        Ok(SqliteStore { commands: Some(commands), thread: Some(thread), readers, doubt })
    }

    /// Waits until no commit is in doubt. What is not found after that will never appear.
    async fn no_doubt(&self) -> Result<(), ReadError> {
        if self.doubt.load(Ordering::Acquire) {
            let settled = self.ask(|reply| Command::Settle { reply }).await;
            settled.map_err(ReadError::from_source)?;
        }
        Ok(())
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, CommitError>>) -> Command,
    ) -> Result<T, CommitError> {
        let stopped = || "the journal's writer thread has stopped".to_owned();
        let (reply, answer) = oneshot::channel();
        let Some(commands) = &self.commands else { return Err(CommitError::Refused(stopped())) };
        commands.send(command(reply)).await.map_err(|_| CommitError::Refused(stopped()))?;
        answer.await.unwrap_or_else(|_| Err(CommitError::InDoubt(stopped())))
    }
}

impl Drop for SqliteStore {
    /// Waits for the writer to finish the commands it has, so that the file can be opened again at once.
    fn drop(&mut self) {
        self.readers.close();
        self.commands = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the journal's writer thread panicked");
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, batch: Batch) -> Result<Vec<Seq>, CommitError> {
        self.ask(|reply| Command::Commit { batch, reply }).await
    }

    async fn probe(&self) -> Result<(), CommitError> {
        self.ask(|reply| Command::Probe { reply }).await
    }

    async fn load(&self, configured: &[InstanceName]) -> Result<Snapshot, ReadError> {
        let configured = configured.to_vec();
        self.readers.read(move |connection| load::load(connection, &configured)).await
    }

    async fn requests(&self, seqs: &[Seq]) -> Result<Vec<Request>, ReadError> {
        let seqs = seqs.to_vec();
        self.readers.read(move |connection| read::requests(connection, &seqs)).await
    }

    async fn history(&self, lane: LaneId, after: Seq, most: u32) -> Result<History, ReadError> {
        self.readers.read(move |connection| read::history(connection, lane, after, most)).await
    }

    /// After a commit in doubt, this fails until the doubt is over. After that, what it does not find will never
    /// appear.
    async fn transaction(&self, lookup: &Lookup) -> Result<Option<TransactionRow>, ReadError> {
        self.no_doubt().await?;
        let lookup = lookup.clone();
        self.readers.read(move |connection| read::transaction(connection, &lookup)).await
    }

    async fn details(&self, lookup: &Lookup) -> Result<Option<Details>, ReadError> {
        self.no_doubt().await?;
        let lookup = lookup.clone();
        self.readers.read(move |connection| audit::details(connection, &lookup)).await
    }

    async fn audit(&self, query: &AuditQuery) -> Result<AuditPage, ReadError> {
        let query = query.clone();
        self.readers.read(move |connection| audit::audit(connection, &query)).await
    }

    async fn summary(&self) -> Result<Vec<StatusSummary>, ReadError> {
        self.readers.read(audit::summary).await
    }

    async fn recent(&self, since: Timestamp, gaps_since: Timestamp) -> Result<Recent, ReadError> {
        self.readers.read(move |connection| audit::recent(connection, since, gaps_since)).await
    }

    async fn events(&self, scope: &EventScope, after: EventId, most: u32) -> Result<EventPage, ReadError> {
        let scope = scope.clone();
        self.readers.read(move |connection| events::events(connection, &scope, after, most)).await
    }

    async fn collection_times(&self) -> Result<Vec<CollectionTimes>, ReadError> {
        self.readers.read(|connection| times::of_collections(connection)).await
    }

    async fn journaled_at(&self, seqs: &[Seq]) -> Result<Vec<(Seq, Timestamp)>, ReadError> {
        let seqs = seqs.to_vec();
        self.readers.read(move |connection| times::of_transactions(connection, &seqs)).await
    }

    async fn quarantines(&self) -> Result<Vec<QuarantineRow>, ReadError> {
        self.readers.read(|connection| quarantine::list(connection)).await
    }

    async fn totals(&self) -> Result<Totals, ReadError> {
        let mut totals = self.readers.read(audit::totals).await?;
        totals.bytes += self.readers.wal_bytes();
        Ok(totals)
    }

    async fn begin(&self, configured: &[InstanceName], at: Timestamp) -> Result<(), CommitError> {
        let configured = configured.to_vec();
        self.ask(|reply| Command::Begin { configured, at, reply }).await
    }

    async fn trim(
        &self,
        before: Timestamp,
        configured: &[InstanceName],
        why: Trimming,
        most: u32,
    ) -> Result<Trimmed, CommitError> {
        let asked = trim::Asked { before, configured: configured.to_vec(), why, most };
        let looked_for = asked.clone();
        let plan = self.readers.read(move |connection| trim::plan(connection, &looked_for)).await;
        let plan = plan.map_err(|error| CommitError::Refused(error.to_string()))?;
        if plan.is_empty() {
            return Ok(Trimmed::default());
        }
        self.ask(|reply| Command::Trim { asked, plan, reply }).await
    }

    /// Counts only the pages in use, because the file itself does not shrink.
    async fn used_bytes(&self, _: u64) -> Result<u64, ReadError> {
        self.readers.read(|connection| read::used_bytes(connection)).await
    }

    async fn application_use(&self) -> Result<ApplicationUse, ReadError> {
        self.readers.read(|connection| application::usage(connection)).await
    }

    async fn application_bytes_of(&self, client: &str) -> Result<u64, ReadError> {
        let client = client.to_owned();
        self.readers.read(move |connection| application::bytes_of(connection, &client)).await
    }

    async fn note_fault(&self, lane: LaneId, reason: &str, at: Timestamp) -> Result<(), ReadError> {
        let reason = reason.to_owned();
        self.readers.beside(move |path| faults::note(path, lane, &reason, at)).await
    }

    async fn faults(&self) -> Result<Vec<Fault>, ReadError> {
        self.readers.read(|connection| faults::all(connection)).await
    }

    async fn forget_faults(&self, lane: LaneId) -> Result<(), ReadError> {
        self.readers.beside(move |path| faults::forget(path, lane)).await
    }

    async fn held(&self, configured: &[InstanceName]) -> Result<Vec<HeldLane>, ReadError> {
        let configured = configured.to_vec();
        self.readers.read(move |connection| lanes::held(connection, &configured)).await
    }
}

/// The file's lock is held from its opening to the end of the process. The system releases it when the process dies.
#[async_trait]
impl Leadership for SqliteStore {
    async fn claim(&self) -> Result<Claim, LeadershipError> {
        Ok(Claim::Granted { term: LeaseTerm::ForLife, predecessor: Predecessor::Gone })
    }

    async fn renew(&self) -> Result<LeaseTerm, LeadershipError> {
        Ok(LeaseTerm::ForLife)
    }

    /// No other edge can have taken over while this process lives.
    async fn report_late_writes(&self, _: &[LateWrite]) -> Result<(), ReadError> {
        Ok(())
    }

    async fn late_writes(&self) -> Result<Vec<(LateWriteId, LateWrite)>, ReadError> {
        Ok(Vec::new())
    }

    async fn release(&self) {}
}
