//! Environment variables, which stand above the file.
//!
//! Decides which variable means which key, and translates units (`CHECK_INTERVAL=3` is three seconds). It
//! reads no environment itself: the caller passes a look-up. Empty variables count as unset, as platforms
//! cannot always remove one.

use super::check::DEFAULT_MERGE_DOCUMENTS;
use super::file::{Notice, Raw};
use super::mistake::{Ledger, Location};
use super::tree::{Entry, Node, Value};

/// Every variable that is understood.
pub const VARIABLES: [&str; 17] = [
    "PRIMARY_URL",
    "REPLICA_URL",
    "PORT",
    "READ_REPLICA_RATIO",
    "CHECK_INTERVAL",
    "REQUEST_TIMEOUT",
    "WAL_SYNC_INTERVAL",
    "MAX_MEMORY_MB",
    "MAX_WORKERS",
    "DEFAULT_BATCH_SIZE",
    "MAX_BATCH_SIZE",
    "MAX_CONCURRENT_REQUESTS",
    "REQUEST_QUEUE_SIZE",
    "ENABLE_CONNECTION_POOLING",
    "ENABLE_GRANULAR_LOCKING",
    "DATABASE_URL",
    "CHROMA_EDGE_LOG",
];

const LIMITS: [&str; 2] = ["edge", "limits"];

struct Environment<'a> {
    raw: &'a mut Raw,
    ledger: &'a Ledger,
    lookup: &'a dyn Fn(&str) -> Option<String>,
}

/// Writes the environment over the file. A value that cannot be translated is reported under its variable.
pub(super) fn apply_environment(raw: &mut Raw, lookup: &dyn Fn(&str) -> Option<String>, ledger: &Ledger) {
    let mut environment = Environment { raw, ledger, lookup };
    environment.instance("PRIMARY_URL", 0, "primary");
    environment.instance("REPLICA_URL", 1, "replica");
    environment.port();
    environment.text("READ_REPLICA_RATIO", &["edge", "read_replica_ratio"]);
    environment.seconds("CHECK_INTERVAL", &["edge", "health", "interval"]);
    environment.seconds("REQUEST_TIMEOUT", &["edge", "request_timeout"]);
    environment.seconds("WAL_SYNC_INTERVAL", &["edge", "recovery_interval"]);
    environment.memory();
    environment.text("MAX_CONCURRENT_REQUESTS", &[LIMITS[0], LIMITS[1], "concurrent_requests"]);
    environment.text("REQUEST_QUEUE_SIZE", &[LIMITS[0], LIMITS[1], "queued_requests"]);
    environment.text("DEFAULT_BATCH_SIZE", &[LIMITS[0], LIMITS[1], "merge_documents"]);
    environment.batch_cap();
    environment.pooling();
    environment.locking();
    environment.database();
    environment.text("CHROMA_EDGE_LOG", &["edge", "log"]);
}

/// `MAX_WORKERS`, which is a key of Pingora's.
pub(super) fn workers(lookup: &dyn Fn(&str) -> Option<String>, ledger: &Ledger) -> Option<usize> {
    let text = lookup("MAX_WORKERS").filter(|text| !text.trim().is_empty())?;
    match text.trim().parse::<usize>() {
        Ok(count @ 1..=1024) => Some(count),
        Ok(_) | Err(_) => {
            ledger
                .report(Location::Variable("MAX_WORKERS"), format!("{text:?} is not a number of threads (1 to 1024)"));
            None
        }
    }
}

impl Environment<'_> {
    fn get(&self, name: &'static str) -> Option<(String, Location)> {
        let text = (self.lookup)(name)?;
        let text = text.trim();
        (!text.is_empty()).then(|| (text.to_owned(), Location::Variable(name)))
    }

    fn text(&mut self, name: &'static str, path: &[&str]) {
        if let Some((text, place)) = self.get(name) {
            self.raw.set(path, text, place);
        }
    }

    /// A bare number is in seconds, as it always was in such variables; `500ms` or `2m` work as well.
    fn seconds(&mut self, name: &'static str, path: &[&str]) {
        if let Some((text, place)) = self.get(name) {
            let bare = text.bytes().all(|byte| byte.is_ascii_digit());
            self.raw.set(path, if bare { format!("{text}s") } else { text }, place);
        }
    }

    fn instance(&mut self, name: &'static str, index: usize, instance: &str) {
        let Some((url, place)) = self.get(name) else { return };
        let Some(list) = self.raw.root.entry("edge", place).and_then(|edge| edge.entry("instances", place)) else {
            return;
        };
        if matches!(list.value, Value::Null) {
            *list = Node { place, value: Value::List(Vec::new()) };
        }
        // Anything but a list is the file's mistake, and is reported by the check.
        let Value::List(items) = &mut list.value else { return };
        let count = items.len();
        match items.get_mut(index) {
            Some(item) => {
                if let Some(node) = item.entry("url", place) {
                    *node = Node::scalar(url, place);
                }
            }
            None if count == index => {
                let entry = |key: &str, text: String| Entry { key: key.into(), place, node: Node::scalar(text, place) };
                let entries = vec![entry("name", instance.to_owned()), entry("url", url)];
                items.push(Node { place, value: Value::Map(entries) });
            }
            None => self.ledger.report(place, "there is no first instance; set PRIMARY_URL too"),
        }
    }

    /// Platforms that set PORT expect the service on every interface.
    fn port(&mut self) {
        let Some((text, place)) = self.get("PORT") else { return };
        match text.parse::<u16>() {
            Ok(port @ 1..) => self.raw.set(&["edge", "listen"], format!("0.0.0.0:{port}"), place),
            Ok(0) | Err(_) => self.ledger.report(place, format!("{text:?} is not a port (1 to 65535)")),
        }
    }

    fn memory(&mut self) {
        let Some((text, place)) = self.get("MAX_MEMORY_MB") else { return };
        match text.parse::<u32>() {
            Ok(count) => self.raw.set(&[LIMITS[0], LIMITS[1], "buffered_bytes"], format!("{count}MiB"), place),
            Err(_) => self.ledger.report(place, format!("{text:?} is not a number of megabytes")),
        }
    }

    /// Runs after DEFAULT_BATCH_SIZE: a cap lowers what the file or that variable says, and never raises it.
    fn batch_cap(&mut self) {
        let Some((text, place)) = self.get("MAX_BATCH_SIZE") else { return };
        let Some(cap) = text.parse::<usize>().ok().filter(|cap| *cap > 0) else {
            self.ledger.report(place, format!("{text:?} is not a number of documents (1 or more)"));
            return;
        };
        let given =
            self.raw.root.get("edge").and_then(|edge| edge.get("limits")).and_then(|l| l.get("merge_documents"));
        let current = match given.map(|node| &node.value) {
            Some(Value::Scalar(text)) => text.parse::<usize>().ok(),
            _ => Some(DEFAULT_MERGE_DOCUMENTS),
        };
        if current.is_some_and(|current| current > cap) {
            self.raw.set(&[LIMITS[0], LIMITS[1], "merge_documents"], cap.to_string(), place);
        }
    }

    fn pooling(&mut self) {
        if let Some((text, place)) = self.flag("ENABLE_CONNECTION_POOLING") {
            self.raw.set(&["edge", "connection_pooling"], text.to_string(), place);
        }
    }

    fn locking(&mut self) {
        if self.flag("ENABLE_GRANULAR_LOCKING").is_some() {
            let notice = "ENABLE_GRANULAR_LOCKING has no effect: each collection always has an order of its own";
            self.raw.notices.push(Notice(notice.to_owned()));
        }
    }

    fn database(&mut self) {
        if let Some((url, place)) = self.get("DATABASE_URL") {
            self.raw.set(&["edge", "journal", "postgres"], url, place);
        }
    }

    fn flag(&self, name: &'static str) -> Option<(bool, Location)> {
        let (text, place) = self.get(name)?;
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some((true, place)),
            "false" | "0" | "no" | "off" => Some((false, place)),
            _ => {
                self.ledger.report(place, format!("{text:?} is neither true nor false"));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::units;

    #[test]
    fn every_variable_in_the_list_is_looked_up() {
        let asked = std::cell::RefCell::new(Vec::new());
        let lookup = |name: &str| {
            asked.borrow_mut().push(name.to_owned());
            None
        };
        let ledger = Ledger::default();
        apply_environment(&mut Raw::parse("", &ledger), &lookup, &ledger);
        workers(&lookup, &ledger);
        let mut asked = asked.into_inner();
        let mut listed: Vec<String> = VARIABLES.iter().map(|&name| name.to_owned()).collect();
        asked.sort();
        listed.sort();
        assert_eq!(asked, listed);
    }

    #[test]
    fn a_bare_number_is_in_seconds() {
        let ledger = Ledger::default();
        let mut raw = Raw::parse("", &ledger);
        apply_environment(&mut raw, &|name| (name == "CHECK_INTERVAL").then(|| "3".to_owned()), &ledger);
        let node = raw.root.get("edge").unwrap().get("health").unwrap().get("interval").unwrap();
        let Value::Scalar(text) = &node.value else { panic!("no scalar") };
        assert_eq!(units::duration(text), units::duration("3s"));
    }
}
