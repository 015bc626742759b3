//! What is wrong with a configuration, and where.
//!
//! This file decides how a place is named and how a list of mistakes reads. It does not decide what a
//! mistake is: that is `check`, `environment` and `pingora_keys`, which all write into one [`Ledger`].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

/// Where a value, or a mistake, stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// A line of the file, counted from 1.
    Line(usize),
    /// An environment variable.
    Variable(&'static str),
    /// No one line: something is missing, or there is no file.
    Whole,
}

/// One mistake: its place, and one sentence that says what would be right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    pub place: Location,
    pub message: String,
}

/// Every mistake of one configuration. Shows one per line, as `FILE:LINE: message` or `VARIABLE: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes {
    /// The file's name, or what stands for it when there is none.
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

/// One key as the check knows it: what the tests compare the documents with.
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

    /// What is written at this key.
    pub fn value(&self, path: String, text: String) {
        self.values.borrow_mut().insert(path, text);
    }

    /// The value of every key that was asked for: what is written there, or its default.
    pub fn values(&self) -> BTreeMap<String, String> {
        self.values.borrow().clone()
    }

    pub fn is_clean(&self) -> bool {
        self.mistakes.borrow().is_empty()
    }

    /// The mistakes in the order of the file, then those of the environment.
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
