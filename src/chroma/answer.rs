//! An answer from the edge itself, in the same bytes that a Chroma server would send.
//!
//! It decides the status, the `Allow` header and the body. It does not decide the transport, which adds
//! `content-length` and, if there is a body, `content-type: application/json`.

use std::borrow::Cow;

use super::error::ErrorBody;

/// A whole answer. An empty body means that Chroma answers without a body and without a content type.
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

    /// A 405 like Chroma's: no body, with the allowed methods in `Allow`.
    pub const fn method_not_allowed(allow: &'static str) -> Self {
        EdgeAnswer { status: 405, allow: Some(allow), body: Cow::Borrowed(b"") }
    }

    /// An answer with a fixed JSON body.
    pub const fn json(status: u16, body: &'static str) -> Self {
        EdgeAnswer { status, allow: None, body: Cow::Borrowed(body.as_bytes()) }
    }

    /// An answer with an error as its body.
    pub fn error(status: u16, error: &ErrorBody) -> Self {
        EdgeAnswer { status, allow: None, body: Cow::Owned(error.to_json()) }
    }
}
