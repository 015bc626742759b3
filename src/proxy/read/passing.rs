//! A read's answer that is longer than what is held: it is passed on to the client as it arrives.
//!
//! Once the client has a part, no other instance can answer instead. How the pieces are written is decided elsewhere.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::Read;
use super::loss::{Loss, Losses};
use crate::ids::InstanceId;
use crate::instance::{Generation, Incoming, SendError};
use crate::proxy::Edge;
use crate::proxy::outlet::{Outlet, Rest};
use crate::web::INSTANCE;

/// Why an answer breaks off.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    #[error("the instance did not finish it: {0}")]
    Instance(SendError),
    #[error("the client did not take it: {0}")]
    Client(#[from] pingora::BError),
}

/// An answer of which a part is at hand while the rest is still arriving.
pub struct Passing {
    /// `None` after the end of the answer.
    incoming: Option<Incoming>,
    status: StatusCode,
    length: Option<usize>,
    /// The part at hand.
    held: Bytes,
    instance: InstanceId,
    /// The instance's generation when it was asked.
    since: Generation,
    /// The losses of earlier attempts.
    losses: Losses,
}

impl Passing {
    /// The answer of an instance that had this generation when it was asked, after these losses.
    pub(super) fn new(
        incoming: Incoming,
        held: Bytes,
        (instance, since): (InstanceId, Generation),
        losses: Losses,
    ) -> Passing {
        let (status, length) = (incoming.status(), incoming.announced());
        Passing { incoming: Some(incoming), status, length, held, instance, since, losses }
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the headers for the client, without those that give the body's length.
    pub fn headers(&self, edge: &Edge) -> HeaderMap {
        let mut headers = self.incoming.as_ref().map(Incoming::end_to_end).unwrap_or_default();
        if let Ok(name) = edge.registry.name(self.instance).as_str().parse() {
            headers.insert(INSTANCE, name);
        }
        headers
    }

    /// Returns the body's length, if the instance announced it.
    pub fn length(&self) -> Option<usize> {
        self.length
    }

    /// Writes the next piece to the client. After the last piece, the instance's connection is kept.
    ///
    /// # Errors
    /// The instance does not send the rest, or the client does not take it. A possible death of the instance is
    /// examined.
    pub async fn pass_on(&mut self, edge: &Edge, read: &Read, to: &mut Outlet<'_>) -> Result<Rest, PassError> {
        if !self.held.is_empty() {
            to.part(std::mem::take(&mut self.held), Rest::Follows).await?;
            return Ok(Rest::Follows);
        }
        let Some(incoming) = &mut self.incoming else { return Ok(Rest::Nothing) };
        let error = match incoming.next(edge.registry.timeouts().read).await {
            Ok(Some(piece)) => {
                to.lent(piece).await?;
                return Ok(Rest::Follows);
            }
            Ok(None) => {
                if let Some(stake) = &read.stake {
                    stake.answered(self.status.as_u16());
                }
                if let Some(incoming) = self.incoming.take() {
                    edge.client.finish(incoming).await;
                }
                return Ok(Rest::Nothing);
            }
            Err(error) => error,
        };
        // Drop it first: the check below counts what else was in flight on the instance.
        self.incoming = None;
        let loss = Loss { instance: self.instance, since: self.since, flights: edge.registry.flights(self.instance) };
        // The result does not matter: this client gets no other answer.
        let _ = self.losses.add(edge, read, loss).await;
        Err(PassError::Instance(error))
    }
}
