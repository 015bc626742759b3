//! What a run leaves behind for the checker: what clients saw, what the journal holds, what instances hold.
//!
//! Shared by the chaos run, whose time is nanoseconds since its beginning, and the simulation, whose time is steps.
//! Nothing here judges anything.

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
    /// An answer that promises no effect, and what it said.
    Refused(String),
    /// No answer, or one that leaves it open, and why.
    Unknown(String),
}

/// One read of everything that a collection holds.
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
    Open,
}

/// Whether an entry's status is a final one, and whether it says that the write took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// COMPLETED or RECOVERED.
    Done,
    Abandoned,
    /// ATTEMPTING or FAILED.
    Pending,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Run<W, S> {
    pub writes: Vec<Write>,
    pub reads: Vec<Read<S>>,
    pub journal: Vec<Entry<W>>,
}

/// What writes do to one lane's content: a model of Chroma.
pub trait Semantics {
    type Write: std::fmt::Debug;
    /// What a read of one collection shows.
    type State: Clone + Default + PartialEq + std::fmt::Debug;

    /// What this applied entry makes of the content of its lane.
    fn apply(&self, state: &mut Self::State, write: &Self::Write);
}
