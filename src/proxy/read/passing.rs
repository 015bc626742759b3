//! A read's answer that is longer than what is held: it goes to its client as it comes.
//!
//! Nobody else can answer in its place once the client has a part. How its pieces are written is decided elsewhere.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::Read;
use super::loss::{Loss, Losses};
use crate::ids::InstanceId;
use crate::instance::{Generation, Incoming, SendError};
use crate::proxy::Edge;
use crate::proxy::outlet::{Outlet, Rest};
use crate::web::INSTANCE;

/// Why an answer ends before its end.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    #[error("the instance did not finish it: {0}")]
    Instance(SendError),
    #[error("the client did not take it: {0}")]
    Client(#[from] pingora::BError),
}

/// An answer of which a part is at hand, and the rest is on its way.
pub struct Passing {
    /// `None` after its end.
    incoming: Option<Incoming>,
    status: StatusCode,
    length: Option<usize>,
    /// What is at hand.
    held: Bytes,
    instance: InstanceId,
    /// Of the instance when it was asked.
    since: Generation,
    /// Of the attempts before.
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

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Its header for the client, without what says how long the body is.
    pub fn headers(&self, edge: &Edge) -> HeaderMap {
        let mut headers = self.incoming.as_ref().map(Incoming::end_to_end).unwrap_or_default();
        if let Ok(name) = edge.registry.name(self.instance).as_str().parse() {
            headers.insert(INSTANCE, name);
        }
        headers
    }

    /// The length of its body, if the instance says so.
    pub fn length(&self) -> Option<usize> {
        self.length
    }

    /// Writes the next piece to the client. When that was all, the instance's connection is kept.
    ///
    /// # Errors
    /// The rest will not come, or the client does not take it. The instance's death, if it is one, is looked into.
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
        // It is under way no longer: who was there beside it is asked next.
        self.incoming = None;
        let loss = Loss { instance: self.instance, since: self.since, flights: edge.registry.flights(self.instance) };
        // Whatever it says: this client gets no other answer.
        let _ = self.losses.add(edge, read, loss).await;
        Err(PassError::Instance(error))
    }
}
