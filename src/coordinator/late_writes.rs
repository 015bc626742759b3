//! Writes of this edge that may have reached an instance after the lease ended. The next edge has to know of them.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::ids::{InstanceId, LaneId};

/// The places where late writes may have gone, until they are reported.
#[derive(Debug, Default)]
pub struct LateWrites {
    places: Mutex<BTreeSet<(LaneId, InstanceId)>>,
    arrived: Notify,
}

impl LateWrites {
    /// Notes a write that ended after the lease, and that may have changed these lanes on the instance.
    pub(crate) fn note(&self, lanes: &[LaneId], instance: InstanceId) {
        self.places().extend(lanes.iter().map(|lane| (*lane, instance)));
        self.arrived.notify_one();
    }

    /// Returns the places that have not been reported.
    pub fn all(&self) -> Vec<(LaneId, InstanceId)> {
        self.places().iter().copied().collect()
    }

    /// Forgets the places, because the lease was renewed: no other edge has sent anything meanwhile.
    pub fn forget(&self) {
        self.places().clear();
    }

    /// Resolves when there is something new to report.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }

    fn places(&self) -> MutexGuard<'_, BTreeSet<(LaneId, InstanceId)>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
