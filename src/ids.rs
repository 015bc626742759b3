//! The identities that cross rooms, each a type of its own so that mixing two of them does not compile.
//!
//! This room decides how an identity is spelled and compared. It does not decide who assigns one: a [`Seq`] comes from
//! the journal's append, a [`CollectionId`] from the instance that first created the collection, an
//! [`InstanceCollectionId`] from each instance.

mod trace_context;

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

pub use self::trace_context::{Sampling, TraceContext};

/// One request's id, in Chroma's form: 32 hexadecimal digits. It names the request in logs, in errors and on instances.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceId(pub u128);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A position in the journal: the order of all transactions. [`Seq::ZERO`] is before the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(u64);

impl Seq {
    /// Before every transaction.
    pub const ZERO: Seq = Seq(0);

    /// After every transaction.
    pub const MAX: Seq = Seq(u64::MAX);

    /// The position with this number, as the journal stores it.
    pub const fn new(number: u64) -> Self {
        Seq(number)
    }

    /// The number, for storing and showing.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position right after this one.
    pub const fn next(self) -> Self {
        Seq(self.0 + 1)
    }

    /// The position right before this one. A range that excludes its start begins there.
    #[must_use]
    pub const fn prior(self) -> Self {
        Seq(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! uuid_identity {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// The identity with this UUID.
            pub const fn new(uuid: Uuid) -> Self {
                $name(uuid)
            }

            /// The UUID, for storing and showing.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0.hyphenated())
            }
        }
    };
}

uuid_identity! {
    /// A collection's id as clients know it. It never changes, and is the same on every instance that serves the
    /// collection.
    CollectionId
}
uuid_identity! {
    /// A collection's id on one instance. Never shown to a client.
    InstanceCollectionId
}
uuid_identity! {
    /// The id of one journaled write.
    TransactionId
}

impl TransactionId {
    /// A new, time-ordered identity.
    pub fn random() -> Self {
        TransactionId(Uuid::now_v7())
    }
}

/// An instance's place in the configuration: 0 is the primary. Not stable across configurations, so stored data names
/// an instance by its [`InstanceName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub usize);

/// An instance's configured name, used in the journal, in logs and by operators.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceName(Arc<str>);

impl InstanceName {
    pub fn new(name: &str) -> Self {
        InstanceName(name.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name under which copies are recorded that the edge made on this instance and that do not serve. No
    /// configured instance can have such a name.
    pub fn of_a_copy(&self) -> InstanceName {
        InstanceName::new(&format!("{}{COPY}", self.0))
    }

    /// Returns whether this is a name from [`InstanceName::of_a_copy`].
    pub fn is_of_a_copy(&self) -> bool {
        self.0.ends_with(COPY)
    }
}

/// See [`InstanceName::of_a_copy`].
const COPY: &str = "#copy";

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An order of execution: within a lane, every instance executes in [`Seq`] order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LaneId {
    /// Everything that creates, changes or deletes tenants, databases and collections.
    Catalog,
    /// The record writes of one collection.
    Records(CollectionId),
}

impl std::str::FromStr for LaneId {
    type Err = uuid::Error;

    /// Parses the displayed form.
    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        match text {
            "catalog" => Ok(LaneId::Catalog),
            collection => Uuid::try_parse(collection).map(CollectionId::new).map(LaneId::Records),
        }
    }
}

impl fmt::Display for LaneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LaneId::Catalog => f.write_str("catalog"),
            LaneId::Records(collection) => collection.fmt(f),
        }
    }
}

/// The namespace of a name: Chroma names databases within a tenant, and collections within a database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    pub tenant: String,
    pub database: String,
}

impl Scope {
    pub fn new(tenant: &str, database: &str) -> Self {
        Scope { tenant: tenant.to_owned(), database: database.to_owned() }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.database)
    }
}
/// The longest client text that a log line or a page shows in full, in characters.
const SHOWN: usize = 80;

/// Shortens a client's text for a log line or a page to its beginning and its length.
pub fn shown(text: &str) -> std::borrow::Cow<'_, str> {
    match text.char_indices().nth(SHOWN) {
        None => text.into(),
        Some((end, _)) => format!("{}... ({} bytes)", &text[..end], text.len()).into(),
    }
}
