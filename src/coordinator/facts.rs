//! What the journal is told of a board's record.

use crate::ids::{InstanceId, LaneId};
use crate::instance::{Answer, Registry};
use crate::journal::{Fact, StoredAnswer};
use crate::order::{Record, Verdict};

/// Answers to record writes above this are not kept: a replay of such a write is told its status only. The catalog
/// lane's are all kept, since the other instances' copies are made from them (rule R8).
const STORED_ANSWER_BYTES: usize = 256 * 1024;

const LEFT_BEHIND: &str = "left behind: the journal was over its byte limit";

/// The facts of one place's record: one commit.
pub(crate) fn facts_of(
    lane: LaneId,
    instance: InstanceId,
    record: &Record,
    answer: Option<&Answer>,
    registry: &Registry,
) -> Vec<Fact> {
    let name = |id: InstanceId| registry.name(id).clone();
    let mut facts = Vec::new();
    for (seq, verdict) in &record.verdicts {
        let by = (*verdict != Verdict::Abandoned).then(|| name(instance));
        facts.push(Fact::Verdict { seq: *seq, verdict: *verdict, by, answer: answer.and_then(|a| stored(lane, a)) });
    }
    facts.extend(record.changes.iter().cloned().map(Fact::Catalog));
    for (lane, instance) in &record.diverged {
        let reason = answer.map_or_else(|| "not compared yet".to_owned(), refusal);
        facts.push(Fact::Diverged { lane: *lane, instance: name(*instance), reason });
    }
    for (lane, instance) in &record.left_behind {
        let reason = LEFT_BEHIND.to_owned();
        facts.push(Fact::Diverged { lane: *lane, instance: name(*instance), reason });
    }
    for (lane, instance) in &record.admitted {
        facts.push(Fact::InStep { lane: *lane, instance: name(*instance) });
    }
    if let Some(through) = record.through {
        facts.push(Fact::Progress { lane, instance: name(instance), through });
    }
    facts
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
