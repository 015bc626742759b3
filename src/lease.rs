//! Whether this process may still send writes to instances.
//!
//! One journal serves one edge at a time, and an instance cannot tell an old edge from the new one. So an edge checks
//! here before a write's first byte, before every piece of its body, and again once its last byte is handed over. This
//! room only remembers how long the lease lasts. The store that holds the journal decides which edge gets it, and for
//! how long.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::{self, Awake};

/// The lease has ended, has not begun, or was never held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this edge does not hold the journal now")]
pub struct LeaseEnded;

/// The right to send. Shared by all senders and the task that renews it.
#[derive(Debug)]
pub struct Lease {
    /// Milliseconds of [`clock::awake`]; nothing is sent before.
    from: AtomicU64,
    /// Milliseconds of [`clock::awake`]; `u64::MAX` means for the life of the process.
    until: AtomicU64,
    /// No new sends may begin; those under way finish within the lease.
    closed: AtomicBool,
    changed: Notify,
    /// Writes that are being sent, and those that ended too late and are not reported yet.
    sending: AtomicUsize,
    sent: Notify,
    /// Writes that are being sent or are waiting for an answer.
    unanswered: AtomicUsize,
}

impl Lease {
    /// A lease that never ends: no other process can have the journal while this one lives.
    pub const fn for_life() -> Lease {
        Lease::until(u64::MAX)
    }

    /// A lease that is not held yet.
    pub const fn none() -> Lease {
        Lease::until(0)
    }

    const fn until(until: u64) -> Lease {
        Lease {
            from: AtomicU64::new(0),
            until: AtomicU64::new(until),
            closed: AtomicBool::new(false),
            changed: Notify::const_new(),
            sending: AtomicUsize::new(0),
            sent: Notify::const_new(),
            unanswered: AtomicUsize::new(0),
        }
    }

    /// Returns `Ok` as long as the lease lasts.
    ///
    /// # Errors
    /// Before the lease has begun, and after it has ended. It can be renewed later if no other edge has taken it.
    pub fn check(&self) -> Result<(), LeaseEnded> {
        let until = self.until.load(Ordering::SeqCst);
        if until == u64::MAX {
            return Ok(());
        }
        let now = clock::awake().millis();
        if self.from.load(Ordering::SeqCst) <= now && now < until { Ok(()) } else { Err(LeaseEnded) }
    }

    /// Extends the lease to `term` after `asked`, the moment just before the renewal was requested.
    pub fn renew(&self, asked: Awake, term: Duration) {
        self.until.store(asked.after(term).millis().min(u64::MAX - 1), Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Lets nothing be sent before this moment, because requests from another edge may still be on their way.
    pub fn begin_at(&self, moment: Awake) {
        self.from.store(moment.millis(), Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Returns whether the time that requests from another edge may need to arrive has passed.
    pub fn has_begun(&self) -> bool {
        self.from.load(Ordering::SeqCst) <= clock::awake().millis()
    }

    /// Makes the lease last as long as this process.
    pub fn hold_for_life(&self) {
        self.until.store(u64::MAX, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Lets no write begin from now on, permanently. Writes under way may still be handed over while the lease lasts.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Ends the lease.
    pub fn end(&self) {
        self.until.store(0, Ordering::SeqCst);
    }

    /// Resolves as soon as the lease is held; never, once it is closed.
    pub async fn held(&self) {
        loop {
            let changed = self.changed.notified();
            if self.closed.load(Ordering::SeqCst) {
                return std::future::pending().await;
            }
            if self.check().is_ok() {
                return;
            }
            let now = clock::awake().millis();
            let begins = self.from.load(Ordering::SeqCst);
            if now < begins {
                let _ = tokio::time::timeout(Duration::from_millis(begins - now), changed).await;
            } else {
                changed.await;
            }
        }
    }

    /// Registers a write that is about to be sent.
    pub fn sending(&self) -> Sending<'_> {
        // Counted before the check: a thread that closes or ends the lease either sees this write, or this write sees
        // the change.
        self.sending.fetch_add(1, Ordering::SeqCst);
        self.unanswered.fetch_add(1, Ordering::SeqCst);
        let refused = self.closed.load(Ordering::SeqCst);
        Sending { lease: self, counted: AtomicBool::new(true), refused }
    }

    /// Returns whether an instance may still be executing a write of this edge.
    pub fn is_anything_unanswered(&self) -> bool {
        self.unanswered.load(Ordering::SeqCst) > 0
    }

    /// Resolves when no write is being sent, and every one that ended too late has been reported.
    pub async fn sends_done(&self) {
        loop {
            let sent = self.sent.notified();
            if self.sending.load(Ordering::SeqCst) == 0 {
                return;
            }
            sent.await;
        }
    }
}

/// A write on its way to an instance, and back. It counts as being sent until it is handed over while the lease lasts,
/// or until this guard is dropped. A caller that finds it was too late reports that before dropping the guard.
#[derive(Debug)]
pub struct Sending<'a> {
    lease: &'a Lease,
    counted: AtomicBool,
    /// The write would begin after the lease was closed.
    refused: bool,
}

impl Sending<'_> {
    /// Returns `Ok` if the next byte may be sent.
    ///
    /// # Errors
    /// When the lease has ended, or was closed before this write began.
    pub fn check(&self) -> Result<(), LeaseEnded> {
        if self.refused { Err(LeaseEnded) } else { self.lease.check() }
    }

    /// Records that the write's last byte has been handed to the kernel.
    ///
    /// # Errors
    /// When the lease had ended by then: another edge may have begun to send before this write was on its way.
    pub fn handed_over(&self) -> Result<(), LeaseEnded> {
        self.check()?;
        self.done();
        Ok(())
    }

    fn done(&self) {
        if self.counted.swap(false, Ordering::SeqCst) && self.lease.sending.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.lease.sent.notify_waiters();
        }
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.done();
        self.lease.unanswered.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn it_lasts_for_its_term_and_not_before_or_after() {
        let lease = Lease::none();
        assert_eq!(lease.check(), Err(LeaseEnded));
        lease.renew(clock::awake(), MINUTE);
        assert_eq!(lease.check(), Ok(()));
        lease.begin_at(clock::awake().after(MINUTE));
        assert_eq!(lease.check(), Err(LeaseEnded), "what the predecessor sent may still be on its way");
        assert!(!lease.has_begun());
        lease.begin_at(clock::awake());
        assert!(lease.has_begun());
        assert_eq!(lease.check(), Ok(()));
        lease.renew(clock::awake(), Duration::ZERO);
        assert_eq!(lease.check(), Err(LeaseEnded));
        lease.hold_for_life();
        assert_eq!(lease.check(), Ok(()));
        lease.end();
        assert_eq!(lease.check(), Err(LeaseEnded));
    }

    #[tokio::test]
    async fn who_waits_for_it_goes_on_when_it_is_renewed_and_when_it_begins() {
        let lease = Lease::none();
        let renewed = async { lease.renew(clock::awake(), MINUTE) };
        tokio::join!(biased; lease.held(), renewed);
        let begins = clock::awake().after(Duration::from_millis(20));
        lease.begin_at(begins);
        lease.held().await;
        assert!(clock::awake() >= begins);
    }

    #[tokio::test]
    async fn once_it_is_closed_what_is_under_way_ends_in_time_and_nothing_begins() {
        let lease = Lease::for_life();
        let under_way = lease.sending();
        lease.close();
        let late = lease.sending();
        assert_eq!((late.check(), under_way.check()), (Err(LeaseEnded), Ok(())));
        assert_eq!(late.handed_over(), Err(LeaseEnded));
        drop(late);
        tokio::join!(biased; lease.sends_done(), async { assert_eq!(under_way.handed_over(), Ok(())) });
        let held = tokio::time::timeout(Duration::from_millis(20), lease.held()).await;
        assert!(held.is_err(), "whoever waits to send would try again and again");
    }

    #[tokio::test]
    async fn a_write_counts_until_it_is_handed_over_in_time_or_told_of() {
        let lease = Lease::for_life();
        let (in_time, late) = (lease.sending(), lease.sending());
        assert_eq!(in_time.handed_over(), Ok(()));
        lease.end();
        assert_eq!(late.handed_over(), Err(LeaseEnded));
        assert_eq!(lease.sending.load(Ordering::SeqCst), 1, "not reported yet");
        assert!(lease.is_anything_unanswered());
        tokio::join!(biased; lease.sends_done(), async { drop(late) });
        assert!(lease.is_anything_unanswered(), "sent in time, and not answered");
        drop(in_time);
        assert_eq!((lease.sending.load(Ordering::SeqCst), lease.is_anything_unanswered()), (0, false));
    }
}
