//! Reading a request's whole body, of any framing, within the limits.

use bytes::{Bytes, BytesMut};
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use super::admit::{Admission, Memory};
use super::failure::Failure;
use std::sync::Arc;

/// Pingora keeps up to this much of a request's body for sending it again, and forgets all of a longer one
/// (`BODY_BUF_LIMIT` of pingora-core 0.9.1).
const RETRY_BUFFER: usize = 64 * 1024;

/// A whole body.
pub struct Body {
    pub bytes: Bytes,
    pub memory: Memory,
    pub pass_through: PassThrough,
}

/// Whether Pingora can still send the body: it does only if its own retry buffer holds the body's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassThrough {
    Possible,
    /// A chunked body above Pingora's buffer: the request is executed by the edge itself.
    Impossible,
}

/// Why there is no whole body.
pub enum BodyError {
    Failure(Failure),
    /// The client is gone, or does not speak HTTP: there is no one to answer.
    Client(Box<pingora::Error>),
}

impl From<Failure> for BodyError {
    fn from(failure: Failure) -> Self {
        BodyError::Failure(failure)
    }
}

/// Reads all of it. Nothing has been journaled or sent when this fails.
pub async fn read_whole(session: &mut Session, admission: &Arc<Admission>) -> Result<Body, BodyError> {
    read_up_to(session, admission, admission.limits().body_bytes).await
}

/// Reads all of it, if it has no more bytes than this.
pub async fn read_up_to(session: &mut Session, admission: &Arc<Admission>, limit: usize) -> Result<Body, BodyError> {
    let announced = content_length(session.req_header());
    if announced.is_some_and(|length| length > limit) {
        return Err(Failure::BodyTooLarge { limit }.into());
    }
    let mut memory = admission.claim(announced.unwrap_or(0))?;
    let downstream = session.as_downstream_mut();
    if expects_continue(downstream.req_header()) {
        // Pingora does not send the 100 on its own.
        downstream.write_continue_response().await.map_err(BodyError::Client)?;
    }
    let mut whole = BytesMut::with_capacity(announced.unwrap_or(0).min(limit));
    loop {
        // Enabled only when the rest surely fits, so that the buffer holds the body's end: then Pingora calls the body
        // filter on every attempt, which supplies all of it.
        if announced.is_none_or(|length| length.saturating_sub(whole.len()) <= RETRY_BUFFER) {
            downstream.enable_retry_buffering();
        }
        let Some(piece) = downstream.read_request_body().await.map_err(BodyError::Client)? else { break };
        if whole.len() + piece.len() > limit {
            return Err(Failure::BodyTooLarge { limit }.into());
        }
        memory.grow(whole.len() + piece.len())?;
        whole.extend_from_slice(&piece);
        if downstream.is_body_done() {
            break;
        }
    }
    let pass_through = if whole.is_empty() || downstream.get_retry_buffer().is_some() {
        PassThrough::Possible
    } else {
        PassThrough::Impossible
    };
    Ok(Body { bytes: whole.freeze(), memory, pass_through })
}

fn content_length(header: &RequestHeader) -> Option<usize> {
    if header.headers.contains_key(http::header::TRANSFER_ENCODING) {
        return None;
    }
    header.headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

fn expects_continue(header: &RequestHeader) -> bool {
    header.headers.get(http::header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}
