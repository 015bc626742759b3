//! Writes an answer to the client: a whole one, or one that an instance is still sending. The answer's contents are
//! decided elsewhere.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, RETRY_AFTER, TRANSFER_ENCODING, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode, Version};
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType, Result};

use super::Edge;
use super::failure::{Failure, Retry};
use super::outlet::{Outlet, Rest};
use super::read::{PassError, Passing, Read};
use crate::web::{Connection, Reply, TRACE_ID, TRANSACTION_ID, TraceId};

impl From<&Failure> for Reply {
    fn from(failure: &Failure) -> Self {
        let mut reply = Reply::from(failure.answer());
        if let Retry::AfterSeconds(seconds) = failure.retry() {
            reply = reply.with(RETRY_AFTER, &seconds.to_string());
        }
        if matches!(failure, Failure::Denied(denied) if denied.status() == 401) {
            reply = reply.with(WWW_AUTHENTICATE, "Bearer realm=\"chroma-edge\", Basic realm=\"chroma-edge\"");
        }
        if let Some(id) = failure.transaction_id() {
            reply = reply.with(TRANSACTION_ID, &id.to_string());
        }
        reply
    }
}

/// An internal error of the edge.
pub(super) fn internal(why: &'static str) -> Box<Error> {
    Error::explain(ErrorType::InternalError, why)
}

/// Writes the answer. An error answer gets the request's id unless it has one. Fails only when the client is gone.
pub(super) async fn write(outlet: &mut Outlet<'_>, mut reply: Reply, trace: TraceId) -> Result<()> {
    if reply.status >= 400 && !reply.headers.contains_key(TRACE_ID) {
        reply.headers.insert(TRACE_ID, trace.header());
    }
    let mut header = header(reply.status, &reply.headers)?;
    // RFC 9110, section 8.6: a 204 and a 304 have no length; the answer to a HEAD has the length that a GET would get.
    let known = outlet.is_head() && reply.headers.contains_key(CONTENT_LENGTH);
    if !matches!(reply.status, 204 | 304) && !known {
        header.insert_header(CONTENT_LENGTH, reply.body.len())?;
    }
    match reply.connection {
        Connection::Keep => {}
        Connection::Close => outlet.session.set_keepalive(None),
        Connection::CloseUnlessRead => outlet.close_unless_read(),
    }
    if outlet.is_head() || reply.body.is_empty() {
        return outlet.header(header, Rest::Nothing).await;
    }
    outlet.header(header, Rest::Follows).await?;
    outlet.part(reply.body, Rest::Nothing).await
}

/// Writes what an instance is still sending, as fast as the client takes it. If the instance does not finish, the
/// answer is aborted, so that the client never takes it for a whole one.
pub(super) async fn pass(
    outlet: &mut Outlet<'_>,
    edge: &Edge,
    read: &Read,
    (mut passing, headers): (Passing, HeaderMap),
) -> Result<()> {
    let mut header = header(passing.status().as_u16(), &headers)?;
    match passing.length() {
        Some(length) => header.insert_header(CONTENT_LENGTH, length)?,
        None => without_length(outlet, &mut header)?,
    }
    outlet.close_unless_read();
    outlet.header(header, Rest::Follows).await?;
    loop {
        match passing.pass_on(edge, read, outlet).await {
            Ok(Rest::Follows) => {}
            Ok(Rest::Nothing) => break,
            Err(PassError::Client(error)) => return Err(error),
            Err(PassError::Instance(error)) => {
                tracing::debug!(%error, "a read's answer was aborted");
                return Err(internal("the instance did not finish the answer"));
            }
        }
    }
    outlet.end().await
}

/// Sets how the client finds the end of a body of unknown length.
pub(super) fn without_length(outlet: &mut Outlet<'_>, header: &mut ResponseHeader) -> Result<()> {
    match outlet.session.req_header().version {
        Version::HTTP_11 => header.insert_header(TRANSFER_ENCODING, "chunked")?,
        Version::HTTP_2 => {}
        // The body ends with the connection.
        _ => outlet.session.set_keepalive(None),
    }
    Ok(())
}

fn header(status: u16, headers: &HeaderMap) -> Result<ResponseHeader> {
    let status = StatusCode::from_u16(status).map_err(|_| internal("no status"))?;
    let mut header = ResponseHeader::build_no_case(status, Some(headers.len() + 4))?;
    for (name, value) in headers {
        header.append_header(name.clone(), value.clone())?;
    }
    Ok(header)
}

/// Writes a list's next pieces, one after another.
pub(super) async fn pieces(outlet: &mut Outlet<'_>, pieces: Vec<Bytes>) -> Result<()> {
    for piece in pieces.into_iter().filter(|piece| !piece.is_empty()) {
        outlet.part(piece, Rest::Follows).await?;
    }
    Ok(())
}
