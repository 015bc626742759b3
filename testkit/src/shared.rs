//! An edge whose journal is in PostgreSQL. The database is behind a link that fails on demand, and each instance is
//! behind a relay that records what it was sent.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::cluster::Cluster;
use super::commit_link::CommitLink;
use super::content::Content;
use super::edge::Builder;
use super::fold::{Transaction, transactions_of};
use super::place::wait_for;
use super::postgres::Postgres;
use super::relay::Relay;
use super::workload::{Event, Outcome, added_id};

/// How long the journal may take before a write is refused.
pub const JOURNAL_TIMEOUT: Duration = Duration::from_secs(1);
const RETURN: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Shared {
    // Dropped first: an edge that loses its servers reports errors.
    pub cluster: Cluster,
    pub relays: Vec<Relay>,
    pub link: CommitLink,
    pub postgres: Postgres,
}

impl Shared {
    /// Starts two instances, and a journal that flushes its commits.
    pub fn durable() -> Shared {
        Self::on(Postgres::durable(), |edge| edge)
    }

    /// Starts two instances, with the journal in this database.
    pub fn on(postgres: Postgres, configure: impl FnOnce(Builder) -> Builder) -> Shared {
        let link = CommitLink::to(postgres.port());
        let url = postgres.url_at(link.port());
        let (cluster, relays) = Cluster::relayed(|edge| {
            let quick = "  journal_timeout: 1s\n  settle_time: 500ms";
            configure(edge.postgres(&url).config(quick))
        });
        Shared { cluster, relays, link, postgres }
    }

    /// Waits until the edge is active and serves.
    pub fn await_active(&self) {
        let client = self.cluster.client().with_timeout(Duration::from_secs(2));
        wait_for("an active edge", RETURN, || {
            client.send("GET", "/health", "", b"").ok().filter(|answer| answer.status == 200)
        });
    }

    /// Checks that all instances hold what the edge shows and what the journal produces. Returns that content.
    #[track_caller]
    pub fn assert_converged(&self) -> Content {
        let content = self.cluster.assert_converged_with(&self.postgres);
        self.assert_nothing_unlogged();
        content
    }

    /// Checks that everything an instance was ever sent to add is in the journal.
    #[track_caller]
    fn assert_nothing_unlogged(&self) {
        let journaled = adds(&transactions_of(&self.postgres));
        for relay in &self.relays {
            for seen in relay.seen_at("/add") {
                for id in ids_in(&seen.body) {
                    assert!(journaled.contains_key(&id), "sent to an instance, and not journaled: {id}");
                }
            }
        }
    }

    /// Checks each write: acknowledged ones exist once, refused ones do not exist, and unknown ones exist at most once.
    /// This holds for the journal and for the content.
    #[track_caller]
    pub fn assert_true(&self, events: &[Event], content: &Content) {
        let journaled = adds(&transactions_of(&self.postgres));
        let mut shown: BTreeMap<&str, usize> = BTreeMap::new();
        for record in content.collections.values().flat_map(|one| &one.records) {
            *shown.entry(&record.id).or_default() += 1;
        }
        for event in events {
            let id = added_id(event);
            let entries = journaled.get(&id).copied().unwrap_or(0);
            let records = shown.get(id.as_str()).copied().unwrap_or(0);
            match &event.outcome {
                Outcome::Acknowledged(_) => assert_eq!((entries, records), (1, 1), "acknowledged: {id}"),
                Outcome::Refused(answer) => assert_eq!((entries, records), (0, 0), "refused: {id}: {answer}"),
                Outcome::Unknown(why) => {
                    assert!(entries <= 1 && records == entries, "unknown: {id}: {entries} {records}: {why}");
                }
            }
        }
    }
}

/// Returns how often the journal holds the addition of each record.
fn adds(journal: &[Transaction]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let adds = |one: &&Transaction| one.path.split('?').next().is_some_and(|path| path.ends_with("/add"));
    for id in journal.iter().filter(adds).flat_map(|one| ids_in(&one.body)) {
        *counts.entry(id).or_default() += 1;
    }
    counts
}

fn ids_in(body: &[u8]) -> Vec<String> {
    let body: Value = serde_json::from_slice(body).expect("JSON");
    serde_json::from_value(body["ids"].clone()).expect("ids")
}
