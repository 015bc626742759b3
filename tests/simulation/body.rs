//! What the simulated clients write.

use chroma_edge::chroma;
use chroma_edge::coordinator::adoption::Adoption;
use chroma_edge::ids::{CollectionId, Scope};
use chroma_edge::order::{DEFAULT_DATABASE, DEFAULT_TENANT};
use serde_json::json;

use crate::instance::Stored;

/// One record of a write.
#[derive(Clone, Debug, PartialEq)]
pub struct Doc {
    pub id: u8,
    /// The embedding's length, if there is an embedding.
    pub dimension: Option<u8>,
    pub value: u32,
    pub document: Option<u32>,
    pub metadata: Option<(u8, Option<u32>)>,
}

/// The flaw of a write.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Flaw {
    None,
    /// Refused before anything else is checked.
    Malformed,
    /// Refused after the collection's dimension was set.
    RefusedLate,
    /// Never executed and never answered, by any instance.
    Unanswerable,
    /// Never executed, and answered with an unexplained failure by every instance.
    Failing,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OnExisting {
    Refuse,
    Get,
}

/// A write's body.
#[derive(Clone, Debug)]
pub enum Body {
    Write {
        docs: Vec<Doc>,
        flaw: Flaw,
    },
    DeleteIds(Vec<u8>),
    /// Records whose value has this remainder modulo three.
    DeleteWhere(u32),
    DeleteLimited {
        remainder: u32,
        limit: usize,
    },
    CreateDatabase(Scope),
    DeleteDatabase(Scope),
    CreateCollection {
        scope: Scope,
        name: String,
        existing: OnExisting,
    },
    UpdateCollection {
        collection: CollectionId,
        new_name: Option<String>,
        metadata: u32,
    },
    DeleteCollection {
        scope: Scope,
        name: String,
    },
    Reset,
    /// The edge's own entry, and the content that its instance held.
    Adopt {
        adoption: Adoption,
        adopted: Vec<(CollectionId, Stored)>,
    },
}

/// A request as the journal keeps it.
pub struct Wire {
    pub method: &'static str,
    pub path: String,
    pub body: String,
}

impl Body {
    /// Returns the request of a catalog write. Record writes are empty, since nothing is read from them.
    pub fn wire(&self) -> Wire {
        match self {
            Body::Write { .. } | Body::DeleteIds(_) | Body::DeleteWhere(_) | Body::DeleteLimited { .. } => {
                Wire { method: "POST", path: String::new(), body: String::new() }
            }
            Body::CreateDatabase(scope) => {
                let body = json!({ "name": scope.database }).to_string();
                Wire { method: "POST", path: chroma::databases_path(&scope.tenant), body }
            }
            Body::DeleteDatabase(scope) => {
                Wire { method: "DELETE", path: chroma::database_path(scope), body: String::new() }
            }
            Body::CreateCollection { scope, name, existing } => {
                let body = json!({ "name": name, "get_or_create": *existing == OnExisting::Get }).to_string();
                Wire { method: "POST", path: chroma::collections_path(scope), body }
            }
            Body::UpdateCollection { collection, new_name, metadata } => {
                // The id alone determines the collection.
                let scope = Scope::new(DEFAULT_TENANT, DEFAULT_DATABASE);
                let metadata = json!({ "value": metadata });
                let body = match new_name {
                    Some(name) => json!({ "new_name": name, "new_metadata": metadata }),
                    None => json!({ "new_metadata": metadata }),
                };
                let path = chroma::collection_path(&scope, &collection.to_string());
                Wire { method: "PUT", path, body: body.to_string() }
            }
            Body::DeleteCollection { scope, name } => {
                Wire { method: "DELETE", path: chroma::collection_path(scope, name), body: String::new() }
            }
            Body::Adopt { adoption, .. } => {
                Wire { method: "ADOPT", path: format!("/{}", adoption.instance), body: json!(adoption).to_string() }
            }
            Body::Reset => Wire { method: "POST", path: "/api/v2/reset".to_owned(), body: String::new() },
        }
    }
}
