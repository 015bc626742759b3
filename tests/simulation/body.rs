//! What the simulated clients write.

use chroma_edge::ids::{CollectionId, Scope};

/// One record of a write.
#[derive(Clone, Debug, PartialEq)]
pub struct Doc {
    pub id: u8,
    /// The embedding's length, if there is an embedding.
    pub dimension: Option<u8>,
    pub value: u32,
    pub document: Option<u32>,
    pub metadata: Option<(u8, Option<u32>)>,
}

/// What is wrong with a write.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Flaw {
    None,
    /// Refused before anything is looked at.
    Malformed,
    /// Refused after the collection's dimension was set.
    RefusedLate,
    /// Never executed and never answered, by any instance.
    Unanswerable,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OnExisting {
    Refuse,
    Get,
}

/// A write's body.
#[derive(Clone, Debug)]
pub enum Body {
    Write {
        docs: Vec<Doc>,
        flaw: Flaw,
    },
    DeleteIds(Vec<u8>),
    /// Records whose value has this remainder by three.
    DeleteWhere(u32),
    DeleteLimited {
        remainder: u32,
        limit: usize,
    },
    CreateDatabase(Scope),
    DeleteDatabase(Scope),
    CreateCollection {
        scope: Scope,
        name: String,
        existing: OnExisting,
    },
    UpdateCollection {
        collection: CollectionId,
        new_name: Option<String>,
        metadata: u32,
    },
    DeleteCollection {
        scope: Scope,
        name: String,
    },
    Reset,
}
