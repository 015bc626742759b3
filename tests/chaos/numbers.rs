//! At the end of a run, the edge's reports are true (G10): compares its pages with the journal itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::report::Violation;
use testkit::fold::Transaction;
use testkit::http::Client;

/// How long the last progress may take to become durable.
const MARKS: Duration = Duration::from_secs(20);
/// The number of sessions that are queried one by one.
const SESSIONS: usize = 60;
const STATUSES: [&str; 5] = ["ATTEMPTING", "COMPLETED", "FAILED", "RECOVERED", "ABANDONED"];

/// Returns every number that still differs after a while, at most the run's patience.
pub fn check(edge: &Client, patience: Duration, journal: &dyn Fn() -> Vec<Transaction>) -> Vec<Violation> {
    let deadline = Instant::now() + MARKS.min(patience);
    loop {
        let wrong = differences(edge, &journal());
        if wrong.is_empty() || Instant::now() > deadline {
            return wrong.into_iter().map(|what| Violation::of("G10", "Numbers", what)).collect();
        }
        // Progress becomes durable one commit after the answer. Only polling shows it.
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn differences(edge: &Client, journal: &[Transaction]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut equal = |what: &str, said: &Value, truth: u64| {
        if said.as_u64() != Some(truth) {
            wrong.push(format!("{what}: {said}, and it is {truth}"));
        }
    };
    let mut by_status: BTreeMap<&str, u64> = BTreeMap::new();
    for one in journal {
        *by_status.entry(one.status.as_str()).or_default() += 1;
    }
    let page = |path: &str| {
        let answer = edge.send("GET", path, "", b"").ok();
        answer.and_then(|answer| serde_json::from_slice(&answer.body).ok()).unwrap_or(Value::Null)
    };
    let (status, wal, safety) = (page("/status"), page("/wal/status"), page("/transaction/safety/status"));
    let metrics = edge.send("GET", "/metrics", "", b"").map(|answer| answer.text()).unwrap_or_default();
    let metric = |name: &str| -> Value {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse::<u64>().ok()).map_or(Value::Null, Value::from)
    };
    equal("/status pending_writes", &status["pending_writes"], 0);
    equal("/status in_doubt", &status["in_doubt"], 0);
    equal("/wal/status pending_writes", &wal["pending_writes"], 0);
    equal("/metrics pending_writes", &metric("chroma_edge_pending_writes"), 0);
    let all = journal.len() as u64;
    equal("/wal/status transactions", &wal["transactions"], all);
    equal("/transaction/safety/status total", &safety["metrics"]["total_transactions"], all);
    equal("/transaction/safety/status pending_recovery", &safety["pending_recovery"], 0);
    for name in STATUSES {
        let truth = by_status.get(name).copied().unwrap_or(0);
        let counts = safety["summary_by_status"].as_array().into_iter().flatten();
        let said = counts.filter(|one| one["status"] == name).map(|one| one["count"].clone()).next();
        equal(&format!("/transaction/safety/status {name}"), &said.unwrap_or(Value::from(0)), truth);
        equal(&format!("/wal/status {name}"), &wal["by_status"][name], truth);
        equal(&format!("/metrics {name}"), &metric(&format!("chroma_edge_transactions{{status=\"{name}\"}}")), truth);
    }
    for instance in status["instances"].as_array().into_iter().flatten() {
        equal(&format!("/status pending_writes of {}", instance["name"]), &instance["pending_writes"], 0);
    }
    let step = (journal.len() / SESSIONS).max(1);
    for one in journal.iter().step_by(step) {
        let Some(session) = &one.client_session else { continue };
        let truth = journal.iter().filter(|other| other.client_session.as_ref() == Some(session)).count() as u64;
        let said = page(&format!("/transaction/safety/transactions?session={session}&limit=10"));
        equal(&format!("transactions of session {session}"), &said["total"], truth);
    }
    wrong
}
