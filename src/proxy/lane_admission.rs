//! Limits how many lanes may hold clients' writes at once. Each such lane needs one request to an instance at a time,
//! however many clients wait for it, because neighbors share requests.
//!
//! So this limits requests to Chroma, under way or waiting for a permit, and not clients. It decides which write is
//! refused before the journal. The order in which requests get a permit is decided by the executor.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::failure::Failure;
use crate::chroma::Overload;
use crate::ids::LaneId;

/// The lanes in which clients wait, with the number of clients in each.
#[derive(Debug)]
pub struct LaneAdmission {
    lanes: Mutex<HashMap<LaneId, usize>>,
    limits: Overload,
}

/// A client's write in its lane, until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct InLane {
    admission: Arc<LaneAdmission>,
    lane: LaneId,
}

impl LaneAdmission {
    /// Admits as many lanes as requests may be under way, at least one, plus as many as may wait.
    pub fn new(under_way: usize, waiting: usize) -> Arc<LaneAdmission> {
        let limits = Overload { concurrent_limit: under_way.max(1), queue_size: waiting };
        Arc::new(LaneAdmission { lanes: Mutex::default(), limits })
    }

    /// Lets a write into its lane: always if clients already wait in it, otherwise if there is room for one more lane.
    ///
    /// # Errors
    /// `QueueFull`.
    pub fn enter(self: &Arc<Self>, lane: LaneId) -> Result<InLane, Failure> {
        let mut lanes = self.lanes();
        let most = self.limits.concurrent_limit.saturating_add(self.limits.queue_size);
        if lanes.len() >= most && !lanes.contains_key(&lane) {
            return Err(Failure::QueueFull(self.limits));
        }
        *lanes.entry(lane).or_default() += 1;
        Ok(InLane { admission: Arc::clone(self), lane })
    }

    /// The number of lanes in which clients wait now.
    pub fn busy(&self) -> usize {
        self.lanes().len()
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<LaneId, usize>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InLane {
    fn drop(&mut self) {
        let mut lanes = self.admission.lanes();
        if let Some(count) = lanes.get_mut(&self.lane) {
            *count -= 1;
            if *count == 0 {
                lanes.remove(&self.lane);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ids::CollectionId;

    #[test]
    fn many_clients_of_one_lane_count_once_and_the_last_one_frees_it() {
        let admission = LaneAdmission::new(1, 1);
        let lane = |number| LaneId::Records(CollectionId::new(Uuid::from_u128(number)));
        let crowd: Vec<_> = (0..200).map(|_| admission.enter(lane(1)).map_err(|f| f.reason()).unwrap()).collect();
        let other = admission.enter(lane(2)).map_err(|f| f.reason()).unwrap();
        assert_eq!(admission.enter(lane(3)).map(drop).map_err(|f| f.reason()), Err("queue_full"));
        assert_eq!(admission.busy(), 2);
        assert!(admission.enter(lane(1)).is_ok(), "it needs no more requests than before");
        drop(other);
        assert!(admission.enter(lane(3)).is_ok());
        drop(crowd);
        assert_eq!(admission.busy(), 0);
    }
}
