//! Reads a request's whole body, in any framing, within the limits on its size, on the memory for all bodies, and on
//! its time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use pingora::ErrorType;
use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession;
use pingora::proxy::Session;

use super::admit::{Admission, AdmitLimits};
use super::failure::Failure;
use super::incoming::{Memory, Waited};
use crate::clock;
use crate::wire::Flaw;

/// How long a body may take while `limits.incoming_bodies` others are coming in.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A whole body.
pub struct Body {
    pub bytes: Bytes,
    pub memory: Memory,
}

/// Why there is no whole body.
pub enum BodyError {
    Failure(Failure),
    /// The client is gone, or does not speak HTTP: an answer would reach no one.
    Client(Box<pingora::Error>),
}

impl From<Failure> for BodyError {
    fn from(failure: Failure) -> Self {
        BodyError::Failure(failure)
    }
}

/// Decides when an incoming body is too slow. Time in which the edge itself did not read does not count.
#[derive(Clone, Copy, Debug)]
struct Pace {
    began: Instant,
    patience: Duration,
    rate: usize,
}

impl Pace {
    fn new(began: Instant, limits: &AdmitLimits, incoming: usize) -> Pace {
        let patience =
            if incoming > limits.incoming_bodies { limits.body_timeout.min(AT_ONCE) } else { limits.body_timeout };
        Pace { began, patience, rate: limits.body_rate }
    }

    /// When the next piece is due, after this many bytes have come.
    fn due(&self, bytes: usize) -> Instant {
        let earned = Duration::from_millis(bytes as u64 * 1000 / self.rate.max(1) as u64);
        self.began + self.patience + earned
    }

    /// Discounts a time in which the edge did not read.
    fn pause(&mut self, time: Duration) {
        self.began += time;
    }
}

/// Reads the whole body. Nothing has been journaled or sent when this fails.
pub async fn read_whole(session: &mut Session, admission: &Arc<Admission>) -> Result<Body, BodyError> {
    read_up_to(session, admission, admission.limits().body_bytes).await
}

/// Reads the whole body if it has at most `limit` bytes.
pub async fn read_up_to(session: &mut Session, admission: &Arc<Admission>, limit: usize) -> Result<Body, BodyError> {
    let announced = content_length(session.req_header());
    if announced.is_some_and(|length| length > limit) {
        return Err(Failure::BodyTooLarge { limit }.into());
    }
    let incoming = admission.incoming_body(announced.unwrap_or(limit));
    let mut pace = Pace::new(clock::now(), admission.limits(), admission.incoming());
    let downstream = session.as_downstream_mut();
    if expects_continue(downstream.req_header()) {
        // Pingora does not send the 100 on its own.
        downstream.write_continue_response().await.map_err(BodyError::Client)?;
    }
    let mut whole = BytesMut::new();
    loop {
        let Some(piece) = read_piece(downstream, pace.due(whole.len())).await? else { break };
        if whole.len() + piece.len() > limit {
            return Err(Failure::BodyTooLarge { limit }.into());
        }
        let waiting = clock::now();
        if incoming.claim(piece.len()).await? == Waited::Yes {
            pace.pause(waiting.elapsed());
        }
        make_room(&mut whole, piece.len(), announced);
        whole.extend_from_slice(&piece);
        if downstream.is_body_done() {
            break;
        }
    }
    Ok(Body { bytes: whole.freeze(), memory: incoming.finish() })
}

/// Returns the next piece, at most 64 KiB; `None` at the end.
async fn read_piece(downstream: &mut ServerSession, due: Instant) -> Result<Option<Bytes>, BodyError> {
    match tokio::time::timeout_at(due.into(), downstream.read_request_body()).await {
        Ok(Ok(piece)) => Ok(piece),
        Ok(Err(error)) if is_flawed(&error) => Err(Failure::BadHead(Flaw::CHUNK).into()),
        Ok(Err(error)) if *error.etype() == ErrorType::ReadTimedout => Err(Failure::BodyTooSlow.into()),
        Ok(Err(error)) => Err(BodyError::Client(error)),
        Err(_) => Err(Failure::BodyTooSlow.into()),
    }
}

/// Returns whether the gate could not tell where the body ends.
fn is_flawed(error: &pingora::Error) -> bool {
    let cause = error.root_cause().downcast_ref::<std::io::Error>();
    cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::InvalidData)
}

/// Grows the buffer as bytes arrive: the announced length may never come.
fn make_room(whole: &mut BytesMut, bytes: usize, announced: Option<usize>) {
    if whole.capacity() - whole.len() >= bytes {
        return;
    }
    let doubled = whole.len().max(bytes);
    let most = announced.map_or(usize::MAX, |length| length.saturating_sub(whole.len()));
    whole.reserve(doubled.min(most).max(bytes));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_earns_time_by_what_has_come_and_loses_none_while_it_waits() {
        let second = Duration::from_secs(1);
        let limits =
            AdmitLimits { incoming_bodies: 2, body_timeout: 10 * second, body_rate: 1000, ..AdmitLimits::of_test(1) };
        let start = Instant::now();
        let mut pace = Pace::new(start, &limits, 2);
        assert_eq!(pace.due(0), start + Duration::from_secs(10));
        assert_eq!(pace.due(2500), start + Duration::from_millis(12_500));
        pace.pause(Duration::from_secs(3));
        assert_eq!(pace.due(0), start + Duration::from_secs(13));
        assert_eq!(Pace::new(start, &limits, 3).due(0), start + AT_ONCE, "too many take their time already");
    }

    #[test]
    fn memory_is_taken_as_bytes_come() {
        let mut whole = BytesMut::new();
        make_room(&mut whole, 10, Some(1 << 30));
        assert!(whole.capacity() < 1000);
        whole.extend_from_slice(&[0; 10]);
        make_room(&mut whole, 10, Some(20));
        assert!((20..100).contains(&whole.capacity()), "{}", whole.capacity());
    }
}
