//! Paths for an instance: with the collection's id replaced, without the page of a list, with names encoded.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::chroma::route::page::page_field;
use crate::chroma::route::{CatalogRead, CatalogWrite, Operation, split_target};
use crate::ids::{InstanceCollectionId, Scope};

/// Everything but the unreserved characters of RFC 3986.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Returns the request's path and query for the instance. The collection segment becomes the instance's id, if the
/// operation has an id there; everything else stays byte for byte. The path of an operation without an id is returned
/// unchanged.
pub fn instance_path(operation: &Operation, path_and_query: &str, id: InstanceCollectionId) -> String {
    // In /api/v2/tenants/{t}/databases/{d}/collections/{id}, the (empty) text before the first slash counts as segment 0.
    let position = match operation {
        Operation::RecordRead { .. }
        | Operation::RecordWrite { .. }
        | Operation::CatalogWrite(CatalogWrite::UpdateCollection { .. }) => 8,
        Operation::CatalogRead(CatalogRead::GetCollectionById { .. }) => 9,
        _ => return path_and_query.to_owned(),
    };
    let (path, _) = split_target(path_and_query);
    let rest = &path_and_query[path.len()..];
    let id = id.to_string();
    let segments: Vec<&str> =
        path.split('/').enumerate().map(|(i, segment)| if i == position { id.as_str() } else { segment }).collect();
    segments.join("/") + rest
}

/// The path of a collection by name, or by id if Chroma expects one: `GET`, `PUT` and `DELETE`.
pub fn collection_path(scope: &Scope, name_or_id: &str) -> String {
    format!("{}/{}", collections_path(scope), utf8_percent_encode(name_or_id, SEGMENT))
}

/// The path to `GET` a collection by the instance's id.
pub fn by_id_path(scope: &Scope, id: InstanceCollectionId) -> String {
    format!("{}/by-id/{id}", collections_path(scope))
}

/// The path of the list of a database's collections.
pub fn collections_path(scope: &Scope) -> String {
    format!("{}/collections", database_path(scope))
}

/// The path of a database.
pub fn database_path(scope: &Scope) -> String {
    format!("{}/{}", databases_path(&scope.tenant), utf8_percent_encode(&scope.database, SEGMENT))
}

/// The path where tenants are created.
pub fn tenants_path() -> String {
    "/api/v2/tenants".to_owned()
}

/// The path of a tenant.
pub fn tenant_path(tenant: &str) -> String {
    format!("{}/{}", tenants_path(), utf8_percent_encode(tenant, SEGMENT))
}

/// The path of the list of a tenant's databases.
pub fn databases_path(tenant: &str) -> String {
    format!("/api/v2/tenants/{}/databases", utf8_percent_encode(tenant, SEGMENT))
}

/// Removes the page from the path of a list, so that the instance returns all of it. Other keys stay as they are.
pub fn strip_page(path_and_query: &str) -> String {
    let (path, query) = split_target(path_and_query);
    let Some(query) = query else { return path.to_owned() };
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| page_field(pair.split_once('=').map_or(pair, |(key, _)| key)).is_none())
        .collect();
    if kept.iter().all(|pair| pair.is_empty()) { path.to_owned() } else { format!("{path}?{}", kept.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chroma::route;

    const ID: &str = "f025cd64-1cfa-4b0f-aa15-3309d39f1be4";

    fn rewritten(method: &str, path: &str) -> String {
        instance_path(&route(method, path), path, InstanceCollectionId::new(uuid::Uuid::try_parse(ID).unwrap()))
    }

    #[test]
    fn only_the_id_changes() {
        let t = "/api/v2/tenants/a%2Fcollections/databases/d";
        for (method, before, after) in [
            ("POST", "collections/x%20y/add?a=%41", format!("collections/{ID}/add?a=%41")),
            (
                "GET",
                "collections/%7Bx%7D/count?read_level=index_and_wal",
                format!("collections/{ID}/count?read_level=index_and_wal"),
            ),
            ("GET", "collections/by-id/x?", format!("collections/by-id/{ID}?")),
            ("PUT", "collections/x", format!("collections/{ID}")),
            ("POST", "collections//get", format!("collections/{ID}/get")),
            ("GET", "collections/x/functions/x", format!("collections/{ID}/functions/x")),
            ("GET", "collections/x", "collections/x".into()),
            ("DELETE", "collections/x", "collections/x".into()),
            ("POST", "collections?x=/a/b", "collections?x=/a/b".into()),
        ] {
            assert_eq!(rewritten(method, &format!("{t}/{before}")), format!("{t}/{after}"), "{method} {before}");
        }
    }

    #[test]
    fn names_are_encoded_as_one_segment() {
        let path = collection_path(&Scope::new("a/b", "d?"), "ä b#%\"");
        assert_eq!(path, "/api/v2/tenants/a%2Fb/databases/d%3F/collections/%C3%A4%20b%23%25%22");
        let Operation::CatalogWrite(CatalogWrite::DeleteCollection { scope, name }) = route("DELETE", &path) else {
            panic!("{path}")
        };
        assert_eq!((scope, name.as_str()), (Scope::new("a/b", "d?"), "ä b#%\""));
    }

    #[test]
    fn pages_are_dropped() {
        for (before, after) in [
            ("/l", "/l"),
            ("/l?", "/l"),
            ("/l?limit=1&offset=2", "/l"),
            ("/l?a=1&%6cimit=1&b=%32", "/l?a=1&b=%32"),
            ("/l?Limit=1", "/l?Limit=1"),
        ] {
            assert_eq!(strip_page(before), after);
        }
    }
}
