//! How many requests are under way at one instance, and whether there was more than one when it died.
//!
//! It counts. The rules of `order/` decide which entry to blame for a death.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::traffic::Traffic;
use crate::clock;

/// When an instance dies, all its connections break at once. The first caller to check must count requests that are
/// still under way as well as those that have just ended.
const AT_ONCE: Duration = Duration::from_millis(250);
/// Stands for no moment at all.
const NEVER: u64 = u64::MAX;

/// Whether an instance had one request under way, or several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flights {
    One,
    Several,
}

/// A request under way to an instance, counted until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct InFlight(Arc<Load>);

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::Relaxed) > 1 {
            self.0.note_shared();
        }
    }
}

/// The requests under way at one instance.
#[derive(Debug)]
pub(super) struct Load {
    count: AtomicUsize,
    traffic: Traffic,
    begun: Instant,
    /// The last time more than one was under way, in milliseconds since `begun`.
    shared: AtomicU64,
}

impl Load {
    pub fn new() -> Arc<Load> {
        Arc::new(Load {
            count: AtomicUsize::new(0),
            traffic: Traffic::default(),
            begun: clock::now(),
            shared: AtomicU64::new(NEVER),
        })
    }

    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Counts one more request until the guard is dropped.
    pub fn enter(self: &Arc<Self>) -> InFlight {
        if self.count.fetch_add(1, Ordering::Relaxed) > 0 {
            self.note_shared();
        }
        InFlight(Arc::clone(self))
    }

    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Returns whether a request that has just ended was alone.
    pub fn flights(&self) -> Flights {
        let shared = self.shared.load(Ordering::Relaxed);
        let recently = shared != NEVER && self.millis().saturating_sub(shared) <= AT_ONCE.as_millis() as u64;
        if recently || self.count() > 0 { Flights::Several } else { Flights::One }
    }

    fn note_shared(&self) {
        self.shared.store(self.millis(), Ordering::Relaxed);
    }

    fn millis(&self) -> u64 {
        u64::try_from(clock::now().duration_since(self.begun).as_millis()).unwrap_or(NEVER - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_alone_and_who_was_not() {
        let load = Load::new();
        drop(load.enter());
        assert_eq!(load.flights(), Flights::One);
        let (first, second) = (load.enter(), load.enter());
        drop(first);
        assert_eq!(load.flights(), Flights::Several, "another is under way");
        drop(second);
        assert_eq!((load.count(), load.flights()), (0, Flights::Several), "another ended at the same moment");
        std::thread::sleep(AT_ONCE + Duration::from_millis(50));
        drop(load.enter());
        assert_eq!(load.flights(), Flights::One, "long ago");
    }
}
