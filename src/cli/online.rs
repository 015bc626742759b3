//! `check --online`: contacts the configured servers and the journal, and describes what it found.
//!
//! Decides the output, and what counts as a problem (exit code 1). It changes nothing. A journal that is missing, or
//! older than this binary, is not a problem, since `serve` creates or upgrades it.

use std::process::ExitCode;
use std::time::Duration;

use super::shared::waited_for;
use crate::config::{Config, JournalStore};
use crate::instance::{Found, InstanceOptions, identify};
use crate::journal::postgres::{self, Difference};
use crate::journal::sqlite;

/// How long one server may take to answer.
const LIMIT: Duration = Duration::from_secs(5);

/// One thing that was checked.
enum Finding {
    Fine(String),
    Problem(String),
}

/// Runs the command.
pub(super) fn run(config: &Config) -> ExitCode {
    let looked = waited_for(async {
        let servers = config.instances.iter().map(instance);
        let mut findings = futures::future::join_all(servers).await;
        findings.push(journal(&config.journal.store).await);
        findings
    });
    let findings = match looked {
        Ok(findings) => findings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut code = ExitCode::SUCCESS;
    for finding in findings {
        match finding {
            Finding::Fine(line) => println!("ok: {line}"),
            Finding::Problem(line) => {
                println!("problem: {line}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

async fn instance(options: &InstanceOptions) -> Finding {
    let place = format!("{} at {}", options.name, options.url);
    let found = match identify(options, LIMIT).await {
        Ok(found) => found,
        Err(error) => return Finding::Problem(format!("{place}: {error}")),
    };
    match found {
        Found::Chroma => Finding::Fine(format!("{place} is a Chroma server")),
        Found::OtherServer { status, server } => {
            let server = server.map_or(String::new(), |server| format!(" ({server})"));
            Finding::Problem(format!(
                "{place} is a web server{server}, but no Chroma: it answers the heartbeat with {status}"
            ))
        }
        Found::SpeaksTls => Finding::Problem(format!("{place} speaks TLS: write the url as https://")),
        Found::SpeaksPlainHttp => {
            Finding::Problem(format!("{place} speaks plain HTTP, not TLS: write the url as http://"))
        }
        Found::Unreachable(reason) => Finding::Problem(format!("{place} cannot be reached: {reason}")),
    }
}

async fn journal(store: &JournalStore) -> Finding {
    match store {
        JournalStore::Sqlite { path } => {
            let place = format!("the journal at {}", path.display());
            if !path.exists() {
                return match sqlite::could_be_made(path) {
                    Ok(()) => Finding::Fine(format!("{place} is not there yet: serve makes it")),
                    Err(error) => {
                        Finding::Problem(format!("{place} is not there yet, and serve cannot make it: {error}"))
                    }
                };
            }
            match sqlite::differences(path) {
                Ok(lines) if lines.is_empty() => Finding::Fine(format!("{place} is as this binary needs it")),
                Ok(lines) => Finding::Fine(format!("{place} is older than this binary: {}", lines.join("; "))),
                Err(error) => Finding::Problem(format!("{place}: {error}")),
            }
        }
        JournalStore::Postgres { url } => {
            let place = format!("the journal in {url}");
            let differences = match postgres::validate(url).await {
                Ok(differences) => differences,
                Err(error) => return Finding::Problem(format!("{place}: {error}")),
            };
            let pending = |difference: &Difference| matches!(difference, Difference::Pending { .. });
            let lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
            match differences.iter().all(pending) {
                _ if lines.is_empty() => Finding::Fine(format!("{place} is as this binary needs it")),
                true => {
                    Finding::Fine(format!("{place} is reachable; serve brings it up to date: {}", lines.join("; ")))
                }
                false => Finding::Problem(format!("{place} is not as this binary needs it: {}", lines.join("; "))),
            }
        }
    }
}
