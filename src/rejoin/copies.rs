//! When to log that collections have no second copy in step: when that has lasted a while, once a minute, and when it
//! is over.
//!
//! Pure: the clock is passed in. It decides which line is due, never what it says.

use std::time::Instant;

use crate::lasting::{Due, Lasted, Lasting};

/// The line that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Nothing,
    /// Seen this many times.
    Missing {
        times: u64,
    },
    Over(Lasted),
}

/// Whether second copies are missing, as of the last check.
#[derive(Clone, Debug, Default)]
pub(super) struct Copies {
    missing: Lasting,
    seen_before: usize,
}

impl Copies {
    /// Notes how many collections have no second copy now. Returns the line that is due.
    pub fn look(&mut self, collections: usize, now: Instant) -> Line {
        let before = std::mem::replace(&mut self.seen_before, collections);
        match (before, collections) {
            (_, 0) => self.missing.ended(now).map_or(Line::Nothing, Line::Over),
            // Not logged yet: a collection that was just created is still being copied.
            (0, _) => Line::Nothing,
            _ => match self.missing.seen(now) {
                Due::Nothing => Line::Nothing,
                due => Line::Missing { times: due.times().unwrap_or(1) },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_lasts_is_told_of_once_a_minute_and_what_passes_is_not() {
        let (mut copies, start) = (Copies::default(), Instant::now());
        let mut look = |seconds: u64, collections| copies.look(collections, start + Duration::from_secs(seconds));
        assert_eq!([look(0, 0), look(2, 1), look(4, 0), look(6, 3)], [Line::Nothing; 4]);
        let said: Vec<Line> = (4..100).map(|round| look(2 * round, 3)).filter(|line| *line != Line::Nothing).collect();
        assert_eq!(said, [1, 31, 61, 91].map(|times| Line::Missing { times }));
        assert_eq!(look(200, 0), Line::Over(Lasted { time: Duration::from_secs(192), times: 96 }));
        assert_eq!([look(202, 0), look(204, 1)], [Line::Nothing; 2]);
    }
}
