//! Paths of Chroma's API, in one tenant and database.
//!
//! Decides how they are spelled and encoded; nothing about what is sent there.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// All but what RFC 3986 calls unreserved.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where this run works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabasePath(String);

impl DatabasePath {
    pub fn new(tenant: &str, database: &str) -> DatabasePath {
        DatabasePath(format!("/api/v2/tenants/{}/databases/{}/collections", segment(tenant), segment(database)))
    }

    /// All collections.
    pub fn collections(&self) -> &str {
        &self.0
    }

    /// A collection, by whatever stands for it there.
    pub fn collection(&self, name: &str) -> String {
        format!("{}/{}", self.0, segment(name))
    }

    /// What is done with a collection.
    pub fn operation(&self, collection: &str, operation: &str) -> String {
        format!("{}/{operation}", self.collection(collection))
    }

    /// A collection, by id alone.
    pub fn by_id(&self, id: &str) -> String {
        format!("{}/by-id/{}", self.0, segment(id))
    }
}

fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}
