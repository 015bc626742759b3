//! Turns a read request into a [`Read`]: which collection it means, what must be fresh, and what the edge answers
//! itself.
//!
//! It sends nothing and chooses no instance.

use http::HeaderMap;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Listing, Read, Rewrite, Target};
use crate::auth::{Denied, Principal};
use crate::chroma::{self, CatalogRead, ErrorBody, Operation, Page};
use crate::ids::{InstanceId, Scope};
use crate::order::{Catalog, Consistency};
use crate::proxy::Edge;
use crate::proxy::failure::Failure;
use crate::proxy::known::{resolve, visible};
use crate::web::{INSTANCE, Reply};

/// The request header that relaxes or restores freshness for one read.
const CONSISTENCY: &str = "chroma-edge-consistency";

/// How a read request is carried out.
pub enum Plan {
    Pass(Read),
    /// One collection object.
    Object(Read),
    /// A list of collections.
    List(Listing),
    /// The edge knows the answer.
    Answer(Reply),
}

/// Plans a read.
pub fn plan(
    edge: &Edge,
    operation: Operation,
    path: &str,
    headers: &HeaderMap,
    principal: &Principal,
) -> Result<Plan, Failure> {
    let grants = principal.grants();
    let consistency = consistency(edge, headers)?;
    let pin = pin(edge, headers)?;
    if pin.is_some() && !grants.are_unlimited() && is_list(&operation) {
        // An instance lists everything that it has.
        return Err(Failure::Denied(Denied::BeyondScope));
    }
    let mut read = Read { consistency, pin, path: path.to_owned(), ..Read::of(operation) };
    let board = edge.core.board();
    let catalog = board.catalog();
    if pin.is_none()
        && let Some(known) = from_catalog(catalog, &read.operation, consistency, principal)
    {
        return Ok(known);
    }
    match &read.operation {
        Operation::RecordRead { collection, scope, .. } => {
            read.target = Target::Collection(resolve(catalog, collection, scope, grants)?);
            read.rewrite = Rewrite::ErrorText;
        }
        Operation::CatalogRead(CatalogRead::GetCollection { scope, name }) => {
            if let Some(found) = catalog.by_name(scope, name) {
                read.target = Target::Collection(found.id);
                read.rewrite = Rewrite::Collection;
            } else {
                return Err(Failure::Chroma(ErrorBody::collection_not_found(name)));
            }
        }
        Operation::CatalogRead(CatalogRead::GetCollectionById { scope, collection }) => {
            let found = resolve(catalog, collection, scope, grants).map_err(|_| match collection.as_id() {
                Some(id) => Failure::Chroma(ErrorBody::collection_not_found(&id.to_string())),
                None => Failure::Chroma(ErrorBody::bad_collection_id_by_id()),
            });
            read.target = Target::Collection(found?);
            read.rewrite = Rewrite::Collection;
        }
        Operation::CatalogRead(CatalogRead::ListCollections { scope, page: Page::Window(window) }) => {
            read.path = chroma::strip_page(path);
            read.target = Target::Collections(scope.clone());
            read.rewrite = Rewrite::CollectionList(*window);
        }
        Operation::CatalogRead(CatalogRead::ListDatabases { tenant, page: Page::Window(window) }) => {
            read.path = chroma::strip_page(path);
            read.target = Target::Catalog;
            read.rewrite = Rewrite::DatabaseList(tenant.clone(), *window);
        }
        Operation::CatalogRead(CatalogRead::GetDatabase { scope }) => {
            read.target = Target::Catalog;
            read.rewrite = Rewrite::Database(scope.clone());
        }
        Operation::CatalogRead(CatalogRead::CountCollections { .. } | CatalogRead::GetTenant { .. }) => {
            read.target = Target::Catalog;
        }
        // Page parameters that Chroma refuses, and requests that do not concern collections.
        _ => {}
    }
    drop(board);
    let is_object = read.rewrite == Rewrite::Collection && pin.is_none();
    Ok(if is_object { Plan::Object(read) } else { Plan::Pass(read) })
}

/// Answers a read from the catalog, or plans a list from it: never from an instance that may lack part of it.
fn from_catalog(
    catalog: &Catalog,
    operation: &Operation,
    consistency: Consistency,
    principal: &Principal,
) -> Option<Plan> {
    let grants = principal.grants();
    let Operation::CatalogRead(read) = operation else { return None };
    Some(match read {
        CatalogRead::CountCollections { scope } => {
            let count = match grants.has_whole_databases() {
                true => catalog.count_in(scope),
                false => visible(catalog, scope, grants).count(),
            };
            Plan::Answer(Reply::json(200, count.to_string()))
        }
        CatalogRead::ListCollections { scope, page: Page::Window(window) } if catalog.database(scope).is_some() => {
            Plan::List(Listing {
                scope: scope.clone(),
                window: *window,
                consistency,
                grants: principal.shared_grants(),
            })
        }
        // Grants cannot be checked for collections that an instance has and the catalog does not.
        CatalogRead::ListCollections { .. } if !grants.has_whole_databases() => Plan::Answer(Reply::json(200, "[]")),
        CatalogRead::GetTenant { tenant } if catalog.has_tenant(tenant) => Plan::Answer(tenant_shown(tenant)),
        CatalogRead::GetDatabase { scope } => {
            let shown = database_shown(scope, catalog.database(scope)?);
            Plan::Answer(Reply::json(200, shown.to_string()))
        }
        CatalogRead::ListDatabases { tenant, page: Page::Window(window) } => {
            let known = catalog.databases_of(tenant).filter(|(scope, _)| grants.database(scope));
            let known = known.map(|(scope, id)| database_shown(scope, id));
            Plan::Answer(Reply::json(200, Value::from(window.select(known)).to_string()))
        }
        _ => return None,
    })
}

fn is_list(operation: &Operation) -> bool {
    use CatalogRead::{CountCollections, ListCollections, ListDatabases};
    matches!(operation, Operation::CatalogRead(ListDatabases { .. } | ListCollections { .. } | CountCollections { .. }))
}

/// The tenant as Chroma shows it.
fn tenant_shown(tenant: &str) -> Reply {
    Reply::json(200, json!({ "name": tenant, "resource_name": null }).to_string())
}

fn database_shown(scope: &Scope, id: Uuid) -> Value {
    json!({ "id": id, "name": scope.database, "tenant": scope.tenant })
}

fn consistency(edge: &Edge, headers: &HeaderMap) -> Result<Consistency, Failure> {
    match headers.get(CONSISTENCY).map(|value| value.as_bytes().to_ascii_lowercase()) {
        None => Ok(edge.options().consistency),
        Some(value) if value == b"any" => Ok(Consistency::Any),
        Some(value) if value == b"fresh" => Ok(Consistency::Fresh),
        Some(_) => Err(Failure::BadConsistency),
    }
}

fn pin(edge: &Edge, headers: &HeaderMap) -> Result<Option<InstanceId>, Failure> {
    let Some(value) = headers.get(INSTANCE) else { return Ok(None) };
    let name = value.to_str().unwrap_or_default();
    edge.registry.id_of(name).map(Some).ok_or_else(|| Failure::UnknownInstance(name.to_owned()))
}
