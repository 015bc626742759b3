//! Correct runs, by seed: a sequential model, and clients that see it from outside.
//!
//! Each write has a position in the journal and, if it is applied, a moment at which it takes effect, in the order of
//! its lane. Its client begins before that moment, and is answered after it or never. Reads show a moment within their
//! time.

use super::toy::{CATALOG, Numbers, State, Toy, ToyRun, entry_in, refused, told, unknown};
use testkit::checker::history::{Outcome, Read, Semantics, Shown, Status, Tick, Verdict};
use testkit::random::Random;

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const LANES: usize = 4;
const NEVER: Tick = Tick::MAX;
/// How many reads show the same moment.
const LOOKS: u64 = 5;

/// A correct run, and when each applied entry took effect.
pub struct Truth {
    pub run: ToyRun,
    /// By `seq` - 1. For an entry without an effect, a moment that never comes.
    effects: Vec<Tick>,
}

impl Truth {
    /// Returns the lane's visible content at this moment: the fold of all entries in effect. Knows nothing of windows.
    pub fn at(&self, lane: &str, moment: Tick) -> Shown<State> {
        self.fold(lane, |seq| self.effects[seq as usize - 1] <= moment)
    }

    /// Returns what the first entries of the journal, through `seq`, make of a lane.
    pub fn through(&self, lane: &str, seq: u64) -> Shown<State> {
        self.fold(lane, |one| one <= seq)
    }

    fn fold(&self, lane: &str, seen: impl Fn(u64) -> bool) -> Shown<State> {
        let mut state = None;
        for entry in self.run.journal.iter().filter(|entry| entry.verdict == Verdict::Applied && seen(entry.seq)) {
            match &entry.write {
                Toy::Create(created) if created == lane => state = Some(State::new()),
                Toy::Drop(dropped) if dropped == lane => state = None,
                write if entry.lane == lane => {
                    if let Some(state) = &mut state {
                        Numbers.apply(state, write);
                    }
                }
                _ => {}
            }
        }
        state.map_or(Shown::Nothing, Shown::Content)
    }

    /// Returns the last moment of the run.
    pub fn last_tick(&self) -> Tick {
        self.run
            .writes
            .iter()
            .map(|write| write.ended)
            .chain(self.effects.iter().copied().filter(|at| *at < NEVER))
            .max()
            .unwrap_or(0)
    }
}

struct Generator {
    random: Random,
    truth: Truth,
    now: Tick,
    /// By lane: its name, and the time of its last effect.
    lanes: Vec<(String, Tick)>,
    created: u64,
}

/// Returns a run with this many writes and reads.
pub fn correct(seed: u64, writes: u64, reads: u64) -> Truth {
    let mut generator = Generator {
        random: Random::new(seed),
        truth: Truth { run: ToyRun::default(), effects: Vec::new() },
        now: 100,
        lanes: Vec::new(),
        created: 0,
    };
    for number in 0..writes {
        generator.now += 1 + generator.random.below(20);
        generator.write(number);
    }
    let mut truth = generator.truth;
    let last = truth.last_tick();
    for _ in 0..reads / LOOKS {
        let lane = format!("lane {}", generator.random.below(generator.created));
        let moment = generator.random.below(last + 50);
        let shown = truth.at(&lane, moment);
        for _ in 0..LOOKS {
            let invoked = moment.saturating_sub(generator.random.below(40));
            let ended = moment + generator.random.below(40);
            truth.run.reads.push(Read { lane: lane.clone(), invoked, ended, shown: shown.clone() });
        }
    }
    let held = generator.lanes.iter().filter_map(|(lane, _)| match truth.at(lane, last) {
        Shown::Content(state) => Some((lane.clone(), state)),
        Shown::Count(_) | Shown::Nothing => None,
    });
    let held: std::collections::BTreeMap<_, _> = held.collect();
    truth.run.instances = ["one", "two"].map(|name| (name.to_owned(), held.clone())).to_vec();
    truth
}

impl Generator {
    fn write(&mut self, number: u64) {
        let token = format!("w{number}");
        let invoked = self.now - self.random.below(60);
        if self.lanes.len() < LANES && (self.lanes.is_empty() || self.random.percent(20)) {
            let lane = format!("lane {}", self.created);
            self.created += 1;
            let effect = self.effect(self.now);
            self.applied(&token, CATALOG, invoked, effect, Toy::Create(lane.clone()), Outcome::Acknowledged);
            // A client knows a collection only after the answer to its creation.
            self.now = effect + 60;
            self.lanes.push((lane, self.now));
            return;
        }
        let place = self.random.below(self.lanes.len() as u64) as usize;
        let (lane, last) = self.lanes[place].clone();
        let drops = self.random.percent(2);
        let write = if drops { Toy::Drop(lane.clone()) } else { self.record_write(number) };
        let home = if drops { CATALOG.to_owned() } else { lane };
        match self.random.below(100) {
            0..70 => {
                let effect = self.effect(last.max(self.now));
                let end = if self.random.percent(75) { Outcome::Acknowledged } else { unknown() };
                self.applied(&token, &home, invoked, effect, write, end);
                self.lanes[place].1 = effect;
                if drops {
                    self.lanes.remove(place);
                }
            }
            70..85 => self.without_effect(&token, &home, invoked, write),
            _ => {
                let outcome = if self.random.percent(50) { refused() } else { unknown() };
                let ended = invoked + self.random.below(80);
                told(&mut self.truth.run, &token, invoked, ended, outcome);
            }
        }
    }

    /// Values are never reused, so that most contents differ.
    fn record_write(&mut self, number: u64) -> Toy {
        let name = *self.random.pick(&NAMES);
        match self.random.below(10) {
            0..7 => Toy::Put(name, number),
            7 | 8 => Toy::Remove(name),
            _ => Toy::RemoveOdd,
        }
    }

    fn effect(&mut self, after: Tick) -> Tick {
        after + self.random.below(40)
    }

    fn applied(&mut self, token: &str, lane: &str, invoked: Tick, effect: Tick, write: Toy, outcome: Outcome) {
        let ended = if outcome == Outcome::Acknowledged {
            effect.max(self.now) + self.random.below(50)
        } else {
            invoked + self.random.below(200)
        };
        told(&mut self.truth.run, token, invoked, ended, outcome);
        entry_in(&mut self.truth.run, lane, token, Verdict::Applied, Status::Done, write);
        self.truth.effects.push(effect);
    }

    fn without_effect(&mut self, token: &str, lane: &str, invoked: Tick, write: Toy) {
        let (outcome, status) = if self.random.percent(50) {
            (refused(), Status::Done)
        } else {
            (unknown(), *self.random.pick(&[Status::Done, Status::Abandoned]))
        };
        let verdict = *self.random.pick(&[Verdict::Rejected, Verdict::Void]);
        let ended = self.now + self.random.below(80);
        told(&mut self.truth.run, token, invoked, ended, outcome);
        entry_in(&mut self.truth.run, lane, token, verdict, status, write);
        self.truth.effects.push(NEVER);
    }
}
