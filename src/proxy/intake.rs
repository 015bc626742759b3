//! Decides how much of the memory for bodies each incoming body may take, and which bodies wait.
//!
//! Pure. Memory is claimed as bytes arrive, not as they are announced. While there is enough, every body is read. When
//! memory is tight, only the body that came first is read on, and the memory for its rest is kept free, so that
//! half-read bodies never starve each other. How long a body may wait or take is not decided here.

use std::collections::BTreeMap;

/// A body that is being read. Arrivals are ordered by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrival(u64);

/// The answer to a body that needs memory for bytes that have arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Granted,
    /// Wait until others give memory back.
    Wait,
}

#[derive(Clone, Copy, Debug)]
struct Incoming {
    held: u64,
    /// The most bytes that are still to come.
    left: u64,
}

/// The memory for bodies: those that are being read, and whole ones held by their requests.
#[derive(Debug)]
pub struct Intake {
    budget: u64,
    used: u64,
    /// No body is larger.
    largest: u64,
    next: u64,
    incoming: BTreeMap<Arrival, Incoming>,
}

impl Intake {
    /// An empty memory with room for this many bytes.
    pub const fn new(budget: u64) -> Intake {
        Intake { budget, used: 0, largest: 0, next: 0, incoming: BTreeMap::new() }
    }

    /// Bytes in memory.
    pub const fn used(&self) -> u64 {
        self.used
    }

    /// Bytes in memory, in percent of the budget.
    pub fn percent(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "a share of 2^53 bytes need not be exact")]
        let share = self.used as f64 / self.budget.max(1) as f64;
        share * 100.0
    }

    /// Bodies that are being read.
    pub fn incoming(&self) -> usize {
        self.incoming.len()
    }

    /// Begins a body that has at most this many bytes. It holds no memory yet.
    pub fn begin(&mut self, most: u64) -> Arrival {
        let arrival = Arrival(self.next);
        self.next += 1;
        self.largest = self.largest.max(most);
        self.incoming.insert(arrival, Incoming { held: 0, left: most });
        arrival
    }

    /// Claims memory for bytes of the body that have arrived.
    pub fn claim(&mut self, who: Arrival, bytes: u64) -> Turn {
        let Some(own) = self.incoming.get(&who).copied() else { return Turn::Wait };
        let (used, left) = (self.used + bytes, own.left.saturating_sub(bytes));
        // While there is enough for the largest body, no other body needs to be considered.
        let plenty = used.saturating_add(self.largest) <= self.budget;
        if !plenty && used.saturating_add(self.kept_free(who, left)) > self.budget {
            return Turn::Wait;
        }
        self.used = used;
        self.incoming.insert(who, Incoming { held: own.held + bytes, left });
        Turn::Granted
    }

    /// Returns what must stay free after a claim of this body, which then has `left` bytes to come: enough to finish
    /// any body that becomes the first, and those that came earlier and wait to begin.
    fn kept_free(&self, who: Arrival, left: u64) -> u64 {
        // The first of the bodies that hold something, if any does: only they can block others.
        let holds = self.incoming.iter().find(|(_, body)| body.held > 0);
        let first = holds.or_else(|| self.incoming.first_key_value()).map(|(arrival, _)| *arrival);
        if first == Some(who) {
            return 0;
        }
        let counts = |(arrival, body): &(&Arrival, &Incoming)| **arrival != who && (body.held > 0 || **arrival < who);
        self.incoming.iter().filter(counts).map(|(_, body)| body.left).fold(left, u64::max)
    }

    /// Ends the reading of a whole body and returns its size. Its bytes stay in memory until [`Intake::give_back`].
    pub fn finish(&mut self, who: Arrival) -> u64 {
        self.incoming.remove(&who).map_or(0, |body| body.held)
    }

    /// Frees the memory of a body that will not be read further.
    pub fn give_up(&mut self, who: Arrival) {
        let held = self.finish(who);
        self.give_back(held);
    }

    /// Frees the memory of a whole body.
    pub const fn give_back(&mut self, bytes: u64) {
        self.used = self.used.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PIECE: u64 = 64;

    #[test]
    fn what_is_announced_takes_nothing() {
        let mut intake = Intake::new(1000);
        let slow: Vec<Arrival> = (0..14).map(|_| intake.begin(400)).collect();
        for one in &slow {
            assert_eq!(intake.claim(*one, 1), Turn::Granted);
        }
        assert_eq!(intake.used(), 14);
        let other = intake.begin(400);
        for _ in 0..4 {
            assert_eq!(intake.claim(other, 100), Turn::Granted, "there is room for it and for the first one's rest");
        }
        assert_eq!(intake.finish(other), 400);
    }

    #[test]
    fn when_it_is_tight_only_the_first_is_read_on() {
        let mut intake = Intake::new(1000);
        let (first, second, third) = (intake.begin(400), intake.begin(400), intake.begin(400));
        for _ in 0..2 {
            for one in [first, second, third] {
                assert_eq!(intake.claim(one, 100), Turn::Granted);
            }
        }
        // 600 are used. 400 more would fill the memory, and the rest of the first must stay free.
        assert_eq!(intake.claim(second, 150), Turn::Granted);
        assert_eq!(intake.claim(third, 100), Turn::Wait);
        assert_eq!(intake.claim(second, 100), Turn::Wait);
        assert_eq!((intake.claim(first, 100), intake.claim(first, 100)), (Turn::Granted, Turn::Granted));
        let whole = intake.finish(first);
        assert_eq!(intake.claim(second, 50), Turn::Granted, "it is the first now");
        assert_eq!(intake.claim(third, 100), Turn::Wait);
        intake.give_back(whole);
        assert_eq!(intake.claim(third, 100), Turn::Granted);
    }

    #[test]
    fn who_came_earlier_and_waits_is_not_overtaken() {
        let mut intake = Intake::new(1000);
        let held = intake.begin(800);
        assert_eq!(intake.claim(held, 800), Turn::Granted);
        let held = intake.finish(held);
        let running = intake.begin(100);
        assert_eq!(intake.claim(running, 10), Turn::Granted);
        let large = intake.begin(500);
        assert_eq!(intake.claim(large, 100), Turn::Wait);
        let small = intake.begin(50);
        assert_eq!(intake.claim(small, 50), Turn::Wait, "the large one came before");
        intake.give_back(held);
        assert_eq!(intake.claim(large, 100), Turn::Granted);
        assert_eq!(intake.claim(small, 50), Turn::Granted);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Begin { size: u64, announced: bool },
        Read(usize),
        GiveUp(usize),
        Release(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            2 => (1u64..=1000, any::<bool>()).prop_map(|(size, announced)| Step::Begin { size, announced }),
            12 => any::<usize>().prop_map(Step::Read),
            1 => any::<usize>().prop_map(Step::GiveUp),
            2 => any::<usize>().prop_map(Step::Release),
        ]
    }

    /// The state of a run: bodies that are being read, with their missing bytes, and whole bodies.
    struct Run {
        intake: Intake,
        reading: Vec<(Arrival, u64)>,
        whole: Vec<u64>,
    }

    impl Run {
        /// Reads one piece, if it is granted.
        fn read(&mut self, index: usize) -> Turn {
            let (arrival, left) = self.reading[index];
            let piece = left.min(PIECE);
            let turn = self.intake.claim(arrival, piece);
            if turn == Turn::Granted {
                self.reading[index].1 -= piece;
                if left == piece {
                    self.reading.remove(index);
                    let held = self.intake.finish(arrival);
                    self.whole.push(held);
                }
            }
            turn
        }

        fn take(&mut self, step: Step) {
            match step {
                Step::Begin { size, announced } => {
                    let arrival = self.intake.begin(if announced { size } else { 1000 });
                    self.reading.push((arrival, size));
                }
                Step::Read(at) if !self.reading.is_empty() => {
                    self.read(at % self.reading.len());
                }
                Step::GiveUp(at) if !self.reading.is_empty() => {
                    let (arrival, _) = self.reading.remove(at % self.reading.len());
                    self.intake.give_up(arrival);
                }
                Step::Release(at) if !self.whole.is_empty() => {
                    let held = self.whole.remove(at % self.whole.len());
                    self.intake.give_back(held);
                }
                Step::Read(_) | Step::GiveUp(_) | Step::Release(_) => {}
            }
        }
    }

    proptest! {
        #[test]
        fn it_never_exceeds_its_budget_and_every_body_can_be_read_to_its_end(
            steps in proptest::collection::vec(step(), 0..400),
            budget in 1000u64..3000,
        ) {
            let mut run = Run { intake: Intake::new(budget), reading: Vec::new(), whole: Vec::new() };
            for step in steps {
                run.take(step);
                prop_assert!(run.intake.used() <= budget);
            }
            // Whole bodies are executed eventually, whatever comes in. Then some body can always be read on.
            while !run.reading.is_empty() {
                for held in std::mem::take(&mut run.whole) {
                    run.intake.give_back(held);
                }
                let granted = (0..run.reading.len()).any(|at| run.read(at) == Turn::Granted);
                prop_assert!(granted, "{:?}", run.intake);
            }
            for held in run.whole {
                run.intake.give_back(held);
            }
            prop_assert_eq!(run.intake.used(), 0);
        }
    }
}
