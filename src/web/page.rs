//! The edge's own pages as the proxy sees them: a complete request, and an answer that is complete or a stream.
//!
//! Does not decide what a page says, or which pages exist.

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;

use super::Reply;
use crate::auth::Principal;

/// The JavaScript client: the only page that pages of other origins may load as a script.
pub const CLIENT_SCRIPT: &str = "/transaction/safety/client.js";

/// A request for one of the edge's own pages, with its whole body.
#[derive(Clone, Debug)]
pub struct PageRequest {
    pub method: http::Method,
    /// Without the query.
    pub path: String,
    /// Without the question mark; empty if there is none.
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub client_ip: Option<String>,
    pub principal: Principal,
}

/// The edge's own pages. The proxy only forwards requests to them.
#[async_trait]
pub trait OwnPages: Send + Sync + 'static {
    /// Returns how many bytes of body a request for this page may have, or `None` if there is no such page. A body is
    /// not read if none is allowed.
    fn takes(&self, method: &http::Method, path: &str) -> Option<usize>;

    /// Answers a request that [`OwnPages::takes`] has accepted.
    async fn respond(&self, request: PageRequest) -> PageAnswer;
}

/// The answer of a page.
pub enum PageAnswer {
    Whole(Reply),
    /// A stream that lasts as long as its client listens.
    Live(Box<dyn Live>),
}

impl From<Reply> for PageAnswer {
    fn from(reply: Reply) -> Self {
        PageAnswer::Whole(reply)
    }
}

/// An answer with no end of its own.
#[async_trait]
pub trait Live: Send {
    /// Returns the answer's headers; its status is 200.
    fn headers(&self) -> HeaderMap;

    /// Returns the next piece, which is not empty, or `None` at the end. Dropped when the client disconnects.
    async fn next(&mut self) -> Option<Bytes>;
}
