//! What a violation reports: which promise (docs/promises.md) is broken, how, by which write, and the entries around
//! it.
//!
//! Decides the name of each kind of breach and which promise it breaks. The other files decide whether there is one.

use std::fmt;

/// A promise of the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Promise {
    /// Acknowledged means everywhere, eventually.
    G2,
    /// One order.
    G3,
    /// Read your writes.
    G5,
    /// Once.
    G6,
    /// Refused means no effect.
    G7,
    /// Nothing is dropped.
    G9,
    /// Honest numbers.
    G10,
    /// One request never stops the others.
    G11,
    /// Not a promise of the product: what the run recorded contradicts itself.
    Harness,
}

/// A way to break a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Breach {
    /// An acknowledged write is not in the journal.
    AcknowledgedMissing,
    /// An acknowledged write is in the journal but was not applied.
    AcknowledgedNotApplied,
    /// A refused write was applied, or could still be.
    RefusedHasEffect,
    /// Two entries of the journal stand for one write.
    Twice,
    /// An entry of the journal stands for no client's write.
    NobodyAsked,
    /// A write that began after another was acknowledged stands before it.
    OrderReversed,
    /// A read lacks a write that was acknowledged before it began.
    StaleRead,
    /// A read shows a write that no client had requested by the time it ended.
    ReadAhead,
    /// A read shows a content that no order of the journal's entries produces.
    NeverThere,
    /// A record that an acknowledged delete removed is back.
    DeletedReturns,
    /// An entry is not settled at the end of the run.
    NotSettled,
    /// An entry's status is not final at the end of the run, or contradicts its verdict.
    WrongStatus,
    /// An acknowledged write was abandoned.
    AcknowledgedAbandoned,
    /// An instance's content differs from what the journal produces.
    InstanceDiffers,
    /// An instance lacks a collection.
    InstanceLacks,
    /// An instance has a collection that the journal does not create.
    InstanceHasMore,
    /// A write killed more servers than it may, or one of them more often.
    TooManyDeaths,
    /// The records of the run contradict each other.
    Malformed,
}

impl Breach {
    pub const ALL: [Breach; 18] = [
        Breach::AcknowledgedMissing,
        Breach::AcknowledgedNotApplied,
        Breach::RefusedHasEffect,
        Breach::Twice,
        Breach::NobodyAsked,
        Breach::OrderReversed,
        Breach::StaleRead,
        Breach::ReadAhead,
        Breach::NeverThere,
        Breach::DeletedReturns,
        Breach::NotSettled,
        Breach::WrongStatus,
        Breach::AcknowledgedAbandoned,
        Breach::InstanceDiffers,
        Breach::InstanceLacks,
        Breach::InstanceHasMore,
        Breach::TooManyDeaths,
        Breach::Malformed,
    ];

    /// Returns the promise that this breach breaks.
    pub fn promise(self) -> Promise {
        match self {
            Breach::AcknowledgedMissing
            | Breach::AcknowledgedNotApplied
            | Breach::NotSettled
            | Breach::InstanceDiffers
            | Breach::InstanceLacks
            | Breach::InstanceHasMore => Promise::G2,
            Breach::OrderReversed => Promise::G3,
            Breach::StaleRead | Breach::ReadAhead | Breach::NeverThere | Breach::DeletedReturns => Promise::G5,
            Breach::Twice | Breach::NobodyAsked => Promise::G6,
            Breach::RefusedHasEffect => Promise::G7,
            Breach::AcknowledgedAbandoned => Promise::G9,
            Breach::WrongStatus => Promise::G10,
            Breach::TooManyDeaths => Promise::G11,
            Breach::Malformed => Promise::Harness,
        }
    }
}

/// One breach, with the context needed to judge it.
#[derive(Clone, Debug)]
pub struct Violation {
    pub breach: Breach,
    pub lane: Option<String>,
    pub token: Option<String>,
    pub seq: Option<u64>,
    /// What is wrong.
    pub what: String,
    /// The lane's entries around it, one line each.
    pub evidence: Vec<String>,
}

impl Violation {
    /// Creates a violation about nothing in particular. Callers fill in the rest.
    pub fn new(breach: Breach, what: String) -> Violation {
        Violation { breach, lane: None, token: None, seq: None, what, evidence: Vec::new() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}: {}", self.breach.promise(), self.breach, self.what)?;
        let named =
            [("lane", self.lane.clone()), ("token", self.token.clone()), ("seq", self.seq.map(|seq| seq.to_string()))];
        for (name, value) in named {
            if let Some(value) = value {
                write!(f, "\n  {name} {value}")?;
            }
        }
        for line in &self.evidence {
            write!(f, "\n    {line}")?;
        }
        Ok(())
    }
}
