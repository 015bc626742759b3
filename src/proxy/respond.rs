//! Writing a whole answer to the client.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Method};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use super::failure::{Failure, Retry};
use crate::chroma::EdgeAnswer;
use crate::instance::Answer;

/// The header that names a journaled write.
pub const TRANSACTION_ID: HeaderName = HeaderName::from_static("transaction-id");
/// The header that names the instance whose answer it is.
pub const INSTANCE: HeaderName = HeaderName::from_static("chroma-edge-instance");
/// The header that says: the answer is the stored one of an earlier request.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub connection: Connection,
}

/// Whether the client's connection may be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    Keep,
    Close,
    /// Closed if part of the request's body has not been read: it would be taken for the next request.
    CloseUnlessRead,
}

impl Reply {
    /// An answer with a JSON body.
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Reply { status, headers, body: body.into(), connection: Connection::Keep }
    }

    /// One more header; a value that cannot be one is left out.
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

impl From<&Failure> for Reply {
    fn from(failure: &Failure) -> Self {
        let mut reply = Reply::from(failure.answer());
        if let Retry::AfterSeconds(seconds) = failure.retry() {
            reply = reply.with(RETRY_AFTER, &seconds.to_string());
        }
        if let Some(id) = failure.transaction_id() {
            reply = reply.with(TRANSACTION_ID, &id.to_string());
        }
        reply
    }
}

/// Writes it. An error means that the client is gone.
pub async fn write(session: &mut Session, reply: Reply) -> Result<()> {
    let mut header = ResponseHeader::build(reply.status, Some(reply.headers.len() + 1))?;
    for (name, value) in &reply.headers {
        header.append_header(name.clone(), value.clone())?;
    }
    // RFC 9110, section 8.6: a 204 and a 304 have none.
    if !matches!(reply.status, 204 | 304) {
        header.insert_header(CONTENT_LENGTH, reply.body.len())?;
    }
    let close = match reply.connection {
        Connection::Keep => false,
        Connection::Close => true,
        Connection::CloseUnlessRead => !session.as_mut().is_body_done(),
    };
    if close {
        session.set_keepalive(None);
    }
    let bodiless = session.req_header().method == Method::HEAD || reply.body.is_empty();
    session.write_response_header(Box::new(header), bodiless).await?;
    if !bodiless {
        session.write_response_body(Some(reply.body), true).await?;
    }
    Ok(())
}
