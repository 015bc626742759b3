//! The record of a run that the checker reads: what clients saw, what the journal holds, what instances hold.
//!
//! Shared by the chaos run, whose time is nanoseconds since its beginning, and the simulation, whose time is steps.
//! Judges nothing.

use std::collections::{BTreeMap, BTreeSet};

/// A moment of the run: later is larger. One clock for all clients.
pub type Tick = u64;

/// One write as its clients saw it. Requests repeated under one transaction id are one write: invoked with the first
/// request, ended with the last. Its outcome is the best of their answers (acknowledged before unknown before refused).
#[derive(Clone, Debug)]
pub struct Write {
    /// Identifies the write in the journal. Unique in a run.
    pub token: String,
    pub invoked: Tick,
    pub ended: Tick,
    pub outcome: Outcome,
}

/// How a write ended for its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A 2xx answer.
    Acknowledged,
    /// A 2xx answer to a `get_or_create`, which may not have needed to write. Acknowledged, but the journal may hold no
    /// entry for it, or an entry that changed nothing.
    Found,
    /// An answer that promises that there is no effect, and its text.
    Refused(String),
    /// No answer, or one that leaves the outcome open, and the reason.
    Unknown(String),
}

/// One read of a collection's whole content, or a count of it, in one request, promised to be fresh. Failed reads and
/// reads that accept stale data are not recorded.
#[derive(Clone, Debug)]
pub struct Read<S> {
    /// The lane of the collection that was read, spelled as in the journal.
    pub lane: String,
    pub invoked: Tick,
    pub ended: Tick,
    pub shown: Shown<S>,
}

/// What a read showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown<S> {
    /// The collection's content.
    Content(S),
    /// The number of records.
    Count(usize),
    /// The collection does not exist.
    Nothing,
}

/// One entry of the journal at the end of the run, in the order of `seq`.
#[derive(Clone, Debug)]
pub struct Entry<W> {
    pub seq: u64,
    pub token: String,
    pub lane: String,
    pub verdict: Verdict,
    /// The class of the status that the journal shows.
    pub status: Status,
    /// What was executed. For a limited delete, the ids that it was resolved to.
    pub write: W,
}

/// The outcome of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Applied,
    Rejected,
    /// Its collection was deleted before it, or no instance has it and none ever will.
    Void,
    /// Set aside because an instance died of it; not executed.
    Quarantined,
    Open,
}

/// Whether an entry's status is a final one, and whether it tells a client that the write took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// COMPLETED or RECOVERED.
    Done,
    Abandoned,
    /// ATTEMPTING or FAILED.
    Pending,
}

/// The death of an instance, because a request for this write reached it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    pub token: String,
    pub instance: String,
    pub vouching: Vouching,
}

/// Whether a write was like what had succeeded before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vouching {
    Vouched,
    Unvouched,
}

/// Everything that the checker reads of a run.
#[derive(Clone, Debug)]
pub struct Run<W, S> {
    pub writes: Vec<Write>,
    pub reads: Vec<Read<S>>,
    pub journal: Vec<Entry<W>>,
    /// What each instance holds at the end of the run, by instance name, then by lane: every existing collection, and
    /// for the catalog lane whatever `Semantics` makes of it. A collection that the journal does not contain has some
    /// other lane name.
    pub instances: Vec<(String, BTreeMap<String, S>)>,
    /// The instances and lanes that the edge itself reports as diverged. They are counted, not compared. A run in which
    /// nothing may diverge checks that count.
    pub diverged: BTreeSet<(String, String)>,
    /// The deaths that an edge saw and could note, each with the write that caused it.
    pub deaths: Vec<Death>,
}

impl<W, S> Default for Run<W, S> {
    fn default() -> Self {
        Run {
            writes: Vec::new(),
            reads: Vec::new(),
            journal: Vec::new(),
            instances: Vec::new(),
            diverged: BTreeSet::new(),
            deaths: Vec::new(),
        }
    }
}

/// What an applied write does to the existence of a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// The collection with this lane exists from now on. No effect if it exists already.
    Begins(String),
    /// The collection is gone for good, with its content.
    Ends(String),
}

/// What writes do to one lane's content: a model of Chroma.
pub trait Semantics {
    type Write: std::fmt::Debug;
    /// The content of one collection, as a read shows it.
    type State: Clone + Default + PartialEq + std::fmt::Debug;

    /// All bits of [`Semantics::agreement`]: the parts of a content that a server reads one after the other, so that
    /// each may show a different moment.
    const PARTS: u8 = 1;

    /// Applies an entry to the content of its lane.
    fn apply(&self, state: &mut Self::State, write: &Self::Write);

    /// Returns which collections this applied entry begins and ends, whatever lane it is in. A lane that no entry of
    /// the journal begins exists from the start.
    fn lifetimes(&self, _write: &Self::Write) -> Vec<Lifetime> {
        Vec::new()
    }

    /// Returns whether a collection can take this write. Not every journaled write is well-formed.
    fn is_possible(&self, _write: &Self::Write) -> bool {
        true
    }

    /// Returns which parts of a read agree with this content.
    fn agreement(&self, content: &Self::State, shown: &Self::State) -> u8 {
        u8::from(content == shown)
    }

    /// Returns which parts of a read are a mix of the content right before an entry and the content right after it. A
    /// server that changes a part record by record shows such a mix while it executes the entry.
    fn agreement_between(&self, _before: &Self::State, _after: &Self::State, _shown: &Self::State) -> u8 {
        0
    }

    /// Returns the names of the records in this content, so that a deleted record that is back is reported as such.
    fn records(&self, _state: &Self::State) -> BTreeSet<String> {
        BTreeSet::new()
    }

    /// Returns the number of records in this content.
    fn count(&self, state: &Self::State) -> usize {
        self.records(state).len()
    }

    /// Describes how these contents differ, for people. At most a page.
    fn difference(&self, expected: &Self::State, found: &Self::State) -> String {
        format!("expected {expected:?}, found {found:?}").chars().take(2000).collect()
    }
}
