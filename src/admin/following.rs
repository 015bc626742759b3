//! Which writes an instance must have to count as following: all but the most recent ones.
//!
//! Pure: the clock is passed in. Under steady writes, some write is always still in flight.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::ids::Seq;

/// An instance that follows has every write journaled at least this long ago.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(5);

/// The recent end positions of the journal.
#[derive(Debug, Default)]
pub(super) struct Ends(Mutex<VecDeque<(Instant, Seq)>>);

impl Ends {
    /// Records the journal's current end.
    pub fn note(&self, now: Instant, end: Seq) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.push_back((now, end));
        // Only the newest of the old enough positions is needed.
        while noted.get(1).is_some_and(|(at, _)| is_old(*at, now)) {
            noted.pop_front();
        }
    }

    /// Returns the position that an instance must have reached to count as following; `None` if no position is old
    /// enough.
    pub fn to_have(&self, now: Instant) -> Option<Seq> {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.iter().rev().find(|(at, _)| is_old(*at, now)).map(|(_, end)| *end)
    }
}

fn is_old(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) >= FOLLOWS_WITHIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_a_moment_ago_may_be_lacking() {
        let (ends, start) = (Ends::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(ends.to_have(at(9000)), None, "nobody looked");
        for second in 0..8 {
            ends.note(at(1000 * second), Seq::new(10 * second));
        }
        let seen = [4999, 5000, 7000, 7500, 60_000].map(|millis| ends.to_have(at(millis)).map(Seq::get));
        assert_eq!(seen, [None, None, Some(20), Some(20), Some(70)], "what is older has been forgotten");
        for second in 8..1000 {
            ends.note(at(1000 * second), Seq::new(10 * second));
        }
        assert_eq!(ends.0.lock().unwrap().len(), 6);
    }
}
