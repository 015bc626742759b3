//! `concurrency`: many collections are created at once. Each creation is answered, is one completed transaction, and
//! its collection can be written and read. `collections` checks whether a collection is on every instance.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::time::Duration;

use serde_json::json;

use crate::validate::client::{By, CallError, OwnCollection, Verb, Written};
use crate::validate::content;
use crate::validate::findings::{Findings, Stop};
use crate::validate::run::Run;
use crate::validate::sample;

pub const NAME: &str = "concurrency";
const AT_ONCE: usize = 30;

pub fn run(run: &Run, findings: &mut Findings) -> Result<(), Stop> {
    let made = create_all(run);
    let longest = made.iter().flatten().map(|(_, written)| written.answer.took).max().unwrap_or(Duration::ZERO);
    findings.time("longest creation", longest);
    let mut ids = BTreeSet::new();
    let mut transactions = BTreeSet::new();
    for result in made {
        let (collection, written) = match result {
            Ok(made) => made,
            Err(error) => {
                findings.fail(error.to_string());
                continue;
            }
        };
        if !ids.insert(collection.id()) {
            findings.fail(format!("two collections were given the id {}", collection.id()));
        }
        match written.transaction() {
            Some(id) if transactions.insert(id.to_owned()) => logged(run, findings, &collection, id),
            Some(id) => findings.fail(format!("two creations were answered as the transaction {id}")),
            None => findings.fail(format!("{} was created and not logged", collection.name())),
        }
        if let Err(Stop(why)) = reachable(run, &collection) {
            findings.fail(format!("{} cannot be used: {why}", collection.name()));
        }
    }
    findings.count("created at once", ids.len());
    findings.count("logged", transactions.len());
    Ok(())
}

type Made = Result<(OwnCollection, Written), CallError>;

fn create_all(run: &Run) -> Vec<Made> {
    let start = Barrier::new(AT_ONCE);
    std::thread::scope(|scope| {
        let create = |n: usize| {
            let (name, start) = (run.name(NAME, &n.to_string()), &start);
            scope.spawn(move || {
                start.wait();
                run.edge.create(&name, &json!({ "n": n }))
            })
        };
        let threads: Vec<_> = (0..AT_ONCE).map(create).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    })
}

/// Checks that the edge's log shows the creation as what it was.
fn logged(run: &Run, findings: &mut Findings, collection: &OwnCollection, transaction: &str) {
    match run.edge.page(&format!("/transaction/safety/transaction/{transaction}?wait=10")) {
        Ok(page) => {
            let shown = [&page["status"], &page["operation_type"], &page["response_status"]].map(ToString::to_string);
            let expected = ["\"COMPLETED\"", "\"create_collection\"", "200"].map(str::to_owned);
            findings.expect(&format!("the transaction of {}", collection.name()), &expected, &shown);
        }
        Err(error) => findings.fail(format!("{} is not logged: {error}", collection.name())),
    }
}

fn reachable(run: &Run, collection: &OwnCollection) -> Result<(), Stop> {
    let id = collection.id().to_string();
    let shown = run.edge.page(&run.edge.place().collection(collection.name().as_str()))?;
    if shown["id"] != id {
        return Err(Stop(format!("its name leads to {}, not to {id}", shown["id"])));
    }
    let record = sample::chunk("one", 1);
    run.edge.records(collection, By::Id, Verb::Add, &content::body(std::slice::from_ref(&record)))?;
    let found = super::shown::whole(run, collection, By::Name, &json!({}))?;
    match content::differences("its record", &[record], &found).first() {
        None => Ok(()),
        Some(difference) => Err(Stop(difference.to_string())),
    }
}
