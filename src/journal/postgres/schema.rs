//! The schema: bringing it up to this binary's, and saying what is missing or different.
//!
//! Decides who may change it: one process at a time, under an advisory lock. A schema from a newer version, or one
//! whose migrations were not this binary's, is refused, never guessed at.

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
/// Of the advisory lock: the first eight bytes of "chroma-edge".
const LOCK: i64 = i64::from_be_bytes(*b"chroma-e");
/// For another process that migrates.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);
/// For one statement of a migration.
const STATEMENT_PATIENCE: Duration = Duration::from_secs(60 * 60);

/// A migration that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    pub version: i32,
    pub name: String,
}

/// Something that is not as this binary needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// `chroma-edge migrate` would apply it.
    Pending { version: i32, name: String },
    /// It was applied in another form.
    Changed { version: i32, name: String },
    /// It was applied by a newer binary.
    Newer { version: i32, name: String },
    /// It is not there, or not in the form it should have.
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

/// A schema that cannot be brought up to this binary's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// The database did not answer, or not in time.
    #[error("{0}")]
    Unavailable(String),
    /// This edge may not log in, or the server will not do.
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

    /// Applies what is pending, unless an edge that is not `me` holds the journal: then it is named, and nothing done.
    /// `is_held`: whether its lease is to be respected, given whether it runs.
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

/// A connection for who does nothing else with this database.
pub(super) async fn session_on(url: &DatabaseUrl) -> Result<Exclusive, SchemaError> {
    let tls = tls::connector(url).map_err(SchemaError::Refused)?;
    Schema::new(url, &tls, &FirstHost::default()).session().await
}

/// Makes sure that no newer binary has brought the schema further than this one knows.
pub(super) async fn known(session: &Session) -> Result<(), SchemaError> {
    refuse(&applied(session).await?)
}

/// Brings the database's schema up to this binary's. Returns what was applied; nothing, if it was up to date.
///
/// # Errors
/// The database cannot be reached, or its schema is newer or not this program's.
pub async fn bring_up_to_date(url: &DatabaseUrl) -> Result<Vec<Applied>, SchemaError> {
    let mut session = session_on(url).await?;
    let applied = applied(&session).await?;
    refuse(&applied)?;
    if pending(&applied).is_empty() { Ok(Vec::new()) } else { migrate(&mut session).await }
}

/// Says what is missing or different, and changes nothing.
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
    // What a pending migration brings is missing for that reason alone.
    if !differences.iter().any(|difference| matches!(difference, Difference::Pending { .. })) {
        differences.extend(missing.map(|line| Difference::Missing { what: line.to_owned() }));
    }
    Ok(differences)
}

/// Every table, column, index, constraint, view and function of this binary's schema, one a line, sorted.
pub(super) const EXPECTED: &str = include_str!("expected.txt");

/// What [`EXPECTED`] lists, as it is in the database. Views are in the connection's own schema, the rest in the
/// journal's.
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

/// A migration as the database remembers it.
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

/// How a migration that was applied differs from this binary's.
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

/// A schema that is not an earlier one of this binary's.
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
    // Who may not create schemas may still have one made for them.
    let there = session.query_one("SELECT to_regnamespace('chroma_edge') IS NOT NULL", &[]).await.map_err(failed)?;
    if !there.try_get::<_, bool>(0).map_err(failed)? {
        session.batch_execute("CREATE SCHEMA IF NOT EXISTS chroma_edge").await.map_err(failed)?;
    }
    // All or nothing: what is in the way of one migration leaves none of them.
    let mut runner = migrations::migrations::runner().set_grouped(true);
    runner.set_migration_table_name(HISTORY);
    let client: &mut tokio_postgres::Client = &mut *session;
    let report = runner.run_async(client).await;
    let unlocked = session.execute("SELECT pg_advisory_unlock($1)", &[&LOCK]).await;
    // The lock ends with the connection all the same.
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
