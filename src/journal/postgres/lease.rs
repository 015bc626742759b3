//! Who may write: the lease, on the database's clock, and the epoch that goes with it.
//!
//! The lease decides who may send; the epoch decides who may commit. A takeover raises the epoch and waits for the last
//! holder's commit in progress, so that nothing of it becomes durable after the next edge has read the journal. All of
//! this runs on a connection of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use super::codec::row::get;
use super::commit::fence::{Access, FOUND, Fence, Found, Known, READ_ONLY, behind, halt};
use super::connection::connect::{ConnectError, Exclusive, Session, Sessions, explain, lend};
use super::connection::pipeline::{Outcome, query, transact};
use super::courtesy::Courtesy;
use super::schema::{self, Schema, SchemaError};
use crate::journal::names::lane_name;
use crate::journal::{Claim, LateWrite, LeadershipError, LeaseTerm, Predecessor, ReadError};

/// Takes the lease if it is free, has ended, or is this process's. Returns the previous holder.
const TAKE: &str = "
    WITH before AS (
        SELECT holder, coalesce(expires_at <= clock_timestamp(), true) AS over FROM chroma_edge.lease FOR UPDATE
    )
    UPDATE chroma_edge.lease AS l
    SET holder = $1, holder_name = $2, expires_at = clock_timestamp() + make_interval(secs => $3)
    FROM before AS b
    WHERE (b.holder IS NULL OR b.holder = $1 OR b.over)
        AND NOT EXISTS (SELECT FROM chroma_edge.journal WHERE halted IS NOT NULL)
    RETURNING b.holder";

/// Takes the epoch along with the lease. Waits for a commit in progress, which holds the row until it ends.
const FENCE: &str = "
    UPDATE chroma_edge.journal SET epoch = epoch + 1, commits = commits + 1, epoch_holder = $1
    WHERE halted IS NULL AND EXISTS (SELECT FROM chroma_edge.lease WHERE holder = $1)
    RETURNING epoch, journal_id, last_seq, commits";

/// Renews the lease, or takes it again if no edge holds it and the epoch is still this process's.
const RENEW: &str = "
    UPDATE chroma_edge.lease SET holder = $1, holder_name = $2, expires_at = clock_timestamp() + make_interval(secs => $3)
    WHERE holder = $1 OR (holder IS NULL AND EXISTS (SELECT FROM chroma_edge.journal WHERE epoch_holder = $1))";

const RELEASE: &str =
    "UPDATE chroma_edge.lease SET holder = NULL, holder_name = NULL, expires_at = NULL WHERE holder = $1";
/// Makes the server refuse commits of this process that are still on their way.
const UNFENCE: &str = "
    UPDATE chroma_edge.journal SET epoch = epoch + 1, commits = commits + 1, epoch_holder = NULL
    WHERE epoch_holder = $1";

const SUSPECT: &str = "
    INSERT INTO chroma_edge.suspects (lane, instance, epoch)
    SELECT lane, instance, $3 FROM unnest($1::text[], $2::text[]) AS s (lane, instance)";

/// The lease of one process.
pub(super) struct Lease {
    sessions: Sessions,
    schema: Schema,
    fence: Arc<Fence>,
    term: Duration,
    /// Whether another edge held the journal and its lease ran out.
    lingers: AtomicBool,
    /// Whether the schema is known to be this binary's.
    current: AtomicBool,
    courtesy: Courtesy,
}

impl Lease {
    pub(super) fn new(sessions: Sessions, schema: Schema, fence: Arc<Fence>, term: Duration) -> Lease {
        let (lingers, current) = (AtomicBool::new(false), AtomicBool::new(false));
        Lease { sessions, schema, fence, term, lingers, current, courtesy: Courtesy::default() }
    }

    pub(super) async fn claim(&self) -> Result<Claim, LeadershipError> {
        if self.fence.epoch().is_some() {
            let term = self.renew().await?;
            return Ok(Claim::Granted { term, predecessor: self.predecessor() });
        }
        let claimed = self.claim_as_standby().await;
        if matches!(claimed, Err(LeadershipError::Unavailable(_))) {
            self.courtesy.database_was_away();
        }
        claimed
    }

    async fn claim_as_standby(&self) -> Result<Claim, LeadershipError> {
        if let Some(by) = self.bring_up_to_date().await? {
            return Ok(Claim::Held { by });
        }
        let known = self.fence.known();
        self.within(|session| async move {
            let claimed = self.look_and_take(&session, known).await;
            (session, claimed)
        })
        .await
    }

    async fn look_and_take(&self, session: &Session, known: Known) -> Result<Claim, LeadershipError> {
        let found = self.look(session, known).await?;
        match found.holder {
            Some(holder) if holder != self.fence.me() => {
                if self.courtesy.is_due(found.runs, self.term) {
                    return Ok(Claim::Held { by: found.by() });
                }
                self.lingers.store(true, Ordering::Release);
            }
            _ => {}
        }
        if found.reads_only {
            return Err(LeadershipError::Unavailable(READ_ONLY.to_owned()));
        }
        // Another edge that held the journal in the meantime may have been a newer binary.
        schema::known(session).await.map_err(unusable)?;
        self.take(session, &found).await
    }

    async fn take(&self, session: &Session, found: &Found) -> Result<Claim, LeadershipError> {
        let me = self.fence.me();
        let queries = [query!(TAKE, me, self.fence.name(), self.term.as_secs_f64()), query!(FENCE, me)];
        let rows = committed(transact(session, &queries).await)?;
        let (taken, fenced) = (rows.first().and_then(|rows| rows.first()), rows.get(1).and_then(|rows| rows.first()));
        let (Some(before), Some(fenced)) = (taken, fenced) else { return Ok(Claim::Held { by: found.by() }) };
        let read = |error: ReadError| LeadershipError::Unavailable(error.to_string());
        let before: Option<uuid::Uuid> = get(before, "holder").map_err(read)?;
        if before.is_some_and(|before| before != me) {
            self.lingers.store(true, Ordering::Release);
        }
        self.fence.learn(Known::read(fenced).map_err(read)?);
        self.fence.hold(Some(get(fenced, "epoch").map_err(read)?));
        Ok(Claim::Granted { term: LeaseTerm::For(self.term), predecessor: self.predecessor() })
    }

    pub(super) async fn renew(&self) -> Result<LeaseTerm, LeadershipError> {
        let known = self.fence.known();
        self.within(|session| async move {
            let renewed = self.renew_and_look(&session, known).await;
            (session, renewed)
        })
        .await
    }

    async fn renew_and_look(&self, session: &Session, known: Known) -> Result<LeaseTerm, LeadershipError> {
        let me = self.fence.me();
        let renewed = session.execute(RENEW, &[&me, &self.fence.name(), &self.term.as_secs_f64()]).await;
        self.fence.set_access(access(&renewed));
        let renewed = renewed.map_err(|error| failed(&error))?;
        if session.take_unreplicated() {
            // A replica that is promoted would not have this renewal.
            return Err(LeadershipError::Unavailable("no replica has confirmed the renewal".to_owned()));
        }
        let found = self.look(session, known).await?;
        // The renewal was confirmed by whatever a commit waits for, and so was everything before it.
        self.fence.learn(found.known);
        match renewed > 0 && found.epoch_holder == Some(me) {
            true => Ok(LeaseTerm::For(self.term)),
            false => Err(LeadershipError::Superseded { by: found.by() }),
        }
    }

    pub(super) async fn report_late_writes(&self, late_writes: &[LateWrite]) -> Result<(), ReadError> {
        let lanes: Vec<String> = late_writes.iter().map(|late_write| lane_name(late_write.lane)).collect();
        let instances: Vec<&str> = late_writes.iter().map(|late_write| late_write.instance.as_str()).collect();
        let epoch = self.fence.last_epoch();
        let (lanes, instances, epoch) = (&lanes, &instances, &epoch);
        let noted = self.within(|session| async move {
            let noted = session.execute(SUSPECT, &[lanes, instances, epoch]).await;
            (session, noted.map(drop).map_err(|error| failed(&error)))
        });
        noted.await.map_err(ReadError::from_source)
    }

    /// Best effort: a lease that is not released runs out.
    pub(super) async fn release(&self) {
        if self.fence.epoch().is_none() {
            return;
        }
        self.fence.hold(None);
        self.lingers.store(false, Ordering::Release);
        let me = self.fence.me();
        let released = self.within(|session| async move {
            let released = committed(transact(&session, &[query!(RELEASE, me), query!(UNFENCE, me)]).await);
            (session, released.map(drop))
        });
        if let Err(error) = released.await {
            tracing::warn!(%error, "cannot give the journal's lease back: the next edge waits until it runs out");
        }
    }

    fn predecessor(&self) -> Predecessor {
        if self.lingers.load(Ordering::Acquire) { Predecessor::MayLinger } else { Predecessor::Gone }
    }

    /// Brings the schema up to date, once. If another edge holds the journal, returns its name and changes nothing.
    async fn bring_up_to_date(&self) -> Result<Option<String>, LeadershipError> {
        if self.current.load(Ordering::Acquire) {
            return Ok(None);
        }
        match self.schema.bring_up_to_date(self.fence.me(), |runs| self.courtesy.is_due(runs, self.term)).await {
            Ok(by) => {
                self.current.store(by.is_none(), Ordering::Release);
                Ok(by)
            }
            Err(error) => Err(unusable(error)),
        }
    }

    /// Reads the journal's row, and halts the journal if it is behind `known`, which must have been read earlier.
    async fn look(&self, session: &Session, known: Known) -> Result<Found, LeadershipError> {
        let row = session.query_one(FOUND, &[]).await.map_err(|error| failed(&error))?;
        let found = Found::read(&row).map_err(|error| LeadershipError::Unavailable(error.to_string()))?;
        if let Some(text) = behind(known, found.known) {
            halt(session, known, &text).await;
            return Err(LeadershipError::Unusable(text));
        }
        if let Some(text) = found.halted {
            return Err(LeadershipError::Unusable(text));
        }
        self.fence.learn_by_reading(&found);
        Ok(found)
    }

    /// Runs `work` on the lease's connection, for at most a third of the term; after that the connection is dropped.
    pub(super) async fn within<T, F>(&self, work: impl FnOnce(Exclusive) -> F) -> Result<T, LeadershipError>
    where
        F: Future<Output = (Exclusive, Result<T, LeadershipError>)>,
    {
        let worked = async {
            let loan = lend(&self.sessions).await.map_err(|error| match error {
                ConnectError::Refused(text) => LeadershipError::Unusable(text),
                ConnectError::Unreachable(text) => LeadershipError::Unavailable(text),
            })?;
            let (session, result) = work(Exclusive::new(loan)).await;
            if !matches!(result, Err(LeadershipError::Unavailable(_))) {
                session.give_back();
            }
            result
        };
        let late = || Err(LeadershipError::Unavailable("the database did not answer in time".to_owned()));
        tokio::time::timeout(self.term / 3, worked).await.unwrap_or_else(|_| late())
    }
}

fn committed(outcome: Outcome) -> Result<Vec<Vec<Row>>, LeadershipError> {
    match outcome {
        Outcome::Committed(rows) => Ok(rows),
        Outcome::Failed(said, _) => Err(LeadershipError::Unavailable(said.to_string())),
        Outcome::Lost(text) | Outcome::InDoubt(text) => Err(LeadershipError::Unavailable(text)),
    }
}

/// Returns the access that the result of a renewal reveals.
fn access(renewed: &Result<u64, tokio_postgres::Error>) -> Access {
    match renewed.as_ref().err().and_then(tokio_postgres::Error::code) {
        Some(code) if *code == SqlState::READ_ONLY_SQL_TRANSACTION => Access::ReadsOnly,
        _ => Access::Writes,
    }
}

fn unusable(error: SchemaError) -> LeadershipError {
    match error {
        SchemaError::Unavailable(text) => LeadershipError::Unavailable(text),
        error => LeadershipError::Unusable(error.to_string()),
    }
}

pub(super) fn failed(error: &tokio_postgres::Error) -> LeadershipError {
    LeadershipError::Unavailable(explain(error))
}
