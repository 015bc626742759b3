//! When to log a state that lasts: when it begins, once a minute with a count, and when it ends.
//!
//! Pure: the clock is passed in. It decides whether a line is due, never what it says.

use std::time::{Duration, Instant};

/// Between two lines about the same state.
const INTERVAL: Duration = Duration::from_secs(60);

/// One state that may last, such as a database that cannot be reached.
#[derive(Clone, Debug, Default)]
pub struct Lasting(Option<Since>);

#[derive(Clone, Copy, Debug)]
struct Since {
    began: Instant,
    logged: Instant,
    /// How often it was seen, the first time included.
    seen: u64,
}

/// What to log about a state that was just seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// That it begins.
    Begins,
    /// That it still lasts.
    StillLasts(Lasted),
    /// Nothing: it was logged less than a minute ago.
    Nothing,
}

/// How long a state has lasted, and how often it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lasted {
    pub time: Duration,
    pub times: u64,
}

impl Due {
    /// What to log as the number of times: once when it begins, `None` when nothing is due.
    pub fn times(self) -> Option<u64> {
        match self {
            Due::Begins => Some(1),
            Due::StillLasts(lasted) => Some(lasted.times),
            Due::Nothing => None,
        }
    }
}

impl Lasting {
    /// The state was seen now.
    pub fn seen(&mut self, now: Instant) -> Due {
        let Some(since) = &mut self.0 else {
            self.0 = Some(Since { began: now, logged: now, seen: 1 });
            return Due::Begins;
        };
        since.seen += 1;
        if now.saturating_duration_since(since.logged) < INTERVAL {
            return Due::Nothing;
        }
        since.logged = now;
        Due::StillLasts(since.lasted(now))
    }

    /// The state is over. `None` if it had not begun.
    pub fn ended(&mut self, now: Instant) -> Option<Lasted> {
        self.0.take().map(|since| since.lasted(now))
    }
}

impl Since {
    fn lasted(&self, now: Instant) -> Lasted {
        Lasted { time: now.saturating_duration_since(self.began), times: self.seen }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_logged_when_it_begins_once_a_minute_and_when_it_ends() {
        let (mut state, start) = (Lasting::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(state.ended(at(0)), None, "it has not begun");
        let due: Vec<Due> = (0..150).map(|second| state.seen(at(second))).collect();
        assert_eq!(due[0], Due::Begins);
        let lines: Vec<Option<u64>> = due.iter().map(|due| due.times()).filter(Option::is_some).collect();
        assert_eq!(lines, [Some(1), Some(61), Some(121)], "one line a minute, each with the count so far");
        assert_eq!(due[60], Due::StillLasts(Lasted { time: Duration::from_secs(60), times: 61 }));
        assert_eq!(state.ended(at(150)), Some(Lasted { time: Duration::from_secs(150), times: 150 }));
        assert_eq!(state.ended(at(151)), None);
        assert_eq!(state.seen(at(152)), Due::Begins, "and again from the beginning");
    }
}
