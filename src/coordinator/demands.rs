//! Demands to check something that is in doubt. There is at most one demand for each thing. Below the limit none is
//! lost, however often it is made.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::ids::{CollectionId, InstanceId};

/// The most demands that are remembered. The next doubt repeats any beyond these.
const KEPT: usize = 1024;

/// Instances to inspect.
pub type Inspections = Demands<InstanceId>;
/// Copies to check, because they failed a request that another copy answered.
pub type CopyDoubts = Demands<(CollectionId, InstanceId)>;

/// The things that are to be checked.
#[derive(Debug)]
pub struct Demands<T> {
    due: Mutex<BTreeSet<T>>,
    asked: Notify,
}

impl<T> Default for Demands<T> {
    fn default() -> Self {
        Demands { due: Mutex::default(), asked: Notify::new() }
    }
}

impl<T: Ord> Demands<T> {
    /// Demands a check of this.
    pub fn ask(&self, what: T) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if due.len() < KEPT && due.insert(what) {
            self.asked.notify_one();
        }
    }

    /// Waits for the next demand and takes it.
    pub async fn next(&self) -> T {
        loop {
            let asked = self.asked.notified();
            if let Some(what) = self.due.lock().unwrap_or_else(PoisonError::into_inner).pop_first() {
                return what;
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

    #[tokio::test]
    async fn demands_are_not_remembered_without_end() {
        let demands = Demands::default();
        (0..2 * KEPT).for_each(|number| demands.ask(number));
        for number in 0..KEPT {
            assert_eq!(demands.next().await, number);
        }
        let none = tokio::time::timeout(std::time::Duration::from_millis(20), demands.next()).await;
        assert!(none.is_err());
    }
}
