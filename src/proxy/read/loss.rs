//! Decides whether a read may be repeated elsewhere after its instance was lost (rule R13).
//!
//! A read that is vouched for is repeated at once, and is given up after two deaths. A read that is not is never sent
//! to another instance after one death. A broken connection is no death if the instance is alive.

use super::Read;
use crate::ids::InstanceId;
use crate::instance::{Flights, Generation, Vital};
use crate::order::{Company, Vouching};
use crate::proxy::Edge;
use crate::proxy::failure::Failure;

/// A request that was lost with its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    pub instance: InstanceId,
    /// The instance's generation when the request was sent.
    pub since: Generation,
    /// Whether the request was alone on the instance.
    pub flights: Flights,
}

/// The losses of one read.
#[derive(Clone, Debug, Default)]
pub struct Losses(Vec<Loss>);

impl Losses {
    /// Notes one more loss.
    ///
    /// # Errors
    /// The read ends: it may have caused the instance's death.
    pub async fn add(&mut self, edge: &Edge, read: &Read, loss: Loss) -> Result<(), Failure> {
        let vouching = read.stake.as_ref().map_or(Vouching::Vouched, |stake| stake.vouching());
        let same = |known: &Loss| known.instance == loss.instance && known.since == loss.since;
        if !self.0.iter().any(same) {
            self.0.push(loss);
        }
        let enough = match vouching {
            Vouching::Vouched => 2,
            Vouching::Unvouched => 1,
        };
        if self.0.len() < enough {
            return Ok(());
        }
        let mut deaths = 0;
        for loss in &self.0 {
            if edge.client.vital(loss.instance, loss.since).await != Vital::Answers {
                deaths += 1;
            }
        }
        if deaths < enough {
            return Ok(());
        }
        if let Some(stake) = &read.stake {
            let company = match (vouching, loss.flights) {
                (Vouching::Unvouched, Flights::One) => Company::Alone,
                // A read that is vouched for gets a second trial in any case.
                _ => Company::Others,
            };
            stake.died(loss.instance, company);
        }
        Err(Failure::InstanceLost)
    }
}
