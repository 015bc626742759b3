//! Turns what the board wants made durable into facts for the journal.

use crate::ids::{InstanceId, InstanceName, LaneId, Seq};
use crate::instance::Answer;
use crate::journal::{Fact, StoredAnswer};
use crate::order::{DivergenceCause, Evidence, Persist, Record, Verdict};

/// Larger answers to record writes are not stored: a replay of such a write gets its status only. Answers in the
/// catalog lane are all stored, since the other instances' copies are made from them (rule R8).
const STORED_ANSWER_BYTES: usize = 256 * 1024;

const LEFT_BEHIND: &str = "left behind: the journal was over its byte limit";

const DIED_OF_IT: &str = "it died while it had a write to it: its copy is not read, and is made anew";

/// The configured name of an instance.
type Name<'a> = &'a dyn Fn(InstanceId) -> InstanceName;

/// Returns the facts of one commit. `answer` is the instance's answer that led to it, if one did.
pub fn facts_of(persist: &Persist, answer: Option<&Answer>, name: Name<'_>) -> Vec<Fact> {
    match persist {
        Persist::Record { lane, instance, record, .. } => facts_of_record(*lane, *instance, record, answer, name),
        Persist::Divergence { replicas, cause } => {
            replicas.iter().map(|replica| divergence(*replica, *cause, answer, name)).collect()
        }
        Persist::Voids { seqs, .. } => {
            let void = |seq: &Seq| Fact::Verdict { seq: *seq, verdict: Verdict::Void, by: None, answer: None };
            seqs.iter().map(void).collect()
        }
        Persist::Suspected { seq, on } => vec![Fact::Suspected { seq: *seq, on: on.map(name) }],
        Persist::Lifted { seq } => vec![Fact::Lifted { seq: *seq }],
        Persist::Withdrawal { seq, .. } => {
            vec![Fact::Verdict { seq: *seq, verdict: Verdict::Abandoned, by: None, answer: None }]
        }
    }
}

fn facts_of_record(
    lane: LaneId,
    instance: InstanceId,
    record: &Record,
    answer: Option<&Answer>,
    name: Name<'_>,
) -> Vec<Fact> {
    let mut facts = Vec::new();
    for (seq, verdict) in &record.verdicts {
        let by = (*verdict != Verdict::Abandoned).then(|| name(instance));
        facts.push(Fact::Verdict { seq: *seq, verdict: *verdict, by, answer: answer.and_then(|a| stored(lane, a)) });
    }
    facts.extend(record.changes.iter().cloned().map(Fact::Catalog));
    for replica in &record.diverged {
        facts.push(divergence(*replica, DivergenceCause::Unverified, answer, name));
    }
    for replica in &record.quarantined {
        facts.push(divergence(*replica, DivergenceCause::Quarantined, answer, name));
    }
    for (replica, evidence) in &record.condemned {
        facts.push(divergence(*replica, DivergenceCause::Condemned(*evidence), answer, name));
    }
    for (lane, instance) in &record.admitted {
        facts.push(Fact::InStep { lane: *lane, instance: name(*instance) });
    }
    if let Some(through) = record.through {
        facts.push(Fact::Progress { lane, instance: name(instance), through });
    }
    facts
}

fn divergence(
    (lane, instance): (LaneId, InstanceId),
    cause: DivergenceCause,
    answer: Option<&Answer>,
    name: Name<'_>,
) -> Fact {
    let instance = name(instance);
    let reason = match cause {
        DivergenceCause::Unverified => answer.map_or_else(|| "not compared yet".to_owned(), refusal),
        DivergenceCause::LeftBehind => LEFT_BEHIND.to_owned(),
        DivergenceCause::Condemned(evidence) => {
            let reason = evidence.as_str().to_owned();
            return match evidence {
                Evidence::ContradictsJournal => Fact::Contradicted { lane, instance, reason },
                Evidence::FailsQueries | Evidence::OperatorsWord | Evidence::WasEmpty => {
                    Fact::Condemned { lane, instance, reason }
                }
            };
        }
        DivergenceCause::Quarantined => return Fact::Quarantined { lane, instance, reason: DIED_OF_IT.to_owned() },
    };
    Fact::Diverged { lane, instance, reason }
}

fn stored(lane: LaneId, answer: &Answer) -> Option<StoredAnswer> {
    (lane == LaneId::Catalog || answer.body.len() <= STORED_ANSWER_BYTES)
        .then(|| StoredAnswer { status: answer.status, body: answer.body.clone() })
}

fn refusal(answer: &Answer) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    format!("answered {} to a write that another instance answered otherwise: {}", answer.status, shorten(&text))
}

fn shorten(text: &str) -> String {
    text.chars().take(300).collect()
}
