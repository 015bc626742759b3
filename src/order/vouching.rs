//! What the blame for a death depends on: whether a request is vouched for, and its class (rule R13).
//!
//! `chroma::envelope`, with what has succeeded before, decides whether a request is vouched for; the board decides what
//! follows.

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

    /// Whether such requests search.
    pub const fn is_searching(self) -> bool {
        matches!(self, Conditions::Metadata | Conditions::Document | Conditions::Both)
    }

    /// As it is stored and shown.
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

/// Operation and condition class of a write: what is refused while one of them is a suspect.
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

/// Whether an instance had anything else to do when it died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Company {
    Alone,
    Others,
}

/// Why a new write that is not vouched for is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// This entry of its class, or of its lane, may have cost an instance its life; what becomes of it is not decided yet.
    Suspect { seq: Seq },
    /// This entry of its class was quarantined in its lane, and no operator has lifted that.
    Quarantined { seq: Seq },
}
