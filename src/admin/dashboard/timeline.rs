//! What changed recently: each instance's states, the traffic of the last minutes, and the changes in words.
//!
//! Decides what counts as a change, and how much is kept. It reads no clock and nothing else by itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::metrics::Traffic;

/// The most states to keep per instance.
const STATES: usize = 200;
/// The most changes to keep.
const CHANGES: usize = 100;
/// The most samples of traffic to keep, at one per second.
const SAMPLES: usize = 300;

/// One observation.
#[derive(Clone, Debug, Default)]
pub(super) struct Observation {
    /// Name and state of each instance.
    pub instances: Vec<(String, &'static str)>,
    pub primary: String,
    /// Collection and instance of each copy that is being healed.
    pub healing: BTreeSet<(String, String)>,
    pub halted_lanes: usize,
    pub quarantined: usize,
    pub pending: u64,
    pub traffic: Traffic,
}

/// The recent history.
#[derive(Default)]
pub(super) struct Timeline {
    states: BTreeMap<String, VecDeque<(&'static str, Timestamp)>>,
    changes: VecDeque<(Timestamp, String)>,
    samples: VecDeque<Value>,
    last: Option<Observation>,
}

fn push<T>(queue: &mut VecDeque<T>, most: usize, value: T) {
    if queue.len() == most {
        queue.pop_front();
    }
    queue.push_back(value);
}

impl Timeline {
    /// Adds the observation of this moment.
    pub fn observe(&mut self, at: Timestamp, seen: Observation) {
        for (name, state) in &seen.instances {
            let states = self.states.entry(name.clone()).or_default();
            if states.back().is_none_or(|(last, _)| last != state) {
                push(states, STATES, (*state, at));
            }
        }
        self.states.retain(|name, _| seen.instances.iter().any(|(known, _)| known == name));
        if let Some(before) = self.last.take() {
            for change in changes(&before, &seen) {
                push(&mut self.changes, CHANGES, (at, change));
            }
            push(&mut self.samples, SAMPLES, sample(at, &before.traffic, &seen));
        }
        self.last = Some(seen);
    }

    /// Returns the states of this instance, oldest first.
    pub fn states_of(&self, name: &str) -> Vec<Value> {
        let states = self.states.get(name).into_iter().flatten();
        states.map(|(state, since)| json!({ "state": state, "since": since.millis() })).collect()
    }

    /// Returns the changes, newest first.
    pub fn changes(&self) -> Vec<Value> {
        self.changes.iter().rev().map(|(at, text)| json!({ "at": at.millis(), "text": text })).collect()
    }

    /// Returns the samples of traffic, oldest first.
    pub fn samples(&self) -> Vec<Value> {
        self.samples.iter().cloned().collect()
    }
}

fn sample(at: Timestamp, before: &Traffic, seen: &Observation) -> Value {
    let since = seen.traffic.since(before);
    json!({
        "at": at.millis(),
        "requests": since.answered,
        "failed": since.failed,
        "p50_ms": since.quantile_millis(0.5),
        "p99_ms": since.quantile_millis(0.99),
        "pending": seen.pending,
        "sent_requests": since.sent_requests,
        "sent_writes": since.sent_writes,
    })
}

fn changes(before: &Observation, now: &Observation) -> Vec<String> {
    let mut found = Vec::new();
    let was: BTreeMap<&str, &str> = before.instances.iter().map(|(name, state)| (name.as_str(), *state)).collect();
    let is: BTreeMap<&str, &str> = now.instances.iter().map(|(name, state)| (name.as_str(), *state)).collect();
    for (name, state) in &now.instances {
        match was.get(name.as_str()) {
            Some(old) if old != state => found.push(format!("{name}: {} (was {})", spoken(state), spoken(old))),
            Some(_) => {}
            None => found.push(format!("{name} was added")),
        }
    }
    found.extend(was.keys().filter(|name| !is.contains_key(*name)).map(|name| format!("{name} was removed")));
    if before.primary != now.primary {
        found.push(format!("{} is now the primary", now.primary));
    }
    let copy =
        |(collection, instance): &(String, String), what: &str| format!("{instance}: copy of {collection} {what}");
    found.extend(now.healing.difference(&before.healing).map(|one| copy(one, "begins")));
    found.extend(before.healing.difference(&now.healing).map(|one| copy(one, "has ended")));
    let more = |before: usize, now: usize, what: &str| (now > before).then(|| format!("{} {what}", now - before));
    found.extend(more(before.halted_lanes, now.halted_lanes, "more halted: see /admin/faults"));
    found.extend(more(before.quarantined, now.quarantined, "more in quarantine: see /admin/quarantine"));
    found
}

fn spoken(state: &str) -> String {
    state.replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(state: &'static str) -> Observation {
        Observation { instances: vec![("a".to_owned(), state)], primary: "a".to_owned(), ..Observation::default() }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn texts(timeline: &Timeline) -> Vec<String> {
        timeline.changes().iter().map(|one| one["text"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_state_is_noted_when_it_begins_and_a_change_once() {
        let mut timeline = Timeline::default();
        for (second, state) in ["up", "up", "down", "down", "up"].into_iter().enumerate() {
            timeline.observe(at(1000 * second as i64), seen(state));
        }
        let since: Vec<_> = timeline.states_of("a").iter().map(|one| one["since"].as_i64().unwrap()).collect();
        assert_eq!(since, [0, 2000, 4000]);
        assert_eq!(texts(&timeline), ["a: up (was down)", "a: down (was up)"]);
        assert_eq!(timeline.samples().len(), 4, "the first moment has nothing before it");
    }

    #[test]
    fn copies_primaries_and_instances_that_come_and_go_are_changes() {
        let mut timeline = Timeline::default();
        timeline.observe(at(0), seen("up"));
        let mut now = seen("up");
        now.instances.push(("b".to_owned(), "up"));
        now.primary = "b".to_owned();
        now.healing.insert(("things".to_owned(), "b".to_owned()));
        now.quarantined = 2;
        timeline.observe(at(1), now);
        timeline.observe(at(2), seen("up"));
        assert_eq!(
            texts(&timeline),
            [
                "b: copy of things has ended",
                "a is now the primary",
                "b was removed",
                "2 more in quarantine: see /admin/quarantine",
                "b: copy of things begins",
                "b is now the primary",
                "b was added",
            ]
        );
        assert!(timeline.states_of("b").is_empty(), "what is gone is forgotten");
    }

    #[test]
    fn it_has_bounds() {
        let mut timeline = Timeline::default();
        for second in 0..1000 {
            timeline.observe(at(second), seen(if second % 2 == 0 { "up" } else { "down" }));
        }
        assert_eq!((timeline.states_of("a").len(), timeline.changes().len()), (STATES, CHANGES));
        assert_eq!(timeline.samples().len(), SAMPLES);
    }
}
