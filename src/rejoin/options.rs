//! What rejoin is told: plain data.

use std::time::Duration;

use crate::order::ForeignPolicy;

/// Options of rejoin.
#[derive(Clone, Debug)]
pub struct RejoinOptions {
    /// The interval at which every lane and phase is looked at again.
    pub interval: Duration,
    /// How often a server is marked anew while writes flow.
    pub marker_interval: Duration,
    /// What becomes of a server that holds somebody else's data.
    pub foreign: ForeignPolicy,
    /// How long what was sent and not answered may still be executed.
    pub settle_time: Duration,
}

/// What must be done before the edge serves clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstLook {
    /// The instances are inspected, and what existed before the edge is adopted and compared.
    InstancesAndAdoption,
    /// The instances are inspected. The edge before this one has adopted what was to be adopted.
    Instances,
}
