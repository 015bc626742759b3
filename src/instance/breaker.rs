//! Whether reads go to an instance that fails many of them (decision 0046): one instance's circuit breaker.
//!
//! Pure: the caller passes the time, and decides what counts as a failure. `proxy/read/choose.rs` decides which
//! instance serves a read instead. Probes do not matter here: an instance may answer its heartbeat and still fail
//! reads.

use std::time::{Duration, Instant};

/// When reads avoid an instance, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerRules {
    /// The percentage of reads that must fail on the instance: `health.breaker_percent`.
    pub percent: u32,
    /// The fewest reads this percentage is taken of; with 0, reads avoid no instance. `health.breaker_reads`.
    pub reads: u32,
    /// The time over which reads are counted: `health.breaker_window`.
    pub window: Duration,
    /// How long no read goes to the instance. Doubles each time it still fails afterwards. `health.breaker_pause`.
    pub pause: Duration,
}

impl Default for BreakerRules {
    fn default() -> Self {
        BreakerRules { percent: 50, reads: 20, window: Duration::from_secs(10), pause: Duration::from_secs(5) }
    }
}

/// How a read ended on an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadEnd {
    Answered,
    /// It failed or was not answered, and another instance answered it well.
    Failed,
}

/// Whether another instance could serve reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    Serve,
    /// This is the last one: reads never avoid it.
    None,
}

/// Whether reads go to the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Reads go to the instance.
    Closed,
    /// No read goes to the instance that another one can serve.
    Open,
    /// One read at a time goes to the instance, to find out whether it still fails.
    HalfOpen,
}

impl BreakerState {
    /// The name that is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half_open",
        }
    }
}

/// A change of state, to be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// `failed` of `reads` reads have failed.
    Opened {
        failed: u32,
        reads: u32,
    },
    /// The pause is over.
    HalfOpened,
    /// It failed again: no read goes to the instance for this long.
    OpenedAgain {
        pause: Duration,
    },
    Closed,
}

const PARTS: usize = 10;
/// Failures must be spread over this many parts of the window. When an instance dies, all reads under way fail at one
/// moment, and the probes report it anyway.
const SPREAD: usize = 3;
/// This many answered reads in a row close it.
const ANSWERED: u32 = 3;
/// The most times the pause is doubled.
const DOUBLINGS: u32 = 4;

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    number: u64,
    reads: u32,
    failed: u32,
}

/// The reads of the most recent window.
#[derive(Clone, Debug)]
struct Window {
    length: Duration,
    began: Instant,
    parts: [Part; PARTS],
}

impl Window {
    fn new(length: Duration, began: Instant) -> Window {
        Window { length, began, parts: [Part::default(); PARTS] }
    }

    fn add(&mut self, end: ReadEnd, now: Instant) {
        let number = self.number(now);
        let part = &mut self.parts[usize::try_from(number).unwrap_or(0) % PARTS];
        if part.number != number {
            *part = Part { number, ..Part::default() };
        }
        part.reads = part.reads.saturating_add(1);
        part.failed = part.failed.saturating_add(u32::from(end == ReadEnd::Failed));
    }

    /// Returns the number of reads, of failed reads, and of parts that contain failures.
    fn sum(&self, now: Instant) -> (u32, u32, usize) {
        let number = self.number(now);
        let recent = self.parts.iter().filter(|part| part.number + PARTS as u64 > number);
        recent.fold((0, 0, 0), |(reads, failed, parts), part| {
            (reads.saturating_add(part.reads), failed.saturating_add(part.failed), parts + usize::from(part.failed > 0))
        })
    }

    fn number(&self, now: Instant) -> u64 {
        let part = (self.length / PARTS as u32).max(Duration::from_millis(1));
        u64::try_from(now.saturating_duration_since(self.began).as_nanos() / part.as_nanos()).unwrap_or(u64::MAX / 2)
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed,
    Open { until: Instant, doubled: u32 },
    HalfOpen { answered: u32, asked: Option<Instant>, doubled: u32 },
}

/// One instance's breaker.
#[derive(Clone, Debug)]
pub struct Breaker {
    state: State,
    window: Window,
}

impl Breaker {
    /// Creates a closed breaker.
    pub fn new(rules: &BreakerRules, now: Instant) -> Breaker {
        Breaker { state: State::Closed, window: Window::new(rules.window, now) }
    }

    /// Returns the state as of the last call.
    pub const fn state(&self) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Half-opens the breaker if its pause is over.
    pub fn passed(&mut self, now: Instant) -> Option<Change> {
        let State::Open { until, doubled } = self.state else { return None };
        if now < until {
            return None;
        }
        self.state = State::HalfOpen { answered: 0, asked: None, doubled };
        Some(Change::HalfOpened)
    }

    /// Returns whether this read is the trial. There is no other until it has ended, or another pause is over.
    pub fn take_turn(&mut self, rules: &BreakerRules, now: Instant) -> bool {
        let State::HalfOpen { asked, .. } = &mut self.state else { return false };
        let is_due = asked.is_none_or(|at| now.saturating_duration_since(at) >= rules.pause);
        if is_due {
            *asked = Some(now);
        }
        is_due
    }

    /// Records that a read has ended on the instance.
    pub fn ended(&mut self, end: ReadEnd, others: Others, rules: &BreakerRules, now: Instant) -> Option<Change> {
        if self.window.length != rules.window {
            self.window = Window::new(rules.window, now);
        }
        match (self.state, end) {
            (State::Closed, _) => {
                self.window.add(end, now);
                let (reads, failed, parts) = self.window.sum(now);
                let fails = u64::from(failed) * 100 >= u64::from(reads) * u64::from(rules.percent) && parts >= SPREAD;
                if end == ReadEnd::Answered
                    || rules.reads == 0
                    || reads < rules.reads
                    || !fails
                    || others == Others::None
                {
                    return None;
                }
                self.open(rules.pause, 0, now);
                Some(Change::Opened { failed, reads })
            }
            // This read began before the breaker opened.
            (State::Open { .. }, _) => None,
            (State::HalfOpen { answered, .. }, ReadEnd::Answered) if answered + 1 >= ANSWERED => {
                *self = Breaker::new(rules, now);
                Some(Change::Closed)
            }
            (State::HalfOpen { answered, doubled, .. }, ReadEnd::Answered) => {
                self.state = State::HalfOpen { answered: answered + 1, asked: None, doubled };
                None
            }
            (State::HalfOpen { doubled, .. }, ReadEnd::Failed) if others == Others::None => {
                self.state = State::HalfOpen { answered: 0, asked: None, doubled };
                None
            }
            (State::HalfOpen { doubled, .. }, ReadEnd::Failed) => {
                let doubled = (doubled + 1).min(DOUBLINGS);
                let pause = rules.pause * 2_u32.pow(doubled);
                self.open(pause, doubled, now);
                Some(Change::OpenedAgain { pause })
            }
        }
    }

    fn open(&mut self, pause: Duration, doubled: u32, now: Instant) {
        self.window = Window::new(self.window.length, now);
        self.state = State::Open { until: now + pause, doubled };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: BreakerRules =
        BreakerRules { percent: 50, reads: 10, window: Duration::from_secs(10), pause: Duration::from_secs(5) };
    const SECOND: Duration = Duration::from_secs(1);

    fn closed() -> (Breaker, Instant) {
        let now = crate::clock::now();
        (Breaker::new(&RULES, now), now)
    }

    /// Adds this many reads with these ends each second.
    fn seconds(breaker: &mut Breaker, now: &mut Instant, count: u32, ends: &[ReadEnd], others: Others) -> Vec<Change> {
        let mut changes = Vec::new();
        for _ in 0..count {
            *now += SECOND;
            changes.extend(breaker.passed(*now));
            changes.extend(ends.iter().filter_map(|end| breaker.ended(*end, others, &RULES, *now)));
        }
        changes
    }

    fn opened() -> (Breaker, Instant) {
        let (mut breaker, mut now) = closed();
        let changes = seconds(&mut breaker, &mut now, 3, &[ReadEnd::Failed; 4], Others::Serve);
        assert!(matches!(changes[..], [Change::Opened { .. }]), "{changes:?}");
        (breaker, now)
    }

    #[test]
    fn it_opens_when_most_reads_fail_for_a_while() {
        let (mut breaker, mut now) = closed();
        let half = [ReadEnd::Failed, ReadEnd::Answered];
        assert_eq!(seconds(&mut breaker, &mut now, 5, &half, Others::Serve), [], "nine when the last one failed");
        let changes = seconds(&mut breaker, &mut now, 1, &half, Others::Serve);
        assert_eq!(changes, [Change::Opened { failed: 6, reads: 11 }]);
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[test]
    fn few_failures_or_few_reads_or_one_bad_moment_do_not_open_it() {
        let (mut breaker, mut now) = closed();
        let third = [ReadEnd::Failed, ReadEnd::Answered, ReadEnd::Answered];
        assert_eq!(seconds(&mut breaker, &mut now, 60, &third, Others::Serve), []);
        let (mut breaker, mut now) = closed();
        for _ in 0..20 {
            assert_eq!(seconds(&mut breaker, &mut now, 1, &[ReadEnd::Failed], Others::Serve), []);
            now += SECOND;
        }
        let (mut breaker, mut now) = closed();
        assert_eq!(seconds(&mut breaker, &mut now, 1, &[ReadEnd::Failed; 500], Others::Serve), [], "a death");
    }

    #[test]
    fn the_last_one_is_never_avoided() {
        let (mut breaker, mut now) = closed();
        assert_eq!(seconds(&mut breaker, &mut now, 30, &[ReadEnd::Failed; 9], Others::None), []);
        let (mut breaker, mut now) = opened();
        now += RULES.pause;
        assert_eq!(seconds(&mut breaker, &mut now, 9, &[ReadEnd::Failed], Others::None), [Change::HalfOpened]);
    }

    #[test]
    fn without_a_least_number_of_reads_it_never_opens() {
        let (mut breaker, now) = closed();
        let off = BreakerRules { reads: 0, ..RULES };
        for second in 0..30 {
            assert_eq!(breaker.ended(ReadEnd::Failed, Others::Serve, &off, now + SECOND * second), None);
        }
    }

    #[test]
    fn after_its_pause_one_read_at_a_time_finds_out() {
        let (mut breaker, mut now) = opened();
        assert_eq!(breaker.passed(now + RULES.pause - SECOND), None);
        assert!(!breaker.take_turn(&RULES, now + RULES.pause), "nobody has said that time has passed");
        now += RULES.pause;
        assert_eq!(breaker.passed(now), Some(Change::HalfOpened));
        for answered in 1..=ANSWERED {
            assert!(breaker.take_turn(&RULES, now) && !breaker.take_turn(&RULES, now));
            let change = breaker.ended(ReadEnd::Answered, Others::Serve, &RULES, now);
            assert_eq!(change, (answered == ANSWERED).then_some(Change::Closed));
        }
        assert!(!breaker.take_turn(&RULES, now), "all go there");
    }

    #[test]
    fn each_time_that_it_still_fails_the_pause_is_longer() {
        let (mut breaker, mut now) = opened();
        let mut pause = RULES.pause;
        for expected in [10, 20, 40, 80, 80] {
            now += pause;
            assert_eq!(breaker.passed(now), Some(Change::HalfOpened));
            assert!(breaker.take_turn(&RULES, now));
            pause = SECOND * expected;
            let change = breaker.ended(ReadEnd::Failed, Others::Serve, &RULES, now);
            assert_eq!(change, Some(Change::OpenedAgain { pause }));
        }
    }

    #[test]
    fn a_turn_that_nobody_hears_of_again_is_not_the_last() {
        let (mut breaker, mut now) = opened();
        now += RULES.pause;
        breaker.passed(now);
        assert!(breaker.take_turn(&RULES, now));
        assert!(!breaker.take_turn(&RULES, now + RULES.pause - SECOND));
        assert!(breaker.take_turn(&RULES, now + RULES.pause));
    }

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Ended(ReadEnd, Others),
        Turn,
        Pass(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        let end = prop_oneof![Just(ReadEnd::Answered), Just(ReadEnd::Failed)];
        let others = prop_oneof![4 => Just(Others::Serve), 1 => Just(Others::None)];
        prop_oneof![
            6 => (end, others).prop_map(|(end, others)| Event::Ended(end, others)),
            1 => Just(Event::Turn),
            3 => (1u64..4000).prop_map(Event::Pass),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens(events in proptest::collection::vec(event(), 1..400)) {
            let (mut breaker, mut now) = closed();
            let (mut fails, mut until) = (Vec::new(), None);
            for event in events {
                let before = breaker.state();
                let mut turn = false;
                let change = match event {
                    Event::Ended(end, others) => {
                        if end == ReadEnd::Failed {
                            fails.push(now);
                        }
                        let change = breaker.ended(end, others, &RULES, now);
                        if matches!(change, Some(Change::Opened { .. } | Change::OpenedAgain { .. })) {
                            prop_assert_eq!((end, others), (ReadEnd::Failed, Others::Serve));
                        }
                        change
                    }
                    Event::Turn => {
                        turn = breaker.take_turn(&RULES, now);
                        None
                    }
                    Event::Pass(millis) => {
                        now += Duration::from_millis(millis);
                        breaker.passed(now)
                    }
                };
                prop_assert!(!turn || before == BreakerState::HalfOpen);
                match change {
                    None => prop_assert_eq!(before, breaker.state()),
                    Some(Change::Opened { failed, reads }) => {
                        prop_assert!(failed * 2 >= reads && reads >= RULES.reads);
                        prop_assert!(fails.iter().filter(|at| now - **at <= RULES.window).count() >= failed as usize);
                        until = Some(now + RULES.pause);
                    }
                    Some(Change::HalfOpened) => prop_assert!(until.is_some_and(|until| now >= until)),
                    Some(Change::OpenedAgain { pause }) => {
                        prop_assert!(pause > RULES.pause && pause <= RULES.pause * 16);
                        until = Some(now + pause);
                    }
                    Some(Change::Closed) => {
                        prop_assert_eq!((before, breaker.state()), (BreakerState::HalfOpen, BreakerState::Closed));
                    }
                }
            }
        }
    }
}
