//! `migrate`: brings the configured journal's schema up to this binary's, or says what is missing or different.
//!
//! Decides what is printed and which exit code it is: 0 when the journal is as it should be, 1 when it is not, or cannot
//! be looked at.

use std::process::ExitCode;

use crate::config::{Config, JournalStore};
use crate::journal::sqlite;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Apply,
    /// Changes nothing.
    ValidateOnly,
}

/// Runs the command.
pub(super) fn run(config: &Config, mode: Mode) -> ExitCode {
    let place = match &config.journal.store {
        JournalStore::Sqlite { path } => path.display().to_string(),
        JournalStore::Postgres { url } => url.to_string(),
    };
    match mode {
        Mode::Apply => match apply(&config.journal.store) {
            Ok(applied) => told(&place, "up to date", &applied, "applied"),
            Err(error) => failed(&error),
        },
        Mode::ValidateOnly => match validate(&config.journal.store) {
            Ok(differences) if differences.is_empty() => told(&place, "as this binary needs it", &[], ""),
            Ok(differences) => {
                println!("{place}: not as this binary needs it");
                differences.iter().for_each(|line| println!("  {line}"));
                ExitCode::FAILURE
            }
            Err(error) => failed(&error),
        },
    }
}

fn told(place: &str, state: &str, lines: &[String], what: &str) -> ExitCode {
    lines.iter().for_each(|line| println!("  {what} {line}"));
    println!("{place}: {state}");
    ExitCode::SUCCESS
}

fn failed(error: &str) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}

/// The names of what was applied.
fn apply(store: &JournalStore) -> Result<Vec<String>, String> {
    match store {
        JournalStore::Sqlite { path } => sqlite::migrate(path).map_err(|error| error.to_string()),
        JournalStore::Postgres { url } => Err(format!("{url}: not supported yet")),
    }
}

/// What is missing or different.
fn validate(store: &JournalStore) -> Result<Vec<String>, String> {
    match store {
        JournalStore::Sqlite { path } => sqlite::differences(path).map_err(|error| error.to_string()),
        JournalStore::Postgres { url } => Err(format!("{url}: not supported yet")),
    }
}
