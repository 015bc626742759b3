//! Environment variables, which override the file.
//!
//! Decides which variable sets which key, and converts units (`CHECK_INTERVAL=3` is three seconds). It does not read
//! the environment itself: the caller passes a lookup function. Empty variables count as unset, because some platforms
//! cannot remove one.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::access;
use super::check::DEFAULT_MERGE_DOCUMENTS;
use super::file::{Notice, Raw};
use super::mistake::{Ledger, Location};
use super::tree::{Entry, Node, Value};

/// Every supported variable.
pub const VARIABLES: [&str; 29] = [
    "AUTH",
    "PRIMARY_URL",
    "REPLICA_URL",
    "PORT",
    "HOSTS",
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
    "CHROMA_EDGE_LOG_FORMAT",
    "CHROMA_EDGE_ACCESS_LOG",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_SDK_DISABLED",
    "OTEL_SERVICE_NAME",
    "OTEL_TRACES_EXPORTER",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
];

const LIMITS: [&str; 2] = ["edge", "limits"];

struct Environment<'a> {
    raw: &'a mut Raw,
    ledger: &'a Ledger,
    lookup: &'a dyn Fn(&str) -> Option<String>,
}

/// Overrides the file with the environment. A value that cannot be translated is reported under its variable.
pub(super) fn apply_environment(raw: &mut Raw, lookup: &dyn Fn(&str) -> Option<String>, ledger: &Ledger) {
    let mut environment = Environment { raw, ledger, lookup };
    environment.instance("PRIMARY_URL", 0, "primary");
    environment.instance("REPLICA_URL", 1, "replica");
    environment.port();
    environment.hosts();
    environment.text("READ_REPLICA_RATIO", &["edge", "read_replica_ratio"]);
    environment.seconds("CHECK_INTERVAL", &["edge", "health", "interval"]);
    environment.seconds("REQUEST_TIMEOUT", &["edge", "request_timeout"]);
    environment.seconds("WAL_SYNC_INTERVAL", &["edge", "recovery_interval"]);
    environment.memory();
    environment.text("MAX_CONCURRENT_REQUESTS", &[LIMITS[0], LIMITS[1], "concurrent_attempts"]);
    environment.text("REQUEST_QUEUE_SIZE", &[LIMITS[0], LIMITS[1], "queued_attempts"]);
    environment.text("DEFAULT_BATCH_SIZE", &[LIMITS[0], LIMITS[1], "merge_documents"]);
    environment.batch_cap();
    environment.pooling();
    environment.locking();
    environment.database();
    environment.text("CHROMA_EDGE_LOG", &["edge", "log"]);
    environment.text("CHROMA_EDGE_LOG_FORMAT", &["edge", "log_format"]);
    environment.text("CHROMA_EDGE_ACCESS_LOG", &["edge", "access_log"]);
    environment.traces();
    environment.auth();
}

/// Returns the value of `MAX_WORKERS`, which sets a key of Pingora's.
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

    /// A bare number is in seconds, the convention for these variables; `500ms` or `2m` work as well.
    fn seconds(&mut self, name: &'static str, path: &[&str]) {
        self.duration(name, path, "s");
    }

    /// A bare number is in `unit`.
    fn duration(&mut self, name: &'static str, path: &[&str], unit: &str) {
        if let Some((text, place)) = self.get(name) {
            let bare = text.bytes().all(|byte| byte.is_ascii_digit());
            self.raw.set(path, if bare { text + unit } else { text }, place);
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
        // If the file has anything but a list here, the check reports it.
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

    /// Platforms that set PORT expect the service to listen on every interface.
    fn port(&mut self) {
        let Some((text, place)) = self.get("PORT") else { return };
        match text.parse::<u16>() {
            Ok(port @ 1..) => {
                self.raw.set(&["edge", "listen"], format!("0.0.0.0:{port}"), place);
                // The platform's router selects the service by host name, so a request for a foreign name never gets
                // here.
                if self.raw.root.get("edge").and_then(|edge| edge.get("hosts")).is_none() {
                    self.host_names("*", place);
                }
            }
            Ok(0) | Err(_) => self.ledger.report(place, format!("{text:?} is not a port (1 to 65535)")),
        }
    }

    /// Comma-separated.
    fn hosts(&mut self) {
        if let Some((text, place)) = self.get("HOSTS") {
            self.host_names(&text, place);
        }
    }

    fn host_names(&mut self, text: &str, place: Location) {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let names = names.map(|name| Node::scalar(name, place)).collect();
        if let Some(hosts) = self.raw.root.entry("edge", place).and_then(|edge| edge.entry("hosts", place)) {
            *hosts = Node { place, value: Value::List(names) };
        }
    }

    fn memory(&mut self) {
        let Some((text, place)) = self.get("MAX_MEMORY_MB") else { return };
        match text.parse::<u32>() {
            Ok(count) => self.raw.set(&[LIMITS[0], LIMITS[1], "buffered_bytes"], format!("{count}MiB"), place),
            Err(_) => self.ledger.report(place, format!("{text:?} is not a number of megabytes")),
        }
    }

    /// Runs after DEFAULT_BATCH_SIZE: a cap lowers the value of the file or of that variable, and never raises it. A
    /// cap that lowers nothing gets a notice: its user may expect requests to hold that many documents.
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
        match current {
            Some(current) if current > cap => {
                self.raw.set(&[LIMITS[0], LIMITS[1], "merge_documents"], cap.to_string(), place);
            }
            Some(current) if current < cap => self.raw.notices.push(Notice(format!(
                "MAX_BATCH_SIZE={cap} is ignored: it lowers edge.limits.merge_documents, which is {current}, and never \
                 raises it. Set DEFAULT_BATCH_SIZE, or the key, for larger requests"
            ))),
            // Equal to the cap, or not a number, which the check reports.
            Some(_) | None => {}
        }
    }

    fn pooling(&mut self) {
        if let Some((text, place)) = self.flag("ENABLE_CONNECTION_POOLING") {
            self.raw.set(&["edge", "connection_pooling"], text.to_string(), place);
        }
    }

    fn locking(&mut self) {
        if let Some((text, place)) = self.flag("ENABLE_GRANULAR_LOCKING") {
            self.raw.set(&["edge", "granular_locking"], text.to_string(), place);
        }
    }

    fn database(&mut self) {
        if let Some((url, place)) = self.get("DATABASE_URL") {
            self.raw.set(&["edge", "journal", "postgres"], url, place);
        }
    }

    /// Uses OpenTelemetry's names and units: milliseconds, and headers as `name=value,name=value`, percent-encoded.
    fn traces(&mut self) {
        if self.says("OTEL_SDK_DISABLED", "true") || self.says("OTEL_TRACES_EXPORTER", "none") {
            return;
        }
        self.text("OTEL_EXPORTER_OTLP_ENDPOINT", &["edge", "traces", "endpoint"]);
        let traces = self.raw.root.get("edge").and_then(|edge| edge.get("traces"));
        if traces.and_then(|traces| traces.get("endpoint")).is_none() {
            return;
        }
        self.text("OTEL_SERVICE_NAME", &["edge", "traces", "service_name"]);
        let ratio = ["edge", "traces", "sample_ratio"];
        match self.get("OTEL_TRACES_SAMPLER").map(|(text, place)| (text.to_ascii_lowercase(), place)) {
            Some((sampler, place)) if sampler.ends_with("always_off") => self.raw.set(&ratio, "0".to_owned(), place),
            // For other samplers, the argument is not a ratio.
            Some((sampler, _)) if !sampler.ends_with("traceidratio") => {}
            Some(_) | None => self.text("OTEL_TRACES_SAMPLER_ARG", &ratio),
        }
        self.duration("OTEL_EXPORTER_OTLP_TIMEOUT", &["edge", "traces", "timeout"], "ms");
        let Some((text, place)) = self.get("OTEL_EXPORTER_OTLP_HEADERS") else { return };
        for header in text.split(',').map(str::trim).filter(|header| !header.is_empty()) {
            let decoded = |text: &str| percent_decode_str(text.trim()).decode_utf8().ok().map(Cow::into_owned);
            match header.split_once('=').map(|(name, value)| (name.trim(), decoded(value))) {
                Some((name, Some(value))) => self.raw.set(&["edge", "traces", "headers", name], value, place),
                // The message omits the text, which may be a secret.
                Some((_, None)) | None => self.ledger.report(place, "a header is written as name=value"),
            }
        }
    }

    /// `none`, or tokens that replace those of the file.
    fn auth(&mut self) {
        let Some((text, place)) = self.get("AUTH") else { return };
        if text == access::NONE {
            return self.raw.set(&["edge", "auth"], text, place);
        }
        let tokens = match access::from_variable(&text, place) {
            Ok(tokens) => tokens,
            Err(expected) => return self.ledger.report(place, expected),
        };
        let Some(edge) = self.raw.root.entry("edge", place) else { return };
        let Some(auth) = edge.entry("auth", place) else { return };
        if matches!(auth.value, Value::Scalar(_)) {
            *auth = Node::empty_map();
        }
        if let Some(node) = auth.entry("tokens", place) {
            *node = tokens;
        }
    }

    fn says(&self, name: &'static str, word: &str) -> bool {
        self.get(name).is_some_and(|(text, _)| text.eq_ignore_ascii_case(word))
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
            // Without a collector, no other variable about traces is read.
            (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| "http://collector:4318".to_owned())
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

    /// Variables set for every program on a machine must neither stop the edge nor enable more than they say.
    #[test]
    fn variables_of_opentelemetry_count_where_there_is_a_collector_and_are_taken_at_their_word() {
        let ratio = |set: &[(&str, &str)]| {
            let ledger = Ledger::default();
            let mut raw = Raw::parse("", &ledger);
            let lookup = |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            apply_environment(&mut raw, &lookup, &ledger);
            let traces = raw.root.get("edge").and_then(|edge| edge.get("traces"));
            let scalar = |key: &str| match &traces?.get(key)?.value {
                Value::Scalar(text) => Some(text.clone()),
                _ => None,
            };
            (scalar("endpoint").is_some(), scalar("sample_ratio"))
        };
        let collector = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        let sampler = |name| ("OTEL_TRACES_SAMPLER", name);
        let argument = ("OTEL_TRACES_SAMPLER_ARG", "endpoint=http://jaeger,pollingIntervalMs=5000");
        assert_eq!(ratio(&[sampler("jaeger_remote"), argument]), (false, None));
        assert_eq!(ratio(&[collector, sampler("jaeger_remote"), argument]), (true, None));
        assert_eq!(ratio(&[collector, sampler("parentbased_always_off")]), (true, Some("0".to_owned())));
        let share = ("OTEL_TRACES_SAMPLER_ARG", "0.5");
        assert_eq!(ratio(&[collector, sampler("parentbased_traceidratio"), share]), (true, Some("0.5".to_owned())));
        assert_eq!(ratio(&[collector, share]), (true, Some("0.5".to_owned())));
        assert_eq!(ratio(&[collector, share, ("OTEL_SDK_DISABLED", "true")]), (false, None));
        assert_eq!(ratio(&[collector, share, ("OTEL_TRACES_EXPORTER", "none")]), (false, None));
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
