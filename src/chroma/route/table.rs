//! The table of Chroma 1.5.9's paths, and of each path's methods.
//!
//! The paths are listed in one place ([`endpoint`]), the methods in another ([`operation`]). The edge knows no other
//! operations.

use percent_encoding::percent_decode_str;

use super::collection_ref::CollectionRef;
use super::method::Method;
use super::operation::{CatalogRead, CatalogWrite, Operation, RecordReadKind};
use super::page::page;
use super::unroutable::{UnknownWrite, Unsupported};
use crate::ids::Scope;
use crate::order::Kind;

/// A path that Chroma has, with its parameters decoded.
pub(super) enum Endpoint {
    /// Any read-only path: heartbeat, version, docs.
    System,
    Reset,
    Tenants,
    Tenant(String),
    Databases(String),
    Database(Scope),
    Collections(Scope),
    CollectionsCount(Scope),
    Collection(Scope, String),
    CollectionById(Scope, CollectionRef),
    Below(Scope, CollectionRef, Below),
    Crn,
    V1,
}

/// A path below `collections/{id}/`.
#[derive(Clone, Copy)]
pub(super) enum Below {
    Read(RecordReadKind, ReadMethod),
    Write(Kind),
    Unsupported(Unsupported),
}

#[derive(Clone, Copy)]
pub(super) enum ReadMethod {
    Get,
    Post,
}

/// Decodes path parameters and records the first that is not UTF-8. Chroma matches the method first, and refuses such a
/// parameter only afterwards.
#[derive(Default)]
pub(super) struct Decoder {
    pub(super) not_utf8: Option<&'static str>,
}

impl Decoder {
    /// Invalid escapes such as `%zz` stay as they are, as in Chroma.
    fn text(&mut self, segment: &str, parameter: &'static str) -> String {
        let decoded = percent_decode_str(segment);
        match decoded.clone().decode_utf8() {
            Ok(text) => text.into_owned(),
            Err(_) => {
                self.not_utf8.get_or_insert(parameter);
                decoded.decode_utf8_lossy().into_owned()
            }
        }
    }

    fn scope(&mut self, tenant: &str, database: &str) -> Scope {
        Scope { tenant: self.text(tenant, "tenant"), database: self.text(database, "database") }
    }

    fn reference(&mut self, id: &str) -> CollectionRef {
        CollectionRef::new(self.text(id, "collection_id"))
    }
}

/// Returns the endpoint of a path, if Chroma has one.
pub(super) fn endpoint(path: &str, decoder: &mut Decoder) -> Option<Endpoint> {
    let relative = path.strip_prefix('/')?;
    if relative.strip_prefix("api/v1/").is_some_and(|rest| !rest.is_empty()) {
        return Some(Endpoint::V1);
    }
    if relative == "docs" || relative.starts_with("docs/") {
        return Some(Endpoint::System);
    }
    // The longest path in the table has 11 segments. A longer path only has to stay longer.
    let segments: Vec<&str> = relative.splitn(13, '/').collect();
    match segments.as_slice() {
        ["openapi.json"] | ["api", "v2"] => Some(Endpoint::System),
        ["api", "v2", "heartbeat" | "healthcheck" | "version" | "pre-flight-checks"] => Some(Endpoint::System),
        ["api", "v2", "auth", "identity"] => Some(Endpoint::System),
        ["api", "v2", "reset"] => Some(Endpoint::Reset),
        ["api", "v2", "collections", crn] if !crn.is_empty() => Some(Endpoint::Crn),
        ["api", "v2", "tenants", rest @ ..] => tenants(rest, decoder),
        _ => None,
    }
}

fn tenants(rest: &[&str], decoder: &mut Decoder) -> Option<Endpoint> {
    match rest {
        [] => Some(Endpoint::Tenants),
        [tenant] if !tenant.is_empty() => Some(Endpoint::Tenant(decoder.text(tenant, "tenant_name"))),
        [tenant, "databases"] => Some(Endpoint::Databases(decoder.text(tenant, "tenant"))),
        [tenant, "databases", database] if !database.is_empty() => {
            Some(Endpoint::Database(decoder.scope(tenant, database)))
        }
        [tenant, "databases", database, "collections"] => Some(Endpoint::Collections(decoder.scope(tenant, database))),
        [tenant, "databases", database, "collections_count"] => {
            Some(Endpoint::CollectionsCount(decoder.scope(tenant, database)))
        }
        [tenant, "databases", database, "collections", rest @ ..] => {
            let scope = decoder.scope(tenant, database);
            collections(scope, rest, decoder)
        }
        _ => None,
    }
}

fn collections(scope: Scope, rest: &[&str], decoder: &mut Decoder) -> Option<Endpoint> {
    let below = match rest {
        [name] if !name.is_empty() => return Some(Endpoint::Collection(scope, decoder.text(name, "collection_id"))),
        // The literal takes precedence over `{collection_id}/add` and similar paths.
        ["by-id", id] if !id.is_empty() => return Some(Endpoint::CollectionById(scope, decoder.reference(id))),
        [_, "add"] => Below::Write(Kind::Add),
        [_, "update"] => Below::Write(Kind::Update),
        [_, "upsert"] => Below::Write(Kind::Upsert),
        [_, "delete"] => Below::Write(Kind::Delete),
        [_, "get"] => Below::Read(RecordReadKind::Get, ReadMethod::Post),
        [_, "query"] => Below::Read(RecordReadKind::Query, ReadMethod::Post),
        [_, "search"] => Below::Read(RecordReadKind::Search, ReadMethod::Post),
        [_, "count"] => Below::Read(RecordReadKind::Count, ReadMethod::Get),
        [_, "indexing_status"] => Below::Read(RecordReadKind::IndexingStatus, ReadMethod::Get),
        [_, "fork_count"] => Below::Read(RecordReadKind::ForkCount, ReadMethod::Get),
        [_, "fork"] => Below::Unsupported(Unsupported::Fork),
        [_, "functions", "attach"] => Below::Unsupported(Unsupported::AttachFunction),
        [_, "attached_functions", _, "detach"] => Below::Unsupported(Unsupported::DetachFunction),
        [_, "functions", name] if !name.is_empty() => Below::Read(RecordReadKind::Function, ReadMethod::Get),
        _ => return None,
    };
    let id = rest.first().copied().unwrap_or_default();
    Some(Endpoint::Below(scope, decoder.reference(id), below))
}

/// Returns the operation of a method on an endpoint.
pub(super) fn operation(endpoint: Endpoint, method: Method, query: Option<&str>) -> Operation {
    use Method::{Delete, Get, Patch, Post, Put};
    let found = match (endpoint, method) {
        (Endpoint::V1, Put | Patch | Delete) => return Operation::UnknownWrite(UnknownWrite::V1),
        (Endpoint::V1, _) => Err("GET,HEAD,PUT,PATCH,DELETE,OPTIONS"),
        (Endpoint::Reset, Post) => Ok(Operation::CatalogWrite(CatalogWrite::Reset)),
        (Endpoint::Tenants, Post) => Ok(Operation::CatalogWrite(CatalogWrite::CreateTenant)),
        (Endpoint::Reset | Endpoint::Tenants, _) => Err("POST"),
        (Endpoint::Tenant(tenant), Get) => Ok(Operation::CatalogRead(CatalogRead::GetTenant { tenant })),
        (Endpoint::Tenant(tenant), Patch) => Ok(Operation::CatalogWrite(CatalogWrite::UpdateTenant { tenant })),
        (Endpoint::Tenant(_), _) => Err("GET,HEAD,PATCH"),
        (Endpoint::Databases(tenant), Get) => {
            Ok(Operation::CatalogRead(CatalogRead::ListDatabases { tenant, page: page(query) }))
        }
        (Endpoint::Databases(tenant), Post) => Ok(Operation::CatalogWrite(CatalogWrite::CreateDatabase { tenant })),
        (Endpoint::Database(scope), Get) => Ok(Operation::CatalogRead(CatalogRead::GetDatabase { scope })),
        (Endpoint::Database(scope), Delete) => Ok(Operation::CatalogWrite(CatalogWrite::DeleteDatabase { scope })),
        (Endpoint::Database(_), _) => Err("GET,HEAD,DELETE"),
        (Endpoint::Collections(scope), Get) => {
            Ok(Operation::CatalogRead(CatalogRead::ListCollections { scope, page: page(query) }))
        }
        (Endpoint::Collections(scope), Post) => Ok(Operation::CatalogWrite(CatalogWrite::CreateCollection { scope })),
        (Endpoint::Databases(_), _) => Err("GET,HEAD,POST"),
        (Endpoint::Collections(_), _) => Err("POST,GET,HEAD"),
        (Endpoint::CollectionsCount(scope), Get) => Ok(Operation::CatalogRead(CatalogRead::CountCollections { scope })),
        (Endpoint::Collection(scope, name), Get) => {
            Ok(Operation::CatalogRead(CatalogRead::GetCollection { scope, name }))
        }
        (Endpoint::Collection(scope, text), Put) => {
            Ok(Operation::CatalogWrite(CatalogWrite::UpdateCollection { scope, collection: CollectionRef::new(text) }))
        }
        (Endpoint::Collection(scope, name), Delete) => {
            Ok(Operation::CatalogWrite(CatalogWrite::DeleteCollection { scope, name }))
        }
        (Endpoint::Collection(..), _) => Err("GET,HEAD,PUT,DELETE"),
        (Endpoint::CollectionById(scope, collection), Get) => {
            Ok(Operation::CatalogRead(CatalogRead::GetCollectionById { scope, collection }))
        }
        (Endpoint::Below(scope, collection, below), method) => below_operation(scope, collection, below, method),
        (Endpoint::Crn, Get) => Ok(Operation::Unsupported(Unsupported::CollectionByCrn)),
        (Endpoint::System | Endpoint::CollectionsCount(_) | Endpoint::CollectionById(..) | Endpoint::Crn, _) => {
            Err("GET,HEAD")
        }
    };
    found.unwrap_or_else(|allow| other_method(method, allow))
}

fn below_operation(
    scope: Scope,
    collection: CollectionRef,
    below: Below,
    method: Method,
) -> Result<Operation, &'static str> {
    match (below, method) {
        (Below::Write(kind), Method::Post) => Ok(Operation::RecordWrite { collection, scope, kind }),
        (Below::Read(kind, ReadMethod::Get), Method::Get) | (Below::Read(kind, ReadMethod::Post), Method::Post) => {
            Ok(Operation::RecordRead { collection, scope, kind })
        }
        (Below::Unsupported(unsupported), Method::Post) => Ok(Operation::Unsupported(unsupported)),
        (Below::Read(_, ReadMethod::Get), _) => Err("GET,HEAD"),
        (Below::Write(_) | Below::Read(_, ReadMethod::Post) | Below::Unsupported(_), _) => Err("POST"),
    }
}

/// Passes safe methods through, so that Chroma answers them itself.
fn other_method(method: Method, allow: &'static str) -> Operation {
    if method.is_safe() { Operation::System } else { Operation::UnknownWrite(UnknownWrite::Method { allow }) }
}
