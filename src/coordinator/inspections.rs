//! Which instances are to be inspected. At most one demand for each: none is lost, however many there are.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::ids::InstanceId;

/// Demands for inspections.
#[derive(Debug, Default)]
pub struct Inspections {
    due: Mutex<BTreeSet<InstanceId>>,
    asked: Notify,
}

impl Inspections {
    /// The instance is to be inspected.
    pub fn ask(&self, instance: InstanceId) {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).insert(instance);
        self.asked.notify_one();
    }

    /// The next instance to be inspected; its demand is taken.
    pub async fn next(&self) -> InstanceId {
        loop {
            let asked = self.asked.notified();
            if let Some(instance) = self.due.lock().unwrap_or_else(PoisonError::into_inner).pop_first() {
                return instance;
            }
            asked.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_demand_is_kept_once_until_it_is_taken() {
        let inspections = Inspections::default();
        for _ in 0..1000 {
            inspections.ask(InstanceId(1));
        }
        inspections.ask(InstanceId(0));
        assert_eq!(inspections.next().await, InstanceId(0));
        assert_eq!(inspections.next().await, InstanceId(1));
        let none = tokio::time::timeout(std::time::Duration::from_millis(20), inspections.next()).await;
        assert!(none.is_err(), "each once");
    }
}
