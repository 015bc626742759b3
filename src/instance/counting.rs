//! Access to the registry's counters of each instance's requests. It decides nothing.

use pingora::upstreams::peer::HttpPeer;

use super::registry::Registry;
use super::traffic::{Pooled, Traffic};
use crate::ids::InstanceId;

impl Registry {
    /// Returns how the requests to it have ended, and when it was last probed.
    pub fn traffic(&self, id: InstanceId) -> &Traffic {
        self.instance(id).load.traffic()
    }

    /// Records a connection to this peer.
    pub(super) fn connected(&self, peer: &HttpPeer, pooled: Pooled) {
        let there = |id: &InstanceId| self.address(*id).is_some_and(|at| peer._address.as_inet() == Some(&at));
        if let Some(id) = self.ids().find(there) {
            self.traffic(id).connected(pooled);
        }
    }
}
