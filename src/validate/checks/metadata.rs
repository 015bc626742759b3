//! `metadata`: the metadata of a collection and of records round-trips with every type, and filters find what they
//! should.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::validate::client::{By, OwnCollection, Verb};
use crate::validate::content::{self, Record};
use crate::validate::findings::{Findings, Stop};
use crate::validate::run::Run;
use crate::validate::sample;

pub const NAME: &str = "metadata";

pub fn run(run: &Run, findings: &mut Findings) -> Result<(), Stop> {
    let own = json!(sample::every_type());
    let (collection, written) = run.edge.create(&run.name(NAME, "one"), &own)?;
    findings.expect("the metadata in the answer to the creation", &own, &written.body["metadata"]);
    collection_shows(run, findings, &collection, &own)?;
    let replaced = json!({ "replaced": true, "n": 2 });
    run.edge.modify(&collection, &replaced)?;
    collection_shows(run, findings, &collection, &replaced)?;

    let mut records = sample::chunks("meta", 6);
    records.push(Record { metadata: sample::every_type(), ..sample::chunk("typed", 6) });
    run.edge.records(&collection, By::Id, Verb::Add, &content::body(&records))?;
    let found = super::shown::whole(run, &collection, By::Id, &json!({}))?;
    findings.differ(content::differences("records", &records, &found));
    filters(run, findings, &collection)?;
    removed_keys(run, findings, &collection, &mut records[0])
}

/// Checks the collection's metadata through the edge, and on every instance.
fn collection_shows(run: &Run, findings: &mut Findings, of: &OwnCollection, expected: &Value) -> Result<(), Stop> {
    let shown = run.edge.page(&run.edge.place().collection(of.name().as_str()))?;
    findings.expect("the collection's metadata", expected, &shown["metadata"]);
    for view in &run.views {
        let same = || match view.collection(of.name()) {
            Ok(Some(shown)) if shown.metadata == *expected => Ok(()),
            Ok(shown) => Err(format!("expected {expected}, found {}", shown.map_or(Value::Null, |one| one.metadata))),
            Err(error) => Err(error.to_string()),
        };
        if let Err(why) = run.eventually(same) {
            findings.fail(format!("the collection's metadata on {}: {why}", view.label()));
        }
    }
    Ok(())
}

fn filters(run: &Run, findings: &mut Findings, collection: &OwnCollection) -> Result<(), Stop> {
    let cases: [(Value, &[u16]); 10] = [
        (json!({ "where": { "chunk": 3 } }), &[3]),
        (json!({ "where": { "chunk": { "$ne": 3 }, } }), &[0, 1, 2, 4, 5, 6]),
        (json!({ "where": { "chunk": { "$gt": 3 } } }), &[4, 5]),
        (json!({ "where": { "chunk": { "$lte": 1 } } }), &[0, 1]),
        (json!({ "where": { "chunk": { "$in": [0, 5, 9] } } }), &[0, 5]),
        (json!({ "where": { "$and": [{ "document_id": "meta" }, { "even": true }] } }), &[0, 2, 4]),
        (json!({ "where": { "$or": [{ "chunk": 1 }, { "text": "plain" }] } }), &[1, 6]),
        (json!({ "where": { "float": { "$lt": 0.2 } } }), &[6]),
        (json!({ "where_document": { "$contains": "chunk 2" } }), &[2]),
        (json!({ "where": { "large": 9_007_199_254_740_993_i64 } }), &[6]),
    ];
    findings.count("filters", cases.len());
    for (filter, expected) in cases {
        let id = |n: &u16| if *n == 6 { "typed::6".to_owned() } else { format!("meta::{n}") };
        let expected: BTreeSet<String> = expected.iter().map(id).collect();
        let found = super::shown::whole(run, collection, By::Name, &filter)?;
        let found: BTreeSet<String> = found.into_iter().map(|one| one.id).collect();
        findings.expect(&format!("found by {filter}"), &expected, &found);
    }
    Ok(())
}

/// Checks that an update merges: a null removes its key, and unnamed keys stay.
fn removed_keys(
    run: &Run,
    findings: &mut Findings,
    collection: &OwnCollection,
    record: &mut Record,
) -> Result<(), Stop> {
    record.metadata.remove("even");
    record.metadata.insert("new".to_owned(), json!("key"));
    let update = json!({ "ids": [record.id], "metadatas": [{ "even": null, "new": "key" }] });
    run.edge.records(collection, By::Id, Verb::Update, &update)?;
    let found = super::shown::whole(run, collection, By::Id, &json!({ "ids": [record.id] }))?;
    findings.differ(content::differences("a merged update", std::slice::from_ref(record), &found));
    Ok(())
}
