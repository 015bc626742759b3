//! When a standby leaves the journal to its holder although the lease is over.
//!
//! While the database is away no lease can be renewed: that it ran out says nothing of the edge that held it. When the
//! database is back, both edges ask at once, and a takeover costs clients the settle time and the loading of the journal.
//! So the standby lets the holder ask first, for a part of a term. It decides nothing else: the store grants leases.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;

/// A holder that lives asks within a third of a term and a pause.
const SHARE: u32 = 2;

/// What this edge has seen of the database as a standby.
#[derive(Debug, Default)]
pub(super) struct Courtesy(Mutex<Seen>);

#[derive(Clone, Copy, Debug, Default)]
enum Seen {
    /// It answers, as far as is known, and its holder with it.
    #[default]
    There,
    Away,
    Back(Instant),
    /// It has answered for long enough, and the holder has not asked.
    Over,
}

impl Courtesy {
    /// Once for each holder that was seen: a database that fails now and then leaves no journal without an owner.
    pub(super) fn database_was_away(&self) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Seen::There = *seen {
            *seen = Seen::Away;
        }
    }

    /// Whether the journal is to be left to another edge, whose lease runs or does not. The database has just answered.
    pub(super) fn is_due(&self, runs: bool, term: Duration) -> bool {
        self.is_due_at(clock::now(), runs, term)
    }

    fn is_due_at(&self, now: Instant, runs: bool, term: Duration) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Seen::Away = *seen {
            *seen = Seen::Back(now);
        }
        match *seen {
            // It has asked.
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
