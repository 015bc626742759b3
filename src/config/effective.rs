//! Every key with its effective value, under its name in the file, as `check` prints it. No key is left out, and no
//! secret is shown.
//!
//! A key's text is its value in the file, or its default. This file decides where the effective value differs, and what
//! is hidden.

use std::collections::BTreeMap;

use super::reload::{self, HIDDEN, KEYS};
use super::settings::{Config, JournalStore};
use super::units::show_duration;
use crate::instance::InstanceOptions;

/// Stands for a value that is neither given nor has a default.
const NOT_SET: &str = "(not set)";

impl Config {
    /// Returns the instances, every key by its name, and those of Pingora's own keys that are set.
    pub fn effective(&self) -> Vec<(String, String)> {
        let keys = KEYS.iter().map(|(key, _)| *key).filter(|key| !key.is_empty() && !key.ends_with('.'));
        let mut own: BTreeMap<String, String> = keys.map(|key| (key.to_owned(), NOT_SET.to_owned())).collect();
        let mut above = BTreeMap::new();
        // The files under `tls.more` have no names of their own: `tls.more` itself lists them.
        for key in self.values.keys().filter(|key| !key.starts_with("tls.more[")) {
            let is_own = reload::row(key).is_some();
            let text = if is_secret(key) { HIDDEN } else { self.values.get(key).unwrap_or_default() };
            (if is_own { &mut own } else { &mut above }).insert(key.to_owned(), text.to_owned());
        }
        own.extend(self.differing().into_iter().map(|(key, text)| (key.to_owned(), text)));
        above.insert("threads".to_owned(), self.pingora.threads.to_string());
        let instances = self.instances.iter().enumerate();
        let instances = instances.map(|(index, one)| (format!("instances[{index}]"), instance(index, one)));
        instances.chain(own).chain(above).collect()
    }

    /// Returns the values that differ from the text in the file, or that may be shown only in part.
    fn differing(&self) -> Vec<(&'static str, String)> {
        let mut found = vec![
            ("attempt_timeout", show_duration(self.attempt_timeout)),
            ("auth", self.proxy.entrance.gate.to_string()),
        ];
        match &self.journal.store {
            JournalStore::Sqlite { .. } => {
                let lease = show_duration(self.journal.lease);
                found.push(("journal.lease", format!("{lease} (not used: the journal is a file)")));
            }
            JournalStore::Postgres { url } => {
                found.push(("journal.postgres", url.to_string()));
                found.push(("journal.path", "(not used: journal.postgres is set)".to_owned()));
            }
        }
        if let Some((_, more)) = self.tls.as_ref().and_then(|tls| tls.certificates.split_first()) {
            let more: Vec<String> = more.iter().map(|files| files.cert.display().to_string()).collect();
            found.push(("tls.more", format!("[{}]", more.join(", "))));
        }
        if let Some(webhook) = &self.webhook {
            found.push(("notify.webhook.url", webhook.url.to_string()));
            found.push(("notify.webhook.events", format!("[{}]", webhook.options.events.join(", "))));
        }
        if let Some(traces) = &self.traces {
            found.push(("traces.endpoint", traces.url.to_string()));
            if !traces.headers.is_empty() {
                found.push(("traces.headers", HIDDEN.to_owned()));
            }
        }
        found
    }
}

/// A token's digest is not secret by itself, but showing it helps nobody.
fn is_secret(key: &str) -> bool {
    reload::SECRET.contains(&key) || key.ends_with(".sha256")
}

fn instance(index: usize, one: &InstanceOptions) -> String {
    let role = if index == 0 { "primary" } else { "replica" };
    let ca_file = one.trust.ca_file.as_ref().map_or(String::new(), |file| format!(", ca_file {}", file.display()));
    let own = one.trust.own.as_ref().map_or(String::new(), |own| {
        format!(", cert_file {}, key_file {}", own.cert_file.display(), own.key_file.display())
    });
    let headers = if one.headers.is_empty() { String::new() } else { format!(", headers {HIDDEN}") };
    format!("{} at {} ({role}{ca_file}{own}{headers})", one.name, one.url)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{TWO, known_keys, with};
    use super::*;

    fn shown(more: &str, variables: &[(&str, &str)]) -> BTreeMap<String, String> {
        with(&format!("{TWO}{more}"), variables).unwrap().effective().into_iter().collect()
    }

    /// The names are compared with `KEYS` in the test of the program's output.
    #[test]
    fn every_key_with_a_default_has_it() {
        let shown = shown("", &[]);
        // With an SQLite journal, the lease is shown as not used.
        for known in known_keys().into_iter().filter(|known| known.path != "edge.journal.lease") {
            let key = known.path.strip_prefix("edge.").unwrap();
            assert_eq!(shown.get(key), Some(&known.default), "{key}");
        }
    }

    #[test]
    fn what_differs_from_what_is_written_is_said() {
        let shown = shown(
            "  request_timeout: 10s\n  notify: { webhook: { url: 'http://a:1/hidden', secret: 0123456789abcdef } }\n",
            &[("DATABASE_URL", "postgres://edge:hidden@db/chroma_edge"), ("MAX_WORKERS", "3")],
        );
        let is = |key: &str, text: &str| assert_eq!(shown[key], text, "{key}");
        is("attempt_timeout", "10s");
        is("journal.postgres", "edge@db:5432/chroma_edge");
        is("journal.path", "(not used: journal.postgres is set)");
        is("notify.webhook.url", "http://a:1/…");
        is("notify.webhook.secret", HIDDEN);
        is("threads", "3");
        is("tls.cert", NOT_SET);
        assert!(shown["notify.webhook.events"].contains("transaction:recovered"));
    }
}
