//! `transactions`: the edge has logged each write of this run exactly once. A repeated write is the same transaction,
//! and every transaction is final.
//!
//! It counts what the whole run has written, so it comes last.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::validate::client::{By, CallError, OwnCollection, Verb};
use crate::validate::content;
use crate::validate::findings::{Findings, Stop};
use crate::validate::run::Run;
use crate::validate::sample;

pub const NAME: &str = "transactions";
const ADDS: u16 = 10;

pub fn run(run: &Run, findings: &mut Findings) -> Result<(), Stop> {
    let (collection, _) = run.edge.create(&run.name(NAME, "one"), &json!(null))?;
    for n in 0..ADDS {
        let body = content::body(&[sample::chunk("counted", n)]);
        run.edge.records(&collection, By::Id, Verb::Add, &body)?;
    }
    refused(run, findings, &collection)?;
    repeated(run, findings, &collection)?;
    counted(run, findings)?;
    let status = run.edge.page("/transaction/safety/status")?;
    if status["available"] != true || status["recovery_service_running"] != true {
        findings.fail(format!("the transaction service does not run: {}", status["error"]));
    }
    findings.figure("awaiting recovery", &status["pending_recovery"]);
    Ok(())
}

/// A write that Chroma rejects is a transaction, too, with that answer, and has no effect.
fn refused(run: &Run, findings: &mut Findings, collection: &OwnCollection) -> Result<(), Stop> {
    let body = json!({ "ids": ["refused"], "embeddings": [[1.0]] });
    match run.edge.records(collection, By::Id, Verb::Add, &body) {
        Err(CallError::Refused { status: 400, .. }) => {}
        Err(error) => return Err(error.into()),
        Ok(_) => findings.fail("a record of another dimension was taken"),
    }
    let found = super::shown::whole(run, collection, By::Id, &json!({ "ids": ["refused"] }))?;
    findings.expect("records that a refused write left", &0, &found.len());
    Ok(())
}

/// The same write with the same id gets the same answer, and is not executed again.
fn repeated(run: &Run, findings: &mut Findings, collection: &OwnCollection) -> Result<(), Stop> {
    let edge = run.edge.repeating(&format!("{}-repeated", run.id.session()))?;
    let body = json!({ "where": { "chunk": { "$lt": 2 } } });
    let first = edge.records(collection, By::Id, Verb::Delete, &body)?;
    let again = edge.records(collection, By::Id, Verb::Delete, &body)?;
    findings.expect("records deleted at first", &json!(2), &first.body["deleted"]);
    findings.expect("the answer to the repetition", &first.body, &again.body);
    if again.answer.header("idempotent-replayed").is_none() {
        findings.fail("a repeated write was not recognised: it was executed twice");
    }
    Ok(())
}

/// There are as many transactions as writes, and all of them are final.
fn counted(run: &Run, findings: &mut Findings) -> Result<(), Stop> {
    let count = run.edge.tally().count();
    for request in &count.unnamed {
        findings.fail(format!("{request} succeeded and named no transaction"));
    }
    let expected = count.transactions.len();
    let most = expected + count.unanswered;
    let path = format!("/transaction/safety/transactions?limit=1&session={}", run.id.session());
    let all_final = || {
        let page = run.edge.page(&path)?;
        let open = by_status(&page).into_iter().filter(|(status, _)| status == "ATTEMPTING" || status == "FAILED");
        let open: Vec<String> = open.map(|(status, n)| format!("{n} {status}")).collect();
        if open.is_empty() { Ok(page) } else { Err(Stop(format!("transactions left: {}", open.join(", ")))) }
    };
    let page = run.eventually(all_final)?;
    let total = page["total"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    if !(expected..=most).contains(&total) {
        let unknown = if most > expected { format!(" to {most}") } else { String::new() };
        findings.fail(format!("this run made {expected}{unknown} writes, and the edge has logged {total}"));
    }
    let statuses: Vec<String> = by_status(&page).into_iter().map(|(status, n)| format!("{n} {status}")).collect();
    findings.count("writes", expected);
    findings.figure("transactions", statuses.join(", "));
    Ok(())
}

fn by_status(page: &Value) -> BTreeMap<String, u64> {
    let counts = page["counts"].as_object().cloned().unwrap_or_default();
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    counts.iter().map(|(status, n)| (status.clone(), number(n))).filter(|(_, n)| *n > 0).collect()
}
