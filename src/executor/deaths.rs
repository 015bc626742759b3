//! Finds out whether an instance died of a request that it left without an answer (rule R13).
//!
//! Decides between a lost answer and a death. The board decides what a death means for the entry.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::chroma;
use crate::ids::InstanceId;
use crate::instance::{Answer, Client, Flights, Generation, Registry, Vital};
use crate::order::Company;

/// The most time that the check may take. If the process has ended, a new connection is refused at once. An instance
/// that takes longer to respond is merely away, and no failover waits for it.
const LOOK: Duration = Duration::from_millis(250);

/// Checks on instances that left a request without an answer.
#[derive(Default)]
pub(super) struct Deaths {
    /// The generation in which an instance was last seen with a dead write path. Every later write in it fails in the
    /// same way, and is not to blame.
    broken: Mutex<HashMap<InstanceId, Generation>>,
}

impl Deaths {
    /// Returns whether other requests were in flight when the instance died of a request that began in generation
    /// `since`. Returns `None` if it is not known to have died. `answer` is what the instance, or something in its
    /// place, answered all the same.
    pub async fn company(
        &self,
        (registry, client): (&Registry, &Client),
        instance: InstanceId,
        since: Generation,
        answer: Option<&Answer>,
    ) -> Option<Company> {
        // Read before a new request begins on the instance.
        let company = match registry.flights(instance) {
            Flights::One => Company::Alone,
            Flights::Several => Company::Others,
        };
        if answer.is_some_and(|answer| chroma::is_write_path_dead(&answer.body)) {
            let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
            // An earlier write may have killed the write path, and have been answered.
            return (broken.insert(instance, since) != Some(since)).then_some(Company::Others);
        }
        let vital = tokio::time::timeout(LOOK, client.vital(instance, since)).await;
        (vital.unwrap_or(Vital::Silent) == Vital::Gone).then_some(company)
    }
}
