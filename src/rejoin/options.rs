//! The options of rejoin: plain data.

use std::time::Duration;

use crate::order::ForeignPolicy;

/// Options of rejoin.
#[derive(Clone, Debug)]
pub struct RejoinOptions {
    /// The interval at which every lane and phase is examined again.
    pub interval: Duration,
    /// How often a server is marked again while writes flow.
    pub marker_interval: Duration,
    /// What to do about a foreign server.
    pub foreign: ForeignPolicy,
    /// How long a request that was not answered may still be executed.
    pub settle_time: Duration,
}

/// What must be done before the edge serves clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstLook {
    /// The instances are inspected, and what existed before the edge is adopted and compared.
    InstancesAndAdoption,
    /// The instances are inspected. The edge before this one has adopted everything that had to be adopted.
    Instances,
}
