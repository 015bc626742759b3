//! The schema: brings it up to this binary's, and reports what is missing or different.
//!
//! Decides who may change it: one process at a time, under an advisory lock. A schema from a newer version, or one
//! whose migrations are not this binary's, is refused.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use tokio_postgres::Row;
use uuid::Uuid;

use super::codec::row::get;
use super::commit::fence::{FOUND, Found};
use super::connection::connect::{
    ConnectError, Exclusive, FirstHost, Patience, Purpose, Session, Sessions, explain, lend, pool,
};
use super::connection::tls;
use super::connection::url::DatabaseUrl;
use crate::journal::ReadError;

mod migrations {
    refinery::embed_migrations!("migrations/postgres");
}

const HISTORY: &str = "chroma_edge.refinery_schema_history";
/// The key of the advisory lock: the first eight bytes of "chroma-edge".
const LOCK: i64 = i64::from_be_bytes(*b"chroma-e");
/// How long to wait for another process that migrates.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);
/// The limit of one statement of a migration.
const STATEMENT_PATIENCE: Duration = Duration::from_secs(60 * 60);

/// A migration that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    pub version: i32,
    pub name: String,
}

/// A difference between the schema and what this binary needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// `chroma-edge migrate` would apply it.
    Pending { version: i32, name: String },
    /// It was applied in another form.
    Changed { version: i32, name: String },
    /// It was applied by a newer binary.
    Newer { version: i32, name: String },
    /// It does not exist, or not in the right form.
    Missing { what: String },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Pending { version, name } => write!(f, "migration V{version} ({name}) is not applied"),
            Difference::Changed { version, name } => {
                write!(f, "migration V{version} ({name}) was applied in another form")
            }
            Difference::Newer { version, name } => {
                write!(f, "migration V{version} ({name}) is of a newer binary, and unknown to this one")
            }
            Difference::Missing { what } => write!(f, "missing, or different: {what}"),
        }
    }
}

/// Why a schema could not be brought up to this binary's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// The database did not answer, or not in time.
    #[error("{0}")]
    Unavailable(String),
    /// This edge may not log in, or the server is not suitable.
    #[error("{0}")]
    Refused(String),
    #[error("the journal's schema has version {found}, and this binary knows up to {known}: use a newer binary")]
    Newer { found: i32, known: i32 },
    #[error("{0}: the journal's schema was not made by this program's migrations")]
    Changed(Difference),
    #[error("cannot bring the journal to this binary's schema: {0}")]
    Migration(String),
}

/// The schema of one database.
pub(super) struct Schema {
    sessions: Sessions,
}

impl Schema {
    pub(super) fn new(url: &DatabaseUrl, tls: &tokio_postgres_rustls::MakeRustlsConnect, first: &FirstHost) -> Schema {
        let secs = Duration::from_secs;
        let patience =
            Patience { connect: secs(5), statement: STATEMENT_PATIENCE, lock: LOCK_PATIENCE, idle: secs(60) };
        Schema { sessions: pool(url, tls, (Purpose::Schema, first), patience, 1) }
    }

    /// Applies pending migrations. If an edge other than `me` holds the journal, returns its name instead and changes
    /// nothing. `is_held` decides whether to respect the other edge's lease, given whether the lease runs.
    pub(super) async fn bring_up_to_date(
        &self,
        me: Uuid,
        is_held: impl Fn(bool) -> bool,
    ) -> Result<Option<String>, SchemaError> {
        let mut session = self.session().await?;
        let applied = applied(&session).await?;
        refuse(&applied)?;
        if pending(&applied).is_empty() {
            return Ok(None);
        }
        if !applied.is_empty() {
            let row = session.query_one(FOUND, &[]).await.map_err(|error| unavailable(&error))?;
            let found = Found::read(&row).map_err(damaged)?;
            if found.holder.is_some_and(|holder| holder != me) && is_held(found.runs) {
                return Ok(Some(found.by()));
            }
        }
        migrate(&mut session).await.map(|_| None)
    }

    pub(super) async fn session(&self) -> Result<Exclusive, SchemaError> {
        let loan = lend(&self.sessions).await.map_err(|error| match error {
            ConnectError::Refused(text) => SchemaError::Refused(text),
            ConnectError::Unreachable(text) => SchemaError::Unavailable(text),
        })?;
        Ok(Exclusive::new(loan))
    }
}

/// Opens a connection for a caller that does nothing else with this database.
pub(super) async fn session_on(url: &DatabaseUrl) -> Result<Exclusive, SchemaError> {
    let tls = tls::connector(url).map_err(SchemaError::Refused)?;
    Schema::new(url, &tls, &FirstHost::default()).session().await
}

/// Returns an error if a newer binary has migrated the schema further than this one supports.
pub(super) async fn known(session: &Session) -> Result<(), SchemaError> {
    refuse(&applied(session).await?)
}

/// Brings the database's schema up to this binary's. Returns the migrations applied, none if it was up to date.
///
/// # Errors
/// The database cannot be reached, or its schema is newer or not this program's.
pub async fn bring_up_to_date(url: &DatabaseUrl) -> Result<Vec<Applied>, SchemaError> {
    let mut session = session_on(url).await?;
    let applied = applied(&session).await?;
    refuse(&applied)?;
    if pending(&applied).is_empty() { Ok(Vec::new()) } else { migrate(&mut session).await }
}

/// Reports what is missing or different, and changes nothing.
///
/// # Errors
/// The database cannot be reached.
pub async fn validate(url: &DatabaseUrl) -> Result<Vec<Difference>, SchemaError> {
    let session = session_on(url).await?;
    let applied = applied(&session).await?;
    let mut differences: Vec<Difference> = pending(&applied);
    differences.extend(applied.iter().filter_map(difference));
    let found: BTreeSet<String> = listing(&session).await?.into_iter().collect();
    let missing = EXPECTED.lines().filter(|line| !found.contains(*line));
    // Anything that a pending migration creates is missing only because it is pending.
    if !differences.iter().any(|difference| matches!(difference, Difference::Pending { .. })) {
        differences.extend(missing.map(|line| Difference::Missing { what: line.to_owned() }));
    }
    Ok(differences)
}

/// Every table, column, index, constraint, view and function of this binary's schema, one a line, sorted.
pub(super) const EXPECTED: &str = include_str!("expected.txt");

/// The database's own version of [`EXPECTED`]. Views are in the connection's own schema, the rest in the journal's.
pub(super) const LISTING: &str = "
    SELECT CASE c.relkind WHEN 'v' THEN 'view ' WHEN 'i' THEN 'index ' ELSE 'table ' END || c.relname
    FROM pg_class AS c
    WHERE c.relkind IN ('r', 'i') AND c.relnamespace = to_regnamespace('chroma_edge')
        OR c.relkind = 'v' AND c.relnamespace IN (to_regnamespace('chroma_edge'), to_regnamespace(current_schema()))
    UNION ALL
    SELECT 'column ' || c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
    FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
    WHERE a.attnum > 0 AND NOT a.attisdropped
        AND (c.relkind = 'r' AND c.relnamespace = to_regnamespace('chroma_edge')
            OR c.relkind = 'v' AND c.relnamespace IN (to_regnamespace('chroma_edge'), to_regnamespace(current_schema())))
    UNION ALL
    SELECT 'function ' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')'
    FROM pg_proc AS p WHERE p.pronamespace = to_regnamespace('chroma_edge')
    UNION ALL
    SELECT 'trigger ' || c.relname || '.' || g.tgname
    FROM pg_trigger AS g JOIN pg_class AS c ON c.oid = g.tgrelid
    WHERE NOT g.tgisinternal
        AND c.relnamespace IN (to_regnamespace('chroma_edge'), to_regnamespace(current_schema()))";

async fn listing(session: &Session) -> Result<Vec<String>, SchemaError> {
    let rows = session.query(LISTING, &[]).await.map_err(|error| unavailable(&error))?;
    let mut lines = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>();
    if let Ok(lines) = &mut lines {
        lines.sort();
    }
    lines.map_err(|error| unavailable(&error))
}

/// A migration as recorded in the database.
struct Remembered {
    version: i32,
    name: String,
    checksum: String,
}

async fn applied(session: &Session) -> Result<Vec<Remembered>, SchemaError> {
    let there = session.query_one("SELECT to_regclass($1) IS NOT NULL", &[&HISTORY]).await;
    let there: bool = there.and_then(|row| row.try_get(0)).map_err(|error| unavailable(&error))?;
    if !there {
        return Ok(Vec::new());
    }
    let sql = "SELECT version, name, checksum FROM chroma_edge.refinery_schema_history ORDER BY version";
    let rows = session.query(sql, &[]).await.map_err(|error| unavailable(&error))?;
    let remembered = |row: &Row| {
        Ok(Remembered { version: get(row, "version")?, name: get(row, "name")?, checksum: get(row, "checksum")? })
    };
    rows.iter().map(remembered).collect::<Result<_, ReadError>>().map_err(damaged)
}

/// Returns how an applied migration differs from this binary's.
fn difference(found: &Remembered) -> Option<Difference> {
    let (version, name) = (found.version, found.name.clone());
    let runner = migrations::migrations::runner();
    match runner.get_migrations().iter().find(|known| known.version() == version) {
        None => Some(Difference::Newer { version, name }),
        Some(known) if known.checksum().to_string() != found.checksum || known.name() != name => {
            Some(Difference::Changed { version, name })
        }
        Some(_) => None,
    }
}

fn pending(applied: &[Remembered]) -> Vec<Difference> {
    let runner = migrations::migrations::runner();
    let mut known = runner.get_migrations().clone();
    known.sort();
    let missing = known.iter().filter(|known| applied.iter().all(|found| found.version != known.version()));
    missing.map(|known| Difference::Pending { version: known.version(), name: known.name().to_owned() }).collect()
}

/// Refuses a schema that is not an earlier one of this binary's.
fn refuse(applied: &[Remembered]) -> Result<(), SchemaError> {
    let known = migrations::migrations::runner().get_migrations().iter().map(refinery::Migration::version).max();
    let known = known.unwrap_or_default();
    for found in applied {
        match difference(found) {
            None => {}
            Some(Difference::Newer { .. }) => {
                let found = applied.iter().map(|found| found.version).max().unwrap_or_default();
                return Err(SchemaError::Newer { found, known });
            }
            Some(difference) => return Err(SchemaError::Changed(difference)),
        }
    }
    Ok(())
}

async fn migrate(session: &mut Exclusive) -> Result<Vec<Applied>, SchemaError> {
    let failed = |error: tokio_postgres::Error| SchemaError::Migration(explain(&error));
    session.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await.map_err(failed)?;
    // The schema may have been created for a user who is not allowed to create one.
    let there = session.query_one("SELECT to_regnamespace('chroma_edge') IS NOT NULL", &[]).await.map_err(failed)?;
    if !there.try_get::<_, bool>(0).map_err(failed)? {
        session.batch_execute("CREATE SCHEMA IF NOT EXISTS chroma_edge").await.map_err(failed)?;
    }
    // All or nothing: if one migration fails, none is applied.
    let mut runner = migrations::migrations::runner().set_grouped(true);
    runner.set_migration_table_name(HISTORY);
    let client: &mut tokio_postgres::Client = &mut *session;
    let report = runner.run_async(client).await;
    let unlocked = session.execute("SELECT pg_advisory_unlock($1)", &[&LOCK]).await;
    // The lock is released with the connection in any case.
    drop(unlocked);
    let report = report.map_err(|error| SchemaError::Migration(causes(&error)))?;
    let applied = report.applied_migrations().iter();
    Ok(applied.map(|done| Applied { version: done.version(), name: done.name().to_owned() }).collect())
}

fn causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", causes(cause)),
        None => error.to_string(),
    }
}

fn unavailable(error: &tokio_postgres::Error) -> SchemaError {
    SchemaError::Unavailable(explain(error))
}

fn damaged(error: ReadError) -> SchemaError {
    SchemaError::Unavailable(error.to_string())
}
