//! The model of real servers: which parts of a read may show different moments, what the journal's rows mean, and a run
//! that is read from such rows and compared with what servers hold.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use testkit::checker::history::{Outcome, Read, Run, Semantics, Shown, Status, Verdict, Write};
use testkit::checker::{Breach, check};
use testkit::chroma_model::journal::{CATALOG, Names, entries};
use testkit::chroma_model::{ChromaSemantics, ChromaState, ChromaWrite};
use testkit::content::{Collection, Content, Definition, Key, Record};
use testkit::fold::Transaction;
use testkit::model::{ModelCollection, Verb};

const DATABASE: &str = "/api/v2/tenants/default_tenant/databases/default_database";
const LANE: &str = "0196b6f0-0000-7000-8000-00000000000a";
const OTHER: &str = "0196b6f0-0000-7000-8000-00000000000b";

fn record(id: &str, document: &str, vector: f32) -> Record {
    Record {
        id: id.to_owned(),
        document: Some(document.to_owned()),
        embedding: vec![vector.to_bits()],
        ..Record::default()
    }
}

fn upsert(id: &str, document: &str, vector: f32) -> Value {
    json!({ "ids": [id], "documents": [document], "embeddings": [[vector]] })
}

/// Rows of a journal, as `testkit/src/fold.rs` reads them.
#[derive(Default)]
struct Rows(Vec<Transaction>);

impl Rows {
    fn add(&mut self, lane: &str, method: &str, path: &str, body: &Value, answer: &Value) -> &mut Transaction {
        let seq = self.0.len() as i64 + 1;
        let row = Transaction {
            seq,
            lane: lane.to_owned(),
            method: method.to_owned(),
            path: format!("{DATABASE}{path}"),
            body: body.to_string().into_bytes(),
            verdict: Some("applied".to_owned()),
            status: "COMPLETED".to_owned(),
            answer: Some(answer.to_string().into_bytes()),
            ..Transaction::default()
        };
        self.0.push(row);
        self.0.last_mut().expect("just pushed")
    }

    fn create(&mut self, name: &str, lane: &str) {
        let body = json!({ "name": name, "metadata": { "m": 1 } });
        self.add(CATALOG, "POST", "/collections", &body, &json!({ "id": lane }));
    }

    fn records(&mut self, lane: &str, verb: &str, body: &Value) -> &mut Transaction {
        self.add(lane, "POST", &format!("/collections/{lane}/{verb}"), body, &json!({}))
    }

    /// Returns the run, in which each write is acknowledged a moment after the previous one, and the names at its end.
    fn run(&self) -> (Run<ChromaWrite, ChromaState>, Names) {
        let (journal, names) = entries(&self.0, |row| format!("t{}", row.seq)).expect("a journal");
        let told = |entry: &testkit::checker::history::Entry<ChromaWrite>| Write {
            token: entry.token.clone(),
            invoked: entry.seq * 10,
            ended: entry.seq * 10 + 5,
            outcome: match entry.verdict {
                Verdict::Applied => Outcome::Acknowledged,
                _ => Outcome::Refused("404".to_owned()),
            },
        };
        (Run { writes: journal.iter().map(told).collect(), journal, ..Run::default() }, names)
    }
}

fn server(collections: &[(&str, Value, &[Record])]) -> Content {
    let mut content = Content::default();
    for (name, metadata, records) in collections {
        let key = Key {
            tenant: "default_tenant".to_owned(),
            database: "default_database".to_owned(),
            name: (*name).to_owned(),
        };
        let definition = Definition {
            metadata: metadata.clone(),
            configuration: Value::Null,
            schema: Value::Null,
            dimension: Value::Null,
        };
        content.collections.insert(key, Collection { definition, records: records.to_vec() });
    }
    content
}

fn breaches(run: &Run<ChromaWrite, ChromaState>) -> Vec<Breach> {
    check(&ChromaSemantics, run).violations.iter().map(|violation| violation.breach).collect()
}

/// A collection that is created, written, renamed and changed, and another one under its old name that is deleted.
fn lively() -> Rows {
    let mut rows = Rows::default();
    rows.create("old", LANE);
    rows.records(LANE, "upsert", &upsert("a", "one", 1.0));
    let path = format!("/collections/{LANE}");
    rows.add(CATALOG, "PUT", &path, &json!({ "new_name": "new name" }), &json!({}));
    rows.create("old", OTHER);
    rows.records(OTHER, "add", &upsert("b", "two", 2.0));
    rows.add(CATALOG, "PUT", &path, &json!({ "new_metadata": { "m": 2 } }), &json!({}));
    rows.add(CATALOG, "DELETE", "/collections/old?x=1", &Value::Null, &json!({}));
    rows.records(OTHER, "add", &upsert("c", "three", 3.0)).verdict = Some("void".to_owned());
    rows.records(LANE, "upsert", &upsert("a", "four", 4.0));
    rows
}

#[test]
fn servers_hold_what_the_rows_of_a_journal_say() {
    let (mut run, names) = lively().run();
    let good = server(&[("new name", json!({ "m": 2 }), &[record("a", "four", 4.0)])]);
    run.instances.push(("good".to_owned(), names.held(&good)));
    assert_eq!(breaches(&run), []);
    for (wrong, expected) in [
        (server(&[("new name", json!({ "m": 2 }), &[record("a", "one", 4.0)])]), vec![Breach::InstanceDiffers]),
        (server(&[("new name", json!({ "m": 2 }), &[record("a", "four", 4.000_001)])]), vec![Breach::InstanceDiffers]),
        (server(&[("new name", json!({ "m": 1 }), &[record("a", "four", 4.0)])]), vec![Breach::InstanceDiffers]),
        (server(&[]), vec![Breach::InstanceLacks, Breach::InstanceDiffers]),
    ] {
        let mut run = run.clone();
        run.instances.push(("wrong".to_owned(), names.held(&wrong)));
        assert_eq!(breaches(&run), expected);
    }
    let mut more = good;
    more.collections.extend(server(&[("old", json!({ "m": 1 }), &[])]).collections);
    run.instances.push(("more".to_owned(), names.held(&more)));
    let findings = check(&ChromaSemantics, &run);
    assert!(findings.has(Breach::InstanceHasMore), "{findings}");
}

#[test]
fn a_collection_that_was_deleted_shows_nothing_and_a_renamed_one_all() {
    let (run, _) = lively().run();
    for (lane, shown, expected) in [
        (LANE, Shown::Content(ChromaState::of(vec![record("a", "four", 4.0)])), vec![]),
        (LANE, Shown::Content(ChromaState::of(vec![record("a", "one", 1.0)])), vec![Breach::StaleRead]),
        (LANE, Shown::Nothing, vec![Breach::StaleRead]),
        (OTHER, Shown::Nothing, vec![]),
        (OTHER, Shown::Content(ChromaState::of(vec![record("b", "two", 2.0)])), vec![Breach::DeletedReturns]),
    ] {
        let mut run = run.clone();
        run.reads.push(Read { lane: lane.to_owned(), invoked: 1000, ended: 1001, shown });
        assert_eq!(breaches(&run), expected, "{:?}", run.reads);
    }
}

/// Chroma reads the tables and then the vectors. Each shows a moment within the read.
#[test]
fn a_read_during_a_write_may_show_its_tables_and_not_its_vectors() {
    let mut rows = Rows::default();
    rows.create("x", LANE);
    rows.records(LANE, "upsert", &upsert("a", "one", 1.0));
    rows.records(LANE, "upsert", &upsert("a", "two", 2.0));
    let (run, _) = rows.run();
    let seen = |invoked, ended, document, vector| {
        let shown = Shown::Content(ChromaState::of(vec![record("a", document, vector)]));
        let mut run = run.clone();
        run.reads.push(Read { lane: LANE.to_owned(), invoked, ended, shown });
        breaches(&run)
    };
    assert_eq!(seen(31, 34, "two", 1.0), []);
    assert_eq!(seen(31, 34, "one", 2.0), []);
    assert_eq!(seen(31, 34, "two", 3.0), [Breach::NeverThere]);
    assert_eq!(seen(26, 28, "two", 1.0), [Breach::NeverThere]);
    assert_eq!(seen(36, 38, "two", 1.0), [Breach::NeverThere]);
    assert_eq!(seen(36, 38, "two", 2.0), []);
}

/// Chroma's vector index applies the records of an entry one after the other.
#[test]
fn a_read_during_a_write_of_several_records_may_show_some_of_its_vectors() {
    let both = |first: f32, second: f32| json!({ "ids": ["a", "b"], "documents": ["one", "two"], "embeddings": [[first], [second]] });
    let mut rows = Rows::default();
    rows.create("x", LANE);
    rows.records(LANE, "upsert", &both(1.0, 2.0));
    rows.records(LANE, "upsert", &both(3.0, 4.0));
    let (run, _) = rows.run();
    let seen = |invoked, ended, first, second| {
        let shown = Shown::Content(ChromaState::of(vec![record("a", "one", first), record("b", "two", second)]));
        let mut run = run.clone();
        run.reads.push(Read { lane: LANE.to_owned(), invoked, ended, shown });
        breaches(&run)
    };
    assert_eq!(seen(31, 34, 3.0, 2.0), []);
    assert_eq!(seen(31, 34, 3.0, 5.0), [Breach::NeverThere], "a vector that nobody wrote");
    assert_eq!(seen(26, 28, 3.0, 2.0), [Breach::NeverThere], "before the second write began");
    assert_eq!(seen(36, 38, 3.0, 2.0), [Breach::NeverThere], "after the second write was acknowledged");
}

#[test]
fn a_name_that_was_given_up_is_nobodys() {
    let mut rows = Rows::default();
    rows.create("before", LANE);
    rows.add(CATALOG, "PUT", &format!("/collections/{LANE}"), &json!({ "new_name": "after" }), &json!({}));
    let (_, names) = rows.run();
    let lanes = |name| names.held(&server(&[(name, Value::Null, &[])])).into_keys().collect::<Vec<_>>();
    assert_eq!(lanes("after"), [LANE, CATALOG]);
    assert!(!lanes("before").contains(&LANE.to_owned()), "{names:?}");
}

#[test]
fn rows_that_mean_nothing_are_told_if_they_were_applied() {
    let mut rows = Rows::default();
    rows.add(CATALOG, "DELETE", "/collections/unheard-of", &Value::Null, &json!({}));
    assert!(entries(&rows.0, |_| String::new()).is_err());
    rows.0[0].verdict = Some("rejected".to_owned());
    rows.0[0].status = "ABANDONED".to_owned();
    let (entries, _) = entries(&rows.0, |_| String::new()).expect("refused, and not looked at");
    assert_eq!((entries[0].verdict, entries[0].status), (Verdict::Rejected, Status::Abandoned));
}

#[test]
fn a_limited_delete_that_found_nothing_deletes_nothing() {
    let mut state = ChromaState::of(vec![record("a", "one", 1.0)]);
    let resolved = ChromaWrite::Records { verb: Verb::Delete, body: json!({}) };
    ChromaSemantics.apply(&mut state, &resolved);
    assert_eq!(state.content, ModelCollection { records: vec![record("a", "one", 1.0)], ..Default::default() });
}

#[test]
fn what_differs_is_told_record_by_record() {
    let one = ChromaState::of(vec![record("a", "one", 1.0), record("b", "two", 2.0)]);
    let other = ChromaState::of(vec![record("a", "one", 1.0), record("b", "three", 2.0)]);
    let text = ChromaSemantics.difference(&one, &other);
    assert!(text.contains("\"b\"") && text.contains("three") && !text.contains("\"a\""), "{text}");
    let twice = ChromaState::of(vec![record("a", "one", 1.0), record("a", "one", 1.0)]);
    assert!(ChromaSemantics.difference(&one, &twice).contains("twice"));
    let held: BTreeMap<_, _> = Names::default().held(&server(&[("x", Value::Null, &[])]));
    assert!(held.keys().any(|lane| lane.contains("not in the journal")), "{held:?}");
}
