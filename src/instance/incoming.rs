//! An answer whose header has arrived. Its body is read piece by piece, as fast as the reader takes it.
//!
//! It decides when to give up on a body. The reader decides whether to read all of it, and what it means.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};
use pingora::BError;
use pingora::protocols::http::v1::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;

use super::load::InFlight;
use super::message::{Answer, end_to_end};
use super::registry::{Generation, Registry};
use super::sent::SendError;
use super::words::in_words;
use crate::ids::InstanceId;

/// An answer being received. Dropping it closes its connection.
pub struct Incoming {
    session: HttpSession,
    /// How its connection was opened, if the connection may be kept: only if the instance took the whole request.
    kept: Option<Arc<HttpPeer>>,
    _under_way: InFlight,
}

/// A read that got no answer.
#[derive(Clone, Debug)]
pub struct Unanswered {
    pub error: SendError,
    pub cause: Cause,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nothing came within the time limit.
    Silence,
    Other,
}

impl Unanswered {
    pub(super) fn of(reason: String) -> Unanswered {
        Unanswered { error: SendError::InDoubt { reason }, cause: Cause::Other }
    }
}

impl Incoming {
    pub(super) fn new(session: HttpSession, kept: Option<Arc<HttpPeer>>, under_way: InFlight) -> Incoming {
        Incoming { session, kept, _under_way: under_way }
    }

    /// The answer's status.
    pub fn status(&self) -> StatusCode {
        self.session.get_status().unwrap_or_default()
    }

    /// The header as received, including hop-by-hop fields.
    pub fn headers(&self) -> Option<&HeaderMap> {
        self.session.resp_header().map(|header| &header.headers)
    }

    /// Returns the header fields that go on to the client. The sender of the body sets its length.
    pub fn end_to_end(&self) -> HeaderMap {
        let Some(all) = self.headers() else { return HeaderMap::new() };
        let mut headers = HeaderMap::with_capacity(all.len() + 2);
        headers.extend(end_to_end(all).map(|(name, value)| (name.clone(), value.clone())));
        headers
    }

    /// Returns the answer with this body as its whole body.
    pub fn answer(&self, body: Bytes) -> Answer {
        Answer { status: self.status().as_u16(), headers: self.end_to_end(), body }
    }

    /// Returns the announced length of its body in bytes, if any.
    pub fn announced(&self) -> Option<usize> {
        self.headers().and_then(announced)
    }

    /// Returns whether the whole body has been read.
    pub fn is_done(&mut self) -> bool {
        self.session.is_body_done()
    }

    /// Returns the next piece of the body; `None` at its end. For reading while the client has received nothing. The
    /// read is given up after `within`, and at once if the instance has gone away since the generation `since`.
    ///
    /// # Errors
    /// The rest will not arrive.
    pub async fn piece(
        &mut self,
        registry: &Registry,
        (instance, since): (InstanceId, Generation),
        within: Duration,
    ) -> Result<Option<&[u8]>, Unanswered> {
        tokio::select! {
            biased;
            piece = self.session.read_body_ref() => {
                piece.map_err(|error| Unanswered { error: in_doubt(&error), cause: Cause::Other })
            }
            () = registry.departed_since(instance, since) => Err(Unanswered::of("the instance is down".to_owned())),
            () = tokio::time::sleep(within) => {
                let error = SendError::InDoubt { reason: format!("no answer within {within:?}") };
                Err(Unanswered { error, cause: Cause::Silence })
            }
        }
    }

    /// Like [`Incoming::piece`], for a client that has received a part. No other answer can replace this one, so only
    /// silence ends it.
    ///
    /// # Errors
    /// The rest will not arrive.
    pub async fn next(&mut self, within: Duration) -> Result<Option<&[u8]>, SendError> {
        match tokio::time::timeout(within, self.session.read_body_ref()).await {
            Ok(piece) => piece.map_err(|error| in_doubt(&error)),
            Err(_) => Err(SendError::InDoubt { reason: format!("nothing within {within:?}") }),
        }
    }

    /// Returns the connection, if another request may be sent over it.
    pub(super) fn into_kept(mut self) -> Option<(HttpSession, Arc<HttpPeer>)> {
        let done = self.session.is_body_done();
        self.kept.take().filter(|_| done).map(|peer| (self.session, peer))
    }
}

/// Returns the length announced in a header.
pub(super) fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

pub(super) fn in_doubt(error: &BError) -> SendError {
    SendError::InDoubt { reason: in_words(error) }
}
