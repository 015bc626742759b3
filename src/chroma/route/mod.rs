//! What a request is, by its method and path alone.
//!
//! It decides which operation a request asks for, and which the edge answers itself because forwarding it
//! could write unlogged or hurt an instance. It does not read bodies, resolve names, or choose an instance.
//! Matching is Chroma's own (axum): literal segments byte for byte, percent-decoding only inside parameters,
//! a parameter may be empty unless it is last, a trailing slash is another path.

mod collection_ref;
pub(super) mod page;
mod table;
mod unroutable;

pub use collection_ref::CollectionRef;
pub use page::{Page, Window};
pub use unroutable::{UnknownWrite, Unsupported};

use crate::ids::Scope;
use crate::order::Kind;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Passes through unchanged to any healthy instance: heartbeat, version, docs, and every safe method on
    /// a path that this table does not know.
    System,
    /// Below a collection, and cannot write.
    RecordRead {
        collection: CollectionRef,
        scope: Scope,
        kind: RecordReadKind,
    },
    /// `kind` is Add, Update, Upsert or Delete; the body decides whether a delete is limited.
    RecordWrite {
        collection: CollectionRef,
        scope: Scope,
        kind: Kind,
    },
    CatalogRead(CatalogRead),
    CatalogWrite(CatalogWrite),
    /// Known, and never forwarded.
    Unsupported(Unsupported),
    /// A method that may write, on a path or with a method this table lacks: never forwarded.
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
    /// The kind of entry this write is journaled as.
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

/// The operation of a request. Total: every method and path has one.
pub fn route(method: &str, path_and_query: &str) -> Operation {
    let (path, query) = split_target(path_and_query);
    let method = Method::of(method);
    let mut decoder = table::Decoder::default();
    let operation = match table::endpoint(path, &mut decoder) {
        Some(endpoint) => table::operation(endpoint, method, query),
        None => Operation::UnknownWrite(UnknownWrite::Path),
    };
    match (operation, decoder.not_utf8) {
        (Operation::UnknownWrite(_) | Operation::System, _) if method.is_safe() => Operation::System,
        (Operation::UnknownWrite(unknown), _) => Operation::UnknownWrite(unknown),
        (_, Some(_)) if method.is_safe() => Operation::System,
        (_, Some(parameter)) => Operation::UnknownWrite(UnknownWrite::NotUtf8 { parameter }),
        (operation, None) => operation,
    }
}

/// Path and query (without `?`). A fragment is no part of a request's target.
pub(super) fn split_target(target: &str) -> (&str, Option<&str>) {
    let target = target.split_once('#').map_or(target, |(before, _)| before);
    match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    }
}

/// Methods are case-sensitive; HEAD is answered by Chroma wherever GET is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Get,
    Options,
    Post,
    Put,
    Patch,
    Delete,
    Other,
}

impl Method {
    fn of(text: &str) -> Self {
        match text {
            "GET" | "HEAD" => Method::Get,
            "OPTIONS" => Method::Options,
            "POST" => Method::Post,
            "PUT" => Method::Put,
            "PATCH" => Method::Patch,
            "DELETE" => Method::Delete,
            _ => Method::Other,
        }
    }

    const fn is_safe(self) -> bool {
        matches!(self, Method::Get | Method::Options)
    }
}

#[cfg(test)]
mod tests;
