//! The operations of clients while an instance is away: each is repeated, and its longest wait is reported.

use std::time::Duration;

use serde_json::json;

use super::session_log::{Expected, NAME, SessionLog};
use crate::clock;
use crate::validate::checks;
use crate::validate::client::{By, OwnCollection, Question, Verb};
use crate::validate::content::{self, Record};
use crate::validate::findings::{Findings, Stop};
use crate::validate::run::Run;
use crate::validate::sample;

const ROUNDS: u16 = 5;

/// Performs all of them; a failure becomes a finding, and the rest is still performed.
pub fn all(run: &Run, session_log: &mut SessionLog, findings: &mut Findings) {
    let mut timed = Timed { findings, longest: Vec::new() };
    for round in 0..ROUNDS {
        timed.call("health", || health(run));
        let made =
            timed.call("create", || Ok(run.edge.create(&run.name(NAME, &format!("during{round}")), &json!(null))?.0));
        let Some(collection) = made else { continue };
        let mut records = sample::chunks("during", 6);
        timed.call("add", || write(run, &collection, Verb::Add, &content::body(&records)));
        timed.call("query", || query(run, &collection, &records[2]));
        let update = json!({ "ids": [records[1].id], "documents": ["changed"] });
        timed.call("update", || write(run, &collection, Verb::Update, &update));
        records[1].document = Some("changed".to_owned());
        timed.call("delete", || write(run, &collection, Verb::Delete, &json!({ "ids": [records[0].id] })));
        records.remove(0);
        timed.call("list", || listed(run, &collection));
        timed.call("get", || shown(run, &collection, &records));
        session_log.there.push(Expected { collection, records });
    }
    of_before(run, session_log, &mut timed);
    timed.tell();
}

/// Deletes a group and some records from the content of before the outage, and drops one collection.
fn of_before(run: &Run, session_log: &mut SessionLog, timed: &mut Timed<'_>) {
    if let Some(base) = session_log.there.first_mut() {
        let group = json!({ "where": { "document_id": "gone" } });
        timed.call("delete by where", || write(run, &base.collection, Verb::Delete, &group));
        let ids = ["trimmed::2", "trimmed::4"];
        timed.call("delete", || write(run, &base.collection, Verb::Delete, &json!({ "ids": ids })));
        base.records.retain(|one| !one.id.starts_with("gone::") && !ids.contains(&one.id.as_str()));
    }
    for name in std::mem::take(&mut session_log.doomed) {
        timed.call("drop a collection", || Ok(run.edge.remove(&name)?));
        session_log.gone.push(name);
    }
}

struct Timed<'a> {
    findings: &'a mut Findings,
    /// In the order of the first calls.
    longest: Vec<(&'static str, Duration)>,
}

impl Timed<'_> {
    fn call<T>(&mut self, name: &'static str, call: impl FnOnce() -> Result<T, Stop>) -> Option<T> {
        let begun = clock::now();
        let result = call();
        let took = begun.elapsed();
        match self.longest.iter_mut().find(|(known, _)| *known == name) {
            Some((_, longest)) => *longest = took.max(*longest),
            None => self.longest.push((name, took)),
        }
        result.map_err(|Stop(why)| self.findings.fail(format!("{name}: {why}"))).ok()
    }

    fn tell(self) {
        self.findings.count("rounds", usize::from(ROUNDS));
        for (name, longest) in self.longest {
            self.findings.time(name, longest);
        }
    }
}

/// Checks that the edge serves, and reports itself as degraded.
fn health(run: &Run) -> Result<(), Stop> {
    let page = run.edge.page("/health")?;
    match page["status"].as_str() {
        Some("degraded") => Ok(()),
        other => Err(Stop(format!("it is {other:?} and not \"degraded\" while an instance is away"))),
    }
}

fn write(run: &Run, to: &OwnCollection, verb: Verb, body: &serde_json::Value) -> Result<(), Stop> {
    Ok(run.edge.records(to, By::Id, verb, body).map(drop)?)
}

fn query(run: &Run, of: &OwnCollection, nearest: &Record) -> Result<(), Stop> {
    let body = json!({ "query_embeddings": [nearest.embedding], "n_results": 1 });
    let found = run.edge.ask(of, By::Id, Question::Query, &body)?.json()?["ids"][0][0].clone();
    if found == *nearest.id { Ok(()) } else { Err(Stop(format!("{found} is not the nearest to {}", nearest.id))) }
}

fn listed(run: &Run, collection: &OwnCollection) -> Result<(), Stop> {
    let there = checks::listed(run)?.iter().any(|(name, _)| name == collection.name().as_str());
    if there { Ok(()) } else { Err(Stop(format!("the list does not show {}", collection.name()))) }
}

fn shown(run: &Run, collection: &OwnCollection, expected: &[Record]) -> Result<(), Stop> {
    let found = checks::whole(run, collection, By::Name, &json!({}))?;
    match content::differences(collection.name().as_str(), expected, &found).first() {
        None => Ok(()),
        Some(difference) => Err(Stop(difference.to_string())),
    }
}
