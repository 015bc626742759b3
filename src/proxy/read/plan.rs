//! From a read request to a [`Read`]: which collection it means, what must be fresh, and what the edge answers itself.
//!
//! It sends nothing and chooses no instance.

use http::HeaderMap;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Read, Rewrite, Target};
use crate::chroma::{self, CatalogRead, ErrorBody, Operation, Page, RecordReadKind};
use crate::ids::{InstanceId, Scope};
use crate::order::Consistency;
use crate::proxy::Edge;
use crate::proxy::failure::Failure;
use crate::proxy::prepare::resolve;
use crate::web::{INSTANCE, Reply};

/// The request header that relaxes or restores freshness for one read.
const CONSISTENCY: &str = "chroma-edge-consistency";

/// What becomes of a read request.
pub enum Plan {
    Pass(Read),
    /// The edge knows the answer.
    Answer(Reply),
}

/// Plans a read.
pub fn plan(edge: &Edge, operation: Operation, path: &str, headers: &HeaderMap) -> Result<Plan, Failure> {
    let consistency = consistency(edge, headers)?;
    let pin = pin(edge, headers)?;
    let mut read = Read { consistency, pin, path: path.to_owned(), ..Read::of(operation) };
    let board = edge.core.board();
    let catalog = board.catalog();
    match &read.operation {
        Operation::RecordRead { collection, scope, .. } => {
            read.target = Target::Collection(resolve(catalog, collection, scope)?);
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
            let found = resolve(catalog, collection, scope).map_err(|_| match collection.as_id() {
                Some(id) => Failure::Chroma(ErrorBody::collection_not_found(&id.to_string())),
                None => Failure::Chroma(ErrorBody::bad_collection_id_by_id()),
            });
            read.target = Target::Collection(found?);
            read.rewrite = Rewrite::Collection;
        }
        Operation::CatalogRead(CatalogRead::CountCollections { scope }) => {
            if pin.is_none() {
                let count = catalog.in_scope(scope).len();
                return Ok(Plan::Answer(Reply::json(200, count.to_string())));
            }
            read.target = Target::Catalog;
        }
        Operation::CatalogRead(CatalogRead::ListCollections { scope, page: Page::Window(window) }) => {
            read.path = chroma::strip_page(path);
            read.target = Target::Collections(scope.clone());
            read.rewrite = Rewrite::CollectionList(*window);
        }
        // Never from an instance that may lack them.
        Operation::CatalogRead(CatalogRead::GetTenant { tenant }) if pin.is_none() && catalog.has_tenant(tenant) => {
            return Ok(Plan::Answer(tenant_shown(tenant)));
        }
        Operation::CatalogRead(CatalogRead::GetDatabase { scope })
            if pin.is_none() && catalog.database(scope).is_some() =>
        {
            let id = catalog.database(scope).unwrap_or_default();
            return Ok(Plan::Answer(Reply::json(200, database_shown(scope, id).to_string())));
        }
        Operation::CatalogRead(CatalogRead::ListDatabases { tenant, page: Page::Window(window) }) if pin.is_none() => {
            let known = catalog.databases_of(tenant).map(|(scope, id)| database_shown(scope, id));
            return Ok(Plan::Answer(Reply::json(200, Value::from(window.select(known)).to_string())));
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
        Operation::CatalogRead(CatalogRead::GetTenant { .. }) => read.target = Target::Catalog,
        // A page that Chroma refuses, and everything that has nothing to do with collections.
        _ => {}
    }
    drop(board);
    Ok(Plan::Pass(read))
}

/// As Chroma shows it.
fn tenant_shown(tenant: &str) -> Reply {
    Reply::json(200, json!({ "name": tenant, "resource_name": null }).to_string())
}

fn database_shown(scope: &Scope, id: Uuid) -> Value {
    json!({ "id": id, "name": scope.database, "tenant": scope.tenant })
}

fn consistency(edge: &Edge, headers: &HeaderMap) -> Result<Consistency, Failure> {
    match headers.get(CONSISTENCY).map(|value| value.as_bytes().to_ascii_lowercase()) {
        None => Ok(edge.options.consistency),
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

/// Refuses reads that make Chroma's handler panic and close the connection, which would look like a crash.
pub fn reject_crashing(operation: &Operation, body: &[u8]) -> Result<(), Failure> {
    #[derive(serde::Deserialize)]
    struct Query {
        n_results: Option<serde_json::Number>,
    }
    let Operation::RecordRead { kind: RecordReadKind::Query, .. } = operation else { return Ok(()) };
    match serde_json::from_slice::<Query>(body) {
        Ok(Query { n_results: Some(n) }) if n.as_u64() == Some(0) => {
            Err(Failure::CrashesChroma("n_results must be at least 1"))
        }
        _ => Ok(()),
    }
}
