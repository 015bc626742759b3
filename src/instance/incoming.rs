//! An answer whose header has come: its body is read piece by piece, as fast as somebody takes it.
//!
//! It decides when a body is given up. Whether to read all of it, and what it means, its reader decides.

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

/// An answer that is coming in. Dropping it closes its connection.
pub struct Incoming {
    session: HttpSession,
    /// How its connection was opened, if it may be kept afterwards: the instance took the whole request.
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
    /// Nothing came within the time.
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

    /// The header as it came, hop-by-hop fields included.
    pub fn headers(&self) -> Option<&HeaderMap> {
        self.session.resp_header().map(|header| &header.headers)
    }

    /// The fields of its header that go on to the client; the length of a body is for whoever sends it to say.
    pub fn end_to_end(&self) -> HeaderMap {
        let Some(all) = self.headers() else { return HeaderMap::new() };
        let mut headers = HeaderMap::with_capacity(all.len() + 2);
        headers.extend(end_to_end(all).map(|(name, value)| (name.clone(), value.clone())));
        headers
    }

    /// The answer with its whole body.
    pub fn answer(&self, body: Bytes) -> Answer {
        Answer { status: self.status().as_u16(), headers: self.end_to_end(), body }
    }

    /// The length of its body in bytes, if that was announced.
    pub fn announced(&self) -> Option<usize> {
        self.headers().and_then(announced)
    }

    /// Whether all of its body has been read.
    pub fn is_done(&mut self) -> bool {
        self.session.is_body_done()
    }

    /// The next piece of its body; `None` at its end. For reading on while the client has seen nothing: it is given up
    /// after so long, and at once when the instance has gone since it had the generation `since`.
    ///
    /// # Errors
    /// The rest will not come.
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

    /// As [`Incoming::piece`], for a client that has a part: it gets no other answer, so only silence ends it.
    ///
    /// # Errors
    /// The rest will not come.
    pub async fn next(&mut self, within: Duration) -> Result<Option<&[u8]>, SendError> {
        match tokio::time::timeout(within, self.session.read_body_ref()).await {
            Ok(piece) => piece.map_err(|error| in_doubt(&error)),
            Err(_) => Err(SendError::InDoubt { reason: format!("nothing within {within:?}") }),
        }
    }

    /// The connection, if another request may be sent over it.
    pub(super) fn into_kept(mut self) -> Option<(HttpSession, Arc<HttpPeer>)> {
        let done = self.session.is_body_done();
        self.kept.take().filter(|_| done).map(|peer| (self.session, peer))
    }
}

/// The length that a header announces.
pub(super) fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

pub(super) fn in_doubt(error: &BError) -> SendError {
    SendError::InDoubt { reason: in_words(error) }
}
