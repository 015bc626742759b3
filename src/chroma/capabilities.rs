//! The capabilities of a Chroma server that the edge depends on, read from its openapi document.
//!
//! The version is no help: `/api/v2/version` is "1.0.0" on every release. What the document does not show, the server's
//! behavior does: `rejoin/` tries it, with the [`Trial`] in this file. `docs/compatibility.md` lists the supported
//! servers and how that was measured.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::copy::{CopiedBy, CopyPlan, copy_requests};
use super::difference::definition_difference;

/// Whether the server has `GET collections/by-id/{id}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByIdRoute {
    Present,
    /// A collection is found by its name, or in the list.
    Absent,
}

/// Whether an array is accepted as a value in a record's metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MetadataArrays {
    Taken,
    Refused,
}

/// The capabilities of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Capabilities {
    pub by_id: ByIdRoute,
    pub copied_by: CopiedBy,
    pub arrays: MetadataArrays,
}

/// The capabilities shown by a server's document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    pub by_id: ByIdRoute,
    pub arrays: MetadataArrays,
    /// Known only if every server with such a document copies in this way.
    pub copied_by: Option<CopiedBy>,
}

/// Why no server with this document is supported, or why the document shows nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Not a document of Chroma's: a gateway's page, or none.
    #[error("it has no openapi document of Chroma's")]
    NotChroma,
    /// A request that the edge needs is missing.
    #[error("it does not know {method} {path}")]
    Lacks { method: &'static str, path: String },
}

#[derive(Deserialize)]
struct Document {
    paths: std::collections::BTreeMap<String, Value>,
    #[serde(default)]
    components: Components,
}

#[derive(Default, Deserialize)]
struct Components {
    #[serde(default)]
    schemas: Value,
}

/// The routes that the edge uses, below a database's collections.
const COLLECTION_ROUTES: [(&str, &str); 13] = [
    ("get", ""),
    ("post", ""),
    ("get", "/{}"),
    ("put", "/{}"),
    ("delete", "/{}"),
    ("get", "/{}/count"),
    ("post", "/{}/add"),
    ("post", "/{}/update"),
    ("post", "/{}/upsert"),
    ("post", "/{}/delete"),
    ("post", "/{}/get"),
    ("post", "/{}/query"),
    ("get", "_count"),
];

const COLLECTIONS: &str = "/api/v2/tenants/{}/databases/{}/collections";

/// The other routes that the edge uses.
const OTHER_ROUTES: [(&str, &str); 7] = [
    ("get", "/api/v2/heartbeat"),
    ("post", "/api/v2/tenants"),
    ("get", "/api/v2/tenants/{}"),
    ("get", "/api/v2/tenants/{}/databases"),
    ("post", "/api/v2/tenants/{}/databases"),
    ("get", "/api/v2/tenants/{}/databases/{}"),
    ("delete", "/api/v2/tenants/{}/databases/{}"),
];

/// Reads a server's openapi document.
///
/// # Errors
/// It is not a document of Chroma's, or lacks a route that the edge needs.
pub fn describe(document: &[u8]) -> Result<Described, DocumentError> {
    let Document { paths, components } = serde_json::from_slice(document).map_err(|_| DocumentError::NotChroma)?;
    let routes: BTreeSet<(String, String)> = paths
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().into_iter().flat_map(|methods| methods.keys().cloned());
            methods.map(|method| (method, without_names(path)))
        })
        .collect();
    let has = |method: &str, path: &str| routes.contains(&(method.to_owned(), path.to_owned()));
    if !has("get", OTHER_ROUTES[0].1) {
        return Err(DocumentError::NotChroma);
    }
    let below = COLLECTION_ROUTES.iter().map(|(method, path)| (*method, format!("{COLLECTIONS}{path}")));
    let others = OTHER_ROUTES.iter().map(|(method, path)| (*method, (*path).to_owned()));
    for (method, path) in others.chain(below) {
        if !has(method, &path) {
            return Err(DocumentError::Lacks { method, path });
        }
    }
    let by_id = match has("get", &format!("{COLLECTIONS}/by-id/{{}}")) {
        true => ByIdRoute::Present,
        false => ByIdRoute::Absent,
    };
    let shows_schema = components.schemas.pointer("/Collection/properties/schema").is_some();
    // Servers that have both copy by schema. Of the older ones, some list a schema but accept none (1.2.2).
    let copied_by = (shows_schema && by_id == ByIdRoute::Present).then_some(CopiedBy::Schema);
    Ok(Described { by_id, arrays: arrays(&components.schemas), copied_by })
}

/// Replaces each parameter in the path with `{}`, whatever its name.
fn without_names(path: &str) -> String {
    let segment = |segment: &str| if segment.starts_with('{') { "{}".to_owned() } else { segment.to_owned() };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

fn arrays(schemas: &Value) -> MetadataArrays {
    let values = schemas.pointer("/HashMap/additionalProperties/oneOf").and_then(Value::as_array);
    let takes = values.is_some_and(|values| values.iter().any(|value| value["type"] == "array"));
    if takes { MetadataArrays::Taken } else { MetadataArrays::Refused }
}

/// Determines which way a server copies a definition exactly. It is given the answers to its requests; it sends nothing.
#[derive(Debug)]
pub struct Trial {
    /// The collection to copy, as the server shows it.
    original: Vec<u8>,
}

/// The names of the collections made by a trial: the original, and one copy for each way.
pub const TRIAL_NAMES: [&str; 3] = ["chroma-edge-original", "chroma-edge-by-schema", "chroma-edge-by-configuration"];

impl Trial {
    /// Returns the body that creates the original, with no value that is the default.
    pub fn creation() -> Vec<u8> {
        let hnsw = json!({ "space": "cosine", "ef_construction": 90, "ef_search": 80, "max_neighbors": 12 });
        let body = json!({ "name": TRIAL_NAMES[0], "metadata": { "n": 1.5 }, "configuration": { "hnsw": hnsw } });
        body.to_string().into_bytes()
    }

    /// Begins a trial with the original as the server shows it. Returns `None` if it differs from what was requested.
    pub fn of(original: &[u8]) -> Option<Trial> {
        let shown: Value = serde_json::from_slice(original).ok()?;
        let asked: Value = serde_json::from_slice(&Trial::creation()).ok()?;
        let hnsw = asked.pointer("/configuration/hnsw")?.as_object()?;
        let defined = hnsw.iter().all(|(key, value)| shown["configuration_json"]["hnsw"][key] == *value);
        (defined && shown["metadata"] == asked["metadata"]).then(|| Trial { original: original.to_vec() })
    }

    /// Returns the requests that copy in this way, and the copy's name; `None` if the server shows nothing to copy from.
    pub fn copy(&self, by: CopiedBy) -> Option<(CopyPlan, &'static str)> {
        let name = match by {
            CopiedBy::Schema => TRIAL_NAMES[1],
            CopiedBy::Configuration => TRIAL_NAMES[2],
        };
        let plan = copy_requests(&self.original, name, by)?;
        (plan.by == by).then_some((plan, name))
    }

    /// Returns whether a copy, as the server shows it, is exact.
    pub fn is_exact(&self, copy: &[u8]) -> bool {
        definition_difference(&self.original, copy).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A document with every route that the edge needs, and these in addition.
    fn document(more: &[&str], schemas: &Value) -> Vec<u8> {
        let mut paths = serde_json::Map::new();
        let below = COLLECTION_ROUTES.iter().map(|(method, path)| (*method, format!("{COLLECTIONS}{path}")));
        let others = OTHER_ROUTES.iter().map(|(method, path)| (*method, (*path).to_owned()));
        let more = more.iter().map(|path| ("get", (*path).to_owned()));
        for (method, path) in others.chain(below).chain(more) {
            let named = path.replace("{}", "{some_name}");
            paths.entry(named).or_insert_with(|| json!({}))[method] = json!({});
        }
        json!({ "openapi": "3.1.0", "paths": paths, "components": { "schemas": schemas } }).to_string().into_bytes()
    }

    const BY_ID: &str = "/api/v2/tenants/{}/databases/{}/collections/by-id/{}";

    #[test]
    fn documents_tell_servers_apart() {
        let schema = json!({ "Collection": { "properties": { "schema": {} } } });
        let described = |more: &[&str], schemas: &Value| describe(&document(more, schemas)).unwrap();
        let old = described(&[], &json!({}));
        assert_eq!((old.by_id, old.arrays, old.copied_by), (ByIdRoute::Absent, MetadataArrays::Refused, None));
        let lists_a_schema = described(&[], &schema);
        assert_eq!(lists_a_schema.copied_by, None, "1.2.2 lists one and has none");
        let new = described(&[BY_ID], &schema);
        assert_eq!((new.by_id, new.copied_by), (ByIdRoute::Present, Some(CopiedBy::Schema)));
        let arrays = json!({ "HashMap": { "additionalProperties": { "oneOf": [
            { "type": "string" }, { "type": "array", "items": { "type": "string" } } ] } } });
        assert_eq!(described(&[], &arrays).arrays, MetadataArrays::Taken);
    }

    #[test]
    fn what_is_no_document_of_chromas_says_nothing() {
        for other in [&b""[..], b"<html>", b"[]", b"{}", br#"{"paths":{}}"#, br#"{"paths":{"/pets":{"get":{}}}}"#] {
            assert_eq!(describe(other), Err(DocumentError::NotChroma), "{}", String::from_utf8_lossy(other));
        }
        let mut lacking: Value = serde_json::from_slice(&document(&[], &json!({}))).unwrap();
        let path = format!("{COLLECTIONS}/{{}}/upsert");
        lacking["paths"].as_object_mut().unwrap().remove(&path.replace("{}", "{some_name}"));
        let lacks = describe(lacking.to_string().as_bytes());
        assert_eq!(lacks, Err(DocumentError::Lacks { method: "post", path }));
    }

    fn shown(space: &str, schema: &Value) -> Vec<u8> {
        let mut hnsw = json!({ "space": space, "ef_construction": 90, "ef_search": 80, "max_neighbors": 12 });
        hnsw["resize_factor"] = json!(1.2);
        let configuration = json!({ "hnsw": hnsw, "spann": null, "embedding_function": null });
        let shown = json!({ "id": "x", "name": "y", "schema": schema, "metadata": { "n": 1.5 }, "configuration_json": configuration });
        shown.to_string().into_bytes()
    }

    #[test]
    fn a_copy_that_becomes_l2_is_not_exact() {
        assert!(Trial::of(&shown("l2", &Value::Null)).is_none(), "not even the original is what was asked for");
        assert!(Trial::of(b"{}").is_none());
        let old = Trial::of(&shown("cosine", &Value::Null)).unwrap();
        assert!(old.copy(CopiedBy::Schema).is_none(), "nothing to copy from");
        assert!(old.copy(CopiedBy::Configuration).is_some());
        assert!(old.is_exact(&shown("cosine", &Value::Null)));
        assert!(!old.is_exact(&shown("l2", &Value::Null)));
        let new = Trial::of(&shown("cosine", &json!({ "defaults": {}, "keys": {} }))).unwrap();
        assert!(new.copy(CopiedBy::Schema).is_some());
    }
}
