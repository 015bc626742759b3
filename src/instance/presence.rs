//! What the log says of an instance that goes away and returns: each departure, while they are rare; one line a minute
//! while it stays away or keeps going away; and a line when that is over.
//!
//! Pure: the clock is passed in. It decides which line is due, not what the line says.

use std::time::Instant;

use crate::lasting::{Due, Lasted, Lasting};

/// How many departures in a row are logged one by one.
const ONE_BY_ONE: u32 = 3;

/// The line that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Nothing,
    Down,
    /// It is down again, or still down.
    StillDown(Lasted),
    Returned,
    Up,
    /// It kept going away, and has now stayed up for a while.
    UpForGood(Lasted),
}

/// Whether the instance is up, according to the latest log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Up,
    Down,
}

/// One instance's departures and returns.
#[derive(Clone, Debug)]
pub(super) struct Presence {
    away: Lasting,
    departures: u32,
    told: Told,
}

impl Presence {
    /// No line has reported the instance up.
    pub const fn new() -> Presence {
        Presence { away: Lasting::new(), departures: 0, told: Told::Down }
    }

    /// Records that the instance went away.
    pub fn left(&mut self, now: Instant) -> Line {
        self.departures = self.departures.saturating_add(1);
        let line = match self.away.seen(now) {
            Due::Begins => Line::Down,
            Due::Nothing if self.departures <= ONE_BY_ONE => Line::Down,
            Due::StillLasts(lasted) => Line::StillDown(lasted),
            Due::Nothing => Line::Nothing,
        };
        if line != Line::Nothing {
            self.told = Told::Down;
        }
        line
    }

    /// Records that a probe found it still away.
    pub fn missed(&mut self, now: Instant) -> Line {
        match self.away.seen(now) {
            Due::StillLasts(lasted) => {
                self.told = Told::Down;
                Line::StillDown(lasted)
            }
            Due::Begins | Due::Nothing => Line::Nothing,
        }
    }

    /// Records that it answers and will be inspected.
    pub fn returned(&self) -> Line {
        match self.told {
            Told::Down => Line::Returned,
            Told::Up => Line::Nothing,
        }
    }

    /// Records that real traffic goes to it.
    pub fn came(&mut self) -> Line {
        // The last of many departures is not logged. The line that the instance has stayed up is.
        match std::mem::replace(&mut self.told, Told::Up) {
            Told::Down => Line::Up,
            Told::Up => Line::Nothing,
        }
    }

    /// Records that it is up and answers.
    pub fn stays(&mut self, now: Instant) -> Line {
        if !self.away.is_quiet(now) {
            return Line::Nothing;
        }
        let many = std::mem::take(&mut self.departures) > ONE_BY_ONE;
        match self.away.ended(now).filter(|_| many) {
            Some(lasted) => Line::UpForGood(lasted),
            None => Line::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn lines(seconds: std::ops::Range<u64>, mut step: impl FnMut(u64, Instant) -> Vec<Line>) -> Vec<(u64, Line)> {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let said = seconds.flat_map(|second| step(second, at(second)).into_iter().map(move |line| (second, line)));
        said.filter(|(_, line)| *line != Line::Nothing).collect()
    }

    #[test]
    fn an_instance_that_stays_away_is_told_of_once_a_minute() {
        let mut presence = Presence::new();
        let said = lines(0..700, |second, now| match second {
            0 => vec![presence.left(now)],
            1..600 => vec![presence.missed(now)],
            600 => vec![presence.returned(), presence.came()],
            _ => vec![presence.stays(now)],
        });
        let at: Vec<u64> = said.iter().map(|(second, _)| *second).collect();
        assert_eq!(at, [0, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 600], "{said:?}");
        assert_eq!((said[0].1, said[10].1, said[11].1), (Line::Down, Line::Returned, Line::Up));
        assert_eq!(said[1].1, Line::StillDown(Lasted { time: Duration::from_secs(60), times: 61 }));
    }

    #[test]
    fn an_instance_that_goes_away_every_second_is_told_of_once_a_minute() {
        let mut presence = Presence::new();
        let said = lines(0..700, |second, now| match second {
            0..600 => vec![presence.left(now), presence.returned(), presence.came(), presence.stays(now)],
            _ => vec![presence.stays(now)],
        });
        let downs = said.iter().filter(|(_, line)| matches!(line, Line::Down | Line::StillDown(_))).count();
        assert_eq!(downs, 3 + 9, "{said:?}");
        assert!(said.len() <= 3 * downs + 1, "{said:?}");
        let (last, line) = said[said.len() - 1];
        assert!(matches!(line, Line::UpForGood(Lasted { times: 600, .. })) && last < 650, "{said:?}");
    }

    #[test]
    fn a_departure_now_and_then_is_told_of_each_time() {
        let mut presence = Presence::new();
        let said = lines(0..1000, |second, now| match second % 100 {
            0 => vec![presence.left(now)],
            5 => vec![presence.returned(), presence.came()],
            _ => vec![presence.stays(now)],
        });
        assert_eq!(said.len(), 30, "{said:?}");
    }
}
