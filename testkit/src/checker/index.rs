//! A run, indexed for the checks: writes by token, entries by token and lane, and each lane's timeline.
//!
//! Decides what happens to a lane and in which order: the applied entries in it, and those of any lane that begin or
//! end it. Also finds records that contradict each other, so that the other files can trust their input.

use std::collections::{BTreeMap, HashMap};

use super::history::{Entry, Lifetime, Outcome, Run, Semantics, Tick, Verdict, Write};
use super::verdict::{Breach, Violation};

/// The number of a lane's entries shown on each side of the one in question.
const NEIGHBOURS: usize = 4;
const SHOWN_OF_A_WRITE: usize = 240;

/// What an applied entry does to a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    Begins,
    Ends,
    Writes,
}

/// One event of a lane's timeline.
#[derive(Debug)]
pub struct Event<'a, W> {
    pub entry: &'a Entry<W>,
    pub happening: Happening,
}

/// All events of a lane, by `seq`.
pub type Timeline<'a, W> = Vec<Event<'a, W>>;

/// A lane's content at one point of its timeline; `None` while the collection does not exist.
#[derive(Clone, Debug)]
pub struct Content<S>(pub Option<S>);

/// See the module.
pub struct Index<'a, M: Semantics> {
    pub model: &'a M,
    pub run: &'a Run<M::Write, M::State>,
    pub writes: HashMap<&'a str, &'a Write>,
    pub entries: HashMap<&'a str, Vec<&'a Entry<M::Write>>>,
    pub timelines: BTreeMap<String, Timeline<'a, M::Write>>,
    /// Every entry in a lane, applied or not, and those that begin or end it. Used as evidence.
    lanes: HashMap<String, Vec<&'a Entry<M::Write>>>,
}

impl<'a, M: Semantics> Index<'a, M> {
    pub fn new(model: &'a M, run: &'a Run<M::Write, M::State>) -> Self {
        let mut index = Index {
            model,
            run,
            writes: run.writes.iter().map(|write| (write.token.as_str(), write)).collect(),
            entries: HashMap::new(),
            timelines: BTreeMap::new(),
            lanes: HashMap::new(),
        };
        for entry in &run.journal {
            index.add(entry);
        }
        index.add_what_went_with_its_lane();
        index
    }

    /// Adds the writes that became void because their lane ended. Such a write was not settled before the end, and its
    /// client is answered that the lane does not exist. An instance may still have executed it, and a read may have
    /// shown it. Only entries after the last applied one qualify: an instance that executed a later entry has settled
    /// the earlier ones.
    fn add_what_went_with_its_lane(&mut self) {
        let model = self.model;
        for (lane, timeline) in &mut self.timelines {
            let Some(end) = timeline.pop_if(|last| last.happening == Happening::Ends) else { continue };
            let settled = timeline.last().map_or(0, |event| event.entry.seq);
            let went = self.lanes[lane].iter().copied().filter(|entry| {
                let in_time = settled < entry.seq && entry.seq < end.entry.seq;
                entry.verdict == Verdict::Void && entry.lane == *lane && in_time && model.is_possible(&entry.write)
            });
            timeline.extend(went.map(|entry| Event { entry, happening: Happening::Writes }));
            timeline.push(end);
        }
    }

    /// Returns whether the entry stands after everything applied in its lane, and before the lane's end.
    pub fn went_with_its_lane(&self, entry: &Entry<M::Write>) -> bool {
        self.timelines.get(&entry.lane).is_some_and(|timeline| {
            timeline.last().is_some_and(|last| last.happening == Happening::Ends)
                && timeline.iter().any(|event| event.entry.seq == entry.seq && event.happening == Happening::Writes)
        })
    }

    fn add(&mut self, entry: &'a Entry<M::Write>) {
        self.entries.entry(&entry.token).or_default().push(entry);
        self.lanes.entry(entry.lane.clone()).or_default().push(entry);
        if entry.verdict != Verdict::Applied {
            return;
        }
        for lifetime in self.model.lifetimes(&entry.write) {
            let (lane, happening) = match lifetime {
                Lifetime::Begins(lane) => (lane, Happening::Begins),
                Lifetime::Ends(lane) => (lane, Happening::Ends),
            };
            self.lanes.entry(lane.clone()).or_default().push(entry);
            self.timelines.entry(lane).or_default().push(Event { entry, happening });
        }
        self.timelines.entry(entry.lane.clone()).or_default().push(Event { entry, happening: Happening::Writes });
    }

    /// Returns the moment from which every client may count on the entry, if its own client was answered.
    pub fn acknowledged(&self, entry: &Entry<M::Write>) -> Option<Tick> {
        let write = self.writes.get(entry.token.as_str())?;
        matches!(write.outcome, Outcome::Acknowledged | Outcome::Found).then_some(write.ended)
    }

    /// Returns the moment before which the entry cannot have been executed.
    pub fn invoked(&self, entry: &Entry<M::Write>) -> Tick {
        self.writes.get(entry.token.as_str()).map_or(0, |write| write.invoked)
    }

    /// Returns a lane's content before its first event.
    pub fn start(&self, timeline: &Timeline<'a, M::Write>) -> Content<M::State> {
        let begins = timeline.iter().any(|event| event.happening == Happening::Begins);
        Content((!begins).then(M::State::default))
    }

    /// Applies one event to a lane's content.
    pub fn step(&self, content: &mut Content<M::State>, event: &Event<'a, M::Write>) {
        match event.happening {
            Happening::Begins => content.0 = Some(content.0.take().unwrap_or_default()),
            Happening::Ends => content.0 = None,
            Happening::Writes => {
                if let Some(state) = &mut content.0 {
                    self.model.apply(state, &event.entry.write);
                }
            }
        }
    }

    /// Returns a lane's content after its last event.
    pub fn fold(&self, timeline: &Timeline<'a, M::Write>) -> Content<M::State> {
        let mut content = self.start(timeline);
        for event in timeline {
            self.step(&mut content, event);
        }
        content
    }

    /// Returns a violation about an entry, with its neighborhood.
    pub fn about(&self, breach: Breach, entry: &Entry<M::Write>, what: String) -> Violation {
        Violation {
            lane: Some(entry.lane.clone()),
            token: Some(entry.token.clone()),
            seq: Some(entry.seq),
            evidence: self.neighbourhood(&entry.lane, entry.seq, entry.seq),
            ..Violation::new(breach, what)
        }
    }

    /// Returns the lane's entries from a little before `from` to a little after `to`, one line each.
    pub fn neighbourhood(&self, lane: &str, from: u64, to: u64) -> Vec<String> {
        let Some(entries) = self.lanes.get(lane) else { return Vec::new() };
        let first = entries.partition_point(|entry| entry.seq < from).saturating_sub(NEIGHBOURS);
        let last = (entries.partition_point(|entry| entry.seq <= to) + NEIGHBOURS).min(entries.len());
        let mut lines: Vec<String> = entries[first..last].iter().map(|entry| self.line(entry)).collect();
        if lines.len() > 6 * NEIGHBOURS {
            let left_out = lines.len() - 6 * NEIGHBOURS;
            lines.splice(3 * NEIGHBOURS..3 * NEIGHBOURS + left_out, [format!("... {left_out} entries ...")]);
        }
        lines
    }

    fn line(&self, entry: &Entry<M::Write>) -> String {
        let client = self.writes.get(entry.token.as_str()).map_or_else(
            || "no client's".to_owned(),
            |write| format!("{} [{}..{}]", told(&write.outcome), write.invoked, write.ended),
        );
        let write: String = format!("{:?}", entry.write).chars().take(SHOWN_OF_A_WRITE).collect();
        format!("seq {} {:?} {:?} {} {client}: {write}", entry.seq, entry.verdict, entry.status, entry.token)
    }

    /// Returns records that contradict each other.
    pub fn malformed(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut add = |what: String| found.push(Violation::new(Breach::Malformed, what));
        if self.writes.len() < self.run.writes.len() {
            add(format!("{} writes have {} tokens", self.run.writes.len(), self.writes.len()));
        }
        for write in self.run.writes.iter().filter(|write| write.ended < write.invoked) {
            add(format!("a write ended before it began: {write:?}"));
        }
        for read in self.run.reads.iter().filter(|read| read.ended < read.invoked) {
            add(format!("a read of {} ended at {}, before it began at {}", read.lane, read.ended, read.invoked));
        }
        for pair in self.run.journal.windows(2).filter(|pair| pair[1].seq <= pair[0].seq) {
            add(format!("the journal is not in order: {} is followed by {}", pair[0].seq, pair[1].seq));
        }
        found
    }
}

/// Describes how a write ended, for people.
pub fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Acknowledged => "acknowledged".to_owned(),
        Outcome::Found => "found".to_owned(),
        Outcome::Refused(why) => format!("refused ({})", why.chars().take(80).collect::<String>()),
        Outcome::Unknown(why) => format!("unknown ({})", why.chars().take(80).collect::<String>()),
    }
}
