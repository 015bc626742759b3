//! Whether this process may still send writes to instances.
//!
//! One journal serves one edge at a time, and an instance cannot tell an old edge from the new one. So whoever sends
//! asks here before a write's first byte and before every piece of its body. This room only remembers until when;
//! who may hold a journal, and for how long, is decided by the store that holds it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{self, Awake};

/// The lease has ended, or was never had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this edge does not hold the journal any more")]
pub struct LeaseEnded;

/// The right to send. Shared by all who send and the one who renews it.
#[derive(Debug)]
pub struct Lease {
    /// Milliseconds of [`clock::awake`]; `u64::MAX`: for life.
    until: AtomicU64,
}

impl Lease {
    /// Never ends: nobody else can have the journal while this process lives.
    pub const fn for_life() -> Lease {
        Lease { until: AtomicU64::new(u64::MAX) }
    }

    /// Not had yet.
    pub const fn none() -> Lease {
        Lease { until: AtomicU64::new(0) }
    }

    /// `Ok` as long as the lease lasts.
    ///
    /// # Errors
    /// Once its time is over; it may be renewed later, if nobody else has taken it.
    pub fn check(&self) -> Result<(), LeaseEnded> {
        let until = self.until.load(Ordering::Acquire);
        if until == u64::MAX || clock::awake().millis() < until { Ok(()) } else { Err(LeaseEnded) }
    }

    /// It lasts for `term` from `asked`, the moment before it was asked for.
    pub fn renew(&self, asked: Awake, term: Duration) {
        let term = u64::try_from(term.as_millis()).unwrap_or(u64::MAX);
        self.until.store(asked.millis().saturating_add(term).min(u64::MAX - 1), Ordering::Release);
    }

    /// It lasts as long as this process.
    pub fn hold_for_life(&self) {
        self.until.store(u64::MAX, Ordering::Release);
    }

    /// It is over.
    pub fn end(&self) {
        self.until.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_for_its_term_and_not_before_or_after() {
        let lease = Lease::none();
        assert_eq!(lease.check(), Err(LeaseEnded));
        lease.renew(clock::awake(), Duration::from_secs(60));
        assert_eq!(lease.check(), Ok(()));
        lease.renew(clock::awake(), Duration::ZERO);
        assert_eq!(lease.check(), Err(LeaseEnded));
        lease.hold_for_life();
        assert_eq!(lease.check(), Ok(()));
        lease.end();
        assert_eq!(lease.check(), Err(LeaseEnded));
    }
}
