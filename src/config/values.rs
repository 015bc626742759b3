//! What a configuration says, key by key, and where it was read from.
//!
//! Types only: what a value means is decided in `check`, what a difference means in `reload`.

use std::collections::BTreeMap;
use std::fmt;

use super::pingora_keys::EDGE;
use super::tree;

/// Where a configuration was read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// The environment of the process alone, which does not change while it runs.
    #[default]
    Environment,
    /// This file, and the environment over it.
    File(std::path::PathBuf),
}

/// Sets which log lines are written; the filter is known to parse.
pub type SetLog = Box<dyn Fn(&str) + Send + Sync>;

/// Every key's value as it is written. Its text holds passwords: it shows none of it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Values(BTreeMap<String, String>);

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Values")
    }
}

/// What is written above `edge:`.
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

    /// Every key that has a value.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}
