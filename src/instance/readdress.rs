//! What a reload of the configuration changes: where instances are, and the time limits towards them.
//!
//! It decides nothing: that nothing is changed before everything was checked is the caller's.

use super::options::{HealthOptions, InstanceOptions, Timeouts};
use super::peer::{self, SetupError};
use super::phase::Observation;
use super::registry::Registry;
use crate::ids::InstanceId;

impl Registry {
    /// Whether connections could be made as these options say. Reads their files.
    ///
    /// # Errors
    /// Why not.
    pub fn could_connect(&self, options: &InstanceOptions) -> Result<(), SetupError> {
        peer::template(options, &self.timeouts()).map(drop)
    }

    /// The instance is here from now on. Whatever answers there is inspected before anything else is sent.
    ///
    /// # Errors
    /// A file cannot be read; nothing has changed.
    pub fn readdress(&self, id: InstanceId, options: InstanceOptions) -> Result<(), SetupError> {
        self.state(id).configure(options, &self.timeouts())?;
        self.observe_because(id, Observation::Replaced, "it has another address");
        Ok(())
    }

    /// These time limits count from now on, for requests that begin then, and what its files hold now, for connections.
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

    /// Changes with whatever a connection to the instance depends on.
    pub(super) fn revision(&self, id: InstanceId) -> u64 {
        self.state(id).revision
    }
}
