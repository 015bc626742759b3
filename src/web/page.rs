//! The edge's own pages as the proxy sees them: a request, whole, and an answer that is whole or goes on.
//!
//! It decides nothing about what a page says, or which pages there are.

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;

use super::Reply;
use crate::auth::Principal;

/// The JavaScript client: the only page that pages of other origins may load as a script.
pub const CLIENT_SCRIPT: &str = "/transaction/safety/client.js";

/// A request for one of the edge's own pages, read whole.
#[derive(Clone, Debug)]
pub struct PageRequest {
    pub method: http::Method,
    /// Without the query.
    pub path: String,
    /// Without its question mark; empty if there is none.
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub client_ip: Option<String>,
    pub principal: Principal,
}

/// The edge's own pages, whatever they are: the proxy only asks for them.
#[async_trait]
pub trait OwnPages: Send + Sync + 'static {
    /// How many bytes of body a request for this page may have; `None` where there is no page of theirs. A body is
    /// not read where none is taken.
    fn takes(&self, method: &http::Method, path: &str) -> Option<usize>;

    /// The page of a request that [`OwnPages::takes`] has taken.
    async fn respond(&self, request: PageRequest) -> PageAnswer;
}

/// What a page is.
pub enum PageAnswer {
    Whole(Reply),
    /// It goes on while its client listens.
    Live(Box<dyn Live>),
}

impl From<Reply> for PageAnswer {
    fn from(reply: Reply) -> Self {
        PageAnswer::Whole(reply)
    }
}

/// An answer without an end of its own.
#[async_trait]
pub trait Live: Send {
    /// The answer's headers; its status is 200.
    fn headers(&self) -> HeaderMap;

    /// The next piece, not empty; `None`: the end. Dropped when the client is gone.
    async fn next(&mut self) -> Option<Bytes>;
}
