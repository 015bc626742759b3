//! Real-time order (G3): a write that began after another was acknowledged stands behind it in the journal.
//!
//! Covers all lanes at once: `seq` is one order for all of them, and is assigned between a write's beginning and its
//! answer. A write whose client got no answer orders nothing, but itself must follow what was acknowledged before it
//! began.

use super::history::{Entry, Semantics, Tick};
use super::index::Index;
use super::verdict::{Breach, Violation};

pub fn check<M: Semantics>(index: &Index<'_, M>) -> Vec<Violation> {
    let journal = &index.run.journal;
    let mut answered: Vec<(Tick, &Entry<M::Write>)> =
        journal.iter().filter_map(|entry| Some((index.acknowledged(entry)?, entry))).collect();
    answered.sort_by_key(|(at, _)| *at);
    let known = journal.iter().filter(|entry| index.writes.contains_key(entry.token.as_str()));
    let mut begun: Vec<(Tick, &Entry<M::Write>)> = known.map(|entry| (index.invoked(entry), entry)).collect();
    begun.sort_by_key(|(at, _)| *at);

    let mut found = Vec::new();
    let mut before = answered.into_iter().peekable();
    let mut newest: Option<(Tick, &Entry<M::Write>)> = None;
    for (begins, entry) in begun {
        while let Some(one) = before.next_if(|(at, _)| *at < begins) {
            if newest.is_none_or(|(_, newest)| newest.seq < one.1.seq) {
                newest = Some(one);
            }
        }
        if let Some((at, ahead)) = newest.filter(|(_, ahead)| ahead.seq > entry.seq) {
            let what = format!(
                "began at {begins}, when {} (seq {}, lane {}) had been acknowledged at {at}, and stands before it",
                ahead.token, ahead.seq, ahead.lane
            );
            found.push(index.about(Breach::OrderReversed, entry, what));
        }
    }
    found
}
