//! The options of every command for a live edge, and how such a command ends.
//!
//! Decides the exit codes: 0 done, 1 the edge could not be reached or refused, 64 a mistake in the command.

use std::fmt::Write as _;
use std::io::Write;
use std::process::ExitCode;

use super::USAGE;
use crate::validate::{CallError, Operator};

/// Which edge is meant.
#[derive(Debug, clap::Args)]
pub(super) struct Edge {
    /// The edge's address: http:// or https://, host, perhaps a port and a path.
    #[arg(long, value_name = "URL")]
    url: String,
    /// Sent as `Authorization: Bearer` and `X-Chroma-Token`; CHROMA_EDGE_TOKEN keeps it off the command line.
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
}

impl Edge {
    /// Returns the operator's token, if any.
    pub(super) fn token(&self) -> Option<String> {
        let from_environment =
            || std::env::var_os("CHROMA_EDGE_TOKEN").map(|token| token.to_string_lossy().into_owned());
        self.token.clone().or_else(from_environment).filter(|token| !token.is_empty())
    }

    /// Connects to the edge. A mistake in the address is printed, and returned as its exit code.
    pub(super) fn operator(self) -> Result<Operator, ExitCode> {
        let token = self.token();
        Operator::at(&self.url, token.as_deref()).map_err(|mistake| {
            eprintln!("{mistake}");
            ExitCode::from(USAGE)
        })
    }

    /// Runs `work` against the edge, and prints the result.
    pub(super) fn ask(self, work: impl FnOnce(&Operator) -> Result<String, CallError>) -> ExitCode {
        self.ask_all(|operator| Ok((work(operator)?, ExitCode::SUCCESS)))
    }

    /// As [`Edge::ask`], for work that may succeed partly.
    pub(super) fn ask_all(self, work: impl FnOnce(&Operator) -> Result<(String, ExitCode), CallError>) -> ExitCode {
        let operator = match self.operator() {
            Ok(operator) => operator,
            Err(code) => return code,
        };
        match work(&operator) {
            Ok((text, code)) => {
                // A closed pipe does not change the result.
                let mut out = std::io::stdout();
                let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
                code
            }
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        }
    }
}

/// Formats rows as columns; the first row contains the headings.
pub(super) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{}", cells.join("  ").trim_end());
    }
    out
}
