//! The writer thread: it owns the writing connection and the file's lock, and takes one batch at a time.
//!
//! It decides what is known after a failure. A commit is in doubt only if `COMMIT` itself failed in a way that may have
//! left its record in the write-ahead log: this process does not see that record, but a restart would find it. The
//! doubt ends with the next successful commit, which either follows the record or overwrites it. Until then no lookup
//! is answered. [`Command::Settle`] tries to end the doubt with a write of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::failure::{explain, is_clean, refused};
use super::lanes::Configured;
use super::open::{self, Locked};
use super::options::SqliteOptions;
use super::{append, facts, lanes, synced, trim};
use crate::clock::Timestamp;
use crate::ids::{InstanceName, Seq};
use crate::journal::{Batch, CommitError, Compression, Fact, Trimmed};

type Reply<T> = oneshot::Sender<Result<T, CommitError>>;

/// The commands for the thread. Each makes at most one commit.
pub(super) enum Command {
    Commit {
        batch: Batch,
        reply: Reply<Vec<Seq>>,
    },
    Begin {
        configured: Vec<InstanceName>,
        at: Timestamp,
        reply: Reply<()>,
    },
    Trim {
        asked: trim::Asked,
        plan: trim::Plan,
        reply: Reply<Trimmed>,
    },
    Settle {
        reply: Reply<()>,
    },
    Probe {
        reply: Reply<()>,
    },
    #[cfg(test)]
    Inspect {
        look: Box<dyn FnOnce(&Connection) + Send>,
        reply: Reply<()>,
    },
}

/// How many trims happen between two truncations of the write-ahead log, not counting trims that removed nothing.
const TRIMS_PER_TRUNCATION: u32 = 16;

/// The thread's state. The lock is declared last, so that it is released after the connection is closed.
pub(super) struct Writer {
    connection: Option<Connection>,
    doubt: Arc<AtomicBool>,
    trims: u32,
    patience: Duration,
    compression: Compression,
    locked: Locked,
}

/// Records the facts, in order, and which writes are now everywhere, for operators.
fn record(connection: &Connection, facts: &[Fact]) -> rusqlite::Result<()> {
    let places = synced::places(connection, facts)?;
    for fact in facts {
        facts::record(connection, fact)?;
    }
    synced::note(connection, &places, Timestamp::now())
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        doubt: Arc<AtomicBool>,
        options: &SqliteOptions,
        locked: Locked,
    ) -> Writer {
        let SqliteOptions { patience, compression } = *options;
        Writer { connection: Some(connection), doubt, trims: 0, patience, compression, locked }
    }

    /// Runs commands until all senders are gone.
    pub(super) fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        while let Some(command) = commands.blocking_recv() {
            // The caller may be gone. The commit stays.
            match command {
                Command::Commit { batch, reply } => drop(reply.send(self.commit(&batch))),
                Command::Trim { asked, plan, reply } => drop(reply.send(self.trim(&asked, &plan))),
                Command::Begin { configured, at, reply } => drop(reply.send(self.begin(&configured, at))),
                Command::Settle { reply } => drop(reply.send(self.settle())),
                Command::Probe { reply } => drop(reply.send(self.raise_fence())),
                #[cfg(test)]
                Command::Inspect { look, reply } => drop(reply.send(self.connection().map(look))),
            }
        }
    }

    fn commit(&mut self, batch: &Batch) -> Result<Vec<Seq>, CommitError> {
        let compression = self.compression;
        self.transact(|connection| {
            record(connection, &batch.facts).map_err(|error| refused(&error))?;
            append::append(connection, &batch.appends, compression)
        })
    }

    fn trim(&mut self, asked: &trim::Asked, plan: &trim::Plan) -> Result<Trimmed, CommitError> {
        let work = |connection: &Connection| trim::carry_out(connection, asked, plan);
        let trimmed = self.transact(|connection| work(connection).map_err(|error| refused(&error)))?;
        if trimmed.transactions > 0 {
            self.trims += 1;
            if self.trims.is_multiple_of(TRIMS_PER_TRUNCATION) {
                self.truncate_wal();
            }
        }
        Ok(trimmed)
    }

    fn begin(&mut self, configured: &[InstanceName], at: Timestamp) -> Result<(), CommitError> {
        let work = |connection: &Connection| {
            if lanes::note_configured(connection, configured)? == Configured::Changed {
                synced::note_all(connection, at)?;
            }
            facts::finish_statuses(connection, at)
        };
        self.transact(|connection| work(connection).map_err(|error| refused(&error)))
    }

    /// Ends a doubt with a write of its own. If there is no doubt, does nothing.
    fn settle(&mut self) -> Result<(), CommitError> {
        if !self.doubt.load(Ordering::Acquire) {
            return Ok(());
        }
        self.raise_fence()
    }

    /// Makes a commit that writes but records nothing. One that writes nothing would succeed even on a full disk.
    fn raise_fence(&mut self) -> Result<(), CommitError> {
        let fence = "UPDATE meta SET fence = fence + 1";
        self.transact(|connection| connection.execute(fence, []).map(drop).map_err(|error| refused(&error)))
    }

    fn transact<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T, CommitError>) -> Result<T, CommitError> {
        let doubt = Arc::clone(&self.doubt);
        let connection = self.connection()?;
        connection.execute_batch("BEGIN IMMEDIATE").map_err(|error| refused(&error))?;
        let result = work(connection).and_then(|value| match connection.execute_batch("COMMIT") {
            Ok(()) => {
                doubt.store(false, Ordering::Release);
                Ok(value)
            }
            Err(error) if is_clean(&error) => Err(refused(&error)),
            Err(error) => {
                doubt.store(true, Ordering::Release);
                Err(CommitError::InDoubt(explain(&error)))
            }
        });
        if result.is_err() && !connection.is_autocommit() && connection.execute_batch("ROLLBACK").is_err() {
            // A transaction that can be neither committed nor rolled back ends when its connection is closed.
            self.connection = None;
        }
        result
    }

    fn connection(&mut self) -> Result<&Connection, CommitError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => open::writer_again(&self.locked.path, self.patience).map_err(|error| refused(&error))?,
        };
        Ok(self.connection.insert(connection))
    }

    /// Gives the log's disk space back, unless a reader is in the way; then a later truncation does.
    fn truncate_wal(&mut self) {
        let Some(connection) = &self.connection else { return };
        let patience = self.patience;
        let truncate = || {
            connection.busy_timeout(Duration::ZERO)?;
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
            connection.busy_timeout(patience)
        };
        if let Err(error) = truncate() {
            tracing::debug!(%error, "cannot truncate the journal's write-ahead log");
        }
    }
}
