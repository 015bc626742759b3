//! The role that each of Chroma's operations needs, by its effect and not by its method: most reads are POSTs.
//!
//! Judges the names in the path. Names in a body and ids are judged once they are known: a collection where it is
//! resolved, a new name where the body is read.

use serde_json::json;

use super::gate::Denied;
use super::names::{Grants, Names};
use super::pages::Need;
use super::principal::Principal;
use super::role::Role;
use crate::chroma::{CatalogRead, CatalogWrite, EdgeAnswer, ErrorBody, Operation, Page};

use crate::order::{DEFAULT_DATABASE, DEFAULT_TENANT};

/// Paths that stock clients and load balancers request without a token, or before they have one.
const PUBLIC: [&str; 5] =
    ["/api/v2", "/api/v2/heartbeat", "/api/v2/healthcheck", "/api/v2/version", "/api/v2/pre-flight-checks"];
/// Paths that reveal nothing about stored data.
const HARMLESS: [&str; 2] = ["/openapi.json", "/docs"];

/// Where Chroma tells a client who it is.
const IDENTITY: &str = "/api/v2/auth/identity";

/// What to do with a request, as far as its path shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow,
    /// Answers with this, in Chroma's words, mostly as if the named object did not exist.
    Answer(EdgeAnswer),
    Deny(Denied),
}

/// Returns what the operation needs. `path` is without the query.
pub fn need(operation: &Operation, path: &str) -> Need {
    match operation {
        Operation::System if PUBLIC.contains(&path) => Need::Nothing,
        Operation::System
        | Operation::RecordRead { .. }
        | Operation::CatalogRead(_)
        | Operation::Unsupported(_)
        | Operation::UnknownWrite(_)
        // Getting an existing collection is a read. Journaling a creation needs more, which is checked at that point.
        | Operation::CatalogWrite(CatalogWrite::CreateCollection { .. }) => Need::Role(Role::Reader),
        Operation::RecordWrite { .. } | Operation::CatalogWrite(_) => Need::Role(Role::Writer),
    }
}

/// Decides on this principal's operation, by the names in its path.
pub fn decide(principal: &Principal, operation: &Operation, path: &str) -> Decision {
    let grants = principal.grants();
    if grants.are_unlimited() {
        return Decision::Allow;
    }
    match operation {
        // Stock clients ask for it when they start.
        Operation::System if path == IDENTITY => Decision::Answer(identity(principal)),
        // The edge cannot tell what an unknown page reveals.
        Operation::System if !is_harmless(path) => Decision::Answer(EdgeAnswer::empty(404)),
        Operation::System | Operation::Unsupported(_) | Operation::UnknownWrite(_) => Decision::Allow,
        // Decided by the collection, where it is resolved.
        Operation::RecordRead { .. } | Operation::RecordWrite { .. } => Decision::Allow,
        Operation::CatalogRead(read) => decide_read(grants, read),
        Operation::CatalogWrite(write) => decide_write(grants, write),
    }
}

/// Returns the names that the principal may use, or Chroma's default names.
fn identity(principal: &Principal) -> EdgeAnswer {
    let grants = principal.grants();
    let tenant = match &grants.tenants {
        Names::Only(names) if !grants.tenant(DEFAULT_TENANT) => names.first().map_or("", String::as_str),
        Names::All | Names::Only(_) => DEFAULT_TENANT,
    };
    let databases = match &grants.databases {
        Names::Only(names) => names.clone(),
        Names::All => vec![DEFAULT_DATABASE.to_owned()],
    };
    let body = json!({ "user_id": principal.name().unwrap_or_default(), "tenant": tenant, "databases": databases });
    EdgeAnswer { status: 200, allow: None, body: body.to_string().into_bytes().into() }
}

fn is_harmless(path: &str) -> bool {
    PUBLIC.contains(&path) || HARMLESS.contains(&path) || path.starts_with("/docs/")
}

fn hidden_unless(known: bool, answer: impl FnOnce() -> EdgeAnswer) -> Decision {
    if known { Decision::Allow } else { Decision::Answer(answer()) }
}

fn decide_read(grants: &Grants, read: &CatalogRead) -> Decision {
    match read {
        CatalogRead::GetTenant { tenant } => {
            hidden_unless(grants.tenant(tenant), || ErrorBody::tenant_not_found(tenant))
        }
        // Malformed paging is otherwise left to Chroma, which must not list what is outside the token's scope.
        CatalogRead::ListDatabases { page: Page::Malformed, .. }
        | CatalogRead::ListCollections { page: Page::Malformed, .. } => Decision::Answer(EdgeAnswer::empty(400)),
        // As Chroma does where there is nothing to list.
        CatalogRead::ListDatabases { tenant, .. } => {
            hidden_unless(grants.tenant(tenant), || EdgeAnswer::json(200, "[]"))
        }
        CatalogRead::GetDatabase { scope } => {
            hidden_unless(grants.database(scope), || ErrorBody::database_not_found(&scope.database))
        }
        CatalogRead::ListCollections { scope, .. } => {
            hidden_unless(grants.database(scope), || EdgeAnswer::json(200, "[]"))
        }
        CatalogRead::CountCollections { scope } => hidden_unless(grants.database(scope), || EdgeAnswer::json(200, "0")),
        CatalogRead::GetCollection { scope, name } => {
            hidden_unless(grants.collection(scope, name), || ErrorBody::collection_not_found(name))
        }
        // Decided by the collection.
        CatalogRead::GetCollectionById { .. } => Decision::Allow,
    }
}

fn decide_write(grants: &Grants, write: &CatalogWrite) -> Decision {
    let allowed_if = |allowed| if allowed { Decision::Allow } else { Decision::Deny(Denied::BeyondScope) };
    match write {
        // The name is in the body.
        CatalogWrite::CreateTenant => Decision::Allow,
        CatalogWrite::UpdateTenant { tenant } => {
            hidden_unless(grants.tenant(tenant), || ErrorBody::tenant_not_found(tenant))
        }
        // Refused whether or not the name is taken, so the refusal reveals nothing.
        CatalogWrite::CreateDatabase { tenant } => allowed_if(grants.tenant(tenant)),
        CatalogWrite::CreateCollection { scope } => allowed_if(grants.database(scope)),
        CatalogWrite::DeleteDatabase { scope } if grants.database(scope) => allowed_if(grants.has_whole_databases()),
        CatalogWrite::DeleteDatabase { scope } => {
            Decision::Answer(ErrorBody::database_to_delete_not_found(&scope.database))
        }
        CatalogWrite::UpdateCollection { .. } => Decision::Allow,
        CatalogWrite::DeleteCollection { scope, name } => {
            hidden_unless(grants.collection(scope, name), || ErrorBody::collection_not_found(name))
        }
        CatalogWrite::Reset => Decision::Deny(Denied::BeyondScope),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::auth::Names;
    use crate::chroma::route;

    const DB: &str = "/api/v2/tenants/t/databases/d";

    fn needed(method: &str, path: &str) -> Need {
        need(&route(method, path), path)
    }

    #[test]
    fn reads_are_reads_whatever_their_method() {
        let below = |operation: &str| format!("{DB}/collections/0190a5d8-0000-7000-8000-000000000001/{operation}");
        let (reader, writer) = (Need::Role(Role::Reader), Need::Role(Role::Writer));
        for (method, path, expected) in [
            ("POST", below("get"), reader),
            ("POST", below("query"), reader),
            ("POST", below("search"), reader),
            ("GET", below("count"), reader),
            ("POST", below("add"), writer),
            ("POST", below("update"), writer),
            ("POST", below("upsert"), writer),
            ("POST", below("delete"), writer),
            ("POST", below("fork"), reader),
            ("PUT", format!("{DB}/collections/x"), writer),
            ("DELETE", format!("{DB}/collections/x"), writer),
            ("POST", format!("{DB}/collections"), reader),
            ("GET", format!("{DB}/collections"), reader),
            ("DELETE", DB.to_owned(), writer),
            ("POST", "/api/v2/tenants".to_owned(), writer),
            ("PATCH", "/api/v2/tenants/t".to_owned(), writer),
            ("POST", "/api/v2/reset".to_owned(), writer),
            ("GET", "/api/v2/heartbeat".to_owned(), Need::Nothing),
            ("GET", "/api/v2/version".to_owned(), Need::Nothing),
            ("GET", "/api/v2/auth/identity".to_owned(), reader),
            ("GET", "/api/v2/nothing".to_owned(), reader),
            ("GET", "/docs".to_owned(), reader),
        ] {
            assert_eq!(needed(method, &path), expected, "{method} {path}");
        }
    }

    fn status(grants: &Grants, method: &str, path: &str) -> u16 {
        let principal = Principal::of_token("x".into(), Role::Writer, Arc::new(grants.clone()));
        match decide(&principal, &route(method, path), path) {
            Decision::Allow => 0,
            Decision::Answer(answer) => answer.status,
            Decision::Deny(_) => 403,
        }
    }

    #[test]
    fn names_outside_of_a_scope_do_not_exist() {
        let grants =
            Grants { tenants: Names::only(["t"]), databases: Names::only(["d"]), collections: Names::only(["c"]) };
        for (method, path, expected) in [
            ("GET", "/api/v2/tenants/t", 0),
            ("GET", "/api/v2/tenants/u", 404),
            ("GET", "/api/v2/tenants/%75", 404),
            ("PATCH", "/api/v2/tenants/u", 404),
            ("GET", "/api/v2/tenants/t/databases", 0),
            ("GET", "/api/v2/tenants/u/databases", 200),
            ("GET", "/api/v2/tenants/t/databases?limit=x", 400),
            ("GET", "/api/v2/tenants/t/databases/e", 404),
            ("GET", "/api/v2/tenants/u/databases/d", 404),
            ("GET", "/api/v2/tenants/t/databases/e/collections", 200),
            ("GET", "/api/v2/tenants/t/databases/e/collections_count", 200),
            ("GET", "/api/v2/tenants/t/databases/d/collections/c", 0),
            ("GET", "/api/v2/tenants/t/databases/d/collections/x", 404),
            ("GET", "/api/v2/tenants/u/databases/d/collections/c", 404),
            ("DELETE", "/api/v2/tenants/t/databases/d/collections/x", 404),
            ("DELETE", "/api/v2/tenants/t/databases/d", 403),
            ("DELETE", "/api/v2/tenants/t/databases/e", 404),
            ("POST", "/api/v2/tenants/u/databases", 403),
            ("POST", "/api/v2/tenants/t/databases/e/collections", 403),
            ("POST", "/api/v2/reset", 403),
            ("GET", "/api/v2/heartbeat", 0),
            ("GET", "/api/v2/auth/identity", 200),
            ("GET", "/api/v2/nothing", 404),
            ("GET", "/api/v1/collections", 404),
            ("OPTIONS", "/api/v2/tenants/u", 404),
        ] {
            let decided = status(&grants, method, path);
            // The edge itself answers v1.
            let v1 = path.starts_with("/api/v1") && decided == 0;
            assert!(decided == expected || v1, "{method} {path}: {decided}");
            assert_eq!(status(&Grants::ALL, method, path), 0, "{method} {path}");
        }
    }

    #[test]
    fn a_client_hears_which_names_it_may_use() {
        let told = |grants: Grants| {
            let answer = identity(&Principal::of_token("cms".into(), Role::Reader, Arc::new(grants)));
            let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            (body["tenant"].as_str().unwrap().to_owned(), body["databases"].to_string())
        };
        let default = || ("default_tenant".to_owned(), r#"["default_database"]"#.to_owned());
        assert_eq!(told(Grants { collections: Names::only(["c"]), ..Grants::ALL }), default());
        assert_eq!(told(Grants { tenants: Names::only(["x", "default_tenant"]), ..Grants::ALL }), default());
        let one = Grants { tenants: Names::only(["t"]), databases: Names::only(["d", "e"]), ..Grants::ALL };
        assert_eq!(told(one), ("t".to_owned(), r#"["d","e"]"#.to_owned()));
    }
}
