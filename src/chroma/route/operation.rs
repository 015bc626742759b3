//! The operations that a request can ask for. `table.rs` defines which request asks for which.

use super::collection_ref::CollectionRef;
use super::page::Page;
use super::unroutable::{UnknownWrite, Unsupported};
use crate::ids::Scope;
use crate::order::Kind;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Passed through unchanged to any healthy instance: heartbeat, version, docs, and every safe method on a path that
    /// this table lacks.
    System,
    /// A read below a collection.
    RecordRead {
        collection: CollectionRef,
        scope: Scope,
        kind: RecordReadKind,
    },
    /// `kind` is Add, Update, Upsert or Delete. The body decides whether a delete is limited.
    RecordWrite {
        collection: CollectionRef,
        scope: Scope,
        kind: Kind,
    },
    CatalogRead(CatalogRead),
    CatalogWrite(CatalogWrite),
    /// Known, but never forwarded.
    Unsupported(Unsupported),
    /// A method that may write, on a path or with a method that this table lacks: never forwarded.
    UnknownWrite(UnknownWrite),
}

/// The reads below a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordReadKind {
    Get,
    Query,
    Count,
    Search,
    IndexingStatus,
    ForkCount,
    Function,
}

/// The reads of the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogRead {
    GetTenant {
        tenant: String,
    },
    ListDatabases {
        tenant: String,
        page: Page,
    },
    GetDatabase {
        scope: Scope,
    },
    ListCollections {
        scope: Scope,
        page: Page,
    },
    CountCollections {
        scope: Scope,
    },
    /// By name: Chroma answers 404 to an id here.
    GetCollection {
        scope: Scope,
        name: String,
    },
    GetCollectionById {
        scope: Scope,
        collection: CollectionRef,
    },
}

/// The writes of the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogWrite {
    CreateTenant,
    UpdateTenant {
        tenant: String,
    },
    CreateDatabase {
        tenant: String,
    },
    DeleteDatabase {
        scope: Scope,
    },
    CreateCollection {
        scope: Scope,
    },
    /// By id: Chroma answers 400 to a name here.
    UpdateCollection {
        scope: Scope,
        collection: CollectionRef,
    },
    /// By name: Chroma answers 404 to an id here.
    DeleteCollection {
        scope: Scope,
        name: String,
    },
    Reset,
}

impl CatalogWrite {
    /// Returns the kind of entry that this write is journaled as.
    pub const fn kind(&self) -> Kind {
        match self {
            CatalogWrite::CreateTenant => Kind::CreateTenant,
            CatalogWrite::UpdateTenant { .. } => Kind::UpdateTenant,
            CatalogWrite::CreateDatabase { .. } => Kind::CreateDatabase,
            CatalogWrite::DeleteDatabase { .. } => Kind::DeleteDatabase,
            CatalogWrite::CreateCollection { .. } => Kind::CreateCollection,
            CatalogWrite::UpdateCollection { .. } => Kind::UpdateCollection,
            CatalogWrite::DeleteCollection { .. } => Kind::DeleteCollection,
            CatalogWrite::Reset => Kind::Reset,
        }
    }
}
