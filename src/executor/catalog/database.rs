//! Tenants, databases and reset on one instance.

use serde_json::{Value, json};

use super::entry::{Entry, already, applied, field, plain, send_as_is, uuid_field};
use crate::chroma::{self, Class, Scanned, scan_create_database, scan_create_tenant};
use crate::clock;
use crate::executor::attempt::{Attempt, Attempted};
use crate::ids::{Scope, shown};
use crate::instance::{Answer, Outgoing};
use crate::order::{CatalogChange, Health, Outcome, Retry};

const CONFLICT: u16 = 409;
const NOT_FOUND: u16 = 404;

pub(super) async fn create_tenant(attempt: &Attempt<'_>, entry: &Entry<'_>) -> Result<Attempted, Attempted> {
    let (class, answer) = send_as_is(attempt, entry).await?;
    let Ok(Scanned::Read(tenant)) = scan_create_tenant(&entry.request.body) else {
        return Ok(plain(attempt, class, answer, Vec::new()));
    };
    let known = attempt.core.board().catalog().tenants().any(|name| name == tenant);
    let changes = vec![CatalogChange::TenantCreated { tenant }];
    if answer.status == CONFLICT && (entry.has_verdict() || (entry.retry() && !known)) {
        return Ok(already(changes));
    }
    Ok(plain(attempt, class, answer, changes))
}

/// Chroma answers 200 and changes nothing. The write is journaled all the same, for a later Chroma that does change
/// something.
pub(super) async fn update_tenant(attempt: &Attempt<'_>, entry: &Entry<'_>) -> Result<Attempted, Attempted> {
    let (class, answer) = send_as_is(attempt, entry).await?;
    Ok(plain(attempt, class, answer, Vec::new()))
}

pub(super) async fn create_database(
    attempt: &Attempt<'_>,
    entry: &Entry<'_>,
    tenant: &str,
) -> Result<Attempted, Attempted> {
    let (class, answer) = send_as_is(attempt, entry).await?;
    let Ok(Scanned::Read(name)) = scan_create_database(&entry.request.body) else {
        return Ok(plain(attempt, class, answer, Vec::new()));
    };
    let scope = Scope::new(tenant, &name);
    if entry.has_verdict() {
        return Ok(if answer.status == CONFLICT {
            already(Vec::new())
        } else {
            plain(attempt, class, answer, Vec::new())
        });
    }
    let known = attempt.core.board().catalog().database(&scope).is_some();
    let ours = class == Class::Applied || (answer.status == CONFLICT && entry.retry() && !known);
    if !ours {
        return Ok(plain(attempt, class, answer, Vec::new()));
    }
    // A crash here leaves the database made and the entry in doubt. When it is sent again, its 409 counts as success.
    let described = attempt.get(chroma::database_path(&scope)).await.map_err(|_| in_doubt())?;
    let Some(database_id) = uuid_field(&described.body, "id") else { return Ok(in_doubt()) };
    let change = CatalogChange::DatabaseCreated { scope, database_id };
    Ok(if class == Class::Applied { plain(attempt, class, answer, vec![change]) } else { already(vec![change]) })
}

fn in_doubt() -> Attempted {
    Attempted::of(Outcome::InDoubt { instance_was: Health::Healthy }, None)
}

pub(super) async fn delete_database(
    attempt: &Attempt<'_>,
    entry: &Entry<'_>,
    scope: &Scope,
) -> Result<Attempted, Attempted> {
    let (class, answer) = send_as_is(attempt, entry).await?;
    let known = attempt.core.board().catalog().database(scope).is_some();
    let changes = vec![CatalogChange::DatabaseDeleted { scope: scope.clone() }];
    if answer.status == NOT_FOUND && class == Class::Rejected && (entry.has_verdict() || known) {
        // Known, never asked to delete it, and still gone: the instance is not what it should be.
        let expected = entry.has_verdict() || entry.retry();
        return Ok(if expected { already(changes) } else { Attempted::of(Outcome::Unfit, Some(answer)) });
    }
    Ok(plain(attempt, class, answer, changes))
}

pub(super) async fn reset(attempt: &Attempt<'_>, entry: &Entry<'_>) -> Result<Attempted, Attempted> {
    let (class, answer) = send_as_is(attempt, entry).await?;
    if class == Class::Applied {
        attempt.observe(class, &answer);
        attempt.core.discovery.markers().note_reset(attempt.instance);
        return Ok(Attempted::of(applied(vec![CatalogChange::Reset]), Some(answer)));
    }
    Ok(plain(attempt, class, answer, Vec::new()))
}

/// Returns whether the instance rejects a creation because it lacks a database that the catalog has.
pub(super) fn is_lacking(attempt: &Attempt<'_>, scope: &Scope, answer: &Answer) -> bool {
    let text = field(&answer.body, "message");
    let text = text.as_ref().and_then(Value::as_str).unwrap_or_default();
    let says_so = answer.status == 400 && text.starts_with("Database [") && text.ends_with("does not exist");
    says_so && attempt.core.board().catalog().database(scope).is_some()
}

/// Creates the tenant and the database that the catalog has and the instance lacks.
pub(super) async fn create_again(attempt: &Attempt<'_>, scope: &Scope) -> Result<(), Attempted> {
    let bodies = [
        (chroma::tenants_path(), json!({ "name": scope.tenant })),
        (chroma::databases_path(&scope.tenant), json!({ "name": scope.database })),
    ];
    for (path, body) in bodies {
        let outgoing = Outgoing::json(http::Method::POST, path, body.to_string());
        match attempt.send(&outgoing).await?.status {
            200..=299 | CONFLICT => {}
            _ => return Err(Attempted::of(Outcome::NotSent { retry: Retry::AfterBackoff }, None)),
        }
    }
    if let Some(times) = attempt.resources.recreated.seen((attempt.instance, scope.clone()), clock::now()).times() {
        let (instance, tenant) = (attempt.core.registry.name(attempt.instance), shown(&scope.tenant));
        let database = shown(&scope.database);
        tracing::warn!(%instance, %tenant, %database, times, "the instance lacked a database: created there again");
    }
    Ok(())
}

/// Returns the catalog changes for a database that exists on the instance, but that no entry has created.
pub(super) async fn unknown_scope(attempt: &Attempt<'_>, scope: &Scope) -> Result<Vec<CatalogChange>, Attempted> {
    if attempt.core.board().catalog().database(scope).is_some() {
        return Ok(Vec::new());
    }
    let described = attempt.get(chroma::database_path(scope)).await?;
    let Some(database_id) = uuid_field(&described.body, "id") else {
        return Err(Attempted::of(Outcome::NotSent { retry: Retry::AfterBackoff }, None));
    };
    // Every instance is inspected for whatever else the tenant has.
    attempt.core.discovery.hear_of(&scope.tenant);
    attempt.core.registry.ids().for_each(|instance| attempt.core.doubt_contents(instance));
    Ok(vec![
        CatalogChange::TenantCreated { tenant: scope.tenant.clone() },
        CatalogChange::DatabaseCreated { scope: scope.clone(), database_id },
    ])
}
