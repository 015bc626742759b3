//! Writes to one client. The client must take each piece within a time limit, or it is disconnected.
//!
//! A slow client gives its place among the concurrent requests to others, but its answer's memory stays counted. What
//! is written is decided elsewhere.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};
use tokio::time::timeout;

use super::admit::AdmissionPermit;
use crate::metrics;

/// The most bytes of a piece. A client must take this much, or all that is left, within its time.
pub const PIECE: usize = 64 * 1024;
/// A client that takes longer than this for a piece gives up its place.
const SLOW: Duration = Duration::from_secs(1);

/// How answers are held and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerLimits {
    /// A read's answer up to this size is complete before its first byte is sent: `limits.held_answer_bytes`.
    pub held_bytes: usize,
    /// How long a client may take for 64 KiB of its answer: `limits.client_write_timeout`.
    pub client_write_timeout: Duration,
}

impl Default for AnswerLimits {
    fn default() -> Self {
        AnswerLimits { held_bytes: 256 * 1024, client_write_timeout: Duration::from_secs(30) }
    }
}

/// Whether more of the body follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    Follows,
    Nothing,
}

/// Writes to one client. After an error, nothing more can be written.
pub struct Outlet<'a> {
    pub session: &'a mut Session,
    patience: Duration,
    place: Option<&'a mut AdmissionPermit>,
}

impl<'a> Outlet<'a> {
    /// An outlet to this session's client, which holds this place.
    pub fn new(session: &'a mut Session, limits: AnswerLimits, place: Option<&'a mut AdmissionPermit>) -> Self {
        Outlet { session, patience: limits.client_write_timeout, place }
    }

    /// Returns whether the request is a HEAD request.
    pub fn is_head(&self) -> bool {
        self.session.req_header().method == Method::HEAD
    }

    /// Closes the connection after this answer if part of the request's body is unread: the rest would be taken for the
    /// next request.
    pub fn close_unless_read(&mut self) {
        if !self.session.as_mut().is_body_done() {
            self.session.set_keepalive(None);
        }
    }

    /// Writes the header.
    pub async fn header(&mut self, header: ResponseHeader, rest: Rest) -> Result<()> {
        let Outlet { session, patience, place } = self;
        taken(session.write_response_header(Box::new(header), rest == Rest::Nothing), *patience, place).await
    }

    /// Writes a part of the body, piece by piece.
    pub async fn part(&mut self, mut part: Bytes, rest: Rest) -> Result<()> {
        let Outlet { session, patience, place } = self;
        while part.len() > PIECE {
            let piece = part.split_to(PIECE);
            taken(session.write_response_body(Some(piece), false), *patience, place).await?;
        }
        taken(session.write_response_body(Some(part), rest == Rest::Nothing), *patience, place).await
    }

    /// Writes a part of the body without taking it over; more follows.
    pub async fn lent(&mut self, part: &[u8]) -> Result<()> {
        let Outlet { session, patience, place } = self;
        for piece in part.chunks(PIECE) {
            let writing = async {
                match session.as_downstream_mut() {
                    ServerSession::H1(client) => client.write_body(piece).await.map(drop),
                    // HTTP/2 frames take ownership of their bytes.
                    client => client.write_response_body(Bytes::copy_from_slice(piece), false).await,
                }
            };
            taken(writing, *patience, place).await?;
        }
        Ok(())
    }

    /// Ends the body.
    pub async fn end(&mut self) -> Result<()> {
        let Outlet { session, patience, place } = self;
        taken(session.write_response_body(None, true), *patience, place).await
    }
}

/// Waits until the client has taken what is written.
async fn taken(
    writing: impl Future<Output = Result<()>>,
    patience: Duration,
    place: &mut Option<&mut AdmissionPermit>,
) -> Result<()> {
    let mut writing = pin!(writing);
    let slow = SLOW.min(patience);
    if let Ok(done) = timeout(slow, &mut writing).await {
        return done;
    }
    if let Some(place) = place {
        place.step_aside();
    }
    match timeout(patience - slow, writing).await {
        Ok(done) => done,
        Err(_) => {
            metrics::client_cut();
            tracing::debug!(?patience, "a client does not read its answer and is disconnected");
            let mut error = Error::explain(ErrorType::WriteTimedout, "the client does not read its answer");
            error.as_down();
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::proxy::{Admission, AdmitLimits};
    use crate::wire::{VisitorLimits, Visitors};

    #[tokio::test]
    async fn a_client_that_takes_nothing_gives_up_its_place_and_is_given_up_in_time() {
        let limits = AdmitLimits { queue_wait: Duration::from_secs(10), ..AdmitLimits::of_test(1024) };
        let visitors = VisitorLimits { connections: 1, per_address: 1, proxies: Vec::new() };
        let admission = Admission::new(limits, Visitors::new(visitors));
        let (mut permit, mut next) = (admission.pass(), admission.pass());
        admission.enter(&mut permit).await.map_err(|f| f.reason()).unwrap();
        let started = Instant::now();
        let patience = SLOW + Duration::from_millis(500);
        let mut place = Some(&mut permit);
        let writing = taken(std::future::pending(), patience, &mut place);
        let (ended, entered) = tokio::join!(writing, admission.enter(&mut next));
        assert!(entered.is_ok(), "somebody else has its place");
        let error = ended.unwrap_err();
        assert_eq!((error.etype(), error.esource()), (&ErrorType::WriteTimedout, &pingora::ErrorSource::Downstream));
        assert!(started.elapsed() >= patience);
        assert_eq!(admission.under_way(), 2, "a stop waits for both");
    }
}
