//! The command line: parses the command, runs it, and returns its exit code.
//!
//! Decides commands, options and exit codes: 0 done; 1 failed while running, or a check found a problem; 64 a mistake
//! in the command or the configuration (2 for `validate`). `status` exits with 2 for an edge that does not serve. What
//! `serve` does is passed in, so that this room does not depend on servers.

mod adopt;
mod cert;
mod check;
mod cleanup;
mod heal;
mod json_lines;
mod logging;
mod migrate;
mod online;
mod operator;
mod shared;
mod shown;
mod status;
mod token;
mod top;
mod upgrade;
mod validate;
mod verify;

use std::ffi::OsString;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::shared::USAGE;
use crate::config::{self, Config, SetLog};
use crate::proof;

/// One highly available Chroma, made of two or more ordinary Chroma servers.
#[derive(Debug, Parser)]
#[command(name = "chroma-edge", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve clients until SIGTERM.
    Serve(Source),
    /// Check the configuration and print what is in effect, or every mistake with its line.
    Check(Check),
    /// Bring the journal's schema up to this binary's; `serve` does it too.
    Migrate(Migration),
    /// Check a live deployment as a client, with collections of its own; the exit code says how it went.
    Validate(Box<validate::Asked>),
    /// Decide which server's copy is kept of collections that were there before the edge, and differ.
    Adopt(adopt::Asked),
    /// See what is being healed at a live edge, and have it paused, go on, or a foreign server wiped.
    Heal(heal::Asked),
    /// Compare the servers behind a live edge now, record by record; the exit code says whether they are equal.
    Verify(verify::Asked),
    /// Have a live edge restarted in place, with the program and the configuration that are there now: no client sees an error.
    Upgrade(upgrade::Asked),
    /// Say whether a live edge is healthy; the exit code says it too: 0 healthy, 1 degraded, 2 it cannot be reached or does not serve.
    Status(status::Asked),
    /// Watch a live edge in this terminal, as its dashboard shows it; `q` ends it.
    Top(top::Asked),
    /// Remove collections that tests have left at a live edge: lists them, and asks first.
    Cleanup(cleanup::Asked),
    /// Make a certificate for a first try of TLS.
    #[command(subcommand)]
    Cert(cert::Asked),
    /// Make a token for clients.
    #[command(subcommand)]
    Token(token::Asked),
    /// Print the version.
    Version,
}

#[derive(Debug, clap::Args)]
struct Source {
    /// The YAML file. Not needed when PRIMARY_URL is set, and REPLICA_URL for a second server.
    #[arg(long, value_name = "FILE")]
    conf: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Check {
    #[command(flatten)]
    source: Source,
    /// Contact the servers and the journal too, say what is there, and exit with 1 if there is a problem. Changes nothing.
    #[arg(long)]
    online: bool,
}

#[derive(Debug, clap::Args)]
struct Migration {
    #[command(flatten)]
    source: Source,
    /// Say what is missing or different, change nothing, and exit with 1 if there is anything.
    #[arg(long)]
    validate_only: bool,
    /// Move the journal in this SQLite file into the configured PostgreSQL database, which must hold none yet.
    #[arg(long, value_name = "FILE", conflicts_with = "validate_only")]
    from: Option<PathBuf>,
}

/// Runs the command in `arguments`, the first of which is the program's name. `serve` receives a configuration that has
/// passed every check, with logging set up, and a function that changes the log filter. If it fails, its error is
/// logged and the exit code is 1.
pub fn run<T, E: Display>(
    arguments: impl IntoIterator<Item = OsString>,
    serve: impl FnOnce(Config, SetLog) -> Result<T, E>,
) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // The exit codes of `validate` are 0, 1 and 2, the convention for checks.
    let usage = if arguments.get(1).is_some_and(|verb| verb == "validate") { validate::MISTAKE } else { USAGE };
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and the version arrive here, too, and are not mistakes. Neither is a closed pipe.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(usage) } else { ExitCode::SUCCESS };
        }
    };
    match arguments.command {
        Command::Serve(source) => with_config(source.conf.as_deref(), |config| match proof::check() {
            Ok(()) => start(config, serve),
            Err(mistake) => {
                eprintln!("{mistake}");
                ExitCode::from(USAGE)
            }
        }),
        Command::Check(asked) => with_config(asked.source.conf.as_deref(), |config| {
            print!("{}", check::summary(&config));
            if asked.online { online::run(&config) } else { ExitCode::SUCCESS }
        }),
        Command::Migrate(migration) => with_config(migration.source.conf.as_deref(), |config| {
            if let Some(from) = &migration.from {
                return migrate::from(&config, from);
            }
            let mode = if migration.validate_only { migrate::Mode::ValidateOnly } else { migrate::Mode::Apply };
            migrate::run(&config, mode)
        }),
        Command::Validate(asked) => validate::run(*asked),
        Command::Adopt(asked) => adopt::run(asked),
        Command::Heal(asked) => heal::run(asked),
        Command::Verify(asked) => verify::run(asked),
        Command::Upgrade(asked) => upgrade::run(asked),
        Command::Status(asked) => status::run(asked),
        Command::Top(asked) => top::run(asked),
        Command::Cleanup(asked) => cleanup::run(asked),
        Command::Cert(asked) => cert::run(asked),
        Command::Token(asked) => token::run(asked),
        Command::Version => {
            println!("chroma-edge {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
    }
}

fn with_config(path: Option<&Path>, act: impl FnOnce(Config) -> ExitCode) -> ExitCode {
    match config::load(path, &|name| std::env::var(name).ok()) {
        Ok(config) => act(config),
        Err(mistakes) => {
            eprintln!("{mistakes}");
            ExitCode::from(USAGE)
        }
    }
}

fn start<T, E: Display>(config: Config, serve: impl FnOnce(Config, SetLog) -> Result<T, E>) -> ExitCode {
    let set_log = logging::start(&config.log, config.log_format);
    for notice in &config.notices {
        tracing::warn!("{}", notice.0);
    }
    match serve(config, set_log) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("cannot serve: {error}");
            ExitCode::FAILURE
        }
    }
}
