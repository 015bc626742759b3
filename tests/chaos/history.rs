//! What clients did and saw: every operation with its times and its outcome.

use std::fmt;

use testkit::checker::history::{Outcome, Tick};
use testkit::content::Record;

/// The kind of operation, under which it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Add,
    Upsert,
    Update,
    DeleteByIds,
    DeleteWhere,
    DeleteLimited,
    Create,
    /// Creating a name that was dropped before.
    Recreate,
    Rename,
    Modify,
    Drop,
    /// A write that Chroma refuses.
    BadWrite,
    /// A write with a mark: instances die of it, or fail it.
    Marked,
    Read,
    /// A read of a collection that is gone.
    ReadGone,
    /// A read that accepts stale data.
    ReadAny,
    Count,
    Query,
    List,
}

impl Kind {
    pub fn is_write(self) -> bool {
        self < Kind::Read
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Add => "add",
            Kind::Upsert => "upsert",
            Kind::Update => "update",
            Kind::DeleteByIds => "delete by ids",
            Kind::DeleteWhere => "delete where",
            Kind::DeleteLimited => "delete with limit",
            Kind::Create => "create",
            Kind::Recreate => "create again",
            Kind::Rename => "rename",
            Kind::Modify => "change metadata",
            Kind::Drop => "drop",
            Kind::BadWrite => "bad write",
            Kind::Marked => "marked write",
            Kind::Read => "read",
            Kind::ReadGone => "read what is gone",
            Kind::ReadAny => "read, any",
            Kind::Count => "count",
            Kind::Query => "query",
            Kind::List => "list",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One operation. A write that is repeated under its id is one operation.
#[derive(Clone, Debug)]
pub struct Operation {
    pub worker: usize,
    pub kind: Kind,
    /// Identifies a write in the journal.
    pub token: String,
    /// The request, for people: method, path, body.
    pub asked: String,
    pub invoked: Tick,
    pub ended: Tick,
    pub outcome: Outcome,
    /// How often it was sent.
    pub sent: u32,
    /// For a read of everything, `any` or not, and for a count: the requested collection, and what the answer showed.
    pub shown: Option<(String, Seen)>,
}

impl Operation {
    pub fn is_write(&self) -> bool {
        self.kind.is_write()
    }
}

/// What a read of everything, or a count, showed.
#[derive(Clone, Debug)]
pub enum Seen {
    Records(Vec<Record>),
    Count(usize),
    NoSuchCollection,
}
