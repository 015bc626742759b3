//! The shared journal: a PostgreSQL database, which outlives the edge's machine.
//!
//! One edge writes at a time, guarded by a lease and a fencing epoch. Every connection lives on a thread that belongs
//! to the store. Commits, reads and the lease have separate pools, so that none waits for another. [`Store`] and
//! [`Leadership`] define what a journal promises; docs/decisions/0013 gives the reasons for this design.

mod codec;
mod commit;
mod connection;
mod courtesy;
mod faults;
mod lease;
mod moving;
mod query;
mod schema;
#[cfg(test)]
mod tests;
mod trim;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;

use self::commit::facts;
use self::commit::fence::Fence;
use self::commit::writer::Writer;
use self::connection::connect::{Exclusive, FirstHost, Patience, Purpose, pool};
use self::connection::runtime::OwnThread;
use self::connection::tls;
use self::lease::Lease;
use self::query::read::Reader;
use self::query::{audit, capacity, events, lanes, load, quarantine, read, times};
use self::schema::Schema;
use super::{
    ApplicationUse, AuditPage, AuditQuery, Batch, Claim, CollectionTimes, CommitError, Compression, Details, EventId,
    EventPage, EventScope, Fault, HeldLane, History, LateWrite, LateWriteId, Leadership, LeadershipError, LeaseTerm,
    Lookup, QuarantineRow, ReadError, Recent, Request, Snapshot, StatusSummary, Store, Totals, TransactionRow, Trimmed,
    Trimming,
};
use crate::clock::Timestamp;
use crate::ids::{InstanceName, LaneId, Seq};

pub use connection::url::DatabaseUrl;
pub use moving::{MoveError, Moved, move_from};
pub use schema::{Applied, Difference, SchemaError, bring_up_to_date, validate};

/// The number of concurrent reads; further reads wait.
const READERS: usize = 4;
/// How long dropping the store may take to release the lease.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// Time limits, and the store's settings.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// The limit of one commit. When it passes, the connection is dropped and the commit is in doubt. Shorter than the
    /// callers' own limit.
    pub commit: Duration,
    /// The limit of a read of a few rows.
    pub read: Duration,
    /// The limit of a read of everything: at start, for totals and for retention.
    pub scan: Duration,
    /// How long the lease runs unless it is renewed. Each operation on the lease ends within a third of this.
    pub term: Duration,
    /// The name under which other edges see this process when it holds the journal.
    pub name: String,
    /// How new bodies are stored.
    pub compression: Compression,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        let term = Duration::from_secs(3);
        let secs = Duration::from_secs;
        PostgresOptions {
            commit: secs(2),
            read: secs(5),
            scan: secs(120),
            term,
            name: this_process(),
            compression: Compression::None,
        }
    }
}

/// The name of this process, for operators: `host:pid`.
fn this_process() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}:{}", std::process::id())
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot start the thread of the journal's connections: {0}")]
    Thread(std::io::Error),
    #[error("cannot encrypt connections to the journal's database: {0}")]
    Tls(String),
}

/// A journal in a PostgreSQL database.
///
/// It connects on first use, and reconnects when necessary.
pub struct PostgresStore {
    parts: Arc<Parts>,
    options: PostgresOptions,
    thread: OwnThread,
}

/// The parts that run on the store's thread.
struct Parts {
    writer: Mutex<Writer>,
    reader: Reader,
    lease: Lease,
    /// Whether a commit is in doubt.
    doubt: Arc<AtomicBool>,
}

impl PostgresStore {
    /// Creates a store on this database. Does not connect; [`Leadership::claim`] brings the schema up to date.
    ///
    /// # Errors
    /// The thread cannot be started, or the trusted certificates cannot be read.
    pub fn open(url: &DatabaseUrl, options: PostgresOptions) -> Result<PostgresStore, OpenError> {
        let tls = tls::connector(url).map_err(OpenError::Tls)?;
        let thread = OwnThread::start("journal-postgres").map_err(OpenError::Thread)?;
        let fence = Arc::new(Fence::new(options.name.clone()));
        let doubt = Arc::new(AtomicBool::new(false));
        // An edge that is stopped in the middle of a commit must not still hold the row lock when its lease ends.
        let idle = options.term * 3 / 5;
        let of =
            |wait: Duration, statement: Duration| Patience { connect: wait * 2 / 5, statement, lock: statement, idle };
        // The server's own limit must not fire first: a COMMIT that it cuts short may not have reached the replicas
        // that it waits for.
        let commits = Patience { lock: options.commit, ..of(options.commit, options.commit * 2) };
        let first = FirstHost::default();
        let commits = pool(url, &tls, (Purpose::Commits, &first), commits, 1);
        let reads = pool(url, &tls, (Purpose::Reads, &first), of(options.read, options.scan), READERS);
        let leases = pool(url, &tls, (Purpose::Lease, &first), of(options.term / 3, options.term / 3), 1);
        let writer = Writer::new(commits, Arc::clone(&fence), Arc::clone(&doubt), options.commit, options.compression);
        let lease = Lease::new(leases, Schema::new(url, &tls, &first), fence, options.term);
        let parts = Parts { writer: Mutex::new(writer), reader: Reader::new(reads), lease, doubt };
        Ok(PostgresStore { parts: Arc::new(parts), options, thread })
    }

    /// Waits until no commit is in doubt. A transaction that is not found after that will never appear.
    async fn no_doubt(&self) -> Result<(), ReadError> {
        if !self.parts.doubt.load(Ordering::Acquire) {
            return Ok(());
        }
        let settled = self.on_thread(|parts| async move { parts.writer.lock().await.settle().await });
        let settled = settled.await.ok_or_else(|| ReadError::new(stopped()))?;
        settled.map_err(ReadError::from_source)
    }

    async fn on_thread<T, F>(&self, work: impl FnOnce(Arc<Parts>) -> F) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        self.thread.run(work(Arc::clone(&self.parts))).await
    }
}

/// Runs one read of `query/` on a reader's connection, with its own copies of the arguments.
macro_rules! read {
    ($store:ident.$patience:ident, [$($name:ident = $value:expr),*], |$session:ident| $read:expr) => {{
        let patience = $store.options.$patience;
        $(let $name = $value;)*
        let read = $store.on_thread(move |parts| async move {
            $(let $name = &$name;)*
            let read = |mut connection: Exclusive| async move {
                let $session = &mut connection;
                let read = $read.await;
                (connection, read)
            };
            parts.reader.read(patience, read).await
        });
        read.await.unwrap_or_else(|| Err(ReadError::new(stopped())))
    }};
}

impl Drop for PostgresStore {
    /// Releases the lease, if that succeeds quickly, and closes all connections.
    fn drop(&mut self) {
        let parts = Arc::clone(&self.parts);
        self.thread.finish(async move { tokio::time::timeout(RELEASE_TIMEOUT, parts.lease.release()).await });
    }
}

fn stopped() -> String {
    "the thread of the journal's connections has stopped".to_owned()
}

#[async_trait]
impl Store for PostgresStore {
    async fn commit(&self, batch: Batch) -> Result<Vec<Seq>, CommitError> {
        let committed = self.on_thread(|parts| async move { parts.writer.lock().await.commit(&batch).await });
        committed.await.unwrap_or_else(|| Err(CommitError::InDoubt(stopped())))
    }

    /// An empty batch is enough: the guard of every commit writes.
    async fn probe(&self) -> Result<(), CommitError> {
        self.commit(Batch::default()).await.map(drop)
    }

    async fn load(&self, configured: &[InstanceName]) -> Result<Snapshot, ReadError> {
        read!(self.scan, [configured = configured.to_vec()], |session| load::load(session, configured))
    }

    async fn requests(&self, seqs: &[Seq]) -> Result<Vec<Request>, ReadError> {
        read!(self.read, [seqs = seqs.to_vec()], |session| read::requests(session, seqs))
    }

    async fn history(&self, lane: LaneId, after: Seq, most: u32) -> Result<History, ReadError> {
        read!(self.read, [], |session| read::history(session, lane, after, most))
    }

    /// After a commit in doubt, fails until the doubt is resolved. A transaction that is not found after that will
    /// never appear.
    async fn transaction(&self, lookup: &Lookup) -> Result<Option<TransactionRow>, ReadError> {
        self.no_doubt().await?;
        read!(self.read, [lookup = lookup.clone()], |session| read::transaction(session, lookup))
    }

    async fn details(&self, lookup: &Lookup) -> Result<Option<Details>, ReadError> {
        self.no_doubt().await?;
        read!(self.read, [lookup = lookup.clone()], |session| audit::details(session, lookup))
    }

    async fn audit(&self, query: &AuditQuery) -> Result<AuditPage, ReadError> {
        read!(self.scan, [query = query.clone()], |session| audit::audit(session, query))
    }

    async fn summary(&self) -> Result<Vec<StatusSummary>, ReadError> {
        read!(self.scan, [], |session| audit::summary(session))
    }

    async fn recent(&self, since: Timestamp, gaps_since: Timestamp) -> Result<Recent, ReadError> {
        read!(self.scan, [], |session| audit::recent(session, since, gaps_since))
    }

    async fn events(&self, scope: &EventScope, after: EventId, most: u32) -> Result<EventPage, ReadError> {
        read!(self.read, [scope = scope.clone()], |session| events::events(session, scope, after, most))
    }

    async fn begin(&self, configured: &[InstanceName], at: Timestamp) -> Result<(), CommitError> {
        let configured = configured.to_vec();
        let begun = self.on_thread(move |parts| async move {
            let mut queries = Vec::new();
            lanes::note_configured(&configured, at, &mut queries);
            queries.push(facts::finish_statuses(at));
            parts.writer.lock().await.execute(queries).await.map(drop)
        });
        begun.await.unwrap_or_else(|| Err(CommitError::InDoubt(stopped())))
    }

    async fn collection_times(&self) -> Result<Vec<CollectionTimes>, ReadError> {
        read!(self.scan, [], |session| times::of_collections(session))
    }

    async fn journaled_at(&self, seqs: &[Seq]) -> Result<Vec<(Seq, Timestamp)>, ReadError> {
        read!(self.read, [seqs = seqs.to_vec()], |session| times::of_transactions(session, seqs))
    }

    async fn quarantines(&self) -> Result<Vec<QuarantineRow>, ReadError> {
        read!(self.read, [], |session| quarantine::list(session))
    }

    async fn totals(&self) -> Result<Totals, ReadError> {
        read!(self.scan, [], |session| audit::totals(session))
    }

    /// Returns the size of the tables, which is cheap to read but includes the space that removed rows left. Only if
    /// that size is above `limit` are the rows summed up.
    async fn used_bytes(&self, limit: u64) -> Result<u64, ReadError> {
        read!(self.scan, [], |session| capacity::used_bytes(session, limit))
    }

    async fn application_use(&self) -> Result<ApplicationUse, ReadError> {
        read!(self.scan, [], |session| capacity::application_use(session))
    }

    async fn application_bytes_of(&self, client: &str) -> Result<u64, ReadError> {
        read!(self.read, [client = client.to_owned()], |session| capacity::application_bytes_of(session, client))
    }

    async fn held(&self, configured: &[InstanceName]) -> Result<Vec<HeldLane>, ReadError> {
        read!(self.scan, [configured = configured.to_vec()], |session| capacity::held(session, configured))
    }

    async fn note_fault(&self, lane: LaneId, reason: &str, at: Timestamp) -> Result<(), ReadError> {
        let reason = reason.to_owned();
        let noted = self.on_thread(move |parts| async move { parts.lease.note_fault(lane, &reason, at).await });
        noted.await.unwrap_or_else(|| Err(ReadError::new(stopped())))
    }

    async fn faults(&self) -> Result<Vec<Fault>, ReadError> {
        read!(self.read, [], |session| faults::all(session))
    }

    async fn forget_faults(&self, lane: LaneId) -> Result<(), ReadError> {
        let forgotten = self.on_thread(move |parts| async move { parts.lease.forget_faults(lane).await });
        forgotten.await.unwrap_or_else(|| Err(ReadError::new(stopped())))
    }

    async fn trim(
        &self,
        before: Timestamp,
        configured: &[InstanceName],
        why: Trimming,
        most: u32,
    ) -> Result<Trimmed, CommitError> {
        let (configured, patience) = (configured.to_vec(), self.options.scan);
        let trimmed = self.on_thread(move |parts| async move {
            let names = &configured;
            let look = |session| async move {
                let plan = trim::plan(&session, before, names, why, most).await;
                (session, plan)
            };
            let plan = parts.reader.read(patience, look).await;
            let plan = plan.map_err(|error| CommitError::Refused(error.to_string()))?;
            if plan.is_empty() {
                return Ok(Trimmed::default());
            }
            let rows = parts.writer.lock().await.execute(trim::carry_out(&plan, &configured, why)).await?;
            Ok(trim::removed(&rows))
        });
        trimmed.await.unwrap_or_else(|| Err(CommitError::InDoubt(stopped())))
    }
}

#[async_trait]
impl Leadership for PostgresStore {
    async fn claim(&self) -> Result<Claim, LeadershipError> {
        let claimed = self.on_thread(|parts| async move { parts.lease.claim().await });
        claimed.await.unwrap_or_else(|| Err(LeadershipError::Unavailable(stopped())))
    }

    async fn renew(&self) -> Result<LeaseTerm, LeadershipError> {
        let renewed = self.on_thread(|parts| async move { parts.lease.renew().await });
        renewed.await.unwrap_or_else(|| Err(LeadershipError::Unavailable(stopped())))
    }

    async fn report_late_writes(&self, late_writes: &[LateWrite]) -> Result<(), ReadError> {
        let late_writes = late_writes.to_vec();
        let noted = self.on_thread(|parts| async move { parts.lease.report_late_writes(&late_writes).await });
        noted.await.unwrap_or_else(|| Err(ReadError::new(stopped())))
    }

    async fn late_writes(&self) -> Result<Vec<(LateWriteId, LateWrite)>, ReadError> {
        read!(self.read, [], |session| read::late_writes(session))
    }

    async fn release(&self) {
        self.on_thread(|parts| async move { parts.lease.release().await }).await;
    }
}
