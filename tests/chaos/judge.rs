//! What clients saw and what is left, put to the checker (tests/checker).

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::history::{Kind, Operation, Seen};
use super::report::Violation;
use crate::checker::history::{Read, Run, Shown, Write};
use crate::checker::{Summary, check};
use crate::chroma_model::journal::entries;
use crate::chroma_model::{ChromaSemantics, ChromaState};
use crate::common::content::Content;
use crate::common::fold::Transaction;

/// Everything that the checker finds, and what it looked at.
pub fn judge(
    history: &[Operation],
    journal: &[Transaction],
    instances: &[(String, Content)],
) -> (Vec<Violation>, Option<Summary>) {
    let mut violations = Vec::new();
    // Servers were blank when the run began: whatever was adopted is the edge's own, forgotten.
    let (asked, own): (Vec<Transaction>, Vec<Transaction>) =
        journal.iter().cloned().partition(|one| one.client_session.is_some());
    for one in own {
        let body = String::from_utf8_lossy(&one.body);
        let what = format!("nobody asked for entry {}: {} {} {body}", one.seq, one.method, one.path);
        violations.push(Violation::of("G6", "NobodyAsked", what));
    }
    let token = |one: &Transaction| one.client_session.clone().unwrap_or_default();
    let (journal, names) = match entries(&asked, token) {
        Ok(read) => read,
        Err(why) => {
            violations.push(Violation::of("run", "Journal", why));
            return (violations, None);
        }
    };
    let run = Run {
        writes: history.iter().filter(|one| one.is_write()).map(write).collect(),
        reads: history.iter().filter_map(read).collect(),
        journal,
        instances: instances.iter().map(|(name, content)| (name.clone(), names.held(content))).collect(),
        ..Run::default()
    };
    let Ok(findings) = catch_unwind(AssertUnwindSafe(|| check(&ChromaSemantics, &run))) else {
        violations.push(Violation::of("run", "Checker", "the checker could not read the run"));
        return (violations, None);
    };
    let found = findings.violations.iter().map(|one| {
        let (promise, kind) = (format!("{:?}", one.breach.promise()), format!("{:?}", one.breach));
        Violation::of(&promise, &kind, one.to_string())
    });
    violations.extend(found);
    (violations, Some(findings.summary))
}

fn write(one: &Operation) -> Write {
    Write { token: one.token.clone(), invoked: one.invoked, ended: one.ended, outcome: one.outcome.clone() }
}

fn read(one: &Operation) -> Option<Read<ChromaState>> {
    let fresh = matches!(one.kind, Kind::Read | Kind::ReadGone);
    let (collection, seen) = one.shown.as_ref().filter(|_| fresh)?;
    let shown = match seen {
        Seen::Records(records) => Shown::Content(ChromaState::of(records.clone())),
        Seen::NoSuchCollection => Shown::Nothing,
    };
    Some(Read { lane: collection.clone(), invoked: one.invoked, ended: one.ended, shown })
}
