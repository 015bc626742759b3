//! What a run leaves behind for the checker: what clients saw, what the journal holds, what instances hold.
//!
//! Shared by the chaos run, whose time is nanoseconds since its beginning, and the simulation, whose time is steps.
//! Nothing here judges anything.

use std::collections::{BTreeMap, BTreeSet};

/// A moment of the run: later is larger. One clock for all clients.
pub type Tick = u64;

/// One write as its clients saw it. Requests repeated under one transaction id are one write: invoked with the first,
/// ended with the last, and what the best of their answers says (acknowledged before unknown before refused).
#[derive(Clone, Debug)]
pub struct Write {
    /// Names it in the journal: no two writes of a run share one.
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
    /// A 2xx answer to what is a write only if it has to be: a `get_or_create`. Acknowledged, but the journal may have
    /// nothing of it, or an entry that changed nothing.
    Found,
    /// An answer that promises no effect, and what it said.
    Refused(String),
    /// No answer, or one that leaves it open, and why.
    Unknown(String),
}

/// One read of everything that a collection holds, or a count of it, in one request, that was promised to be fresh.
/// Reads that failed and reads that do not mind what is old are not recorded.
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
    /// How many records it has.
    Count(usize),
    /// That there is no such collection.
    Nothing,
}

/// One entry of the journal when the run is over, in the order of `seq`.
#[derive(Clone, Debug)]
pub struct Entry<W> {
    pub seq: u64,
    pub token: String,
    pub lane: String,
    pub verdict: Verdict,
    /// Whether its status, as the journal shows it, is a final one.
    pub status: Status,
    /// What was executed: of a limited delete, what it was resolved to.
    pub write: W,
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Applied,
    Rejected,
    /// Its collection was deleted before it, or no instance has it and none ever will.
    Void,
    /// Set aside, since an instance died of it: executed for nobody.
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

/// An instance died, because a request for this write reached it.
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

/// All of it.
#[derive(Clone, Debug)]
pub struct Run<W, S> {
    pub writes: Vec<Write>,
    pub reads: Vec<Read<S>>,
    pub journal: Vec<Entry<W>>,
    /// What each instance, by its name, holds when the run is over, by lane: every collection that exists, and of the
    /// catalog lane what `Semantics` makes of it. A collection that the journal does not know has a lane of any other name.
    pub instances: Vec<(String, BTreeMap<String, S>)>,
    /// The instances and lanes that the edge itself says are diverged: they are counted, not compared. A run in
    /// which nothing may diverge looks at that count.
    pub diverged: BTreeSet<(String, String)>,
    /// Those that an edge saw and could note, each with the write that caused it.
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
    /// The collection with this lane exists from now on; no effect, if it exists already.
    Begins(String),
    /// It is gone, for ever, with all that it held.
    Ends(String),
}

/// What writes do to one lane's content: a model of Chroma.
pub trait Semantics {
    type Write: std::fmt::Debug;
    /// What a read of one collection shows.
    type State: Clone + Default + PartialEq + std::fmt::Debug;

    /// All bits of [`Semantics::agreement`]: the parts of a content that a server reads one after the other, so that
    /// each shows another moment.
    const PARTS: u8 = 1;

    /// What this applied entry makes of the content of its lane.
    fn apply(&self, state: &mut Self::State, write: &Self::Write);

    /// Which collections this applied entry begins and ends, whatever lane it is in. A lane that no entry of the journal
    /// begins exists from the start.
    fn lifetimes(&self, _write: &Self::Write) -> Vec<Lifetime> {
        Vec::new()
    }

    /// Whether a collection can take this write: not every journaled one is well-formed.
    fn is_possible(&self, _write: &Self::Write) -> bool {
        true
    }

    /// Which parts of what a read has shown are those of this content.
    fn agreement(&self, content: &Self::State, shown: &Self::State) -> u8 {
        u8::from(content == shown)
    }

    /// Which parts of what a read has shown are a mix of the content right before one entry and the content right after
    /// it: a server that changes that part record by record shows such a mix while it executes the entry.
    fn agreement_between(&self, _before: &Self::State, _after: &Self::State, _shown: &Self::State) -> u8 {
        0
    }

    /// The names of the records in this content, so that one that was deleted and is back is called that.
    fn records(&self, _state: &Self::State) -> BTreeSet<String> {
        BTreeSet::new()
    }

    /// How many records there are in this content.
    fn count(&self, state: &Self::State) -> usize {
        self.records(state).len()
    }

    /// In what these contents differ, for people. Not longer than a page.
    fn difference(&self, expected: &Self::State, found: &Self::State) -> String {
        format!("expected {expected:?}, found {found:?}").chars().take(2000).collect()
    }
}
