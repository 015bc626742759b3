//! Writes of this edge that may have reached an instance after the lease: what the next edge has to know.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::ids::{InstanceId, LaneId};

/// Where such writes may have gone, until they are reported.
#[derive(Debug, Default)]
pub struct LateWrites {
    places: Mutex<BTreeSet<(LaneId, InstanceId)>>,
    arrived: Notify,
}

impl LateWrites {
    /// A write that may have changed these lanes there ended after the lease.
    pub(crate) fn note(&self, lanes: &[LaneId], instance: InstanceId) {
        self.places().extend(lanes.iter().map(|lane| (*lane, instance)));
        self.arrived.notify_one();
    }

    /// Where, as far as it is not reported.
    pub fn all(&self) -> Vec<(LaneId, InstanceId)> {
        self.places().iter().copied().collect()
    }

    /// The lease was renewed: no other edge has sent anything meanwhile, so there is nothing to report.
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
