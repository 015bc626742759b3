//! Decides when a standby leaves the journal to its holder although the lease has ended.
//!
//! While the database is away, no lease can be renewed, so an expired lease says nothing about the edge that held it.
//! When the database is back, both edges ask at once, and a takeover costs clients the settle time and the loading of
//! the journal. The standby therefore lets the holder ask first, for part of a term. Granting leases is up to the
//! store.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;

/// A live holder asks within a third of a term plus a pause; half a term covers that.
const SHARE: u32 = 2;

/// What this edge, as a standby, has seen of the database.
#[derive(Debug, Default)]
pub(super) struct Courtesy(Mutex<Seen>);

#[derive(Clone, Copy, Debug, Default)]
enum Seen {
    /// As far as this edge has seen, both the database and the holder answer.
    #[default]
    There,
    Away,
    Back(Instant),
    /// The database has been back for long enough, and the holder has not asked.
    Over,
}

impl Courtesy {
    /// Records that the database was away. Has no effect again until a holder has been seen, so that a database that
    /// fails now and then cannot leave the journal without an owner.
    pub(super) fn database_was_away(&self) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Seen::There = *seen {
            *seen = Seen::Away;
        }
    }

    /// Returns whether to leave the journal to another edge. `runs`: whether that edge's lease runs. Called when the
    /// database has just answered.
    pub(super) fn is_due(&self, runs: bool, term: Duration) -> bool {
        self.is_due_at(clock::now(), runs, term)
    }

    fn is_due_at(&self, now: Instant, runs: bool, term: Duration) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Seen::Away = *seen {
            *seen = Seen::Back(now);
        }
        match *seen {
            // The holder has asked.
            _ if runs => *seen = Seen::There,
            Seen::Back(since) if now.duration_since(since) < term / SHARE => return true,
            Seen::Back(_) => *seen = Seen::Over,
            Seen::There | Seen::Away | Seen::Over => {}
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: Duration = Duration::from_secs(3);

    fn after(begin: Instant, millis: u64) -> Instant {
        begin + Duration::from_millis(millis)
    }

    #[test]
    fn a_lease_that_ran_out_while_the_database_was_there_is_taken_at_once() {
        let (courtesy, begin) = (Courtesy::default(), clock::now());
        assert!(courtesy.is_due_at(begin, true, TERM));
        assert!(!courtesy.is_due_at(after(begin, 3_000), false, TERM));
    }

    #[test]
    fn after_the_database_was_away_the_holder_may_ask_first_for_half_a_term() {
        let (courtesy, begin) = (Courtesy::default(), clock::now());
        courtesy.database_was_away();
        assert!(courtesy.is_due_at(begin, false, TERM));
        assert!(courtesy.is_due_at(after(begin, 1_499), false, TERM));
        assert!(!courtesy.is_due_at(after(begin, 1_500), false, TERM));
        courtesy.database_was_away();
        assert!(!courtesy.is_due_at(after(begin, 1_501), false, TERM), "once is enough");
        assert!(courtesy.is_due_at(after(begin, 2_000), true, TERM), "until the holder has asked");
        courtesy.database_was_away();
        assert!(courtesy.is_due_at(after(begin, 9_000), false, TERM));
    }

    #[test]
    fn a_holder_that_has_asked_and_then_dies_is_waited_for_no_longer() {
        let (courtesy, begin) = (Courtesy::default(), clock::now());
        courtesy.database_was_away();
        assert!(courtesy.is_due_at(begin, false, TERM));
        assert!(courtesy.is_due_at(after(begin, 500), true, TERM));
        assert!(!courtesy.is_due_at(after(begin, 600), false, TERM));
    }
}
