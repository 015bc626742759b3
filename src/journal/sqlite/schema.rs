//! The schema of a journal file: brought up to this binary's, or compared with it.
//!
//! All missing migrations are applied in one transaction. A schema from a newer version is refused, never guessed at.

use std::collections::BTreeMap;
use std::path::Path;

use refinery::{Migration, Runner, Target};
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::open::OpenError;

mod migrations {
    refinery::embed_migrations!("migrations/sqlite");
}

/// The version that creates the views, whose names someone else may have used before.
const VIEWS: i64 = 3;
const VIEW_NAMES: [&str; 5] = [
    "emergency_transaction_log",
    "collection_id_mapping",
    "pending_recovery_transactions",
    "transaction_safety_summary",
    "unified_wal_writes",
];

fn known() -> i64 {
    let runner = migrations::migrations::runner();
    runner.get_migrations().iter().map(|migration| i64::from(migration.version())).max().unwrap_or(0)
}

/// Applies the missing migrations, and returns their names.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<Vec<String>, OpenError> {
    let at = |source| OpenError::Database { path: path.to_owned(), source };
    let failed = |text: String| OpenError::Migration { path: path.to_owned(), text };
    let found = version(connection).map_err(at)?;
    if let Some(found) = found
        && found > known()
    {
        return Err(OpenError::Newer { path: path.to_owned(), found, known: known() });
    }
    if found.unwrap_or(0) < VIEWS
        && let Some(name) = taken(connection).map_err(at)?
    {
        return Err(failed(format!("it already has {name:?}, which is none of chroma-edge's: rename it")));
    }
    let report = run(migrations::migrations::runner(), connection).map_err(failed)?;
    Ok(report.iter().map(ToString::to_string).collect())
}

fn run(runner: Runner, connection: &mut Connection) -> Result<Vec<Migration>, String> {
    let report = runner.set_grouped(true).run(connection).map_err(|error| explain(&error))?;
    Ok(report.applied_migrations().clone())
}

/// Returns the error's text with its causes, which refinery's own text leaves out.
fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Returns the schema version of the file, or `None` for a new one.
fn version(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    let table = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'refinery_schema_history'";
    if connection.query_row(table, [], |_| Ok(())).optional()?.is_none() {
        return Ok(None);
    }
    connection.query_row("SELECT max(version) FROM refinery_schema_history", [], |row| row.get(0))
}

fn taken(connection: &Connection) -> rusqlite::Result<Option<&'static str>> {
    let mut statement = connection.prepare("SELECT 1 FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE")?;
    for name in VIEW_NAMES {
        if statement.exists([name])? {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Returns what is missing from the file's schema or differs from this binary's, one line each. Only reads; an edge may
/// be running on the file.
///
/// # Errors
/// If the file cannot be read, or is from a newer version.
pub fn differences(path: &Path) -> Result<Vec<String>, OpenError> {
    if !path.exists() {
        return Ok(vec![format!("there is no journal at {}", path.display())]);
    }
    let at = |source| OpenError::Database { path: path.to_owned(), source };
    let failed = |text: String| OpenError::Migration { path: path.to_owned(), text };
    let connection = untouched(path).map_err(at)?;
    let found = version(&connection).map_err(at)?.unwrap_or(0);
    if found > known() {
        return Err(OpenError::Newer { path: path.to_owned(), found, known: known() });
    }
    let mut lines = history(&connection).map_err(at)?;
    if found > 0 {
        let mut fresh = Connection::open_in_memory().map_err(at)?;
        let target = Target::Version(i32::try_from(found).unwrap_or(i32::MAX));
        run(migrations::migrations::runner().set_target(target), &mut fresh).map_err(failed)?;
        lines.extend(compared(&objects(&fresh).map_err(at)?, &objects(&connection).map_err(at)?));
    }
    Ok(lines)
}

/// Opens a connection that leaves no trace. An ordinary reading connection creates the extra files of write-ahead mode
/// beside the journal.
fn untouched(path: &Path) -> rusqlite::Result<Connection> {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        std::fs::metadata(name).map_or(0, |file| file.len())
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if beside("-wal") > 0 {
        return Connection::open_with_flags(path, flags);
    }
    let encoded =
        percent_encoding::percent_encode(path.as_os_str().as_encoded_bytes(), percent_encoding::NON_ALPHANUMERIC);
    let relative = format!("file:{}?immutable=1", encoded.to_string().replace("%2F", "/"));
    Connection::open_with_flags(relative, flags | OpenFlags::SQLITE_OPEN_URI)
}

/// Returns one line for each migration that was not applied, or that was a different one when it was applied.
fn history(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut applied = BTreeMap::new();
    if version(connection)?.is_some() {
        let mut statement = connection.prepare("SELECT version, name, checksum FROM refinery_schema_history")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            applied.insert(row.get::<_, i64>(0)?, (row.get::<_, String>(1)?, row.get::<_, String>(2)?));
        }
    }
    let runner = migrations::migrations::runner();
    Ok(crate::journal::schema::compare_history(runner.get_migrations(), &applied))
}

/// Kind and definition of everything in the schema, by name.
type Objects = BTreeMap<String, (String, String)>;

fn objects(connection: &Connection) -> rusqlite::Result<Objects> {
    let sql = "SELECT name, type, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite%'";
    let mut statement = connection.prepare(sql)?;
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, (row.get(1)?, row.get(2)?)));
    statement.query_map([], read)?.collect()
}

/// Compares the schemas. Objects that an operator added are ignored.
fn compared(expected: &Objects, found: &Objects) -> Vec<String> {
    let differs = |(name, (kind, definition)): (&String, &(String, String))| match found.get(name) {
        None => Some(format!("the {kind} {name} is missing")),
        Some((_, other)) if other != definition => Some(format!("the {kind} {name} is different: {other}")),
        Some(_) => None,
    };
    expected.iter().filter_map(differs).collect()
}
