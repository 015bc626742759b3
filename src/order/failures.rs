//! Unexplained failures of an entry, as data (rule R12): how instances answered, what checks and comparisons showed.
//!
//! What follows from them is decided in [`super::board`].

use crate::ids::{CollectionId, InstanceId};

/// Attempts on each instance that count when at least two instances give the same answer.
const EACH: u32 = 1;
/// Attempts when one instance alone can be asked.
const ALONE: u32 = 3;
/// Instances that answer differently are asked so many times more often.
const DIFFERENTLY: u32 = 2;

/// Others do not wait for one that puts the entry off so often.
pub(super) const PUT_OFF: u32 = 3;

/// What an error answer is called: two failures with the same signature count as the same answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Signature(u64);

impl Signature {
    /// Of the status and the server's own name for the error.
    pub fn of(status: u16, name: &str) -> Signature {
        // FNV-1a: the same in every process.
        let bytes = status.to_be_bytes().into_iter().chain(name.bytes());
        Signature(
            bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)),
        )
    }
}

/// What a failed entry has left on the instances that failed it. Those in neither list could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// They agree with each other, the most of them.
    pub same: Vec<InstanceId>,
    pub differ: Vec<InstanceId>,
    pub traces: Traces,
}

/// Whether those that agree may have executed the entry all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Traces {
    /// It is shown that they have not.
    None,
    #[default]
    Possible,
}

/// Whether an instance that failed an entry executes other writes in the same lane (rule R12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writable {
    Yes,
    /// It failed that write too, or left it without an answer.
    No,
}

/// The unexplained failures of one entry.
#[derive(Clone, Debug)]
pub(super) struct Failures {
    /// By instance.
    pub by: Vec<Failed>,
    /// The different answers.
    pub signatures: Vec<Signature>,
    /// The collection that a catalog entry is about, where there is one.
    pub about: Option<CollectionId>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Failed {
    /// While the instance executed another write right after.
    pub own: u32,
    /// Since another instance has settled the entry.
    pub settled: u32,
    /// What the last check showed.
    pub writable: Option<Writable>,
    /// Attempts since somebody has failed the entry that did not even reach the instance, or that it put off.
    pub put_off: u32,
}

impl Failures {
    pub fn new(instances: usize) -> Self {
        Failures { by: vec![Failed::default(); instances], signatures: Vec::new(), about: None }
    }

    /// How often each of so many instances must have failed the entry by its own fault.
    pub fn required(&self, peers: usize) -> u32 {
        let attempts = if peers > 1 { EACH } else { ALONE };
        if self.signatures.len() > 1 { attempts * DIFFERENTLY } else { attempts }
    }
}
