//! How long it pays to wait for writers that were just answered, so that they share the next request, and how long to
//! hold what is replicated (rule R19).
//!
//! Pure: the caller measures and waits. The board decides whether to wait at all (`board/gather.rs`). A wait delays the
//! entries that are already there. It pays if it saves the others a request of their own. So it lasts at most half as
//! long as a request takes, not much longer than such writers recently took to come, and it is left out for a while
//! after they did not come. The time of two commits is added. Nothing could be sent before the first, that of the last
//! request's progress. The second, that of the writes that come, is saved again, since two requests that become one
//! need only one progress record.

use std::time::Duration;

/// The longest wait is the time that a request of the lane takes on the instance, divided by this.
const PART_OF_A_REQUEST: u32 = 2;
/// Shorter waits are left out: the timer would fire too late.
const SHORTEST: Duration = Duration::from_millis(1);
/// The most waits in a row that are left out after writers did not come.
const MOST_LEFT_OUT: u32 = 64;

/// Measurements of one lane on one instance.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    /// How long a request takes: the mean of the last few.
    request: Duration,
    /// How long it takes until all expected writers have come.
    coming: Duration,
    /// Waits in a row in which fewer than half of the writers came.
    in_vain: u32,
    /// How many more waits are left out.
    left_out: u32,
}

impl Pace {
    /// Notes how long a request took.
    pub fn took(&mut self, request: Duration) {
        self.request = recent_mean(self.request, request);
    }

    /// Returns how long to wait now: at most `most`, plus two commits, each of which takes `recording`. Zero means no wait.
    pub fn span(&mut self, most: Duration, recording: Duration) -> Duration {
        let longest = most.min(self.request / PART_OF_A_REQUEST);
        if longest < SHORTEST {
            return Duration::ZERO;
        }
        if self.left_out > 0 {
            self.left_out -= 1;
            return Duration::ZERO;
        }
        let longest = longest + recording.min(most) * 2;
        if self.coming == Duration::ZERO { longest } else { longest.min(self.coming * 2 + SHORTEST) }
    }

    /// Returns how long to hold what another instance lacks, at most `most`, so that it is sent together with what is
    /// executed here next. Zero means no hold, since nothing more is executed within that time.
    pub fn trailing(&self, most: Duration) -> Duration {
        if self.request == Duration::ZERO || self.request > most { Duration::ZERO } else { most }
    }

    /// Notes the end of a wait: how many writers were expected, how many came, and how long the wait took.
    pub fn ended(&mut self, expected: u32, came: u32, after: Duration) {
        self.coming = if came >= expected { recent_mean(self.coming, after) } else { self.coming.max(after) };
        if came.saturating_mul(2) >= expected {
            self.in_vain = 0;
        } else {
            self.in_vain = self.in_vain.saturating_add(1);
            self.left_out = 2u32.saturating_pow(self.in_vain).min(MOST_LEFT_OUT);
        }
    }
}

/// The mean of the last few values. The newest counts a quarter.
pub fn recent_mean(before: Duration, newest: Duration) -> Duration {
    if before == Duration::ZERO { newest } else { (before * 3 + newest) / 4 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const MOST: Duration = Duration::from_millis(20);

    fn pace(request: Duration) -> Pace {
        let mut pace = Pace::default();
        pace.took(request);
        pace
    }

    #[test]
    fn a_wait_is_a_small_share_of_a_request_and_never_longer_than_configured() {
        assert_eq!(pace(36 * MS).span(MOST, Duration::ZERO), 18 * MS);
        assert_eq!(pace(400 * MS).span(MOST, Duration::ZERO), MOST);
        assert_eq!(pace(36 * MS).span(MOST, 3 * MS), 24 * MS, "two commits");
        assert_eq!(pace(400 * MS).span(MOST, 500 * MS), 3 * MOST, "a slow journal holds nobody up for long");
        assert_eq!(pace(400 * MS).span(Duration::ZERO, MS), Duration::ZERO);
        assert_eq!(pace(MS).span(MOST, Duration::ZERO), Duration::ZERO, "too short for a timer");
        assert_eq!(Pace::default().span(MOST, Duration::ZERO), Duration::ZERO, "nothing was measured yet");
    }

    #[test]
    fn what_is_replicated_is_held_only_if_more_is_executed_meanwhile() {
        assert_eq!(pace(12 * MS).trailing(40 * MS), 40 * MS);
        assert_eq!(pace(41 * MS).trailing(40 * MS), Duration::ZERO);
        assert_eq!(pace(12 * MS).trailing(Duration::ZERO), Duration::ZERO);
        assert_eq!(Pace::default().trailing(40 * MS), Duration::ZERO, "nothing was measured yet");
    }

    #[test]
    fn it_follows_what_requests_take() {
        let mut pace = pace(40 * MS);
        for _ in 0..40 {
            pace.took(8 * MS);
        }
        assert!(pace.span(MOST, Duration::ZERO) < 5 * MS);
    }

    #[test]
    fn it_is_not_much_longer_than_they_took_to_come() {
        let mut pace = pace(80 * MS);
        pace.ended(16, 16, 2 * MS);
        assert_eq!(pace.span(MOST, Duration::ZERO), 5 * MS);
        pace.ended(16, 12, 5 * MS);
        assert_eq!(pace.span(MOST, Duration::ZERO), 11 * MS, "some came later than that");
    }

    #[test]
    fn when_they_do_not_come_nothing_is_waited_for_a_while_and_then_it_is_tried_again() {
        let mut pace = pace(80 * MS);
        let until_next = |pace: &mut Pace| (0..1000).position(|_| pace.span(MOST, Duration::ZERO) > Duration::ZERO);
        let left_out: Vec<_> = (0..8)
            .map(|_| {
                pace.ended(2, 0, 20 * MS);
                until_next(&mut pace)
            })
            .collect();
        assert_eq!(left_out, [2, 4, 8, 16, 32, 64, 64, 64].map(Some));
        pace.ended(2, 1, 20 * MS);
        assert_eq!(until_next(&mut pace), Some(0), "half of them came");
    }
}
