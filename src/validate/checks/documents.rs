//! `documents`: records are written and found again, by the collection's id and by its name.

use serde_json::json;

use crate::validate::client::{By, OwnCollection, Question, Verb};
use crate::validate::content::{self, Record};
use crate::validate::findings::{Findings, Stop};
use crate::validate::run::Run;
use crate::validate::sample;

pub const NAME: &str = "documents";

pub fn run(run: &Run, findings: &mut Findings) -> Result<(), Stop> {
    let (collection, _) = run.edge.create(&run.name(NAME, "one"), &json!(null))?;
    let mut expected = sample::chunks("doc", 6);
    let added = run.edge.records(&collection, By::Id, Verb::Add, &content::body(&expected[..3]))?;
    findings.time("add", added.answer.took);
    run.edge.records(&collection, By::Name, Verb::Add, &content::body(&expected[3..]))?;
    shown(run, findings, &collection, "after the adds", &expected)?;
    queried(run, findings, &collection, &expected)?;
    for (by, at, text) in [(By::Id, 0, "updated by id"), (By::Name, 4, "updated by name")] {
        change(&mut expected[at], text);
        let one = &expected[at];
        let update = json!({ "ids": [one.id], "documents": [one.document], "metadatas": [{ "state": text }] });
        run.edge.records(&collection, by, Verb::Update, &update)?;
    }
    shown(run, findings, &collection, "after the updates", &expected)?;
    for (by, at, new) in [(By::Id, 1, 6), (By::Name, 2, 7)] {
        change(&mut expected[at], "upserted");
        expected[at].embedding = sample::vector(90 + new);
        expected.push(sample::chunk("doc", new));
        let pair = [expected[at].clone(), sample::chunk("doc", new)];
        run.edge.records(&collection, by, Verb::Upsert, &content::body(&pair))?;
    }
    shown(run, findings, &collection, "after the upserts", &expected)?;
    findings.expect("the count", &json!(expected.len()), &run.edge.count(&collection)?);
    findings.count("records", expected.len());
    Ok(())
}

fn change(record: &mut Record, text: &str) {
    record.document = Some(format!("{} {text}", record.id));
    record.metadata.insert("state".to_owned(), json!(text));
}

/// Checks that both ways show exactly these records.
fn shown(
    run: &Run,
    findings: &mut Findings,
    collection: &OwnCollection,
    when: &str,
    expected: &[Record],
) -> Result<(), Stop> {
    for (by, way) in [(By::Id, "by id"), (By::Name, "by name")] {
        let found = super::shown::whole(run, collection, by, &json!({}))?;
        findings.differ(content::differences(&format!("{when}, {way}"), expected, &found));
    }
    let few = [&expected[0], &expected[2]];
    let found = super::shown::whole(run, collection, By::Name, &json!({ "ids": few.map(|one| &one.id) }))?;
    findings.differ(content::differences(&format!("{when}, two ids"), &few.map(Clone::clone), &found));
    Ok(())
}

/// Checks that each record is the nearest one to its own vector.
fn queried(run: &Run, findings: &mut Findings, collection: &OwnCollection, all: &[Record]) -> Result<(), Stop> {
    for (by, way) in [(By::Id, "by id"), (By::Name, "by name")] {
        let vectors: Vec<_> = all.iter().map(|one| &one.embedding).collect();
        let body = json!({ "query_embeddings": vectors, "n_results": 2, "include": ["documents", "distances"] });
        let answer = run.edge.ask(collection, by, Question::Query, &body)?;
        if by == By::Id {
            findings.time("query", answer.took);
        }
        let answer = answer.json()?;
        for (n, one) in all.iter().enumerate() {
            let what = |part: &str| format!("the nearest {part} to {}, {way}", one.id);
            findings.expect(&what("id"), &json!(one.id), &answer["ids"][n][0]);
            findings.expect(&what("document"), &json!(one.document), &answer["documents"][n][0]);
            findings.expect(&what("distance"), &Some(0.0), &answer["distances"][n][0].as_f64());
            findings.expect(&what("two"), &Some(2), &answer["ids"][n].as_array().map(Vec::len));
        }
    }
    Ok(())
}
