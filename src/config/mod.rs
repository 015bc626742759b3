//! The configuration: one YAML file and the environment, checked once, before anything starts.
//!
//! Two steps: `file` and `environment` read what was written, `check` decides whether it can be used. Every mistake is
//! reported at once, with its line or its variable. After [`load`] nothing needs to be checked again: a [`Config`]
//! holds only values that can work. The rooms that use a key decide what it does; `docs/configuration.md` describes
//! every key, limit and variable, and a test compares it with the code.

mod access;
#[cfg(test)]
mod access_tests;
mod check;
mod effective;
mod environment;
mod file;
#[cfg(test)]
mod files_tests;
mod jwt;
mod mistake;
mod outside;
mod pingora_keys;
mod reload;
mod rights;
mod section;
mod settings;
#[cfg(test)]
mod tests;
mod traces;
mod tree;
mod units;
mod upstream;
mod values;
mod wire;

use std::path::Path;

pub use access::token_name;
pub use environment::VARIABLES;
pub use file::Notice;
pub use mistake::{Location, Mistake, Mistakes};
pub use reload::{Difference, Effect, KEYS, Moves, effect};
pub use settings::{
    Adopt, Batching, Config, ConnectionPooling, GranularLocking, JournalConfig, JournalStore, Limits, LogFormat,
    WebhookConfig, WireLimits,
};
pub use units::{ByteSize, show_duration};
pub use values::{SetLog, Source, Values};

use mistake::Ledger;

/// Reads the file, if one is given, and the environment through `lookup`.
///
/// # Errors
/// Every mistake found, in the order of the file, those of the environment last.
pub fn load(path: Option<&Path>, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Config, Mistakes> {
    let Some(path) = path else {
        let mut config = parse("no configuration file", "", lookup)?;
        config.notices.extend(rights::notices(None, &config));
        return Ok(config);
    };
    let source = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let mut config = parse(&source, &text, lookup)?;
            // Absolute, because the process may change its working directory.
            config.notices.extend(rights::notices(Some(path), &config));
            config.source = Source::File(std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
            Ok(config)
        }
        Err(error) => {
            let message = format!("the configuration file cannot be read: {error}");
            Err(Mistakes { source, list: vec![Mistake { place: Location::Whole, message }] })
        }
    }
}

/// Like [`load`], from text; `source` is how messages name it.
///
/// # Errors
/// As for [`load`].
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
        // The text could not be parsed at all: complaints about missing keys would only hide that.
        return None;
    }
    let mut pingora = pingora_keys::server_conf(&raw, ledger);
    environment::apply_environment(&mut raw, lookup, ledger);
    if let Some(threads) = environment::workers(lookup, ledger) {
        pingora.threads = threads;
    }
    let above = values::above_edge(&raw.root);
    let config = check::check(raw, pingora, lookup, ledger)?;
    Some(Config { values: Values::of(ledger.values(), above), ..config })
}
