//! When to log a state that lasts: when it begins, once a minute with a count, and when it ends.
//!
//! Pure: the clock is passed in. It decides whether a line is due, not what the line says.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The time between two log lines about the same state.
const INTERVAL: Duration = Duration::from_secs(60);
/// A state whose end is not reported counts as over when it has not been seen for this long, which is longer than any
/// pause between two attempts.
const QUIET: Duration = Duration::from_secs(45);
/// The most states of one kind that are tracked. Any beyond these are not logged.
const KEPT: usize = 1000;

/// One state that may last, such as a database that cannot be reached.
#[derive(Clone, Debug, Default)]
pub struct Lasting(Option<Since>);

#[derive(Clone, Copy, Debug)]
struct Since {
    began: Instant,
    logged: Instant,
    last: Instant,
    /// How often it was seen, including the first time.
    seen: u64,
}

/// What to log about a state that was just seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// The state begins.
    Begins,
    /// The state still lasts.
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
    /// Returns the number of times to log: 1 when the state begins, `None` when nothing is due.
    pub fn times(self) -> Option<u64> {
        match self {
            Due::Begins => Some(1),
            Due::StillLasts(lasted) => Some(lasted.times),
            Due::Nothing => None,
        }
    }
}

impl Lasting {
    /// A state that has not begun.
    pub const fn new() -> Lasting {
        Lasting(None)
    }

    /// Returns whether the state has begun and not ended.
    pub const fn has_begun(&self) -> bool {
        self.0.is_some()
    }

    /// Records that the state was seen now.
    pub fn seen(&mut self, now: Instant) -> Due {
        let Some(since) = &mut self.0 else {
            self.0 = Some(Since { began: now, logged: now, last: now, seen: 1 });
            return Due::Begins;
        };
        since.seen += 1;
        since.last = now;
        if now.saturating_duration_since(since.logged) < INTERVAL {
            return Due::Nothing;
        }
        since.logged = now;
        Due::StillLasts(since.lasted(now))
    }

    /// Records that the state is over. Returns `None` if it had not begun.
    pub fn ended(&mut self, now: Instant) -> Option<Lasted> {
        self.0.take().map(|since| since.lasted(now))
    }

    /// Returns whether the state has not been seen for a while.
    pub fn is_quiet(&self, now: Instant) -> bool {
        self.0.is_none_or(|since| now.saturating_duration_since(since.last) >= QUIET)
    }
}

/// States of one kind, told apart by name. Shared; the lock is held for a few instructions.
#[derive(Debug)]
pub struct LastingStates<K>(Mutex<BTreeMap<K, Lasting>>);

impl<K> Default for LastingStates<K> {
    fn default() -> Self {
        LastingStates(Mutex::default())
    }
}

impl<K: Ord + Clone> LastingStates<K> {
    /// Records that the state of this name was seen now.
    pub fn seen(&self, name: K, now: Instant) -> Due {
        let mut states = self.states();
        if states.len() >= KEPT && !states.contains_key(&name) {
            return Due::Nothing;
        }
        states.entry(name).or_default().seen(now)
    }

    /// Records that the state of this name is over. Returns `None` if it had not begun.
    pub fn ended(&self, name: &K, now: Instant) -> Option<Lasted> {
        self.states().remove(name)?.ended(now)
    }

    /// Ends and returns the states that have not been seen for a while.
    pub fn quiet(&self, now: Instant) -> Vec<(K, Lasted)> {
        self.quiet_where(now, |_| true)
    }

    /// Like [`LastingStates::quiet`], for these names only.
    pub fn quiet_where(&self, now: Instant, is_meant: impl Fn(&K) -> bool) -> Vec<(K, Lasted)> {
        self.end(now, |name, state| is_meant(name) && state.is_quiet(now))
    }

    /// Ends the states of these names and returns those that had begun.
    pub fn ended_where(&self, now: Instant, is_over: impl Fn(&K) -> bool) -> Vec<(K, Lasted)> {
        self.end(now, |name, _| is_over(name))
    }

    fn end(&self, now: Instant, is_over: impl Fn(&K, &Lasting) -> bool) -> Vec<(K, Lasted)> {
        let mut states = self.states();
        let over = states.iter().filter(|(name, state)| is_over(name, state));
        let names: Vec<K> = over.map(|(name, _)| name.clone()).collect();
        let ended = |name: K| states.remove(&name).and_then(|mut state| state.ended(now)).map(|lasted| (name, lasted));
        names.into_iter().filter_map(ended).collect()
    }

    fn states(&self) -> MutexGuard<'_, BTreeMap<K, Lasting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn states_are_told_apart_and_are_over_when_they_have_not_been_seen_for_a_while() {
        let (states, start) = (LastingStates::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(
            [states.seen("a", at(0)), states.seen("b", at(0)), states.seen("a", at(9))].map(Due::times),
            [Some(1), Some(1), None]
        );
        assert_eq!(states.ended(&"b", at(10)), Some(Lasted { time: Duration::from_secs(10), times: 1 }));
        assert_eq!(states.ended(&"b", at(10)), None);
        assert_eq!(states.quiet(at(9 + 44)), []);
        let quiet = states.quiet(at(9 + 45));
        assert_eq!(quiet, [("a", Lasted { time: Duration::from_secs(54), times: 2 })]);
        assert_eq!(states.quiet(at(200)), []);
        let (begun, seconds) = (states.seen("a", at(201)), |lasted: Lasted| lasted.time.as_secs());
        states.seen("b", at(201));
        let over = states.ended_where(at(204), |name| *name == "a");
        assert_eq!((begun, over.len(), seconds(over[0].1)), (Due::Begins, 1, 3));
        assert_eq!(states.seen("b", at(205)), Due::Nothing, "not that one");
        assert_eq!(states.quiet_where(at(300), |name| *name == "a"), []);
        assert_eq!(states.quiet_where(at(300), |name| *name == "b").len(), 1);
    }

    #[test]
    fn no_more_states_are_kept_than_a_log_can_tell_of() {
        let (states, now) = (LastingStates::default(), Instant::now());
        let begun = (0..2 * KEPT).filter(|number| states.seen(*number, now) == Due::Begins).count();
        assert_eq!(begun, KEPT);
    }
}
