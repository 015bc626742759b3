//! What a violation says: which promise (docs/promises.md) is broken, how, by which write, and what stands around it.
//!
//! Decides what each kind of breach is called and which promise it breaks. Whether there is one, the other files decide.

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
    /// None of the product: what the run recorded contradicts itself.
    Harness,
}

/// A way to break a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Breach {
    /// An acknowledged write is not in the journal.
    AcknowledgedMissing,
    /// An acknowledged write is in the journal, and was not applied.
    AcknowledgedNotApplied,
    /// A refused write was applied, or could still be.
    RefusedHasEffect,
    /// Two entries of the journal are one write.
    Twice,
    /// An entry of the journal is no client's write.
    NobodyAsked,
    /// A write that began after another was acknowledged stands before it.
    OrderReversed,
    /// A read lacks what was acknowledged before it began.
    StaleRead,
    /// A read shows what no client had asked for when it ended.
    ReadAhead,
    /// A read shows what no order of the journal's entries makes.
    NeverThere,
    /// What an acknowledged delete removed is back.
    DeletedReturns,
    /// An entry is not settled when all is over.
    NotSettled,
    /// An entry's status is not final when all is over, or contradicts its verdict.
    WrongStatus,
    /// An acknowledged write was abandoned.
    AcknowledgedAbandoned,
    /// An instance holds other content than the journal makes.
    InstanceDiffers,
    /// An instance lacks a collection.
    InstanceLacks,
    /// An instance has a collection that the journal does not make.
    InstanceHasMore,
    /// A write cost more servers their lives, or one more often, than it may.
    TooManyDeaths,
    /// What was recorded cannot have happened.
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

    /// The promise that it breaks.
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

/// One breach, with what a person needs to judge it.
#[derive(Clone, Debug)]
pub struct Violation {
    pub breach: Breach,
    pub lane: Option<String>,
    pub token: Option<String>,
    pub seq: Option<u64>,
    /// What is wrong.
    pub what: String,
    /// The lane's entries around it, a line each.
    pub evidence: Vec<String>,
}

impl Violation {
    /// A violation about nothing in particular yet.
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
