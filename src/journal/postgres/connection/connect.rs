//! A connection: which host, which settings, and whether the server will do.
//!
//! Three kinds, each with a pool of its own, so that a commit that hangs delays neither a renewal of the lease nor a
//! read. What is set here bounds how long a server keeps the locks of an edge that it lost sight of.

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

/// The oldest server that is supported.
const OLDEST: i32 = 15;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::journal::postgres) enum Purpose {
    Commits,
    Reads,
    Lease,
    Schema,
}

/// How long things may take on one kind of connection.
#[derive(Clone, Copy, Debug)]
pub(in crate::journal::postgres) struct Patience {
    /// For one of several hosts to take a connection: less than half of what its callers wait.
    pub(in crate::journal::postgres) connect: Duration,
    /// For the server to execute one statement.
    pub(in crate::journal::postgres) statement: Duration,
    /// For a lock that another session holds.
    pub(in crate::journal::postgres) lock: Duration,
    /// For the next statement of a transaction; then the server ends the session, and its locks.
    pub(in crate::journal::postgres) idle: Duration,
}

/// A connection that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::journal::postgres) enum ConnectError {
    /// Not now.
    #[error("{0}")]
    Unreachable(String),
    /// Not before somebody changed something.
    #[error("{0}")]
    Refused(String),
}

/// An open connection.
pub(in crate::journal::postgres) struct Session {
    client: ClientWrapper,
    /// The server gave up waiting for its replicas: what it said was committed may be lost with it.
    unreplicated: Arc<AtomicBool>,
}

impl Session {
    /// Whether the server, since this was asked last, gave up waiting for the replicas that a commit must reach.
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
    /// What was logged once.
    warned: AtomicBool,
}

/// The host to begin with, for all pools of a store: after a failover the first of them to find the new leader spares the
/// others the wait for a dead one that does not even refuse.
#[derive(Clone, Debug, Default)]
pub(in crate::journal::postgres) struct FirstHost(Arc<AtomicUsize>);

impl FirstHost {
    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn took(&self, index: usize) {
        self.0.store(index, Ordering::Relaxed);
    }

    /// Unless another pool has found one meanwhile.
    fn failed(&self, index: usize, count: usize) {
        let _ = self.0.compare_exchange(index, (index + 1) % count, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// A pool of connections of one kind.
pub(in crate::journal::postgres) type Sessions = Pool<Opener>;
/// A connection on loan from its pool.
pub(in crate::journal::postgres) type Loan = deadpool::managed::Object<Opener>;

/// A connection of this pool, or why there is none: not in the words of the pool, which says of each failure where it was met.
pub(in crate::journal::postgres) async fn lend(sessions: &Sessions) -> Result<Loan, ConnectError> {
    sessions.get().await.map_err(|error| match error {
        PoolError::Backend(error) => error,
        error => ConnectError::Unreachable(error.to_string()),
    })
}

/// A connection that is closed when it is dropped: its statement ends with it.
pub(in crate::journal::postgres) struct Exclusive(Option<Loan>);

impl Exclusive {
    pub(in crate::journal::postgres) fn new(loan: Loan) -> Exclusive {
        Exclusive(Some(loan))
    }

    /// Gives the connection back, for others to use.
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
        // Taken out only by what ends it.
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

/// A pool of up to `size` connections, opened when needed.
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
    // Without timeouts of its own a pool needs nothing that its builder could miss.
    Pool::builder(opener).max_size(size).build().unwrap_or_else(|error| unreachable!("{error}"))
}

impl Opener {
    /// Asks each host in turn, beginning with the one that took the last connection, or could not be asked in time.
    async fn open(&self) -> Result<Session, ConnectError> {
        let mut failures = Vec::new();
        let mut worst: fn(String) -> ConnectError = ConnectError::Unreachable;
        let count = self.targets.len();
        let begin = self.first.get();
        for index in (0..count).map(|step| (begin + step) % count) {
            let target = &self.targets[index];
            let patience = target.get_connect_timeout().copied().unwrap_or(self.patience.connect);
            // A silent host must not use up the caller's time again and again.
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

    /// Looks at the server and sets what the connection needs.
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
            // Statements of a commit are sent ahead of the answers: should its BEGIN fail, none of them may do
            // anything alone. And each is by key: no plan made for an empty table may outlive its growth.
            settings.push_str(
                "SET default_transaction_read_only = on; SET plan_cache_mode = force_generic_plan;
                SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;",
            );
        }
        settings
    }

    /// Tells the operator, once, of a server that forgets what it said was durable.
    fn warn(&self, row: &Row) {
        for setting in ["fsync", "full_page_writes"] {
            let off = row.try_get::<_, String>(setting).is_ok_and(|value| value == "off");
            if off && self.purpose == Purpose::Commits && !self.warned.swap(true, Ordering::AcqRel) {
                tracing::warn!(
                    setting,
                    "the database server runs without it: a crash of its machine loses the journal"
                );
            }
        }
    }
}

/// Runs the connection until it ends. What the server says unasked goes to the log.
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
                    tracing::debug!(%notice, "the journal's database says");
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

/// The failure with its causes, on one line.
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
        // Not authorised; no such database.
        Some(code) if code.code().starts_with("28") || code.code() == "3D000" => ConnectError::Refused(text),
        _ => ConnectError::Unreachable(text),
    }
}
