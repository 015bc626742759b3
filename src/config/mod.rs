//! The configuration: one YAML file and the environment, checked once, before anything starts.
//!
//! Two steps: `file` and `environment` say what was written, `check` says whether it can be used. Every
//! mistake is reported at once, with its line or its variable. After [`load`] nothing has to be checked
//! again: a [`Config`] holds only what can work. The rooms that use a key decide what it does;
//! `docs/configuration.md` describes every key, limit and variable, and a test compares it with the code.

mod check;
mod environment;
mod file;
mod mistake;
mod outside;
mod pingora_keys;
mod section;
mod settings;
#[cfg(test)]
mod tests;
mod tree;
mod units;

use std::path::Path;

pub use environment::VARIABLES;
pub use file::Notice;
pub use mistake::{Location, Mistake, Mistakes};
pub use settings::{Adopt, Config, ConnectionPooling, JournalConfig, JournalStore, Limits, WebhookConfig};
pub use units::{ByteSize, show_duration};

use mistake::Ledger;

/// Reads the file, if one is named, and the environment through `lookup`.
///
/// # Errors
/// Every mistake found, in the order of the file, those of the environment last.
pub fn load(path: Option<&Path>, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Config, Mistakes> {
    let Some(path) = path else { return parse("no configuration file", "", lookup) };
    let source = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&source, &text, lookup),
        Err(error) => {
            let message = format!("the configuration file cannot be read: {error}");
            Err(Mistakes { source, list: vec![Mistake { place: Location::Whole, message }] })
        }
    }
}

/// Like [`load`], from text; `source` is how messages name it.
///
/// # Errors
/// As [`load`].
pub fn parse(source: &str, text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Config, Mistakes> {
    let ledger = Ledger::default();
    match read(text, lookup, &ledger) {
        Some(config) if ledger.is_clean() => Ok(config),
        Some(_) | None => Err(Mistakes { source: source.to_owned(), list: ledger.into_list() }),
    }
}

fn read(text: &str, lookup: &dyn Fn(&str) -> Option<String>, ledger: &Ledger) -> Option<Config> {
    let mut raw = file::Raw::parse(text, ledger);
    if !ledger.is_clean() && raw.root.get(pingora_keys::EDGE).is_none() {
        // The text could not be read at all: complaints about missing keys would only hide that.
        return None;
    }
    let mut pingora = pingora_keys::server_conf(&raw, ledger);
    environment::apply_environment(&mut raw, lookup, ledger);
    if let Some(threads) = environment::workers(lookup, ledger) {
        pingora.threads = threads;
    }
    check::check(raw, pingora, ledger)
}
