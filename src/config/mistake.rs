//! What is wrong in a configuration, and where.
//!
//! Decides how a place is named and how a list of mistakes is displayed. What counts as a mistake is decided in
//! `check`, `environment` and `pingora_keys`, which all write to one [`Ledger`].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

/// The place of a value or a mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// A line of the file, counted from 1.
    Line(usize),
    /// An environment variable.
    Variable(&'static str),
    /// No single line: something is missing, or there is no file.
    Whole,
}

/// One mistake: its place, and one sentence that says what is expected.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    pub place: Location,
    pub message: String,
}

/// Every mistake of one configuration. Displays one per line, as `FILE:LINE: message` or `VARIABLE: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes {
    /// The file's name, or a placeholder if there is none.
    pub source: String,
    pub list: Vec<Mistake>,
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            match mistake.place {
                Location::Line(line) => write!(f, "{}:{line}: {}", self.source, mistake.message)?,
                Location::Variable(name) => write!(f, "{name}: {}", mistake.message)?,
                Location::Whole => write!(f, "{}: {}", self.source, mistake.message)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// One key as the check sees it, for tests that compare the documents with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KnownKey {
    pub path: String,
    pub default: String,
    pub range: String,
}

/// Collects mistakes, so that one run reports all of them.
#[derive(Default)]
pub(super) struct Ledger {
    mistakes: RefCell<Vec<Mistake>>,
    known: RefCell<Vec<KnownKey>>,
    values: RefCell<BTreeMap<String, String>>,
}

impl Ledger {
    pub fn report(&self, place: Location, message: impl Into<String>) {
        self.mistakes.borrow_mut().push(Mistake { place, message: message.into() });
    }

    pub fn know(&self, path: String, default: String, range: String) {
        self.values.borrow_mut().entry(path.clone()).or_insert_with(|| default.clone());
        self.known.borrow_mut().push(KnownKey { path, default, range });
    }

    /// Records the text written for this key.
    pub fn value(&self, path: String, text: String) {
        self.values.borrow_mut().insert(path, text);
    }

    /// Returns the value of every key that was read: its text in the file, or its default.
    pub fn values(&self) -> BTreeMap<String, String> {
        self.values.borrow().clone()
    }

    pub fn is_clean(&self) -> bool {
        self.mistakes.borrow().is_empty()
    }

    /// Returns the mistakes in the order of the file, then those of the environment.
    pub fn into_list(self) -> Vec<Mistake> {
        let mut list = self.mistakes.into_inner();
        list.sort();
        list.dedup();
        list
    }

    #[cfg(test)]
    pub fn known(&self) -> Vec<KnownKey> {
        self.known.borrow().clone()
    }
}
