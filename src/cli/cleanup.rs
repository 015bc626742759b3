//! `cleanup`: removes collections that tests left behind at a live edge.
//!
//! Decides the output, and asks for confirmation first. The prefixes (`validate/`) decide what may be removed, and the
//! edge decides what is protected. Exit code: 0 none of them is left, or they were only listed; 1 some are left, or the
//! edge refused; 64 a mistake in the command.

use std::io::{BufRead, Write};
use std::process::ExitCode;

use super::USAGE;
use super::operator::Edge;
use crate::validate::{CallError, Collections, Operator, Prefixes, TestName};

/// The usual prefixes of tests' collections, the default.
const PREFIXES: [&str; 11] = [
    "AUTOTEST_",
    "test_",
    "DEBUG_",
    "pool_test_",
    "mapping_test_",
    "concurrency_test_",
    "baseline_test_",
    "UC2_MANUAL_",
    "UC3_",
    "UC4_SAFETY_",
    "PRODUCTION_",
];

/// Protected whatever the edge reports.
const PROTECTED: &str = "global";

#[derive(Debug, clap::Args)]
pub(super) struct Asked {
    #[command(flatten)]
    edge: Edge,
    /// Collections whose name begins so, upper and lower case told apart; may be given again. Without one: the usual names of
    /// tests, such as test_ and AUTOTEST_, and those that the edge's protection.test_prefixes names.
    #[arg(long = "prefix", value_name = "P")]
    prefixes: Vec<String>,
    #[arg(long, default_value = "default_tenant")]
    tenant: String,
    #[arg(long, default_value = "default_database")]
    database: String,
    /// List them, and remove nothing.
    #[arg(long)]
    dry_run: bool,
    /// Remove them without asking.
    #[arg(long)]
    yes: bool,
}

/// Runs the command.
pub(super) fn run(asked: Asked) -> ExitCode {
    let operator = match asked.edge.operator() {
        Ok(operator) => operator,
        Err(code) => return code,
    };
    let ended = names(&operator).and_then(|Names { protected, tests }| {
        let usual = || PREFIXES.map(str::to_owned).into_iter().chain(tests).collect();
        let prefixes = if asked.prefixes.is_empty() { usual() } else { asked.prefixes };
        let prefixes = match Prefixes::new(&prefixes, &protected) {
            Ok(prefixes) => prefixes,
            Err(mistake) => {
                eprintln!("{mistake}: nothing was removed");
                return Ok(ExitCode::from(USAGE));
            }
        };
        let collections = operator.collections(&asked.tenant, &asked.database);
        let (found, all) = collections.left_by_tests(&prefixes)?;
        found.iter().for_each(|name| println!("{}", name.as_str()));
        eprintln!("{} of {all} collections in {}/{} have names of tests", found.len(), asked.tenant, asked.database);
        if found.is_empty() || asked.dry_run {
            return Ok(ExitCode::SUCCESS);
        }
        if !asked.yes && !agreed(found.len()) {
            eprintln!("nothing was removed");
            return Ok(ExitCode::FAILURE);
        }
        Ok(remove(&collections, &found))
    });
    ended.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}

/// The names that matter to a cleanup, from the edge.
struct Names {
    /// The names that the edge protects, and the one that is always protected.
    protected: Vec<String>,
    /// The prefixes of names of tests.
    tests: Vec<String>,
}

fn names(operator: &Operator) -> Result<Names, CallError> {
    let status = operator.page("/status")?;
    let list = |key: &str| -> Vec<String> {
        let names = status[key].as_array().into_iter().flatten();
        names.filter_map(|name| name.as_str()).map(str::to_owned).collect()
    };
    let mut protected = list("protected_collections");
    protected.push(PROTECTED.to_owned());
    Ok(Names { protected, tests: list("test_prefixes") })
}

/// Asks for confirmation. Without anyone to answer, the answer is no.
fn agreed(count: usize) -> bool {
    eprint!("Remove these {count} collections, on every server? Type yes: ");
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).is_ok() && line.trim() == "yes"
}

/// Removes the collections; a refusal does not stop the rest.
fn remove(collections: &Collections, found: &[TestName]) -> ExitCode {
    let mut left = 0;
    for (index, name) in found.iter().enumerate() {
        let at = format!("{}/{}", index + 1, found.len());
        match collections.remove(name) {
            Ok(()) => eprintln!("{at} removed {}", name.as_str()),
            Err(error) => {
                left += 1;
                eprintln!("{at} {}: {error}", name.as_str());
            }
        }
    }
    eprintln!("{} removed, {left} left", found.len() - left);
    if left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_prefixes_match_nothing_that_is_protected() {
        assert!(Prefixes::new(&PREFIXES.map(str::to_owned), &[PROTECTED.to_owned()]).is_ok());
    }
}
