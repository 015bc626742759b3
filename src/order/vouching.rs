//! The properties of a request that decide who is blamed for a death: whether it is vouched for, and its class (rule R13).
//!
//! `chroma::envelope`, together with what has succeeded before, decides whether a request is vouched for. The board
//! decides what follows.

use super::kind::Kind;
use crate::ids::Seq;

/// How a request says which records it is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Conditions {
    #[default]
    None,
    Ids,
    Metadata,
    Document,
    /// By metadata and by document.
    Both,
}

impl Conditions {
    pub const ALL: [Conditions; 5] =
        [Conditions::None, Conditions::Ids, Conditions::Metadata, Conditions::Document, Conditions::Both];

    /// Returns whether requests with these conditions search.
    pub const fn is_searching(self) -> bool {
        matches!(self, Conditions::Metadata | Conditions::Document | Conditions::Both)
    }

    /// The name, as stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Conditions::None => "none",
            Conditions::Ids => "ids",
            Conditions::Metadata => "metadata",
            Conditions::Document => "document",
            Conditions::Both => "metadata_and_document",
        }
    }
}

/// Operation and condition class of a write. The whole class is refused while one of its requests is a suspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestClass {
    pub kind: Kind,
    pub conditions: Conditions,
}

/// Whether a request is like what has succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Vouching {
    #[default]
    Vouched,
    Unvouched,
}

/// Whether anything else was in flight on an instance when it died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Company {
    Alone,
    Others,
}

/// Why a new write that is not vouched for is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// This entry, of the same class or in the same lane, may have killed an instance. Its verdict is pending.
    Suspect { seq: Seq },
    /// This entry of the same class was quarantined in the same lane, and no operator has lifted that.
    Quarantined { seq: Seq },
}
