//! Writing a whole answer to the client. What is answered is decided elsewhere.

use http::Method;
use http::header::{CONTENT_LENGTH, RETRY_AFTER};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use super::failure::{Failure, Retry};
use crate::web::{Connection, Reply, TRACE_ID, TRANSACTION_ID, TraceId};

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
    session.write_response_header(Box::new(header), bodiless).await?;
    if !bodiless {
        session.write_response_body(Some(reply.body), true).await?;
    }
    Ok(())
}
