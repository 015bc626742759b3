//! Whether an instance died of a request that it left without an answer (rule R13).
//!
//! Decides between a lost answer and a death. What a death means for the entry is the board's.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::chroma;
use crate::ids::InstanceId;
use crate::instance::{Answer, Client, Flights, Generation, Registry, Vital};
use crate::order::Company;

/// Where a process has ended, a new connection is refused at once. Whoever needs longer to say anything is merely away, and
/// nobody's failover waits for it.
const LOOK: Duration = Duration::from_millis(250);

/// Looks after instances that left a request without an answer.
#[derive(Default)]
pub(super) struct Deaths {
    /// In which of its lives an instance was last seen with a dead write path: every later write fails so, and is not to
    /// blame for it.
    broken: Mutex<HashMap<InstanceId, Generation>>,
}

impl Deaths {
    /// Who else was there when the instance died of a request that began in its life `since`; `None`: it is not known to
    /// have died. `answer`: what it, or somebody in its place, said nevertheless.
    pub async fn company(
        &self,
        (registry, client): (&Registry, &Client),
        instance: InstanceId,
        since: Generation,
        answer: Option<&Answer>,
    ) -> Option<Company> {
        // Before anything new begins there.
        let company = match registry.flights(instance) {
            Flights::One => Company::Alone,
            Flights::Several => Company::Others,
        };
        if answer.is_some_and(|answer| chroma::is_write_path_dead(&answer.body)) {
            let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
            // An earlier write may have done it, and have been answered.
            return (broken.insert(instance, since) != Some(since)).then_some(Company::Others);
        }
        let vital = tokio::time::timeout(LOOK, client.vital(instance, since)).await;
        (vital.unwrap_or(Vital::Silent) == Vital::Gone).then_some(company)
    }
}
