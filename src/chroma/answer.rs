//! An answer that the edge gives itself, in the bytes a Chroma server would have used.
//!
//! It decides the status, the `Allow` header and the body; not the transport, which adds `content-length`
//! and, where there is a body, `content-type: application/json`.

use std::borrow::Cow;

use super::error::ErrorBody;

/// A whole answer. An empty body means that Chroma answers without one, and without a content type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeAnswer {
    pub status: u16,
    /// The `Allow` header of a 405.
    pub allow: Option<&'static str>,
    /// JSON, or empty.
    pub body: Cow<'static, [u8]>,
}

impl EdgeAnswer {
    /// A status without a body: Chroma's 404 for a path it does not have.
    pub const fn empty(status: u16) -> Self {
        EdgeAnswer { status, allow: None, body: Cow::Borrowed(b"") }
    }

    /// A 405 as Chroma gives it: no body, the methods it has in `Allow`.
    pub const fn method_not_allowed(allow: &'static str) -> Self {
        EdgeAnswer { status: 405, allow: Some(allow), body: Cow::Borrowed(b"") }
    }

    /// An answer with a fixed JSON body.
    pub const fn json(status: u16, body: &'static str) -> Self {
        EdgeAnswer { status, allow: None, body: Cow::Borrowed(body.as_bytes()) }
    }

    /// An answer with an error body.
    pub fn error(status: u16, error: &ErrorBody) -> Self {
        EdgeAnswer { status, allow: None, body: Cow::Owned(error.to_json()) }
    }
}
