//! A connection: which host, which settings, and whether the server is suitable.
//!
//! Each kind of connection has a pool of its own, so that a commit that hangs delays neither a lease renewal nor a
//! read. The settings limit how long a server keeps the locks of an edge that it has lost contact with.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use deadpool::managed::{Manager, Metrics, Pool, PoolError, RecycleError, RecycleResult};
use deadpool_postgres::ClientWrapper;
use tokio_postgres::config::SslMode;
use tokio_postgres::{AsyncMessage, Config, Connection, NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::url::{DatabaseUrl, place};

/// The oldest supported server version.
const OLDEST: i32 = 15;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::journal::postgres) enum Purpose {
    Commits,
    Reads,
    Lease,
    Schema,
}

/// Time limits for one kind of connection.
#[derive(Clone, Copy, Debug)]
pub(in crate::journal::postgres) struct Patience {
    /// For one of several hosts to accept a connection. Less than half of the callers' own limit.
    pub(in crate::journal::postgres) connect: Duration,
    /// For the server to execute one statement.
    pub(in crate::journal::postgres) statement: Duration,
    /// For a lock that another session holds.
    pub(in crate::journal::postgres) lock: Duration,
    /// For the next statement within a transaction. After that the server ends the session, which releases its locks.
    pub(in crate::journal::postgres) idle: Duration,
}

/// Why a connection could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::journal::postgres) enum ConnectError {
    /// A later attempt may succeed.
    #[error("{0}")]
    Unreachable(String),
    /// No attempt succeeds until an operator changes something.
    #[error("{0}")]
    Refused(String),
}

/// An open connection.
pub(in crate::journal::postgres) struct Session {
    client: ClientWrapper,
    /// Whether the server gave up waiting for its replicas: a commit that it reported may be lost along with it.
    unreplicated: Arc<AtomicBool>,
}

impl Session {
    /// Returns whether, since the last call, the server has given up waiting for the replicas that a commit must reach.
    pub(in crate::journal::postgres) fn take_unreplicated(&self) -> bool {
        self.unreplicated.swap(false, Ordering::AcqRel)
    }
}

impl Deref for Session {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        &self.client
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut ClientWrapper {
        &mut self.client
    }
}

/// Opens connections of one kind.
pub(in crate::journal::postgres) struct Opener {
    targets: Vec<Config>,
    tls: MakeRustlsConnect,
    purpose: Purpose,
    patience: Patience,
    first: FirstHost,
    /// Whether the warning has been logged.
    warned: AtomicBool,
}

/// The host to try first, shared by all pools of a store. After a failover, the first pool to find the new leader
/// spares the others the wait for a dead host that does not even refuse connections.
#[derive(Clone, Debug, Default)]
pub(in crate::journal::postgres) struct FirstHost(Arc<AtomicUsize>);

impl FirstHost {
    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn took(&self, index: usize) {
        self.0.store(index, Ordering::Relaxed);
    }

    /// Moves on to the next host, unless another pool has changed it meanwhile.
    fn failed(&self, index: usize, count: usize) {
        let _ = self.0.compare_exchange(index, (index + 1) % count, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// A pool of connections of one kind.
pub(in crate::journal::postgres) type Sessions = Pool<Opener>;
/// A connection on loan from its pool.
pub(in crate::journal::postgres) type Loan = deadpool::managed::Object<Opener>;

/// Returns a connection from this pool, or why there is none. Leaves out the pool's own wording, which only adds where
/// the failure occurred.
pub(in crate::journal::postgres) async fn lend(sessions: &Sessions) -> Result<Loan, ConnectError> {
    sessions.get().await.map_err(|error| match error {
        PoolError::Backend(error) => error,
        error => ConnectError::Unreachable(error.to_string()),
    })
}

/// A connection that is closed when it is dropped, so that its statement ends with it.
pub(in crate::journal::postgres) struct Exclusive(Option<Loan>);

impl Exclusive {
    pub(in crate::journal::postgres) fn new(loan: Loan) -> Exclusive {
        Exclusive(Some(loan))
    }

    /// Returns the connection to the pool.
    pub(in crate::journal::postgres) fn give_back(mut self) {
        self.0 = None;
    }
}

impl DerefMut for Exclusive {
    fn deref_mut(&mut self) -> &mut Session {
        self.0.as_mut().unwrap_or_else(|| unreachable!("a connection that was given back"))
    }
}

impl Deref for Exclusive {
    type Target = Session;

    fn deref(&self) -> &Session {
        // Only `give_back` and `drop` take it out, and nothing uses the value after them.
        self.0.as_ref().unwrap_or_else(|| unreachable!("a connection that was given back"))
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        if let Some(loan) = self.0.take() {
            drop(Loan::take(loan));
        }
    }
}

/// Creates a pool of up to `size` connections, opened when needed.
pub(in crate::journal::postgres) fn pool(
    url: &DatabaseUrl,
    tls: &MakeRustlsConnect,
    (purpose, first): (Purpose, &FirstHost),
    patience: Patience,
    size: usize,
) -> Sessions {
    let opener = Opener {
        targets: url.targets().to_vec(),
        tls: tls.clone(),
        purpose,
        patience,
        first: first.clone(),
        warned: AtomicBool::new(false),
    };
    // The builder fails only if timeouts are set without a runtime, and none are set.
    Pool::builder(opener).max_size(size).build().unwrap_or_else(|error| unreachable!("{error}"))
}

impl Opener {
    /// Tries each host in turn. Begins with the host that accepted the last connection, or the first one that the last
    /// attempt did not get to.
    async fn open(&self) -> Result<Session, ConnectError> {
        let mut failures = Vec::new();
        let mut worst: fn(String) -> ConnectError = ConnectError::Unreachable;
        let count = self.targets.len();
        let begin = self.first.get();
        for index in (0..count).map(|step| (begin + step) % count) {
            let target = &self.targets[index];
            let patience = target.get_connect_timeout().copied().unwrap_or(self.patience.connect);
            // A silent host must not use up the caller's time on every attempt.
            let patience = if count == 1 { patience } else { patience.min(self.patience.connect) };
            let attempt = tokio::time::timeout(patience, self.open_one(target)).await;
            match attempt.unwrap_or_else(|_| Err(ConnectError::Unreachable("it did not answer in time".to_owned()))) {
                Ok(session) => {
                    self.first.took(index);
                    return Ok(session);
                }
                Err(error) => {
                    self.first.failed(index, count);
                    failures.push(format!("{}: {error}", place(target)));
                    if matches!(error, ConnectError::Refused(_)) {
                        worst = ConnectError::Refused;
                    }
                }
            }
        }
        Err(worst(format!("cannot connect to {}", failures.join("; "))))
    }

    async fn open_one(&self, target: &Config) -> Result<Session, ConnectError> {
        let unreplicated = Arc::new(AtomicBool::new(false));
        let (client, task) = match target.get_ssl_mode() {
            SslMode::Disable => {
                let (client, connection) = target.connect(NoTls).await.map_err(|error| failed(&error))?;
                (client, drive(connection, Arc::clone(&unreplicated)))
            }
            _ => {
                let (client, connection) = target.connect(self.tls.clone()).await.map_err(|error| failed(&error))?;
                (client, drive(connection, Arc::clone(&unreplicated)))
            }
        };
        let session = Session { client: ClientWrapper::new(client, task), unreplicated };
        self.settle_in(&session).await?;
        Ok(session)
    }

    /// Checks that the server is suitable, and applies the connection's settings.
    async fn settle_in(&self, session: &Session) -> Result<(), ConnectError> {
        const LOOK: &str = "SELECT current_setting('server_version_num')::int4 AS version,
            current_setting('server_encoding') AS encoding, current_setting('fsync') AS fsync,
            current_setting('full_page_writes') AS full_page_writes,
            current_setting('synchronous_commit') AS synchronous_commit";
        let row = session.query_one(LOOK, &[]).await.map_err(|error| failed(&error))?;
        let text = |column: &str| row.try_get::<_, String>(column).map_err(|error| failed(&error));
        let version = row.try_get::<_, i32>("version").map_err(|error| failed(&error))? / 10_000;
        if version < OLDEST {
            let text = format!("it is PostgreSQL {version}, and the journal needs {OLDEST} or newer");
            return Err(ConnectError::Refused(text));
        }
        let encoding = text("encoding")?;
        if encoding != "UTF8" {
            let text = format!("its database is encoded in {encoding}, and the journal needs UTF8");
            return Err(ConnectError::Refused(text));
        }
        self.warn(&row);
        let off = text("synchronous_commit")? == "off";
        session.batch_execute(&self.settings(off)).await.map_err(|error| failed(&error))
    }

    fn settings(&self, commits_lazily: bool) -> String {
        let millis = |span: Duration| span.as_millis().max(1);
        let Patience { statement, lock, idle, connect: _ } = self.patience;
        let mut settings = format!(
            "SET statement_timeout = {}; SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {};
            SET jit = off; SET bytea_output = 'hex';",
            millis(statement),
            millis(lock),
            millis(idle)
        );
        if commits_lazily {
            settings.push_str("SET synchronous_commit = on;");
        }
        if self.purpose == Purpose::Commits {
            // A commit's statements are sent before any answer arrives: if BEGIN fails, none of them may take effect on
            // its own. All of them look rows up by key: a plan made for an empty table must still be good when the
            // table has grown.
            settings.push_str(
                "SET default_transaction_read_only = on; SET plan_cache_mode = force_generic_plan;
                SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;",
            );
        }
        settings
    }

    /// Warns the operator, once, about a server that can lose what it has reported as durable.
    fn warn(&self, row: &Row) {
        for setting in ["fsync", "full_page_writes"] {
            let off = row.try_get::<_, String>(setting).is_ok_and(|value| value == "off");
            if off && self.purpose == Purpose::Commits && !self.warned.swap(true, Ordering::AcqRel) {
                tracing::warn!(
                    setting,
                    "the database server runs with this setting off: a crash of its machine may lose the journal"
                );
            }
        }
    }
}

/// Runs the connection until it ends. The server's notices go to the log.
#[allow(clippy::disallowed_methods, reason = "one task for each connection: it ends with it")]
fn drive<S, T>(mut connection: Connection<S, T>, unreplicated: Arc<AtomicBool>) -> tokio::task::JoinHandle<()>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        loop {
            match std::future::poll_fn(|context| connection.poll_message(context)).await {
                Some(Ok(AsyncMessage::Notice(notice))) => {
                    if notice.routine() == Some("SyncRepWaitForLSN") {
                        unreplicated.store(true, Ordering::Release);
                    }
                    tracing::debug!(%notice, "notice from the journal's database");
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    tracing::debug!(error = %explain(&error), "a connection to the journal's database ended");
                    return;
                }
                None => return,
            }
        }
    })
}

impl Manager for Opener {
    type Type = Session;
    type Error = ConnectError;

    async fn create(&self) -> Result<Session, ConnectError> {
        self.open().await
    }

    async fn recycle(&self, session: &mut Session, _: &Metrics) -> RecycleResult<ConnectError> {
        match session.is_closed() {
            true => Err(RecycleError::message("it is closed")),
            false => Ok(()),
        }
    }
}

/// Returns the error with its causes, on one line.
pub(in crate::journal::postgres) fn explain(error: &tokio_postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", said.message(), said.code().code());
    }
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn failed(error: &tokio_postgres::Error) -> ConnectError {
    let text = explain(error);
    match error.code() {
        // Not authorized, or no such database.
        Some(code) if code.code().starts_with("28") || code.code() == "3D000" => ConnectError::Refused(text),
        _ => ConnectError::Unreachable(text),
    }
}
