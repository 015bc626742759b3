//! Creates the tenants and databases that the catalog has and an instance lacks, before the instance serves.
//!
//! Collections are not created: without their content they would be empty twins. What is being deleted, or may be, is
//! left alone: that is up to the catalog lane.

use http::Method;
use serde_json::{Value, json};
use tracing::{info, warn};

use super::contents::{Contents, Look};
use super::error::InspectError;
use crate::chroma;
use crate::clock;
use crate::coordinator::Core;
use crate::ids::{InstanceId, Scope, shown};
use crate::instance::{Licence, Outgoing};
use crate::lasting::LastingStates;

const CONFLICT: u16 = 409;

/// For the log: what had to be created again. On an instance that never shows it, that happens at each inspection.
pub(super) type Recreated = LastingStates<(InstanceId, Scope)>;

/// Creates on the instance what the catalog has and these contents lack.
///
/// # Errors
/// When the instance did not accept one of them, and may accept it later.
pub(super) async fn complete(
    core: &Core,
    look: &Look<'_>,
    contents: &Contents,
    recreated: &Recreated,
) -> Result<(), InspectError> {
    let now = clock::now();
    for ((_, scope), lasted) in recreated.quiet(now) {
        if lasted.times > 1 {
            let (tenant, database) = (shown(&scope.tenant), shown(&scope.database));
            info!(%tenant, %database, times = lasted.times, "the tenant or database is no longer created again and again");
        }
    }
    let (tenants, scopes) = lacking(core, contents);
    for tenant in tenants {
        // A tenant that cannot even be asked for is left out, and reported with the databases that could not be listed.
        let lacks = matches!(look.has_tenant(&tenant).await, Ok(false));
        let wanted = lacks && core.board().catalog().has_tenant(&tenant);
        if wanted {
            create(core, look, chroma::tenants_path(), json!({ "name": tenant })).await?;
            if let Some(times) = recreated.seen((look.instance, Scope::new(&tenant, "")), now).times() {
                let (instance, tenant) = (core.registry.name(look.instance), shown(&tenant));
                warn!(%instance, %tenant, times, "the instance lacked a tenant: created there again");
            }
        }
    }
    for scope in scopes {
        let wanted = {
            let board = core.board();
            board.catalog().database(&scope).is_some() && !board.may_be_deleting(&scope)
        };
        if wanted {
            let path = chroma::databases_path(&scope.tenant);
            create(core, look, path, json!({ "name": scope.database })).await?;
            if let Some(times) = recreated.seen((look.instance, scope.clone()), now).times() {
                let (instance, tenant) = (core.registry.name(look.instance), shown(&scope.tenant));
                let database = shown(&scope.database);
                warn!(%instance, %tenant, %database, times, "the instance lacked a database: created there again");
            }
        }
    }
    Ok(())
}

/// Returns the tenants that the instance may lack, and the databases that it lacks. Chroma cannot list its tenants: one
/// with a database on the instance is assumed to exist there.
fn lacking(core: &Core, contents: &Contents) -> (Vec<String>, Vec<Scope>) {
    let board = core.board();
    let catalog = board.catalog();
    let has = |scope: &Scope| {
        contents.databases.iter().any(|found| found.tenant == scope.tenant && found.name == scope.database)
    };
    // If the list of a tenant's databases could not be read, nothing is known about those databases.
    let readable =
        |tenant: &str| !contents.unseen.iter().any(|unseen| unseen.tenant == tenant && unseen.database.is_none());
    let scopes = catalog.databases().filter(|scope| readable(&scope.tenant) && !has(scope)).cloned().collect();
    let empty = |tenant: &&str| !contents.databases.iter().any(|found| found.tenant == *tenant);
    let tenants = catalog.tenants().filter(|tenant| readable(tenant)).filter(empty);
    (tenants.map(str::to_owned).collect(), scopes)
}

async fn create(core: &Core, look: &Look<'_>, path: String, body: Value) -> Result<(), InspectError> {
    let outgoing = Outgoing::json(Method::POST, path.clone(), body.to_string());
    let sending = core.lease.sending();
    let sent = look.client.send(look.instance, &outgoing, look.deadline, Licence::Lease(&sending)).await;
    drop(sending);
    match sent.map_err(|error| InspectError::Unanswered(error.to_string()))?.status {
        200..=299 | CONFLICT => Ok(()),
        status => Err(InspectError::Refused { status, path }),
    }
}
