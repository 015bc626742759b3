//! Reads one section of the file key by key: types, limits, unknown keys.
//!
//! A mistaken value is reported and replaced by its default, so that reading continues and finds the next mistake; the
//! caller discards the result if the ledger is not clean. `check` decides which keys exist.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::mistake::{Ledger, Location};
use super::tree::{Entry, Node, Value};
use super::units::{ByteSize, duration, show_duration, size};

/// A value and its place; a default has none.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub value: T,
    pub place: Option<Location>,
}

pub(super) struct Section<'a> {
    ledger: &'a Ledger,
    path: String,
    entries: &'a [Entry],
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    /// Opens the section in `node`; null and missing count as empty.
    pub fn new(path: &str, node: Option<&'a Node>, ledger: &'a Ledger) -> Self {
        let entries: &[Entry] = match node.map(|node| (&node.value, node.place)) {
            None | Some((Value::Null, _)) => &[],
            Some((Value::Map(entries), _)) => entries,
            Some((Value::Scalar(_) | Value::List(_), place)) => {
                ledger.report(place, format!("{path} must be a section with keys"));
                &[]
            }
        };
        Section { ledger, path: path.to_owned(), entries, known: RefCell::default() }
    }

    /// Opens the section under `key`.
    pub fn section(&self, key: &'static str) -> Section<'a> {
        Section::new(&self.full(key), self.node(key), self.ledger)
    }

    /// Reads a duration within `range`.
    pub fn duration(&self, key: &'static str, default: Duration, range: RangeInclusive<Duration>) -> Duration {
        self.located_duration(key, default, range).value
    }

    /// Reads a duration within `range`, with its place.
    pub fn located_duration(
        &self,
        key: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Located<Duration> {
        let limits = (show_duration(*range.start()), show_duration(*range.end()));
        self.ranged(key, default, show_duration(default), duration, &range, limits)
    }

    /// Reads a size within `range`, with its place.
    pub fn size(&self, key: &'static str, default: ByteSize, range: RangeInclusive<ByteSize>) -> Located<ByteSize> {
        let limits = (range.start().to_string(), range.end().to_string());
        self.ranged(key, default, default.to_string(), size, &range, limits)
    }

    /// Reads a whole number within `range`.
    pub fn count(&self, key: &'static str, default: usize, range: RangeInclusive<usize>) -> usize {
        let parse = |text: &str| text.parse::<usize>().map_err(|_| format!("{text:?} is not a whole number"));
        let limits = (range.start().to_string(), range.end().to_string());
        self.ranged(key, default, default.to_string(), parse, &range, limits).value
    }

    /// Reads a number within `range`.
    pub fn number(&self, key: &'static str, default: f64, range: RangeInclusive<f64>) -> f64 {
        let parse = |text: &str| text.parse::<f64>().map_err(|_| format!("{text:?} is not a number"));
        let limits = (range.start().to_string(), range.end().to_string());
        self.ranged(key, default, default.to_string(), parse, &range, limits).value
    }

    /// Reads one of the named choices.
    pub fn choice<T: Copy>(&self, key: &'static str, default: &str, choices: &[(&str, T)], fallback: T) -> T {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let names = names.join(" or ");
        self.ledger.know(self.full(key), default.to_owned(), names.clone());
        let parse = |text: &str| {
            let found = choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
            found.ok_or_else(|| format!("{text:?} is not known here; it must be {names}"))
        };
        self.scalar(key, parse).map_or(fallback, |found| found.value)
    }

    /// Reads any text that `parse` accepts, or the default.
    pub fn text<T>(&self, key: &'static str, default: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.ledger.know(self.full(key), default.to_owned(), String::new());
        match self.scalar(key, &parse) {
            Some(found) => Some(found.value),
            None => parse(default).ok(),
        }
    }

    /// Reads text that has no default.
    pub fn required<T>(
        &self,
        key: &'static str,
        place: Location,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Located<T>> {
        if self.node(key).is_none_or(|node| matches!(node.value, Value::Null)) {
            self.ledger.report(place, format!("{} is missing", self.full(key)));
        }
        self.scalar(key, parse)
    }

    /// Reads text that may be absent.
    pub fn optional<T>(&self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<Located<T>> {
        self.scalar(key, parse)
    }

    /// Reads a list of texts.
    pub fn texts(&self, key: &'static str, default: &[&str]) -> Vec<String> {
        self.ledger.know(self.full(key), format!("[{}]", default.join(", ")), String::new());
        let Some(items) = self.list(key) else { return default.iter().map(|&text| text.to_owned()).collect() };
        let mut texts = Vec::new();
        for item in items {
            match &item.value {
                Value::Scalar(text) if !text.is_empty() => texts.push(text.clone()),
                _ => self.ledger.report(item.place, format!("{}: each entry must be a name", self.full(key))),
            }
        }
        texts
    }

    /// Reads a list of texts, each of which `parse` must accept; `default` if the key is absent.
    pub fn parsed<T>(&self, key: &'static str, default: &[&str], parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        self.ledger.know(self.full(key), format!("[{}]", default.join(", ")), String::new());
        let Some(items) = self.list(key) else { return default.iter().filter_map(|text| parse(text).ok()).collect() };
        let mut values = Vec::new();
        for item in items {
            let parsed = match &item.value {
                Value::Scalar(text) => parse(text),
                _ => Err("each entry must be a single value".to_owned()),
            };
            match parsed {
                Ok(value) => values.push(value),
                Err(wrong) => self.ledger.report(item.place, format!("{}: {wrong}", self.full(key))),
            }
        }
        values
    }

    /// Returns whether `key` has a value.
    pub fn is_given(&self, key: &'static str) -> bool {
        self.node(key).is_some_and(|node| !matches!(node.value, Value::Null))
    }

    /// Returns the list under `key`; None if it is missing.
    pub fn list(&self, key: &'static str) -> Option<&'a [Node]> {
        let node = self.node(key)?;
        match &node.value {
            Value::Null => None,
            Value::List(items) => Some(items),
            Value::Scalar(_) | Value::Map(_) => {
                self.ledger.report(node.place, format!("{} must be a list", self.full(key)));
                Some(&[])
            }
        }
    }

    /// Returns whether the value of `key` is exactly this word.
    pub fn is_word(&self, key: &'static str, word: &str) -> bool {
        self.node(key).is_some_and(|node| matches!(&node.value, Value::Scalar(text) if text == word))
    }

    /// Returns the entries under `key`; the caller checks their keys.
    pub fn entries(&self, key: &'static str) -> &'a [Entry] {
        let Some(node) = self.node(key) else { return &[] };
        match &node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            Value::Scalar(_) | Value::List(_) => {
                self.ledger.report(node.place, format!("{} must be a section with keys", self.full(key)));
                &[]
            }
        }
    }

    /// Returns the place of `key`, or the whole file.
    pub fn place(&self, key: &str) -> Location {
        self.entries.iter().find(|entry| entry.key == key).map_or(Location::Whole, |entry| entry.place)
    }

    /// Reports every key that was never read.
    pub fn finish(self) {
        let known = self.known.borrow();
        for entry in self.entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let hint = nearest(&entry.key, &known).map_or(String::new(), |name| format!("; did you mean `{name}`?"));
            self.ledger.report(entry.place, format!("{}.{} is not a known key{hint}", self.path, entry.key));
        }
    }

    fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    fn node(&self, key: &'static str) -> Option<&'a Node> {
        self.known.borrow_mut().push(key);
        let node = self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node);
        if let Some(text) = node.and_then(Node::plain) {
            self.ledger.value(self.full(key), text);
        }
        node
    }

    fn scalar<T>(&self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<Located<T>> {
        let node = self.node(key)?;
        match &node.value {
            Value::Null => None,
            Value::Scalar(text) => match parse(text) {
                Ok(value) => Some(Located { value, place: Some(node.place) }),
                Err(wrong) => {
                    self.ledger.report(node.place, format!("{}: {wrong}", self.full(key)));
                    None
                }
            },
            Value::List(_) | Value::Map(_) => {
                self.ledger.report(node.place, format!("{} must be a single value", self.full(key)));
                None
            }
        }
    }

    fn ranged<T: PartialOrd + Copy>(
        &self,
        key: &'static str,
        default: T,
        shown: String,
        parse: impl Fn(&str) -> Result<T, String>,
        range: &RangeInclusive<T>,
        (low, high): (impl Display, impl Display),
    ) -> Located<T> {
        self.ledger.know(self.full(key), shown, format!("{low} to {high}"));
        let within = |text: &str| match parse(text)? {
            value if range.contains(&value) => Ok(value),
            _ => Err(format!("{text} is out of bounds; it must be {low} to {high}")),
        };
        self.scalar(key, within).unwrap_or(Located { value: default, place: None })
    }
}

/// Returns the most similar known key, if it is similar enough.
pub(super) fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let best = known.iter().map(|name| (distance(key, name), *name)).min()?;
    (best.0 <= 2).then_some(best.1)
}

/// Returns the edit distance: how many letters to insert, delete or replace to turn one word into the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let replaced = row.get(j).copied().unwrap_or(usize::MAX - 1) + usize::from(a != *b);
            let inserted = next.last().copied().unwrap_or(0) + 1;
            let deleted = row.get(j + 1).copied().unwrap_or(usize::MAX - 1) + 1;
            next.push(replaced.min(inserted).min(deleted));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
