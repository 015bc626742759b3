//! The requests that the edge never forwards, and its answers to them.
//!
//! Forwarding a write that this edge does not know would execute it on one instance, unlogged. So unknown writes get
//! the answers of Chroma 1.5.9: 404, 405 with its `Allow`, 410. Known operations that a single-node server does not
//! support get Chroma's own 501.

use crate::chroma::answer::EdgeAnswer;
use crate::chroma::error::{ErrorBody, ErrorName};

/// A known operation that the edge answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unsupported {
    Fork,
    AttachFunction,
    DetachFunction,
    /// `GET /api/v2/collections/{crn}`: with a well-formed crn the handler panics and the connection closes.
    CollectionByCrn,
}

impl Unsupported {
    /// The answer to the client.
    pub fn answer(self) -> EdgeAnswer {
        match self {
            Unsupported::Fork => EdgeAnswer::json(
                501,
                r#"{"error":"ChromaError","message":"Collection forking is unsupported for local chroma"}"#,
            ),
            Unsupported::AttachFunction => EdgeAnswer::json(
                501,
                r#"{"error":"ChromaError","message":"Tonic error: code: 'Operation is not implemented or not supported', message: \" Attached Function operations not yet implemented in SqliteSysDb\""}"#,
            ),
            Unsupported::DetachFunction => EdgeAnswer::json(
                501,
                r#"{"error":"ChromaError","message":"Tonic error: code: 'Operation is not implemented or not supported', message: \"Not implemented\""}"#,
            ),
            Unsupported::CollectionByCrn => EdgeAnswer::json(
                501,
                r#"{"error":"ChromaError","message":"Getting a collection by its crn is unsupported for local chroma"}"#,
            ),
        }
    }
}

/// A request that may write and is unknown to this edge.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UnknownWrite {
    /// No such path.
    Path,
    /// The path exists, but not with this method.
    Method { allow: &'static str },
    /// Below `/api/v1/`.
    V1,
    /// A path parameter that is not UTF-8 once decoded.
    NotUtf8 { parameter: &'static str },
}

impl UnknownWrite {
    /// The answer to the client.
    pub fn answer(&self) -> EdgeAnswer {
        match self {
            UnknownWrite::Path => EdgeAnswer::empty(404),
            UnknownWrite::Method { allow } => EdgeAnswer::method_not_allowed(allow),
            UnknownWrite::V1 => EdgeAnswer::json(
                410,
                r#"{"error":"Unimplemented","message":"The v1 API is deprecated. Please use /v2 apis"}"#,
            ),
            UnknownWrite::NotUtf8 { parameter } => EdgeAnswer::error(
                400,
                &ErrorBody::new(
                    ErrorName::InvalidArgumentError,
                    format!("Invalid URL: Invalid UTF-8 in `{parameter}`"),
                ),
            ),
        }
    }
}
