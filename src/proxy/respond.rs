//! Writing a whole answer to the client. What is answered is decided elsewhere.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_LENGTH, RETRY_AFTER};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use super::failure::{Failure, Retry};
use crate::web::{Connection, Reply, TRACE_ID, TRANSACTION_ID, TraceId};

/// How long a client may take to accept a piece; a slower one is disconnected, so that it holds no memory for ever.
const SLOWEST: Duration = Duration::from_secs(30);
/// The most bytes of a piece.
const PIECE: usize = 256 * 1024;

/// Whether something follows a body's part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    Follows,
    Nothing,
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

/// Writes it; an error gets the request's id unless it brings one. Fails only when the client is gone.
pub async fn write(session: &mut Session, mut reply: Reply, trace: TraceId) -> Result<()> {
    if reply.status >= 400 && !reply.headers.contains_key(TRACE_ID) {
        reply.headers.insert(TRACE_ID, trace.header());
    }
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
    hurry(session);
    session.write_response_header(Box::new(header), bodiless).await?;
    if bodiless { Ok(()) } else { body(session, reply.body, Rest::Nothing).await }
}

/// Has the session disconnect a client that accepts nothing.
pub fn hurry(session: &mut Session) {
    session.as_downstream_mut().set_write_timeout(Some(SLOWEST));
}

/// Writes a part of a body, piece by piece: the longer it is, the longer its client may take.
pub async fn body(session: &mut Session, mut part: Bytes, rest: Rest) -> Result<()> {
    while part.len() > PIECE {
        session.write_response_body(Some(part.split_to(PIECE)), false).await?;
    }
    session.write_response_body(Some(part), rest == Rest::Nothing).await
}
