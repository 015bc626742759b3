//! The first step: the content of the file and the environment, not yet checked.
//!
//! A [`Raw`] is the file's tree plus its text. The environment overrides values in the tree, and each value keeps the
//! place it came from. What the values mean is decided in `check` and `pingora_keys`.

use super::mistake::{Ledger, Location};
use super::tree::{self, Node};

/// A warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice(pub String);

pub(super) struct Raw {
    /// The file's text, for Pingora's own keys.
    pub text: String,
    pub root: Node,
    pub notices: Vec<Notice>,
}

impl Raw {
    /// Parses `text`. After a syntax error, which goes to the ledger, the tree is empty.
    pub fn parse(text: &str, ledger: &Ledger) -> Self {
        let root = tree::parse(text, ledger).unwrap_or_else(Node::empty_map);
        Raw { text: text.to_owned(), root, notices: Vec::new() }
    }

    /// Overrides whatever the file has at this path.
    pub fn set(&mut self, path: &[&str], text: String, place: Location) {
        let mut node = &mut self.root;
        for key in path {
            let Some(next) = node.entry(key, place) else { return };
            node = next;
        }
        *node = Node::scalar(text, place);
    }
}
