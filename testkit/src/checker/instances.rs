//! Every instance holds exactly what the journal's applied entries produce, lane by lane (G2).
//!
//! If no entry of the journal begins a collection, an empty collection and none are the same, since such a run does not
//! state which collections exist. Replicas that the edge itself reports as diverged are not compared.

use std::collections::{BTreeMap, BTreeSet};

use super::history::Semantics;
use super::index::{Content, Happening, Index, Timeline};
use super::verdict::{Breach, Violation};

pub fn check<M: Semantics>(index: &Index<'_, M>) -> Vec<Violation> {
    if index.run.instances.is_empty() {
        return Vec::new();
    }
    let expected: BTreeMap<&str, Content<M::State>> =
        index.timelines.iter().map(|(lane, timeline)| (lane.as_str(), index.fold(timeline))).collect();
    let mut found = Vec::new();
    for (instance, held) in &index.run.instances {
        let lanes: BTreeSet<&str> = expected.keys().copied().chain(held.keys().map(String::as_str)).collect();
        for lane in lanes {
            if index.run.diverged.contains(&(instance.clone(), lane.to_owned())) {
                continue;
            }
            let wanted = expected.get(lane).and_then(|content| content.0.as_ref());
            found.extend(compare(index, instance, lane, wanted, held.get(lane)));
        }
    }
    found
}

fn compare<M: Semantics>(
    index: &Index<'_, M>,
    instance: &str,
    lane: &str,
    wanted: Option<&M::State>,
    held: Option<&M::State>,
) -> Option<Violation> {
    let (breach, what) = match (wanted, held) {
        (None, None) => return None,
        (Some(wanted), Some(held)) if wanted == held => return None,
        (Some(wanted), None) if *wanted == M::State::default() && !begins(index.timelines.get(lane)) => return None,
        (None, Some(held))
            if *held == M::State::default() && !index.timelines.contains_key(lane) && !begin_here(index) =>
        {
            return None;
        }
        (Some(wanted), None) => {
            let records = index.model.records(wanted).len();
            (Breach::InstanceLacks, format!("does not have the collection, of {records} records"))
        }
        (None, Some(_)) if index.timelines.contains_key(lane) => {
            (Breach::DeletedReturns, "has a collection that was deleted".to_owned())
        }
        (None, Some(held)) => {
            let records = index.model.records(held).len();
            (Breach::InstanceHasMore, format!("has a collection that the journal does not know, of {records} records"))
        }
        (Some(wanted), Some(held)) => {
            let back = returned(index, lane, wanted, held);
            let breach = if back.is_empty() { Breach::InstanceDiffers } else { Breach::DeletedReturns };
            let back = if back.is_empty() { String::new() } else { format!(", with {back:?}, which were deleted") };
            (breach, format!("differs from the fold{back}: {}", index.model.difference(wanted, held)))
        }
    };
    let last = index.timelines.get(lane).and_then(|timeline| timeline.last()).map_or(0, |event| event.entry.seq);
    Some(Violation {
        lane: Some(lane.to_owned()),
        evidence: index.neighbourhood(lane, last, last),
        ..Violation::new(breach, format!("instance {instance} {what}"))
    })
}

fn begins<W>(timeline: Option<&Timeline<'_, W>>) -> bool {
    timeline.is_some_and(|timeline| timeline.iter().any(|event| event.happening == Happening::Begins))
}

/// Returns whether this run's journal states which collections exist.
fn begin_here<M: Semantics>(index: &Index<'_, M>) -> bool {
    index.timelines.values().any(|timeline| begins(Some(timeline)))
}

/// Returns the records that are held, should not be, and once were.
fn returned<M: Semantics>(index: &Index<'_, M>, lane: &str, wanted: &M::State, held: &M::State) -> Vec<String> {
    let wanted = index.model.records(wanted);
    let mut more: BTreeSet<String> = index.model.records(held).difference(&wanted).cloned().collect();
    let Some(timeline) = index.timelines.get(lane).filter(|_| !more.is_empty()) else { return Vec::new() };
    let mut once = BTreeSet::new();
    let mut content = index.start(timeline);
    for event in timeline {
        index.step(&mut content, event);
        once.extend(content.0.iter().flat_map(|state| index.model.records(state)));
    }
    more.retain(|record| once.contains(record));
    more.into_iter().collect()
}
