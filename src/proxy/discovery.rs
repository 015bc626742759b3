//! Finds out what instances hold and the edge does not know: everything before the first inspections; later, tenants
//! that no configuration names.
//!
//! Each wait here happens before the journal and holds nothing. It is bounded, and no lane waits for it.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::timeout_at;

use super::Edge;
use super::failure::Failure;
use super::read::{self, Attempts, Plan, ReadRequest};
use crate::auth::{Principal, Role};
use crate::chroma::{self, CatalogRead, CatalogWrite, Operation};
use crate::clock;
use crate::instance::Phase;
use crate::web::{Reply, RequestName};

/// The interval at which phases are checked: their changes are not announced here.
const MOMENT: Duration = Duration::from_millis(50);

/// Waits until every instance that answers has been inspected and its contents are in the catalog, but at most this
/// long.
pub async fn first_look(edge: &Edge, patience: Duration) {
    wait_while(edge, patience, awaits_first_look).await;
}

async fn wait_while(edge: &Edge, patience: Duration, unknown: impl Fn(&Edge) -> bool) {
    let deadline = clock::now() + patience;
    let mut changes = edge.core.discovery().changes();
    while unknown(edge) && clock::now() < deadline {
        let _ = timeout_at((clock::now() + MOMENT).min(deadline).into(), changes.changed()).await;
    }
}

fn awaits_first_look(edge: &Edge) -> bool {
    // An unsupported instance is never inspected.
    let supported = |id| edge.core.discovery().servers().why_unsupported(id).is_none();
    let answers = |id| matches!(edge.registry.phase(id), Phase::Up | Phase::Suspect | Phase::Returned) && supported(id);
    let (mut answering, mut unseen) = (0, 0);
    for id in edge.registry.ids().filter(|id| answers(*id)) {
        answering += 1;
        unseen += usize::from(!edge.core.discovery().is_seen(id));
    }
    unseen > 0 || (answering > 0 && edge.core.board().adopting())
}

fn nobody_seen(edge: &Edge) -> bool {
    !edge.registry.ids().any(|id| edge.core.discovery().is_seen(id))
}

/// Returns whether a "no such collection" may be due to an instance that has not been inspected yet.
pub fn may_be_premature(edge: &Edge, failure: &Failure) -> bool {
    matches!(failure, Failure::Chroma(answer) if answer.status == 404) && (nobody_seen(edge) || awaits_first_look(edge))
}

/// Before a list or a count, waits until one instance has been inspected and its contents are in the catalog. It does
/// not wait for the others: an instance that holds foreign data is never inspected.
///
/// # Errors
/// No instance has been inspected, so the answer could not claim to be complete.
pub async fn whole(edge: &Edge, operation: &Operation) -> Result<(), Failure> {
    let is_whole = matches!(
        operation,
        Operation::CatalogRead(
            CatalogRead::ListCollections { .. }
                | CatalogRead::CountCollections { .. }
                | CatalogRead::ListDatabases { .. }
        )
    );
    if !is_whole {
        return Ok(());
    }
    let unknown = |edge: &Edge| (nobody_seen(edge) || edge.core.board().adopting()) && awaits_first_look(edge);
    Box::pin(wait_while(edge, edge.options().read_wait, unknown)).await;
    if nobody_seen(edge) { Err(Failure::NoInstance) } else { Ok(()) }
}

/// Adjusts a failure after the wait: before any instance has been inspected, nothing can be reported as absent.
pub fn as_known(edge: &Edge, failure: Failure) -> Failure {
    match failure {
        Failure::Chroma(answer) if answer.status == 404 && nobody_seen(edge) => Failure::NoInstance,
        failure => failure,
    }
}

/// Finds out what a database, or every database, holds before it is deleted: protected collections in it must be known.
///
/// # Errors
/// The contents are still unknown.
pub async fn contents(edge: &Edge, operation: &Operation, name: RequestName) -> Result<(), Failure> {
    let is_known = match operation {
        Operation::CatalogWrite(CatalogWrite::DeleteDatabase { scope }) => {
            edge.core.board().catalog().database(scope).is_some()
        }
        Operation::CatalogWrite(CatalogWrite::Reset) => true,
        _ => return Ok(()),
    };
    if !is_known {
        discover(edge, operation, name).await?;
    }
    first_look(edge, edge.options().write_wait).await;
    let is_open = if is_known { edge.core.board().adopting() } else { awaits_first_look(edge) };
    // A new journal has the default database, but not what uninspected servers hold in it.
    let is_blind = nobody_seen(edge) && !edge.options().protection.collections.is_empty();
    if is_open || is_blind { Err(Failure::NoInstance) } else { Ok(()) }
}

/// Asks an instance for a tenant that the edge does not know, and adds the tenant's contents to the catalog. Returns
/// the instance's answer if the request was for the tenant itself.
pub async fn discover(edge: &Edge, operation: &Operation, name: RequestName) -> Result<Option<Reply>, Failure> {
    let Some(tenant) = tenant_of(operation) else { return Ok(None) };
    if is_known(edge, tenant) {
        return Ok(None);
    }
    Box::pin(ask_for(edge, tenant, operation, name)).await
}

async fn ask_for(
    edge: &Edge,
    tenant: &str,
    operation: &Operation,
    name: RequestName,
) -> Result<Option<Reply>, Failure> {
    let asked = Operation::CatalogRead(CatalogRead::GetTenant { tenant: tenant.to_owned() });
    let Plan::Pass(read) = read::plan(
        edge,
        asked.clone(),
        &chroma::tenant_path(tenant),
        &HeaderMap::new(),
        &Principal::anonymous(Role::Reader),
    )?
    else {
        return Ok(None);
    };
    let answer = read::fetch(edge, &read, &ReadRequest::get(name), Attempts::default()).await;
    if answer.as_ref().is_ok_and(|reply| reply.status == 200) {
        edge.core.discovery().hear_of(tenant);
        edge.registry.ids().filter(|id| edge.registry.usable(*id)).for_each(|id| edge.core.doubt_contents(id));
        let deadline = clock::now() + edge.options().read_wait;
        let mut changes = edge.core.changes();
        while !is_known(edge, tenant) && timeout_at(deadline.into(), changes.changed()).await.is_ok() {}
    }
    if *operation == asked && !is_known(edge, tenant) { answer.map(Some) } else { Ok(None) }
}

fn is_known(edge: &Edge, tenant: &str) -> bool {
    let board = edge.core.board();
    board.catalog().has_tenant(tenant) || board.catalog().databases_of(tenant).next().is_some()
}

fn tenant_of(operation: &Operation) -> Option<&str> {
    let read = match operation {
        Operation::CatalogRead(read) => read,
        // Before a database is deleted, its contents must be known.
        Operation::CatalogWrite(CatalogWrite::DeleteDatabase { scope }) => return Some(&scope.tenant),
        _ => return None,
    };
    Some(match read {
        CatalogRead::GetTenant { tenant } | CatalogRead::ListDatabases { tenant, .. } => tenant,
        CatalogRead::GetDatabase { scope }
        | CatalogRead::ListCollections { scope, .. }
        | CatalogRead::CountCollections { scope }
        | CatalogRead::GetCollection { scope, .. }
        | CatalogRead::GetCollectionById { scope, .. } => &scope.tenant,
    })
}
