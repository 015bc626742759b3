//! The one connection that commits, and what is known when a commit fails.
//!
//! One commit runs at a time. After a commit in doubt, nothing is committed and no lookup is answered until a new
//! connection has raised the epoch. Raising it takes the row lock that every commit holds until its end. It therefore
//! waits for the commit in doubt to end, and the server refuses whatever it receives of that commit later.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::error::DbError;
use uuid::Uuid;

use super::append;
use super::facts;
use super::fence::{Access, FOUND, Fence, Found, Known, READ_ONLY, behind, halt};
use crate::clock::Timestamp;
use crate::ids::{Seq, TransactionId};
use crate::journal::postgres::codec::row::get;
use crate::journal::postgres::connection::connect::{Exclusive, Session, Sessions, explain, lend};
use crate::journal::postgres::connection::pipeline::{Connection, Outcome, Query, query, transact};
use crate::journal::{Batch, CommitError, Compression, ReadError};

const GUARD: &str = "SELECT g.*, j.journal_id FROM chroma_edge.guard($1, $2, $3) AS g, chroma_edge.journal AS j";

/// Raises only this process's own epoch; that of an edge that took over stays untouched.
const RAISE: &str = "
    UPDATE chroma_edge.journal SET epoch = epoch + 1, commits = commits + 1
    WHERE epoch_holder = $1 AND halted IS NULL RETURNING epoch, journal_id, last_seq, commits";

const TOO_LATE: &str = "the database did not answer in time";

/// SQLSTATEs that the guard raises.
const SUPERSEDED: &str = "JE001";
const HALTED: &str = "JE002";

/// Commits, one at a time.
pub(in crate::journal::postgres) struct Writer {
    sessions: Sessions,
    fence: Arc<Fence>,
    doubt: Arc<AtomicBool>,
    deadline: Duration,
    compression: Compression,
    /// Kept between commits; a new connection is checked before its first use.
    session: Option<Exclusive>,
}

/// How a commit failed.
enum Failure {
    /// The server refused it with this error.
    Said(Box<DbError>),
    Known(CommitError),
}

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Failure {
        Failure::Known(error)
    }
}

impl Writer {
    pub(in crate::journal::postgres) fn new(
        sessions: Sessions,
        fence: Arc<Fence>,
        doubt: Arc<AtomicBool>,
        deadline: Duration,
        compression: Compression,
    ) -> Writer {
        Writer { sessions, fence, doubt, deadline, compression, session: None }
    }

    /// Makes the batch durable: its facts first, then its appends.
    pub(in crate::journal::postgres) async fn commit(&mut self, batch: &Batch) -> Result<Vec<Seq>, CommitError> {
        let given = super::application::positions(&batch.facts)
            + crate::journal::postgres::codec::row::count(batch.appends.len() as u64);
        let mut queries = Vec::new();
        facts::record(&batch.facts, given, Timestamp::now(), &mut queries);
        append::append(&batch.appends, self.compression, &mut queries);
        match self.guarded(given, queries).await {
            Ok((last, _)) => {
                let first = last.get() - batch.appends.len() as u64 + 1;
                Ok((first..=last.get()).map(Seq::new).collect())
            }
            Err(Failure::Known(error)) => Err(error),
            Err(Failure::Said(said)) => Err(self.refused(batch, &said).await),
        }
    }

    /// Commits the queries under the guard. Returns the rows of each.
    pub(in crate::journal::postgres) async fn execute(
        &mut self,
        queries: Vec<Query<'_>>,
    ) -> Result<Vec<Vec<Row>>, CommitError> {
        match self.guarded(0, queries).await {
            Ok((_, rows)) => Ok(rows),
            Err(Failure::Known(error)) => Err(error),
            Err(Failure::Said(said)) => Err(CommitError::Refused(text(&said))),
        }
    }

    /// Resolves a commit in doubt, if there is one.
    pub(in crate::journal::postgres) async fn settle(&mut self) -> Result<(), CommitError> {
        if !self.doubt.load(Ordering::Acquire) {
            return Ok(());
        }
        let deadline = self.deadline;
        let ready = tokio::time::timeout(deadline, self.ready()).await;
        ready.unwrap_or_else(|_| Err(CommitError::Refused(TOO_LATE.to_owned())))?;
        Ok(())
    }

    async fn guarded(&mut self, given: i64, queries: Vec<Query<'_>>) -> Result<(Seq, Vec<Vec<Row>>), Failure> {
        let began = crate::clock::now();
        let Ok(ready) = tokio::time::timeout(self.deadline, self.ready()).await else {
            return Err(CommitError::Refused(TOO_LATE.to_owned()).into());
        };
        ready?;
        let left = self.deadline.saturating_sub(began.elapsed());
        if self.fence.access() == Access::ReadsOnly {
            return Err(CommitError::Refused(READ_ONLY.to_owned()).into());
        }
        let Some(epoch) = self.fence.epoch() else {
            return Err(CommitError::Refused("this edge does not hold the journal".to_owned()).into());
        };
        let mut all = Vec::with_capacity(queries.len() + 1);
        all.push(query!(GUARD, epoch, self.fence.me(), given));
        all.extend(queries);
        let rows = self.transact(left, &all).await?;
        let mut rows = rows.into_iter();
        let guard = rows.next().and_then(|rows| rows.into_iter().next());
        let unclear = || CommitError::InDoubt("the guard gave no position".to_owned());
        let known = guard.and_then(|row| Known::read(&row).ok()).ok_or_else(unclear)?;
        self.fence.learn(known);
        let last = u64::try_from(known.last_seq).map(Seq::new).map_err(|_| unclear())?;
        Ok((last, rows.collect()))
    }

    /// Runs a transaction on the current connection.
    async fn transact(&mut self, patience: Duration, queries: &[Query<'_>]) -> Result<Vec<Vec<Row>>, Failure> {
        let Some(session) = self.session.take() else {
            return Err(CommitError::Refused("there is no connection to the database".to_owned()).into());
        };
        let outcome = tokio::time::timeout(patience, transact(&session, queries)).await;
        let outcome = outcome.unwrap_or_else(|_| Outcome::InDoubt(TOO_LATE.to_owned()));
        match outcome {
            Outcome::Committed(rows) => {
                self.session = Some(session);
                Ok(rows)
            }
            Outcome::Failed(said, connection) => {
                self.session = (connection == Connection::Usable).then_some(session);
                match said.code().code() {
                    SUPERSEDED => Err(self.superseded(&said).await.into()),
                    HALTED => Err(CommitError::Refused(said.message().to_owned()).into()),
                    _ => Err(Failure::Said(said)),
                }
            }
            Outcome::Lost(text) => Err(CommitError::Refused(text).into()),
            Outcome::InDoubt(text) => {
                self.doubt.store(true, Ordering::Release);
                Err(CommitError::InDoubt(text).into())
            }
        }
    }

    /// Ensures that there is a connection and no commit in doubt. On a new connection, first checks that the journal
    /// still has everything it acknowledged.
    async fn ready(&mut self) -> Result<(), CommitError> {
        self.session.take_if(|session| session.is_closed());
        if self.session.is_none() {
            let loan = lend(&self.sessions).await.map_err(|error| CommitError::Refused(error.to_string()))?;
            let session = Exclusive::new(loan);
            let known = self.fence.known();
            let found = found(&session).await.map_err(CommitError::Refused)?;
            if let Some(text) = behind(known, found.known) {
                halt(&session, known, &text).await;
                return Err(CommitError::Refused(text));
            }
            self.fence.learn_by_reading(&found);
            self.session = Some(session);
        }
        match self.doubt.load(Ordering::Acquire) {
            true => self.raise().await,
            false => Ok(()),
        }
    }

    /// Raises the epoch, so that nothing sent earlier can become durable from now on.
    async fn raise(&mut self) -> Result<(), CommitError> {
        let queries = [query!(RAISE, self.fence.me())];
        let rows = match self.transact(self.deadline, &queries).await {
            Ok(rows) => rows,
            Err(Failure::Known(error)) => return Err(error),
            Err(Failure::Said(said)) => return Err(CommitError::Refused(text(&said))),
        };
        if let Some(row) = rows.first().and_then(|rows| rows.first()) {
            let raised = || Ok::<_, ReadError>((get(row, "epoch")?, Known::read(row)?));
            let (epoch, known) = raised().map_err(|error| CommitError::Refused(error.to_string()))?;
            self.fence.hold(Some(epoch));
            self.fence.learn(known);
            self.doubt.store(false, Ordering::Release);
            return Ok(());
        }
        // This process no longer owns the epoch. Whoever took it raised it, which also fenced off the commit in doubt.
        let Some(session) = &self.session else {
            return Err(CommitError::Refused("the connection is gone".to_owned()));
        };
        let found = found(session).await.map_err(CommitError::Refused)?;
        if let Some(text) = found.halted {
            return Err(CommitError::Refused(text));
        }
        self.doubt.store(false, Ordering::Release);
        Err(CommitError::Superseded(found.by()))
    }

    /// Returns the error for a commit that the fence refused: another edge has taken over, or the journal has come back
    /// in a state from before this edge's time.
    async fn superseded(&mut self, said: &DbError) -> CommitError {
        let Some(session) = &self.session else { return CommitError::Superseded(text(said)) };
        let known = self.fence.known();
        match tokio::time::timeout(self.deadline, found(session)).await {
            Ok(Ok(found)) => match behind(known, found.known) {
                Some(text) => {
                    halt(session, known, &text).await;
                    CommitError::Refused(text)
                }
                None => CommitError::Superseded(found.by()),
            },
            _ => CommitError::Superseded(text(said)),
        }
    }

    /// Returns why the server refused the batch. A client key that is already taken gets an error of its own.
    async fn refused(&mut self, batch: &Batch, said: &DbError) -> CommitError {
        let keys = append::holders(&batch.appends);
        if said.constraint() == Some("transactions_by_client_key")
            && let Some(session) = &self.session
        {
            let held = tokio::time::timeout(self.deadline, session.query(append::HOLDER, &[&keys])).await;
            let holder: Option<Uuid> =
                held.ok().and_then(Result::ok).and_then(|rows| rows.first().and_then(append::holder));
            if let Some(id) = holder {
                return CommitError::Taken(TransactionId::new(id));
            }
        }
        CommitError::Refused(text(said))
    }
}

#[cfg(test)]
impl Writer {
    /// Runs a statement on the connection that commits, outside any transaction.
    pub(in crate::journal::postgres) async fn alone(&mut self, sql: &str) -> Result<(), String> {
        self.ready().await.map_err(|error| error.to_string())?;
        let session = self.session.as_ref().ok_or("no connection")?;
        session.batch_execute(sql).await.map_err(|error| explain(&error))
    }
}

async fn found(session: &Session) -> Result<Found, String> {
    let row = session.query_one(FOUND, &[]).await.map_err(|error| explain(&error))?;
    Found::read(&row).map_err(|error| error.to_string())
}

fn text(said: &DbError) -> String {
    format!("{} (SQLSTATE {})", said.message(), said.code().code())
}
