//! The unexplained failures of an entry, as plain data (rule R12): how instances answered, and what checks and
//! comparisons showed.
//!
//! [`super::board`] decides what follows from them.

use crate::ids::{CollectionId, InstanceId};

/// How often each instance must fail an entry if at least two instances can be asked.
const EACH: u32 = 1;
/// How often an instance must fail an entry if it is the only one that can be asked.
const ALONE: u32 = 3;
/// If the answers differ, each instance must fail the entry this many times as often.
const DIFFERENTLY: u32 = 2;

/// Once an instance has put the entry off this often, the others no longer wait for it.
pub(super) const PUT_OFF: u32 = 3;

/// Identifies an error answer: two failures with the same signature count as the same answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Signature(u64);

impl Signature {
    /// Hashes the status and the server's own name for the error.
    pub fn of(status: u16, name: &str) -> Signature {
        // FNV-1a: the same in every process.
        let bytes = status.to_be_bytes().into_iter().chain(name.bytes());
        Signature(
            bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)),
        )
    }
}

/// The result of comparing the instances that failed an entry. Instances in neither list could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// The largest group of instances that agree with each other.
    pub same: Vec<InstanceId>,
    pub differ: Vec<InstanceId>,
    pub traces: Traces,
}

/// Whether the instances that agree may have executed the entry nevertheless.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Traces {
    /// They are shown not to have executed it.
    None,
    #[default]
    Possible,
}

/// Whether an instance that failed an entry executes other writes in the same lane (rule R12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writable {
    Yes,
    /// It failed that write too, or did not answer it.
    No,
}

/// The unexplained failures of one entry.
#[derive(Clone, Debug)]
pub(super) struct Failures {
    /// By instance.
    pub by: Vec<Failed>,
    /// The distinct answers.
    pub signatures: Vec<Signature>,
    /// The collection that a catalog entry is about, if any.
    pub about: Option<CollectionId>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Failed {
    /// Failures that count as the entry's own: the instance executed another write right afterwards.
    pub own: u32,
    /// Failures after another instance had settled the entry.
    pub settled: u32,
    /// The result of the last check.
    pub writable: Option<Writable>,
    /// Attempts that did not reach the instance, or that it put off, since any instance first failed the entry.
    pub put_off: u32,
}

impl Failures {
    pub fn new(instances: usize) -> Self {
        Failures { by: vec![Failed::default(); instances], signatures: Vec::new(), about: None }
    }

    /// Returns how often each of this many instances must have failed the entry, by the entry's own fault.
    pub fn required(&self, peers: usize) -> u32 {
        let attempts = if peers > 1 { EACH } else { ALONE };
        if self.signatures.len() > 1 { attempts * DIFFERENTLY } else { attempts }
    }
}
