//! Paths of Chroma's API within one tenant and database.
//!
//! Decides how they are spelled and encoded, but not what is sent to them.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything except the unreserved characters of RFC 3986.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The database that this run works in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabasePath(String);

impl DatabasePath {
    pub fn new(tenant: &str, database: &str) -> DatabasePath {
        DatabasePath(format!("/api/v2/tenants/{}/databases/{}/collections", segment(tenant), segment(database)))
    }

    /// Returns the path of all collections.
    pub fn collections(&self) -> &str {
        &self.0
    }

    /// Returns the path of a collection, given its id or its name.
    pub fn collection(&self, name: &str) -> String {
        format!("{}/{}", self.0, segment(name))
    }

    /// Returns the path of an operation on a collection.
    pub fn operation(&self, collection: &str, operation: &str) -> String {
        format!("{}/{operation}", self.collection(collection))
    }

    /// Returns the path of a collection by id only.
    pub fn by_id(&self, id: &str) -> String {
        format!("{}/by-id/{}", self.0, segment(id))
    }
}

fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}
