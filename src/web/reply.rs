//! A whole answer, and the headers in which the edge describes an answer.
//!
//! Decides what an answer consists of. The proxy decides how it is written to a client.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};

use crate::chroma::{EdgeAnswer, ErrorBody, ErrorName};
use crate::instance::Answer;

/// The header that names a journaled write.
pub const TRANSACTION_ID: HeaderName = HeaderName::from_static("transaction-id");
/// The header that names the instance that answered.
pub const INSTANCE: HeaderName = HeaderName::from_static("chroma-edge-instance");
/// The header that marks the stored answer of an earlier request.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub connection: Connection,
}

/// Whether the client's connection may be reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    Keep,
    Close,
    /// Closed if part of the request's body has not been read: that part would be taken for the next request.
    CloseUnlessRead,
}

/// The answer for a path at which the edge has no page. An unknown path of Chroma's API is answered as Chroma does,
/// without a body.
pub fn no_such_page() -> EdgeAnswer {
    let text = "The edge has no such page here: /openapi.json names those that there are";
    EdgeAnswer::error(404, &ErrorBody::new(ErrorName::NotFoundError, text).with_reason("no_such_page"))
}

impl Reply {
    /// Creates an answer with a JSON body.
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Reply { status, headers, body: body.into(), connection: Connection::Keep }
    }

    /// Creates the answer for a method that a page does not have. `allow` lists its methods, separated by commas.
    pub fn wrong_method(allow: &'static str) -> Self {
        let body = ErrorBody::new(ErrorName::ChromaError, format!("This page has the methods {allow}"));
        let answer = EdgeAnswer::error(405, &body.with_reason("method_not_allowed"));
        EdgeAnswer { allow: Some(allow), ..answer }.into()
    }

    /// Sets one header. A value that is not valid in a header is left out.
    pub fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        let Answer { status, headers, body } = answer;
        Reply { status, headers, body, connection: Connection::Keep }
    }
}

impl From<EdgeAnswer> for Reply {
    fn from(answer: EdgeAnswer) -> Self {
        let mut reply = Reply::json(answer.status, answer.body.into_owned());
        if reply.body.is_empty() {
            reply.headers.remove(CONTENT_TYPE);
        }
        match answer.allow {
            Some(allow) => reply.with(ALLOW, allow),
            None => reply,
        }
    }
}
