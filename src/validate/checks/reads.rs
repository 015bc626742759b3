//! `reads`: every instance serves reads that are pinned to it, unpinned reads are answered by known instances, and
//! every answer shows what was just acknowledged.
//!
//! The distribution of reads is configured (`read_replica_ratio`): it is reported, not judged.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::validate::client::{By, OwnCollection, Question, Verb};
use crate::validate::content;
use crate::validate::findings::{Findings, Stop};
use crate::validate::run::Run;
use crate::validate::sample;

pub const NAME: &str = "reads";
/// The number of writes, each followed by reads that must show it.
const ROUNDS: u16 = 20;
const READS_EACH: usize = 2;

pub fn run(run: &Run, findings: &mut Findings) -> Result<(), Stop> {
    let (collection, _) = run.edge.create(&run.name(NAME, "one"), &json!(null))?;
    let served = own_writes(run, findings, &collection)?;
    for (name, reads) in &served {
        if run.instances.iter().all(|known| known.name != *name) {
            findings.fail(format!("{reads} reads were answered by {name:?}, which is no instance of this deployment"));
        }
    }
    let shares: Vec<String> = served.iter().map(|(name, reads)| format!("{name} {reads}")).collect();
    findings.figure("served by", shares.join(", "));
    if served.len() < run.instances.len() {
        findings.note("not every instance got a read that was not pinned: the configuration decides the shares");
    }
    for view in &run.views {
        let pinned = view.pinned_through(run.edge.wire())?;
        let all = || match pinned.records(collection.name()) {
            Ok(Some(found)) if found.len() == usize::from(ROUNDS) => Ok(()),
            Ok(found) => Err(format!("it shows {} of {ROUNDS} records", found.map_or(0, |list| list.len()))),
            Err(error) => Err(error.to_string()),
        };
        if let Err(why) = run.eventually(all) {
            findings.fail(format!("{} does not serve: {why}", view.name));
        }
    }
    Ok(())
}

/// Writes, and reads at once what was written. Returns how many reads each instance answered.
fn own_writes(run: &Run, findings: &mut Findings, collection: &OwnCollection) -> Result<BTreeMap<String, usize>, Stop> {
    let mut served: BTreeMap<String, usize> = BTreeMap::new();
    let mut longest = Duration::ZERO;
    for n in 0..ROUNDS {
        let record = sample::chunk("fresh", n);
        run.edge.records(collection, By::Id, Verb::Add, &content::body(std::slice::from_ref(&record)))?;
        for _ in 0..READS_EACH {
            let body = json!({ "ids": [record.id], "include": content::INCLUDED });
            let answer = run.edge.ask(collection, By::Id, Question::Get, &body)?;
            longest = longest.max(answer.took);
            let by = answer.header("chroma-edge-instance").unwrap_or("").to_owned();
            let found = content::records(&answer.body)?;
            let place = format!("read from {by:?} after its write was acknowledged");
            findings.differ(content::differences(&place, std::slice::from_ref(&record), &found));
            *served.entry(by).or_default() += 1;
        }
    }
    findings.count("reads", usize::from(ROUNDS) * READS_EACH);
    findings.time("longest", longest);
    Ok(served)
}
