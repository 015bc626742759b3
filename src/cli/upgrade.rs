//! `upgrade`: restarts a live edge in place, with the program and the configuration that are installed now.
//!
//! Decides the output. The edge decides whether the restart may begin, and what happens to clients.

use std::process::ExitCode;

use serde_json::json;

use super::operator::Edge;

#[derive(Debug, clap::Args)]
pub(super) struct Asked {
    /// An instance that may be taken out although no other one holds what it holds. May be repeated.
    #[arg(long, value_name = "NAME")]
    confirm: Vec<String>,
    #[command(flatten)]
    edge: Edge,
}

/// Runs the command.
pub(super) fn run(asked: Asked) -> ExitCode {
    let Asked { confirm, edge } = asked;
    edge.ask(|operator| {
        operator.say("upgrade", &json!({ "confirm": confirm }))?;
        Ok("the edge restarts in place; its log and `status` say when it serves again\n".to_owned())
    })
}
