//! Copies that are to be checked, because they failed what another copy answered. At most one demand for each: none is lost
//! below the limit, however often it is made.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::ids::{CollectionId, InstanceId};

/// More copies than this are not remembered: those beyond are noted again at their next failure.
const KEPT: usize = 1024;

/// Demands for checks of single copies.
#[derive(Debug, Default)]
pub struct CopyDoubts {
    due: Mutex<BTreeSet<(CollectionId, InstanceId)>>,
    asked: Notify,
}

impl CopyDoubts {
    /// The instance's copy failed a read that another one answered.
    pub fn note(&self, collection: CollectionId, instance: InstanceId) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if due.len() < KEPT && due.insert((collection, instance)) {
            self.asked.notify_one();
        }
    }

    /// The next copy to be checked; its demand is taken.
    pub async fn next(&self) -> (CollectionId, InstanceId) {
        loop {
            let asked = self.asked.notified();
            if let Some(copy) = self.due.lock().unwrap_or_else(PoisonError::into_inner).pop_first() {
                return copy;
            }
            asked.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn a_doubt_is_kept_once_until_it_is_taken() {
        let (doubts, collection) = (CopyDoubts::default(), CollectionId::new(Uuid::from_u128(1)));
        for _ in 0..10 {
            doubts.note(collection, InstanceId(1));
        }
        doubts.note(collection, InstanceId(0));
        assert_eq!(doubts.next().await, (collection, InstanceId(0)));
        assert_eq!(doubts.next().await, (collection, InstanceId(1)));
        let none = tokio::time::timeout(std::time::Duration::from_millis(20), doubts.next()).await;
        assert!(none.is_err(), "each once");
    }
}
