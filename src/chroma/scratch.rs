//! The edge's own databases on a server, reserved, and hidden from clients in the edge's own answers: one for trying
//! out the server, and one for its marker.
//!
//! The first exists only briefly. If a crash leaves it behind, the next inspection removes it. Inspections ignore both,
//! so the edge adopts neither, and clients never see the id of a collection in them.

use super::answer::EdgeAnswer;
use super::error::{ErrorBody, ErrorName};
use super::route::{CatalogRead, CatalogWrite, Operation};
use crate::ids::Scope;
use crate::order::DEFAULT_TENANT;

const DATABASE: &str = "chroma-edge-scratch";
const MARKER: &str = "chroma-edge-marker";

/// The database for trying out a server.
pub fn scratch_scope() -> Scope {
    Scope::new(DEFAULT_TENANT, DATABASE)
}

/// The database that holds a server's marker.
pub fn marker_scope() -> Scope {
    Scope::new(DEFAULT_TENANT, MARKER)
}

/// Returns whether this is the database for trying out a server.
pub fn is_scratch(tenant: &str, database: &str) -> bool {
    tenant == DEFAULT_TENANT && database == DATABASE
}

/// Returns whether this is one of the edge's own databases.
pub fn is_reserved_database(tenant: &str, database: &str) -> bool {
    tenant == DEFAULT_TENANT && [DATABASE, MARKER].contains(&database)
}

/// Answers a request about a reserved database. For clients it does not exist.
pub fn hidden(operation: &Operation) -> Option<EdgeAnswer> {
    let reserved = |scope: &Scope| is_reserved_database(&scope.tenant, &scope.database);
    match operation {
        Operation::CatalogRead(CatalogRead::GetDatabase { scope }) if reserved(scope) => {
            Some(ErrorBody::database_not_found(&scope.database))
        }
        Operation::CatalogRead(CatalogRead::CountCollections { scope }) if reserved(scope) => {
            Some(EdgeAnswer::json(200, "0"))
        }
        Operation::CatalogRead(CatalogRead::ListCollections { scope, .. }) if reserved(scope) => {
            Some(EdgeAnswer::json(200, "[]"))
        }
        Operation::CatalogWrite(CatalogWrite::DeleteDatabase { scope }) if reserved(scope) => {
            Some(ErrorBody::database_to_delete_not_found(&scope.database))
        }
        Operation::CatalogWrite(CatalogWrite::CreateCollection { scope }) if reserved(scope) => {
            Some(ErrorBody::database_does_not_exist(&scope.database))
        }
        // A name is looked up in the edge's catalog, which does not contain it. Record operations use only ids.
        _ => None,
    }
}

/// Returns the answer to the creation of a database with this name, if the name is reserved.
pub fn reserved_database(tenant: &str, name: &str) -> Option<EdgeAnswer> {
    let message = || format!("Database name [{name}] is reserved");
    is_reserved_database(tenant, name).then(|| {
        let body = ErrorBody::new(ErrorName::InvalidArgumentError, message()).with_reason("reserved_name");
        EdgeAnswer::error(400, &body)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chroma::route;

    #[test]
    fn clients_see_no_reserved_database() {
        let status = |method: &str, database: &str, rest: &str| {
            let path = format!("/api/v2/tenants/default_tenant/databases/{database}{rest}");
            hidden(&route(method, &path)).map(|answer| answer.status)
        };
        for (method, rest, expected) in [
            ("GET", "", 404),
            ("DELETE", "", 404),
            ("GET", "/collections", 200),
            ("GET", "/collections_count", 200),
            ("POST", "/collections", 400),
        ] {
            assert_eq!(status(method, DATABASE, rest), Some(expected), "{method} {rest}");
            assert_eq!(status(method, "chroma%2Dedge-scratch", rest), Some(expected), "in another spelling");
            assert_eq!(status(method, MARKER, rest), Some(expected), "{method} {rest}");
            assert_eq!(status(method, "chroma-edge", rest), None);
        }
        assert_eq!(reserved_database(DEFAULT_TENANT, DATABASE).map(|answer| answer.status), Some(400));
        assert!(reserved_database("other", DATABASE).is_none() && reserved_database(DEFAULT_TENANT, "mine").is_none());
    }
}
