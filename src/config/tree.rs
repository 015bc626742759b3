//! YAML text as a tree that keeps line numbers.
//!
//! A serde derive stops at the first mistake and does not keep the position of a value. This tree keeps the line of
//! every key and value, so that the check can continue and report each place. It decides nothing about keys.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::mistake::{Ledger, Location};

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub place: Location,
    pub value: Value,
}

/// Scalars stay text: their type depends on the key.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a map.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    pub place: Location,
    pub node: Node,
}

impl Node {
    /// An empty map, which stands for a missing file or section.
    pub fn empty_map() -> Self {
        Node { place: Location::Whole, value: Value::Map(Vec::new()) }
    }

    pub fn scalar(text: impl Into<String>, place: Location) -> Self {
        Node { place, value: Value::Scalar(text.into()) }
    }

    /// Counts the nodes of this tree.
    fn count(&self) -> usize {
        match &self.value {
            Value::Null | Value::Scalar(_) => 1,
            Value::List(items) => items.iter().map(Node::count).fold(1, usize::saturating_add),
            Value::Map(entries) => entries.iter().map(|entry| entry.node.count()).fold(1, usize::saturating_add),
        }
    }

    /// Returns the value of `key`, if this is a map that contains it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node),
            _ => None,
        }
    }

    /// Returns a scalar or a list as one line of text; `None` for a section, and for null.
    pub fn plain(&self) -> Option<String> {
        match &self.value {
            Value::Scalar(text) => Some(text.clone()),
            Value::List(items) => {
                let items: Option<Vec<String>> = items.iter().map(Node::plain).collect();
                items.map(|items| format!("[{}]", items.join(", ")))
            }
            Value::Null | Value::Map(_) => None,
        }
    }

    /// Returns the value of `key`, inserted as null if it is missing. Returns None if this node is neither a map nor
    /// null; the check reports such a node.
    pub fn entry(&mut self, key: &str, place: Location) -> Option<&mut Node> {
        if matches!(self.value, Value::Null) {
            self.value = Value::Map(Vec::new());
        }
        let Value::Map(entries) = &mut self.value else { return None };
        let index = match entries.iter().position(|entry| entry.key == key) {
            Some(index) => index,
            None => {
                entries.push(Entry { key: key.to_owned(), place, node: Node { place, value: Value::Null } });
                entries.len() - 1
            }
        };
        entries.get_mut(index).map(|entry| &mut entry.node)
    }
}

/// A map or list that is not closed yet.
enum Open {
    List { place: Location, anchor: usize, items: Vec<Node> },
    Map { place: Location, anchor: usize, entries: Vec<Entry>, key: Option<(String, Location)> },
}

/// Far more than a configuration needs. Aliases can turn a few lines into billions of nodes.
const MOST_NODES: usize = 100_000;
const DEEPEST: usize = 64;

struct Builder<'a> {
    ledger: &'a Ledger,
    /// Nodes so far, including the copies made for aliases.
    nodes: usize,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
}

/// Parses the first document in `text`. Syntax errors and duplicate keys go to the ledger. A syntax error yields no
/// tree, since nothing after it can be trusted.
pub(super) fn parse(text: &str, ledger: &Ledger) -> Option<Node> {
    let mut builder = Builder { ledger, nodes: 0, open: Vec::new(), anchors: HashMap::new(), root: None };
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                ledger.report(Location::Line(error.marker().line()), format!("not valid YAML: {}", error.info()));
                return None;
            }
        };
        let place = Location::Line(span.start.line());
        if matches!(event, Event::DocumentStart(_)) {
            documents += 1;
            if documents > 1 {
                ledger.report(place, "a second YAML document starts here; one file holds one configuration");
                return None;
            }
        }
        builder.take(event, place);
        if builder.nodes > MOST_NODES || builder.open.len() > DEEPEST {
            ledger.report(place, "too much for a configuration: more than 100000 values, or more than 64 levels");
            return None;
        }
    }
    Some(builder.root.unwrap_or_else(Node::empty_map))
}

impl Builder<'_> {
    /// Returns a copy of the anchored node, unless the tree would become too large.
    fn copy(&mut self, anchor: usize) -> Option<Node> {
        let node = self.anchors.get(&anchor)?;
        self.nodes = self.nodes.saturating_add(node.count());
        (self.nodes <= MOST_NODES).then(|| node.clone())
    }

    fn take(&mut self, event: Event<'_>, place: Location) {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let null = style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null");
                let value = if null { Value::Null } else { Value::Scalar(text.into_owned()) };
                self.close(Node { place, value }, anchor);
            }
            Event::Alias(anchor) => match self.copy(anchor) {
                Some(node) => self.close(Node { place, ..node }, 0),
                None => self.close(Node { place, value: Value::Null }, 0),
            },
            Event::SequenceStart(anchor, _) => self.open.push(Open::List { place, anchor, items: Vec::new() }),
            Event::MappingStart(anchor, _) => {
                self.open.push(Open::Map { place, anchor, entries: Vec::new(), key: None });
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List { place, anchor, items }) => {
                    self.close(Node { place, value: Value::List(items) }, anchor);
                }
                Some(Open::Map { place, anchor, entries, .. }) => {
                    self.close(Node { place, value: Value::Map(entries) }, anchor);
                }
                None => {}
            },
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {}
        }
    }

    /// Adds a finished node to the enclosing map or list.
    fn close(&mut self, node: Node, anchor: usize) {
        self.nodes += 1;
        if anchor != 0 {
            self.nodes = self.nodes.saturating_add(node.count());
            // Beyond the limit, parsing stops before an alias can use it.
            if self.nodes <= MOST_NODES {
                self.anchors.insert(anchor, node.clone());
            }
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, .. }) => match key.take() {
                None => *key = Some((key_text(&node, self.ledger), node.place)),
                Some((key, place)) => match entries.iter().find(|entry| entry.key == key) {
                    Some(first) => self.ledger.report(place, format!("duplicate key `{key}`{}", first_at(first.place))),
                    None => entries.push(Entry { key, place, node }),
                },
            },
        }
    }
}

fn first_at(place: Location) -> String {
    match place {
        Location::Line(line) => format!(", first in line {line}"),
        Location::Variable(_) | Location::Whole => String::new(),
    }
}

fn key_text(node: &Node, ledger: &Ledger) -> String {
    match &node.value {
        Value::Scalar(text) => text.clone(),
        Value::Null => "null".to_owned(),
        Value::List(_) | Value::Map(_) => {
            ledger.report(node.place, "a key must be plain text");
            String::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Node {
        let ledger = Ledger::default();
        let node = parse(text, &ledger).unwrap();
        assert!(ledger.is_clean());
        node
    }

    #[test]
    fn every_value_knows_its_line_in_block_and_flow_style() {
        let root =
            tree("# comment\nedge:\n  health:\n    interval: 2s\n  list:\n    - { a: 1,\n        b: 2 }\n    - a: 3\n");
        let edge = root.get("edge").unwrap();
        assert_eq!(edge.get("health").unwrap().get("interval").unwrap().place, Location::Line(4));
        let Value::List(items) = &edge.get("list").unwrap().value else { panic!("not a list") };
        assert_eq!(items[0].get("b").unwrap().place, Location::Line(7));
        assert_eq!(items[1].get("a").unwrap().place, Location::Line(8));
    }

    #[test]
    fn a_value_by_alias_stands_where_the_alias_stands() {
        let root = tree("a: &wait 5s\nb:\n  c: *wait\n");
        let aliased = root.get("b").unwrap().get("c").unwrap();
        assert!(matches!(&aliased.value, Value::Scalar(text) if text == "5s"));
        assert_eq!(aliased.place, Location::Line(3));
    }

    #[test]
    fn a_key_that_stands_twice_is_reported_with_both_lines() {
        let ledger = Ledger::default();
        parse("a: 1\nb: 2\na: 3\n", &ledger);
        let list = ledger.into_list();
        assert_eq!(list[0].place, Location::Line(3));
        assert!(list[0].message.contains("first in line 1"), "{}", list[0].message);
    }

    #[test]
    fn a_few_lines_do_not_become_billions_of_values() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let before = format!("*a{}", level - 1);
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![before; 9].join(", ")));
        }
        let deep = format!("a: {}{}\n", "[".repeat(5000), "]".repeat(5000));
        let anchors: String = (0..60).map(|level| format!("&a{level} [")).collect();
        let anchored = format!("a: {anchors}{}{}\n", "x, ".repeat(20_000), "]".repeat(60));
        for text in [bomb, deep, anchored] {
            let ledger = Ledger::default();
            assert!(parse(&text, &ledger).is_none());
            // The parser has its own limit on nesting.
            let found = ledger.into_list().remove(0).message;
            assert!(found.contains("too much for a configuration") || found.contains("not valid YAML"), "{found}");
        }
    }

    #[test]
    fn a_syntax_error_names_its_line() {
        let ledger = Ledger::default();
        assert!(parse("a: 1\nb: [1, 2\nc: 3\n", &ledger).is_none());
        assert!(matches!(ledger.into_list()[0].place, Location::Line(2..=4)));
    }
}
