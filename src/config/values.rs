//! The text of a configuration, key by key, and where it was read from.
//!
//! Types only: `check` decides what a value means, `reload` what a difference means.

use std::collections::BTreeMap;
use std::fmt;

use super::pingora_keys::EDGE;
use super::tree;

/// Where a configuration was read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Only the environment of the process, which does not change while it runs.
    #[default]
    Environment,
    /// This file, overridden by the environment.
    File(std::path::PathBuf),
}

/// Changes which log lines are written; the filter is already validated.
pub type SetLog = Box<dyn Fn(&str) + Send + Sync>;

/// The text of every key's value. It contains passwords, so `Debug` shows none of it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Values(BTreeMap<String, String>);

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Values")
    }
}

/// Returns the keys outside `edge:`.
pub(super) fn above_edge(root: &tree::Node) -> BTreeMap<String, String> {
    let tree::Value::Map(entries) = &root.value else { return BTreeMap::new() };
    let above = entries.iter().filter(|entry| entry.key != EDGE && entry.key != "version");
    above.filter_map(|entry| Some((entry.key.clone(), entry.node.plain()?))).collect()
}

impl Values {
    pub(super) fn of(edge: BTreeMap<String, String>, above: BTreeMap<String, String>) -> Values {
        let strip = |(path, text): (String, String)| Some((path.strip_prefix("edge.")?.to_owned(), text));
        let own = edge.into_iter().filter_map(strip).filter(|(key, _)| !key.starts_with("instances"));
        Values(own.chain(above).collect())
    }

    /// Returns every key that has a value.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}
