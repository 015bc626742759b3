//! The rules' view of one journaled write: its position, its kind, what it may be merged with, and its verdict.
//!
//! No bodies, no paths, no answers: those stay in the journal and with the lane runner.

pub use super::kind::Kind;
use super::vouching::{Conditions, RequestClass, Vouching};
use crate::ids::Seq;

/// How often each healthy instance may leave an entry unanswered before rule R10 examines whether it can be abandoned.
pub const MAX_RETRIES: u32 = 3;

/// How the embeddings of a request are encoded. Entries with different encodings cannot share a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    Floats,
    Base64,
    /// No embeddings at all (an update may leave them out).
    Absent,
}

/// Describes a checked request that may share one with neighbors of the same kind and encoding (rule R9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Merge {
    pub docs: u32,
    pub encoding: Encoding,
}

/// Everything the rules need to know about an entry before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    pub kind: Kind,
    /// `None`: never merged.
    pub merge: Option<Merge>,
    /// The body's length.
    pub bytes: u64,
    /// What the client asked for. Stored in the journal, so that recovery uses it too.
    pub priority: Priority,
    /// Whether the request is like what has succeeded (rule R13). If not, it is answered only once its outcome is durable.
    pub vouching: Vouching,
    /// How the request says which records it is about.
    pub conditions: Conditions,
}

impl Profile {
    /// Returns the profile of a request of this many bytes: not merged, normal priority, vouched for.
    pub const fn of(kind: Kind, bytes: u64) -> Profile {
        let (vouching, conditions) = (Vouching::Vouched, Conditions::None);
        Profile { kind, merge: None, bytes, priority: Priority::Normal, vouching, conditions }
    }

    /// The class that is refused while this entry is a suspect or quarantined.
    pub const fn class(&self) -> RequestClass {
        RequestClass { kind: self.kind, conditions: self.conditions }
    }
}

/// The final outcome of an entry. Once settled, it never changes (rule R3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Executed by an instance. The others must execute it too.
    Applied,
    /// Rejected by an instance's definite answer, with no effect to replicate.
    Rejected,
    /// Answered without a change: a `get_or_create` that found its collection, or an entry below an applied
    /// deletion (404). The others skip it.
    Void,
    /// Never acknowledged, and either shown to be absent everywhere (rule R10) or withdrawn (rule R15). The others skip it.
    Abandoned,
    /// An instance died of it, as far as can be told; no other instance gets it (rule R13). Never acknowledged. The
    /// others skip it.
    Quarantined,
}

impl Verdict {
    /// The name, for display.
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
    /// As soon as an instance has applied it. Its journal entry is already durable.
    Applied,
    /// Once the outcome itself is durable: creations, writes with an idempotency key (rule R2), and writes that are not
    /// vouched for (rule R13).
    Durable,
}

/// The answer that an earlier edge may have given to the client of an entry without a verdict in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckState {
    /// Nothing, or that recovery is pending.
    Unacknowledged,
    /// Possibly that the write was applied: the edge was restarted before the verdict was durable.
    MaybeAcknowledged,
}

/// Whether a client waits for the entry. Entries that a client waits for go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientState {
    Waiting,
    /// Its client was answered "recovery pending", or the edge was restarted.
    Gone,
}

/// How urgent the client says a write is, the most urgent first.
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

    /// Parses the priority that a client asked for, ignoring case. It is only advice: any other value means normal, and
    /// no write is refused for it.
    pub fn asked_for(text: &str) -> Priority {
        let named = |priority: &Priority| priority.as_str().eq_ignore_ascii_case(text.trim());
        Priority::ALL.into_iter().find(named).unwrap_or_default()
    }
}
