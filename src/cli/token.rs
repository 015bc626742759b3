//! `chroma-edge token new`: generates a token, and the configuration line that admits it.
//!
//! The token is printed once and never stored; the configuration contains only its digest.

use std::process::ExitCode;

use zeroize::Zeroizing;

use super::USAGE;
use crate::auth::{Digest, Role};

/// 256 bits cannot be guessed, so the digest needs no salt.
const BYTES: usize = 32;
/// Identifies a token if it turns up where it should not be.
const PREFIX: &str = "ce_";

/// What is asked for.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Asked {
    /// Make a token: it is printed once, with the line for the configuration.
    New(New),
}

#[derive(Debug, clap::Args)]
pub(super) struct New {
    /// What logs and the journal call it: 1 to 64 letters, digits, _, -, . or @.
    #[arg(long, value_name = "NAME", value_parser = crate::config::token_name)]
    name: String,
    /// reader, writer or admin.
    #[arg(long, value_name = "ROLE", value_parser = role)]
    role: Role,
}

fn role(text: &str) -> Result<Role, String> {
    Role::named(text).ok_or_else(|| format!("{text:?} is not reader, writer or admin"))
}

/// Generates the token and prints it.
pub(super) fn run(asked: Asked) -> ExitCode {
    let Asked::New(New { name, role }) = asked;
    let mut bytes = Zeroizing::new([0_u8; BYTES]);
    if let Err(error) = getrandom::fill(bytes.as_mut()) {
        eprintln!("this machine gives no random bytes: {error}");
        return ExitCode::from(USAGE);
    }
    let hex: Zeroizing<String> = Zeroizing::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect());
    let token = Zeroizing::new(format!("{PREFIX}{}", hex.as_str()));
    let sha256 = Digest::of(token.as_bytes()).hex();
    println!("{}", token.as_str());
    println!();
    println!("# Shown once. The line for edge.auth.tokens, or for a tokens_file:");
    println!("- {{ name: {name}, role: {role}, sha256: {sha256} }}");
    ExitCode::SUCCESS
}
