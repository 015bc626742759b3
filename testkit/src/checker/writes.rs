//! The outcome of each write: no acknowledged write is missing, no refused write has an effect, none exists twice, and
//! nothing exists that no client wrote (G2, G6, G7).
//!
//! Decides from the journal's entries alone. `instances.rs` decides whether the instances hold what the entries
//! produce.

use super::history::{Entry, Outcome, Semantics, Status, Verdict, Write};
use super::index::{Index, told};
use super::verdict::{Breach, Violation};

pub fn check<M: Semantics>(index: &Index<'_, M>) -> Vec<Violation> {
    let mut found = Vec::new();
    for write in &index.run.writes {
        let entries = index.entries.get(write.token.as_str()).map_or(&[][..], Vec::as_slice);
        found.extend(match write.outcome {
            Outcome::Acknowledged => acknowledged(index, write, entries),
            Outcome::Found => found_or_made(index, entries),
            Outcome::Refused(_) => refused(index, write, entries),
            Outcome::Unknown(_) => None,
        });
        found.extend(twice(index, write, entries));
    }
    found.extend(nobodys(index));
    found
}

fn acknowledged<M: Semantics>(index: &Index<'_, M>, write: &Write, entries: &[&Entry<M::Write>]) -> Option<Violation> {
    let Some(first) = entries.first() else {
        let what = format!("acknowledged at {}, begun at {}, and not in the journal", write.ended, write.invoked);
        let token = Some(write.token.clone());
        return Some(Violation { token, ..Violation::new(Breach::AcknowledgedMissing, what) });
    };
    // Acknowledged and cut off before that was durable, and its collection was dropped before it was executed again.
    let went = |entry: &&&Entry<M::Write>| entry.verdict == Verdict::Void && index.went_with_its_lane(entry);
    let done = |entry: &&&Entry<M::Write>| entry.verdict == Verdict::Applied || went(entry);
    if entries.iter().filter(done).any(|entry| entry.status == Status::Done) {
        return None;
    }
    let what = format!("acknowledged, and its entry is {:?}, {:?}", first.verdict, first.status);
    Some(index.about(Breach::AcknowledgedNotApplied, first, what))
}

/// A `get_or_create` that found its collection may have left nothing in the journal, or an entry that changed nothing.
fn found_or_made<M: Semantics>(index: &Index<'_, M>, entries: &[&Entry<M::Write>]) -> Option<Violation> {
    let fits = |entry: &&Entry<M::Write>| matches!(entry.verdict, Verdict::Applied | Verdict::Void);
    let wrong = entries.iter().find(|entry| !fits(entry))?;
    let what = format!("answered as found or made, and its entry is {:?}", wrong.verdict);
    Some(index.about(Breach::AcknowledgedNotApplied, wrong, what))
}

/// An open entry counts, since it may still take effect.
fn refused<M: Semantics>(index: &Index<'_, M>, write: &Write, entries: &[&Entry<M::Write>]) -> Option<Violation> {
    let has_effect = |entry: &&&Entry<M::Write>| matches!(entry.verdict, Verdict::Applied | Verdict::Open);
    let effect = entries.iter().find(has_effect)?;
    let what = format!("{}, and its entry is {:?}", told(&write.outcome), effect.verdict);
    Some(index.about(Breach::RefusedHasEffect, effect, what))
}

fn twice<M: Semantics>(index: &Index<'_, M>, write: &Write, entries: &[&Entry<M::Write>]) -> Option<Violation> {
    let [_, second, ..] = entries else { return None };
    let seqs: Vec<u64> = entries.iter().map(|entry| entry.seq).collect();
    let what = format!("one write, {}, is {} entries: {seqs:?}", told(&write.outcome), entries.len());
    Some(index.about(Breach::Twice, second, what))
}

fn nobodys<M: Semantics>(index: &Index<'_, M>) -> Vec<Violation> {
    let strangers = index.run.journal.iter().filter(|entry| !index.writes.contains_key(entry.token.as_str()));
    strangers.map(|entry| index.about(Breach::NobodyAsked, entry, "no client wrote this".to_owned())).collect()
}
