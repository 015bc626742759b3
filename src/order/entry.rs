//! What the rules know of one journaled write: its place, its kind, what it may be merged with, how it ended.
//!
//! No bodies, no paths, no answers: those stay in the journal and with the lane runner.

pub use super::kind::Kind;
use super::vouching::{Conditions, RequestClass, Vouching};
use crate::ids::Seq;

/// How often healthy instances may leave an entry unanswered, each of them, before rule R10 looks whether it can be given up.
pub const MAX_RETRIES: u32 = 3;

/// How the embeddings of a request are spelled: two spellings cannot share one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    Floats,
    Base64,
    /// No embeddings at all (an update may leave them out).
    Absent,
}

/// A checked request that may share one with its neighbours of the same kind and encoding (rule R9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Merge {
    pub docs: u32,
    pub encoding: Encoding,
}

/// Everything the rules need to know of an entry before it has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    pub kind: Kind,
    /// `None`: never merged.
    pub merge: Option<Merge>,
    /// The body's length.
    pub bytes: u64,
    /// What its client asked for; part of the journal, so that recovery knows it.
    pub priority: Priority,
    /// Whether it is like what has succeeded (rule R13). What is not is answered when its outcome is durable.
    pub vouching: Vouching,
    /// How it says which records it is about.
    pub conditions: Conditions,
}

impl Profile {
    /// A request of this many bytes that is not merged, of normal priority, vouched for.
    pub const fn of(kind: Kind, bytes: u64) -> Profile {
        let (vouching, conditions) = (Vouching::Vouched, Conditions::None);
        Profile { kind, merge: None, bytes, priority: Priority::Normal, vouching, conditions }
    }

    /// What is refused with it while it is a suspect, or quarantined.
    pub const fn class(&self) -> RequestClass {
        RequestClass { kind: self.kind, conditions: self.conditions }
    }
}

/// How an entry ended, for good. Once settled it never changes (rule R3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Executed by an instance. The others must execute it too.
    Applied,
    /// Rejected by an instance's definite answer, with no effect to replicate.
    Rejected,
    /// Answered without a change: a `get_or_create` that found its collection, or an entry below an applied
    /// deletion (404). The others skip it.
    Void,
    /// Never acknowledged, and shown absent everywhere (rule R10). The others skip it.
    Abandoned,
    /// An instance died of it, as far as can be told; no other gets it (rule R13). Never acknowledged. The others skip it.
    Quarantined,
}

impl Verdict {
    /// The name, for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Applied => "applied",
            Verdict::Rejected => "rejected",
            Verdict::Void => "void",
            Verdict::Abandoned => "abandoned",
            Verdict::Quarantined => "quarantined",
        }
    }
}

/// One journaled write in its lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub seq: Seq,
    pub profile: Profile,
    /// `None` while no instance has given a definite answer.
    pub verdict: Option<Verdict>,
}

/// When a write's client may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckPolicy {
    /// As soon as an instance has applied it: its journal entry is durable already.
    Applied,
    /// When the outcome itself is durable: creations, and writes that brought their own id (rule R2).
    Durable,
}

/// What an earlier edge may have answered to the client of an entry without a verdict in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckState {
    /// Nothing, or that it is pending.
    Unacknowledged,
    /// Perhaps that it was applied: the edge was restarted before that was durable.
    MaybeAcknowledged,
}

/// Whether a client waits for the entry. Who is waited for goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientState {
    Waiting,
    /// Its client was answered "recovery pending", or the edge was restarted.
    Gone,
}

/// How urgent a write is, as its client says. The first is the most urgent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    High,
    #[default]
    Normal,
    Low,
}

impl Priority {
    /// Every priority, the most urgent first.
    pub const ALL: [Priority; 3] = [Priority::High, Priority::Normal, Priority::Low];

    /// The name that clients use and that is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Priority::High => "high",
            Priority::Normal => "normal",
            Priority::Low => "low",
        }
    }

    /// What a client asked for, in any case. It is advice: any other value is normal, and refuses no write.
    pub fn asked_for(text: &str) -> Priority {
        let named = |priority: &Priority| priority.as_str().eq_ignore_ascii_case(text.trim());
        Priority::ALL.into_iter().find(named).unwrap_or_default()
    }
}
