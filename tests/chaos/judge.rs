//! Passes what clients saw and what is left to the checker (testkit/src/checker).

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::history::{Kind, Operation, Seen};
use super::loss::Tampered;
use super::marks::Met;
use super::report::Violation;
use testkit::checker::history::{Death, Entry, Outcome, Read, Run, Shown, Tick, Verdict, Vouching, Write};
use testkit::checker::{Summary, check};
use testkit::chroma_model::journal::entries;
use testkit::chroma_model::{ChromaSemantics, ChromaState, ChromaWrite};
use testkit::content::Content;
use testkit::fold::Transaction;

/// The checker's result.
#[derive(Default)]
pub struct Judgement {
    pub violations: Vec<Violation>,
    pub summary: Option<Summary>,
    /// Reads that prove nothing because the collection was being dropped meanwhile.
    pub emptied: usize,
    /// Reads of a collection that had been changed behind the edge's back, before it was repaired.
    pub tampered: usize,
}

/// Returns everything that the checker finds, and what it looked at. `deaths`: the deaths that an edge could see and
/// note.
pub fn judge(
    history: &[Operation],
    journal: &[Transaction],
    instances: &[(String, Content)],
    deaths: &[Met],
    tampered: &[Tampered],
) -> Judgement {
    let mut judgement = Judgement::default();
    let violations = &mut judgement.violations;
    // Servers were blank when the run began, so whatever was adopted is the edge's own, forgotten.
    let (asked, own): (Vec<Transaction>, Vec<Transaction>) =
        journal.iter().cloned().partition(|one| one.client_session.is_some());
    for one in own {
        let body = String::from_utf8_lossy(&one.body);
        let what = format!("no client asked for entry {}: {} {} {body}", one.seq, one.method, one.path);
        violations.push(Violation::of("G6", "NobodyAsked", what));
    }
    let deaths = deaths.iter().map(|met| death(met, &asked)).collect();
    let token = |one: &Transaction| one.client_session.clone().unwrap_or_default();
    let (journal, names) = match entries(&asked, token) {
        Ok(read) => read,
        Err(why) => {
            violations.push(Violation::of("run", "Journal", why));
            return judgement;
        }
    };
    let mut reads: Vec<Read<ChromaState>> = history.iter().filter_map(read).collect();
    let all = reads.len();
    let drops = drops(history, &journal);
    reads.retain(|read| !is_emptied(read, &drops));
    judgement.emptied = all - reads.len();
    let all = reads.len();
    reads.retain(|read| !tampered.iter().any(|one| may_show(read, one)));
    judgement.tampered = all - reads.len();
    let run = Run {
        writes: history.iter().filter(|one| one.is_write()).map(write).collect(),
        reads,
        journal,
        instances: instances.iter().map(|(name, content)| (name.clone(), names.held(content))).collect(),
        deaths,
        ..Run::default()
    };
    let Ok(findings) = catch_unwind(AssertUnwindSafe(|| check(&ChromaSemantics, &run))) else {
        violations.push(Violation::of("run", "Checker", "the checker could not read the run"));
        return judgement;
    };
    let found = findings.violations.iter().map(|one| {
        let (promise, kind) = (format!("{:?}", one.breach.promise()), format!("{:?}", one.breach));
        Violation::of(&promise, &kind, one.to_string())
    });
    violations.extend(found);
    judgement.summary = Some(findings.summary);
    judgement
}

/// When each lane was dropped: the time within which the drop may have been executed.
type Drops = HashMap<String, Vec<(Tick, Tick)>>;

fn drops(history: &[Operation], journal: &[Entry<ChromaWrite>]) -> Drops {
    let moments = history.iter().map(|one| {
        let ended = if one.outcome == Outcome::Acknowledged { one.ended } else { Tick::MAX };
        (one.token.as_str(), (one.invoked, ended))
    });
    let moments: HashMap<&str, (Tick, Tick)> = moments.collect();
    let mut drops = Drops::new();
    for entry in journal.iter().filter(|entry| entry.verdict == Verdict::Applied) {
        if let (ChromaWrite::Delete { lanes }, Some(moment)) = (&entry.write, moments.get(entry.token.as_str())) {
            lanes.iter().for_each(|lane| drops.entry(lane.clone()).or_default().push(*moment));
        }
    }
    drops
}

/// A Chroma that is dropping a collection answers a read of it with 200 and no records, before it answers 404 (measured
/// on 1.5.9 alone: 14 of 5455 reads). Such a read shows neither the content nor that the collection is gone.
fn is_emptied(read: &Read<ChromaState>, drops: &Drops) -> bool {
    let empty = match &read.shown {
        Shown::Content(state) => state.content.records.is_empty(),
        Shown::Count(count) => *count == 0,
        Shown::Nothing => false,
    };
    let meanwhile = |(from, to): &(Tick, Tick)| read.ended >= *from && read.invoked <= *to;
    empty && drops.get(&read.lane).is_some_and(|drops| drops.iter().any(meanwhile))
}

/// An audit finds what was changed behind the edge's back. Reads before that may show it.
fn may_show(read: &Read<ChromaState>, one: &Tampered) -> bool {
    read.lane == one.collection && read.ended >= one.from && read.invoked <= one.to
}

/// Reads from the journal whether the write was vouched for, which is where the edge keeps it too.
fn death(met: &Met, journal: &[Transaction]) -> Death {
    let entry = journal.iter().find(|one| one.client_session.as_ref() == Some(&met.token));
    let unvouched = entry.is_none_or(|entry| entry.vouching.as_deref() == Some("unvouched"));
    Death {
        token: met.token.clone(),
        instance: format!("instance {}", met.instance),
        vouching: if unvouched { Vouching::Unvouched } else { Vouching::Vouched },
    }
}

fn write(one: &Operation) -> Write {
    Write { token: one.token.clone(), invoked: one.invoked, ended: one.ended, outcome: one.outcome.clone() }
}

fn read(one: &Operation) -> Option<Read<ChromaState>> {
    // A read that accepts stale data may show any content from before its end, and nothing else.
    let invoked = match one.kind {
        Kind::Read | Kind::ReadGone | Kind::Count => one.invoked,
        Kind::ReadAny => 0,
        _ => return None,
    };
    let (collection, seen) = one.shown.as_ref()?;
    let shown = match seen {
        Seen::Records(records) => Shown::Content(ChromaState::of(records.clone())),
        Seen::Count(count) => Shown::Count(*count),
        Seen::NoSuchCollection => Shown::Nothing,
    };
    Some(Read { lane: collection.clone(), invoked, ended: one.ended, shown })
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::content::Record;

    fn operation(kind: Kind, token: &str, (invoked, ended): (Tick, Tick), outcome: Outcome) -> Operation {
        let asked = String::new();
        Operation { worker: 0, kind, token: token.to_owned(), asked, invoked, ended, outcome, sent: 1, shown: None }
    }

    fn transaction(seq: i64, token: &str, lane: &str, call: (&str, &str), body: &str, answer: &str) -> Transaction {
        Transaction {
            seq,
            transaction_id: format!("t{seq}"),
            lane: lane.to_owned(),
            method: call.0.to_owned(),
            path: format!("/api/v2/tenants/default_tenant/databases/default_database/collections{}", call.1),
            body: body.as_bytes().to_vec(),
            verdict: Some("applied".to_owned()),
            status: "COMPLETED".to_owned(),
            answer: Some(answer.as_bytes().to_vec()),
            client_session: Some(token.to_owned()),
            vouching: None,
        }
    }

    /// A run with this read of a collection that has one record and is dropped from 40 to 50.
    fn run(read: (Tick, Tick), seen: Seen) -> (Vec<Operation>, Vec<Transaction>) {
        let done = |kind, token, moments| operation(kind, token, moments, Outcome::Acknowledged);
        let mut read = done(Kind::Read, "r", read);
        read.shown = Some(("lane".to_owned(), seen));
        let history = vec![
            done(Kind::Create, "a", (0, 10)),
            done(Kind::Add, "b", (20, 30)),
            done(Kind::Drop, "c", (40, 50)),
            read,
        ];
        let record = r#"{"ids":["x"],"embeddings":[[1.0]]}"#;
        let journal = vec![
            transaction(1, "a", "catalog", ("POST", ""), r#"{"name":"alpha"}"#, r#"{"id":"lane"}"#),
            transaction(2, "b", "lane", ("POST", "/lane/add"), record, "{}"),
            transaction(3, "c", "catalog", ("DELETE", "/alpha"), "", "{}"),
        ];
        (history, journal)
    }

    fn kinds(read: (Tick, Tick), seen: Seen) -> (Vec<String>, usize) {
        let (history, journal) = run(read, seen);
        let judgement = judge(&history, &journal, &[], &[], &[]);
        (judgement.violations.into_iter().map(|one| one.kind).collect(), judgement.emptied)
    }

    fn x() -> Seen {
        Seen::Records(vec![Record { id: "x".to_owned(), embedding: vec![1.0f32.to_bits()], ..Record::default() }])
    }

    #[test]
    fn an_empty_read_is_excused_only_while_the_collection_is_dropped() {
        let empty = || Seen::Records(Vec::new());
        assert_eq!(kinds((41, 45), empty()), (Vec::new(), 1));
        assert_eq!(kinds((31, 39), empty()), (vec!["StaleRead".to_owned()], 0));
        assert_eq!(kinds((51, 52), empty()).0.len(), 1, "it is gone");
    }

    #[test]
    fn a_count_is_of_what_was_there_at_its_time() {
        assert_eq!(kinds((31, 39), Seen::Count(1)), (Vec::new(), 0));
        assert_eq!(kinds((31, 39), Seen::Count(0)), (vec!["StaleRead".to_owned()], 0), "before the add");
        assert_eq!(kinds((31, 39), Seen::Count(2)), (vec!["NeverThere".to_owned()], 0));
        assert_eq!(kinds((41, 45), Seen::Count(0)), (Vec::new(), 1), "while it was dropped");
        assert_eq!(kinds((51, 52), Seen::Count(1)), (vec!["DeletedReturns".to_owned()], 0));
    }

    #[test]
    fn what_was_there_and_that_it_is_gone_are_shown_at_their_time() {
        assert_eq!(kinds((31, 39), x()), (Vec::new(), 0));
        assert_eq!(kinds((51, 52), Seen::NoSuchCollection), (Vec::new(), 0));
        assert_eq!(kinds((51, 52), x()).0.len(), 1, "deleted, and back");
        assert_eq!(kinds((31, 39), Seen::NoSuchCollection).0.len(), 1, "it was there");
    }

    #[test]
    fn an_acknowledged_write_that_is_not_in_the_journal_and_an_entry_that_nobody_asked_for_are_found() {
        let (history, mut journal) = run((31, 39), x());
        journal[1].client_session = None;
        let kinds: Vec<String> =
            judge(&history, &journal, &[], &[], &[]).violations.into_iter().map(|one| one.kind).collect();
        assert!(
            kinds.contains(&"NobodyAsked".to_owned()) && kinds.contains(&"AcknowledgedMissing".to_owned()),
            "{kinds:?}"
        );
    }
}
