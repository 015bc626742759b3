//! `migrate`: upgrades the schema of the configured journal to this binary's, or reports what is missing or different.
//!
//! Decides the output and the exit code: 0 if the journal is as it should be, 1 if it is not, or cannot be read.

use std::path::Path;
use std::process::ExitCode;

use super::shared::{USAGE, waited_for};
use crate::config::{Config, JournalStore};
use crate::journal::postgres::{self, DatabaseUrl};
use crate::journal::sqlite;

/// Whether to change the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Apply,
    /// Changes nothing.
    ValidateOnly,
}

/// Moves the journal in the SQLite file at `from` into the configured database, which must hold none.
pub(super) fn from(config: &Config, from: &Path) -> ExitCode {
    let JournalStore::Postgres { url } = &config.journal.store else {
        eprintln!("--from moves a journal into PostgreSQL, and the configuration names none");
        return ExitCode::from(USAGE);
    };
    match move_journal(from, url) {
        Ok(moved) => done(&url.to_string(), "moved; the file is as it was, and not used any more", &moved, "moved"),
        Err(error) => failed(&error),
    }
}

/// Runs the command.
pub(super) fn run(config: &Config, mode: Mode) -> ExitCode {
    let place = match &config.journal.store {
        JournalStore::Sqlite { path } => path.display().to_string(),
        JournalStore::Postgres { url } => url.to_string(),
    };
    match mode {
        Mode::Apply => match apply(&config.journal.store) {
            Ok(applied) => done(&place, "up to date", &applied, "applied"),
            Err(error) => failed(&error),
        },
        Mode::ValidateOnly => match validate(&config.journal.store) {
            Ok(differences) if differences.is_empty() => done(&place, "as this binary needs it", &[], ""),
            Ok(differences) => {
                println!("{place}: not as this binary needs it");
                differences.iter().for_each(|line| println!("  {line}"));
                ExitCode::FAILURE
            }
            Err(error) => failed(&error),
        },
    }
}

fn done(place: &str, state: &str, lines: &[String], what: &str) -> ExitCode {
    lines.iter().for_each(|line| println!("  {what} {line}"));
    println!("{place}: {state}");
    ExitCode::SUCCESS
}

fn failed(error: &str) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}

/// Applies the pending migrations and returns their names.
fn apply(store: &JournalStore) -> Result<Vec<String>, String> {
    match store {
        JournalStore::Sqlite { path } => sqlite::migrate(path).map_err(|error| error.to_string()),
        JournalStore::Postgres { url } => {
            let applied = waited_for(postgres::bring_up_to_date(url))?.map_err(|error| error.to_string())?;
            Ok(applied.iter().map(|done| format!("V{}__{}", done.version, done.name)).collect())
        }
    }
}

/// Returns what is missing or different.
fn validate(store: &JournalStore) -> Result<Vec<String>, String> {
    match store {
        JournalStore::Sqlite { path } => sqlite::differences(path).map_err(|error| error.to_string()),
        JournalStore::Postgres { url } => {
            let differences = waited_for(postgres::validate(url))?.map_err(|error| error.to_string())?;
            Ok(differences.iter().map(ToString::to_string).collect())
        }
    }
}

fn move_journal(path: &Path, url: &DatabaseUrl) -> Result<Vec<String>, String> {
    let source = sqlite::Source::open(path).map_err(|error| error.to_string())?;
    let moved = waited_for(postgres::move_from(&source, url))?.map_err(|error| error.to_string())?;
    let rows = moved.rows.iter().map(|(table, rows)| format!("{rows} rows of {table}"));
    Ok(rows.chain([format!("the last position, {}", moved.last)]).collect())
}
