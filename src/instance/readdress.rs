//! What a configuration reload changes: the addresses of instances, and the time limits for them.
//!
//! It decides nothing. The caller makes sure that nothing is changed before everything is checked.

use super::options::{HealthOptions, InstanceOptions, Timeouts};
use super::peer::{self, SetupError};
use super::phase::Observation;
use super::registry::Registry;
use crate::ids::InstanceId;

impl Registry {
    /// Returns `Ok` if connections can be made with these options. Reads their files.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn could_connect(&self, options: &InstanceOptions) -> Result<(), SetupError> {
        peer::template(options, &self.timeouts()).map(drop)
    }

    /// Moves the instance to another address. The server there is inspected before anything else is sent to it.
    ///
    /// # Errors
    /// A file cannot be read; nothing has changed.
    pub fn readdress(&self, id: InstanceId, options: InstanceOptions) -> Result<(), SetupError> {
        self.state(id).configure(options, &self.timeouts())?;
        self.observe_because(id, Observation::Replaced, "it has another address");
        Ok(())
    }

    /// Applies these time limits to requests that begin from now on, and the current contents of the instances' files
    /// to new connections.
    ///
    /// # Errors
    /// A file can no longer be read; the instance keeps what it had.
    pub fn limit(&self, timeouts: Timeouts, health: HealthOptions) -> Result<(), SetupError> {
        self.health.set(health);
        let same = self.timeouts() == timeouts;
        self.timeouts.set(timeouts);
        let limit = |id| {
            let mut state = self.state(id);
            if same && state.options.trust.is_default() {
                return Ok(());
            }
            let options = state.options.clone();
            state.configure(options, &timeouts)
        };
        self.ids().map(limit).fold(Ok(()), Result::and)
    }

    /// Changes with everything a connection to the instance depends on.
    pub(super) fn revision(&self, id: InstanceId) -> u64 {
        self.state(id).revision
    }
}
