//! The rules by which an instance's phase follows from observations.
//!
//! Pure: the caller passes the time. It decides when an instance is usable. The registry decides whose observations
//! count (probes, the client, the lanes) and what is notified (logs, waiting attempts). A green heartbeat alone proves
//! little: Chroma answers it even when every write fails.

use std::time::{Duration, Instant};

/// An instance's state, as far as sending to it is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Not probed yet.
    Unknown,
    /// Usable, and preferred.
    Up,
    /// Usable, but something went unanswered: others are preferred.
    Suspect,
    /// Gone: nothing is sent to it.
    Down,
    /// Probes are green again, or for the first time, but it has not been inspected yet: it may be blank, rolled back
    /// or behind. Only the inspection is sent to it.
    Returned,
}

impl Phase {
    /// The name used in logs and pages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Unknown => "unknown",
            Phase::Up => "up",
            Phase::Suspect => "suspect",
            Phase::Down => "down",
            Phase::Returned => "returned",
        }
    }

    /// Returns whether real traffic may go to the instance.
    pub const fn usable(self) -> bool {
        matches!(self, Phase::Up | Phase::Suspect)
    }
}

/// Something observed of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Observation {
    /// A probe was answered.
    ProbeOk,
    /// A probe was not answered, or not with 200.
    ProbeFailed,
    /// It refused a connection: no process listens there.
    Refused,
    /// A request got no answer: timeout, reset or no connection.
    Unanswered,
    /// An answer that shows a dead write path behind a green heartbeat.
    Broken,
    /// A definite answer to real traffic: applied, or rejected.
    Answered,
    /// A different server answers at its address, or one with other data.
    Replaced,
}

/// The thresholds for a change of phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Failed probes in a row that make it Down.
    pub failures: u32,
    /// Broken answers in a row that make it Down.
    pub broken: u32,
    /// How long it is then held down at first, even if probes are green; doubles each time...
    pub hold: Duration,
    /// ... up to this.
    pub hold_most: Duration,
}

impl Rules {
    /// Down after this many failed probes, or 3 broken answers; held for 5 s, doubling to 60 s.
    pub const fn new(failures: u32) -> Self {
        Rules { failures, broken: 3, hold: Duration::from_secs(5), hold_most: Duration::from_secs(60) }
    }
}

/// A phase, with the counters that the rules need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    phase: Phase,
    failures: u32,
    broken: u32,
    /// How many times in a row it was held down for broken answers, without a definite answer in between.
    holds: u32,
    held_until: Option<Instant>,
}

impl Condition {
    /// The condition before the first probe.
    pub const fn new() -> Self {
        Condition { phase: Phase::Unknown, failures: 0, broken: 0, holds: 0, held_until: None }
    }

    /// The phase.
    pub const fn phase(self) -> Phase {
        self.phase
    }

    /// Returns the condition after this observation at this moment.
    #[must_use]
    pub fn after(self, seen: Observation, now: Instant, rules: &Rules) -> Self {
        match seen {
            Observation::ProbeOk => self.probed(now),
            Observation::ProbeFailed => self.probe_failed(rules),
            // The process is gone, and with it the reason for any hold: the next process starts afresh.
            Observation::Refused | Observation::Replaced => Condition { held_until: None, ..self.down() },
            Observation::Unanswered => self.suspected(),
            Observation::Broken => self.found_broken(now, rules),
            Observation::Answered => self.answered(),
        }
    }

    /// Returns the condition after an inspection found nothing against sending: Returned becomes Up; nothing else changes.
    #[must_use]
    pub fn admitted(self) -> Self {
        if self.phase == Phase::Returned { Condition { phase: Phase::Up, ..self } } else { self }
    }

    fn down(self) -> Self {
        Condition { phase: Phase::Down, failures: 0, broken: 0, ..self }
    }

    fn probed(self, now: Instant) -> Self {
        let phase = match self.phase {
            Phase::Down if self.held_until.is_some_and(|until| now < until) => Phase::Down,
            Phase::Unknown | Phase::Down | Phase::Returned => Phase::Returned,
            Phase::Up | Phase::Suspect => Phase::Up,
        };
        Condition { phase, failures: 0, ..self }
    }

    fn probe_failed(self, rules: &Rules) -> Self {
        let failures = self.failures + 1;
        if self.phase == Phase::Down {
            return self;
        }
        if failures >= rules.failures { self.down() } else { Condition { failures, ..self.suspected() } }
    }

    fn suspected(self) -> Self {
        if self.phase == Phase::Up { Condition { phase: Phase::Suspect, ..self } } else { self }
    }

    fn found_broken(self, now: Instant, rules: &Rules) -> Self {
        // A late answer to a request from before it went down is no news.
        if self.phase == Phase::Down {
            return self;
        }
        let broken = self.broken + 1;
        if broken < rules.broken {
            return Condition { broken, ..self };
        }
        let hold = rules.hold.saturating_mul(1 << self.holds.min(16)).min(rules.hold_most);
        Condition { holds: self.holds.saturating_add(1), held_until: Some(now + hold), ..self.down() }
    }

    fn answered(self) -> Self {
        let phase = if self.phase == Phase::Suspect { Phase::Up } else { self.phase };
        if self.phase == Phase::Down {
            return self;
        }
        Condition { phase, failures: 0, broken: 0, holds: 0, held_until: None }
    }
}

impl Default for Condition {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::Observation::*;
    use super::Phase::*;
    use super::*;

    const RULES: Rules = Rules::new(2);

    fn run(seen: &[Observation]) -> Condition {
        let now = Instant::now();
        seen.iter().fold(Condition::new(), |condition, seen| condition.after(*seen, now, &RULES))
    }

    fn up() -> Condition {
        run(&[ProbeOk]).admitted()
    }

    fn then(condition: Condition, seen: &[Observation]) -> Phase {
        let now = Instant::now();
        seen.iter().fold(condition, |condition, seen| condition.after(*seen, now, &RULES)).phase()
    }

    #[test]
    fn each_phase_follows_each_observation() {
        let from = |phase| match phase {
            Unknown => Condition::new(),
            Up => up(),
            Suspect => up().after(Unanswered, Instant::now(), &RULES),
            Down => run(&[Refused]),
            Returned => run(&[ProbeOk]),
        };
        let table = [
            (ProbeOk, [(Unknown, Returned), (Up, Up), (Suspect, Up), (Down, Returned), (Returned, Returned)]),
            (ProbeFailed, [(Unknown, Unknown), (Up, Suspect), (Suspect, Suspect), (Down, Down), (Returned, Returned)]),
            (Refused, [(Unknown, Down), (Up, Down), (Suspect, Down), (Down, Down), (Returned, Down)]),
            (Unanswered, [(Unknown, Unknown), (Up, Suspect), (Suspect, Suspect), (Down, Down), (Returned, Returned)]),
            (Broken, [(Unknown, Unknown), (Up, Up), (Suspect, Suspect), (Down, Down), (Returned, Returned)]),
            (Answered, [(Unknown, Unknown), (Up, Up), (Suspect, Up), (Down, Down), (Returned, Returned)]),
        ];
        for (seen, rows) in table {
            for (before, after) in rows {
                assert_eq!(from(before).phase(), before);
                assert_eq!(then(from(before), &[seen]), after, "{before:?} then {seen:?}");
            }
        }
    }

    #[test]
    fn failed_probes_in_a_row_make_it_down_from_anywhere() {
        for start in [Condition::new(), up(), run(&[ProbeOk])] {
            assert_eq!(then(start, &[ProbeFailed, ProbeFailed]), Down);
            assert_ne!(then(start, &[ProbeFailed, ProbeOk, ProbeFailed]), Down);
        }
        assert_eq!(then(up(), &[ProbeFailed, Answered, ProbeFailed]), Suspect);
        assert_eq!(then(up(), &[Unanswered, Unanswered, Unanswered]), Suspect);
    }

    #[test]
    fn only_an_inspection_lets_traffic_in_again() {
        assert_eq!(then(run(&[Refused]), &[ProbeOk, ProbeOk, Answered]), Returned);
        assert!(!Returned.usable());
        assert_eq!(run(&[Refused]).admitted().phase(), Down);
        assert_eq!(Condition::new().admitted().phase(), Unknown);
        assert_eq!(run(&[Refused, ProbeOk]).admitted().phase(), Up);
    }

    #[test]
    fn broken_answers_hold_it_down_for_longer_each_time() {
        let mut now = Instant::now();
        let mut condition = up();
        for seconds in [5, 10, 20, 40, 60, 60] {
            for _ in 0..3 {
                assert_ne!(condition.phase(), Down);
                condition = condition.after(Broken, now, &RULES).after(ProbeOk, now, &RULES);
            }
            assert_eq!(condition.phase(), Down, "green probes do not lift the hold");
            now += Duration::from_secs(seconds) - Duration::from_millis(1);
            assert_eq!(condition.after(ProbeOk, now, &RULES).phase(), Down);
            now += Duration::from_millis(1);
            condition = condition.after(ProbeOk, now, &RULES);
            assert_eq!(condition.phase(), Returned);
            condition = condition.admitted();
        }
    }

    #[test]
    fn a_definite_answer_resets_the_broken_count_and_the_hold() {
        assert_eq!(then(up(), &[Broken, Broken, Answered, Broken, Broken]), Up);
        let now = Instant::now();
        let three = |c: Condition, at| (0..3).fold(c, |c: Condition, _| c.after(Broken, at, &RULES));
        let once = three(up(), now);
        let later = now + Duration::from_secs(5);
        let again = three(once.after(ProbeOk, later, &RULES).admitted().after(Answered, later, &RULES), later);
        assert_eq!(again.phase(), Down);
        assert_eq!(again.after(ProbeOk, later + Duration::from_secs(5), &RULES).phase(), Returned);
    }

    #[test]
    fn a_process_that_is_gone_is_no_longer_held_down() {
        let now = Instant::now();
        let held = (0..3).fold(up(), |c, _| c.after(Broken, now, &RULES));
        assert_eq!(held.after(ProbeOk, now, &RULES).phase(), Down);
        assert_eq!(held.after(Refused, now, &RULES).after(ProbeOk, now, &RULES).phase(), Returned);
    }
}
