//! Which copies have begun to be repaired in place, for reads that were in flight before: such a read may show a mix of
//! the old content and the new.
//!
//! It decides nothing: `heal/` reports here, and the proxy reads it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ids::{CollectionId, InstanceId};

/// The most copies that are remembered. Before those, any copy is assumed to have been repaired.
const REMEMBERED: usize = 4096;

/// The repairs that have begun.
#[derive(Debug, Default)]
pub struct Repairs {
    /// How many there are, so that reads take the lock only if there is a new one.
    begun: AtomicU64,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    last: HashMap<(CollectionId, InstanceId), u64>,
    /// Repairs up to this number are not remembered.
    forgotten: u64,
}

/// A moment in the order of the repairs.
#[derive(Clone, Copy, Debug)]
pub struct Before(u64);

impl Repairs {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the present moment. Must be called before an instance is chosen for a read.
    pub fn so_far(&self) -> Before {
        Before(self.begun.load(Ordering::SeqCst))
    }

    /// Notes that a repair is about to write to the copy. Only reads that were in flight before still see it.
    pub fn begins(&self, collection: CollectionId, instance: InstanceId) {
        let mut known = self.known();
        let number = self.begun.load(Ordering::SeqCst) + 1;
        if known.last.len() >= REMEMBERED {
            known.last.clear();
            known.forgotten = number - 1;
        }
        known.last.insert((collection, instance), number);
        self.begun.store(number, Ordering::SeqCst);
    }

    /// Returns whether a repair of the copy may have begun since `before`.
    pub fn since(&self, before: Before, collection: CollectionId, instance: InstanceId) -> bool {
        if self.begun.load(Ordering::SeqCst) == before.0 {
            return false;
        }
        let known = self.known();
        known.forgotten > before.0 || known.last.get(&(collection, instance)).is_some_and(|number| *number > before.0)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn collection(number: u128) -> CollectionId {
        CollectionId::new(Uuid::from_u128(number))
    }

    #[test]
    fn a_read_of_another_copy_is_not_asked_again() {
        let (repairs, here, there) = (Repairs::default(), InstanceId(0), InstanceId(1));
        let before = repairs.so_far();
        repairs.begins(collection(1), here);
        assert!(repairs.since(before, collection(1), here));
        assert!(!repairs.since(before, collection(2), here) && !repairs.since(before, collection(1), there));
        assert!(!repairs.since(repairs.so_far(), collection(1), here), "it was chosen after the repair had begun");
    }

    #[test]
    fn what_is_forgotten_may_have_been_any_copy() {
        let (repairs, here) = (Repairs::default(), InstanceId(0));
        let before = repairs.so_far();
        (0..=REMEMBERED as u128).for_each(|number| repairs.begins(collection(number), here));
        assert!(repairs.since(before, collection(1), here) && repairs.known().last.len() == 1);
        assert!(!repairs.since(repairs.so_far(), collection(1), here));
    }
}
