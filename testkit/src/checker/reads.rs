//! Reads are as fresh as promised (G5): each shows its collection after some prefix of its timeline. The prefix
//! contains everything that was acknowledged before the read began, and nothing that began after the read ended.
//!
//! One pass over each lane's timeline, with the reads whose window is open. A second pass (`Explanation`) explains the
//! reads without a match. "Deleted stays deleted" is a case with a name of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::history::{Read, Semantics, Shown, Tick};
use super::index::{Content, Index, Timeline};
use super::verdict::{Breach, Violation};

/// The most wrong reads of one lane that are explained one by one.
const EXPLAINED: usize = 20;

pub fn check<M: Semantics>(index: &Index<'_, M>) -> Vec<Violation> {
    let mut lanes: BTreeMap<&str, Vec<&Read<M::State>>> = BTreeMap::new();
    for read in &index.run.reads {
        lanes.entry(&read.lane).or_default().push(read);
    }
    let nothing = Timeline::new();
    let mut found = Vec::new();
    for (lane, reads) in lanes {
        let timeline = index.timelines.get(lane).unwrap_or(&nothing);
        let mut wrong = wrong_reads(index, timeline, &reads);
        let left_out = wrong.len().saturating_sub(EXPLAINED);
        wrong.truncate(EXPLAINED);
        let mut explained = explain(index, timeline, &wrong);
        if let Some(last) = explained.last_mut().filter(|_| left_out > 0) {
            last.what = format!("{}; and {left_out} more wrong reads of this lane", last.what);
        }
        found.extend(explained);
    }
    found
}

/// A read, and the shortest and longest prefix of its lane's timeline that it may show.
#[derive(Debug)]
struct Windowed<'a, S> {
    read: &'a Read<S>,
    least: usize,
    most: usize,
}

/// When the events of a timeline were acknowledged and begun. Finds a read's window in logarithmic time.
struct Moments {
    /// By moment: the length of the shortest prefix with everything acknowledged by that moment.
    acknowledged: Vec<(Tick, usize)>,
    /// By moment: the length of the longest prefix without anything that began at that moment or later.
    begun: Vec<(Tick, usize)>,
}

impl Moments {
    fn new<M: Semantics>(index: &Index<'_, M>, timeline: &Timeline<'_, M::Write>) -> Moments {
        let with = |(place, event): (usize, &super::index::Event<'_, M::Write>)| {
            index.acknowledged(event.entry).map(|at| (at, place + 1))
        };
        let mut acknowledged: Vec<(Tick, usize)> = timeline.iter().enumerate().filter_map(with).collect();
        acknowledged.sort_unstable();
        let mut longest = 0;
        for (_, length) in &mut acknowledged {
            longest = longest.max(*length);
            *length = longest;
        }
        let places = timeline.iter().enumerate();
        let mut begun: Vec<(Tick, usize)> = places.map(|(place, event)| (index.invoked(event.entry), place)).collect();
        begun.sort_unstable();
        let mut shortest = usize::MAX;
        for (_, length) in begun.iter_mut().rev() {
            shortest = shortest.min(*length);
            *length = shortest;
        }
        Moments { acknowledged, begun }
    }

    fn window<'a, S>(&self, read: &'a Read<S>, whole: usize) -> Windowed<'a, S> {
        let before = self.acknowledged.partition_point(|(at, _)| *at < read.invoked);
        let least = before.checked_sub(1).map_or(0, |last| self.acknowledged[last].1);
        let after = self.begun.partition_point(|(at, _)| *at <= read.ended);
        let most = self.begun.get(after).map_or(whole, |(_, length)| *length);
        // They cross only if the journal's order is wrong, which `order` reports.
        Windowed { read, least, most: most.max(least) }
    }
}

/// Returns which parts of a read agree with this content.
fn agreement<M: Semantics>(model: &M, content: &Content<M::State>, shown: &Shown<M::State>) -> u8 {
    match (&content.0, shown) {
        (Some(state), Shown::Content(shown)) => model.agreement(state, shown),
        (Some(state), Shown::Count(shown)) if model.count(state) == *shown => M::PARTS,
        (None, Shown::Nothing) => M::PARTS,
        (None, Shown::Content(_) | Shown::Count(_)) | (Some(_), Shown::Count(_) | Shown::Nothing) => 0,
    }
}

/// Returns which parts of a read are a mix of two neighboring contents.
fn agreement_between<M: Semantics>(
    model: &M,
    before: Option<&M::State>,
    after: &Content<M::State>,
    shown: &Shown<M::State>,
) -> u8 {
    match (before, &after.0, shown) {
        (Some(before), Some(after), Shown::Content(shown)) => model.agreement_between(before, after, shown),
        _ => 0,
    }
}

fn wrong_reads<'a, M: Semantics>(
    index: &Index<'_, M>,
    timeline: &Timeline<'_, M::Write>,
    reads: &[&'a Read<M::State>],
) -> Vec<Windowed<'a, M::State>> {
    let moments = Moments::new(index, timeline);
    let mut waiting: Vec<_> = reads.iter().map(|read| moments.window(read, timeline.len())).collect();
    waiting.sort_by_key(|one| one.least);
    let mut waiting = waiting.into_iter().peekable();
    let mut open: Vec<(Windowed<'a, M::State>, u8)> = Vec::new();
    let mut wrong = Vec::new();
    let mut content = index.start(timeline);
    for length in 0..=timeline.len() {
        // Needed by reads whose window holds both.
        let before = if open.is_empty() { None } else { content.0.clone() };
        if let Some(event) = length.checked_sub(1).map(|last| &timeline[last]) {
            index.step(&mut content, event);
        }
        for (one, agreed) in &mut open {
            *agreed |= agreement_between(index.model, before.as_ref(), &content, &one.read.shown);
        }
        while let Some(one) = waiting.next_if(|one| one.least == length) {
            open.push((one, 0));
        }
        for (one, agreed) in &mut open {
            *agreed |= agreement(index.model, &content, &one.read.shown);
        }
        open.retain(|(_, agreed)| *agreed != M::PARTS);
        wrong.extend(open.extract_if(.., |(one, _)| one.most == length).map(|(one, _)| one));
    }
    wrong
}

/// What a second pass over the timeline finds about a read that no prefix in its window explains.
#[derive(Default)]
struct Explanation {
    /// The nearest prefixes before and after the window whose content was shown.
    older: Option<usize>,
    newer: Option<usize>,
    /// Whether the collection exists somewhere in the window, and whether it existed before it.
    there: bool,
    was_there: bool,
    /// Shown records that no content in the window has, but an older content had.
    returned: BTreeSet<String>,
}

fn explain<M: Semantics>(
    index: &Index<'_, M>,
    timeline: &Timeline<'_, M::Write>,
    wrong: &[Windowed<'_, M::State>],
) -> Vec<Violation> {
    if wrong.is_empty() {
        return Vec::new();
    }
    let mut explanations: Vec<Explanation> = wrong.iter().map(|_| Explanation::default()).collect();
    let mut in_window: Vec<BTreeSet<String>> = vec![BTreeSet::new(); wrong.len()];
    let mut first_seen: HashMap<String, usize> = HashMap::new();
    let mut content = index.start(timeline);
    for length in 0..=timeline.len() {
        if let Some(event) = length.checked_sub(1).map(|last| &timeline[last]) {
            index.step(&mut content, event);
        }
        let records = content.0.as_ref().map(|state| index.model.records(state)).unwrap_or_default();
        for record in &records {
            first_seen.entry(record.clone()).or_insert(length);
        }
        for ((one, known), window) in wrong.iter().zip(&mut explanations).zip(&mut in_window) {
            let same = agreement(index.model, &content, &one.read.shown) == M::PARTS;
            if length < one.least {
                known.older = if same { Some(length) } else { known.older };
                known.was_there |= content.0.is_some();
            } else if length <= one.most {
                known.there |= content.0.is_some();
                window.extend(records.iter().cloned());
            } else if same && known.newer.is_none() {
                known.newer = Some(length);
            }
        }
    }
    for ((one, known), window) in wrong.iter().zip(&mut explanations).zip(&in_window) {
        if let Shown::Content(shown) = &one.read.shown {
            let was_there = |record: &String| first_seen.get(record).is_some_and(|first| *first < one.least);
            known.returned = index.model.records(shown);
            known.returned.retain(|record| was_there(record) && !window.contains(record));
        }
    }
    wrong.iter().zip(&explanations).map(|(one, known)| violation(index, timeline, one, known)).collect()
}

fn violation<M: Semantics>(
    index: &Index<'_, M>,
    timeline: &Timeline<'_, M::Write>,
    one: &Windowed<'_, M::State>,
    known: &Explanation,
) -> Violation {
    let seq = |length: usize| length.checked_sub(1).map_or(0, |last| timeline[last].entry.seq);
    let shows_content = matches!(one.read.shown, Shown::Content(_) | Shown::Count(_));
    let older = known.older.map_or_else(String::new, |length| format!("; it is the content after seq {}", seq(length)));
    let (breach, what) = if shows_content && !known.there && known.was_there {
        (Breach::DeletedReturns, format!("shows a collection that was deleted{older}"))
    } else if !known.returned.is_empty() {
        (Breach::DeletedReturns, format!("shows {:?}, which were deleted{older}", known.returned))
    } else if known.older.is_some() {
        (Breach::StaleRead, format!("lacks what was acknowledged before{older}"))
    } else if let Some(length) = known.newer {
        (Breach::ReadAhead, format!("shows what no client had asked for: the content after seq {}", seq(length)))
    } else {
        (Breach::NeverThere, "shows what no prefix of the journal makes".to_owned())
    };
    let (from, to) = (seq(known.older.unwrap_or(one.least).max(one.least.saturating_sub(2))), seq(one.most));
    let window = format!("[{}..{}]", one.read.invoked, one.read.ended);
    let difference = difference(index, timeline, one);
    Violation {
        lane: Some(one.read.lane.clone()),
        seq: Some(seq(one.least)),
        evidence: index.neighbourhood(&one.read.lane, from, to),
        ..Violation::new(
            breach,
            format!("a read {window} {what}; it may show seq {} to {}; {difference}", seq(one.least), seq(one.most)),
        )
    }
}

/// Describes how the read differs from the oldest content that it may show.
fn difference<M: Semantics>(
    index: &Index<'_, M>,
    timeline: &Timeline<'_, M::Write>,
    one: &Windowed<'_, M::State>,
) -> String {
    let mut content = index.start(timeline);
    for event in &timeline[..one.least] {
        index.step(&mut content, event);
    }
    match (&content.0, &one.read.shown) {
        (Some(state), Shown::Content(shown)) => index.model.difference(state, shown),
        (Some(state), Shown::Count(shown)) => format!("expected {} records, counted {shown}", index.model.count(state)),
        (Some(_), Shown::Nothing) => "shown: no such collection".to_owned(),
        (None, _) => "expected: no such collection".to_owned(),
    }
}
