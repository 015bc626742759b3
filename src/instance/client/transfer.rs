//! The bytes of one exchange: a body written while watching for an early answer, and an answer read whole.
//!
//! It decides nothing about connections, or what an outcome means for the request.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Buf;
use http::Method;
use pingora::http::RequestHeader;
use pingora::protocols::Stream;
use pingora::protocols::http::v1::client::{HttpSession, http_req_header_to_wire};
use pingora::upstreams::peer::HttpPeer;
use pingora::{BError, ErrorType};
use tokio::io::AsyncWriteExt;

use crate::instance::incoming::{announced, in_doubt};
use crate::instance::message::Answer;
use crate::instance::sent::{Licence, Refused, SendError, Sent};

/// The size of the pieces a body is written in. Between two pieces the client checks for an early answer.
pub(super) const PIECE: usize = 128 * 1024;
/// How long to wait for an answer after the instance stopped taking the body.
const EARLY_ANSWER: Duration = Duration::from_millis(500);

/// Whether the instance took the whole body before it answered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    Whole,
    AnsweredEarly,
}

/// Returns whether header and body are written together. Not for a write: its lease is checked again between the two,
/// and until the header is out nothing has been sent. Not for a long body, which may be answered early. Not for HEAD:
/// Pingora knows that its answer has no body only if it wrote the header itself.
pub(super) fn is_sent_at_once(header: &RequestHeader, body: &[u8], licence: Licence<'_>) -> bool {
    matches!(licence, Licence::NotNeeded) && (1..=PIECE).contains(&body.len()) && header.method != Method::HEAD
}

/// Writes header and body with one system call, so that the instance wakes up once.
pub(super) async fn write_at_once(
    mut stream: Stream,
    peer: &HttpPeer,
    header: &RequestHeader,
    body: &[u8],
) -> Result<(HttpSession, Written), SendError> {
    let not_sent = |reason: String| SendError::NotSent { reason, refused: Refused::No };
    let Some(head) = http_req_header_to_wire(header) else { return Err(not_sent("an invalid header".to_owned())) };
    let mut left = head.chain(body);
    let mut sent = stream.write_all_buf(&mut left).await;
    if sent.is_ok() {
        sent = stream.flush().await;
    }
    let header_left = left.first_ref().remaining();
    let mut session = HttpSession::new_with_options(stream, peer);
    match sent {
        Ok(()) => Ok((session, Written::Whole)),
        // The instance cannot execute a request without a whole header.
        Err(error) if header_left > 0 => Err(not_sent(error.to_string())),
        Err(error) => {
            let error = pingora::Error::because(ErrorType::WriteError, "writing a request", error);
            let written = early_answer(&mut session, error).await?;
            Ok((session, written))
        }
    }
}

pub(super) async fn write_body(
    session: &mut HttpSession,
    body: &[u8],
    last_piece: &AtomicBool,
    licence: Licence<'_>,
) -> Result<Written, SendError> {
    let pieces = body.len().div_ceil(PIECE);
    for (index, piece) in body.chunks(PIECE).enumerate() {
        if body.len() > PIECE && answered_early(session).await? {
            return Ok(Written::AnsweredEarly);
        }
        licence.check().map_err(|_| SendError::LeaseEnded(Sent::Part))?;
        last_piece.store(index + 1 == pieces, Ordering::Relaxed);
        if let Err(error) = session.write_body(piece).await {
            return early_answer(session, error).await;
        }
    }
    match session.finish_body().await {
        Ok(_) => Ok(Written::Whole),
        Err(error) => early_answer(session, error).await,
    }
}

/// Returns whether a final answer has already arrived, without waiting for it.
pub(super) async fn answered_early(session: &mut HttpSession) -> Result<bool, SendError> {
    tokio::select! {
        biased;
        read = session.read_response() => read.map(|_| is_final(session)).map_err(|error| in_doubt(&error)),
        () = std::future::ready(()) => Ok(false),
    }
}

/// An instance that refuses a body answers and closes without reading the rest. Its answer can still be read.
async fn early_answer(session: &mut HttpSession, error: BError) -> Result<Written, SendError> {
    match tokio::time::timeout(EARLY_ANSWER, read_final_header(session)).await {
        Ok(Ok(())) => Ok(Written::AnsweredEarly),
        Ok(Err(_)) | Err(_) => Err(in_doubt(&error)),
    }
}

/// A read can be repeated in parts. The outcome of a write is unknown.
pub(super) fn for_licence(error: SendError, licence: Licence<'_>) -> SendError {
    match (error, licence) {
        (error @ SendError::TooLong { .. }, Licence::NotNeeded) => error,
        (SendError::TooLong { most }, _) => {
            SendError::InDoubt { reason: format!("an answer longer than {most} bytes") }
        }
        (error, _) => error,
    }
}

pub(super) fn is_final(session: &HttpSession) -> bool {
    session.get_status().is_some_and(|status| !status.is_informational())
}

pub(super) async fn read_final_header(session: &mut HttpSession) -> Result<(), BError> {
    while !is_final(session) {
        session.read_response().await?;
        // No request here asks for an upgrade, and the bytes after a 101 are not HTTP.
        if session.get_status() == Some(http::StatusCode::SWITCHING_PROTOCOLS) {
            return pingora::Error::e_explain(ErrorType::InvalidHTTPHeader, "the instance switched protocols");
        }
    }
    Ok(())
}

/// Reads the body of an answer whose header has arrived.
pub(super) async fn read_answer(session: &mut HttpSession, most: usize) -> Result<Answer, SendError> {
    let Some(header) = session.resp_header() else {
        return Err(SendError::InDoubt { reason: "an answer without a header".to_owned() });
    };
    let (status, headers) = (header.status, header.headers.clone());
    if announced(&headers).is_some_and(|length| length > most) {
        return Err(SendError::TooLong { most });
    }
    let mut body = bytes::BytesMut::new();
    while let Some(piece) = session.read_body_ref().await.map_err(|error| in_doubt(&error))? {
        if body.len() + piece.len() > most {
            return Err(SendError::TooLong { most });
        }
        body.extend_from_slice(piece);
    }
    Ok(Answer::new(status, headers, body.freeze()))
}
