//! `validate`: checks a live deployment, or guides an operator through an outage of it.
//!
//! Decides the options and the exit code: 0 all passed, 1 something failed, 2 a mistake in the command, 130
//! interrupted. `crate::validate` decides what is checked.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::validate::{Options, Words, described, validate};

/// A mistake in the command.
pub(super) const MISTAKE: u8 = 2;

#[derive(Debug, clap::Args)]
#[command(after_help = after_help())]
pub(super) struct Asked {
    /// The deployment's address: http:// or https://, host, perhaps a port and a path.
    #[arg(long, value_name = "URL")]
    url: String,
    /// Sent as `Authorization: Bearer` and `X-Chroma-Token`; CHROMA_EDGE_TOKEN keeps it off the command line.
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Only this check; may be repeated, or be a list with commas.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Write the report there too: the table to a .txt file, everything to a .json file.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Look at instances at their own addresses, by the names they have in the edge's configuration, as in
    /// `primary=http://a:8000,replica=http://b:8000`. The others are read through the edge.
    #[arg(long, value_name = "NAME=URL")]
    instances: Vec<String>,
    /// Walk through a real outage of this instance: `primary`, `replica`, or an instance's name.
    #[arg(long, value_name = "INSTANCE")]
    guided: Option<String>,
    /// With --guided: how many seconds to wait for each thing that is asked for.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    wait: u64,
    /// How many seconds all checks together may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    limit: u64,
    /// How many seconds the instances may take to become equal, in each check.
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    patience: u64,
    /// The tenant to work in.
    #[arg(long, default_value = "default_tenant")]
    tenant: String,
    /// The database to work in.
    #[arg(long, default_value = "default_database")]
    database: String,
}

fn after_help() -> String {
    let checks = described();
    format!("Checks:\n{checks}\nExit code: 0 all passed, 1 something did not, 2 a mistake here, 130 interrupted.")
}

/// Runs the command.
pub(super) fn run(asked: Asked) -> ExitCode {
    // A token that is not text is reported as invalid, not ignored.
    let from_environment = || std::env::var_os("CHROMA_EDGE_TOKEN").map(|token| token.to_string_lossy().into_owned());
    let token = asked.token.or_else(from_environment);
    let words = Words {
        url: asked.url,
        token,
        tenant: asked.tenant,
        database: asked.database,
        only: asked.only,
        output: asked.output,
        instances: asked.instances,
        limit: Duration::from_secs(asked.limit),
        patience: Duration::from_secs(asked.patience),
        guided: asked.guided,
        wait: Duration::from_secs(asked.wait),
    };
    match Options::from_words(words).and_then(|options| validate(&options)) {
        Ok(ended) => {
            // A closed pipe does not change the result.
            let mut out = std::io::stdout();
            let _ = out.write_all(ended.report.text().as_bytes()).and_then(|()| out.flush());
            let passed = ended.report.passed;
            if let Err(why) = ended.write() {
                eprintln!("{why}");
                return ExitCode::FAILURE;
            }
            if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(mistake) => {
            eprintln!("{}", mistake.trim_end());
            ExitCode::from(MISTAKE)
        }
    }
}
