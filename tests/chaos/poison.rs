//! Marked writes, as a fault: turns a mark on and off, restarts instances that died of one, and lifts quarantines.
//!
//! Acts as a supervisor and an operator would. The checker decides which death counts for what (`deaths.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::clock::Clock;
use super::driver::{Disturbance, Part};
use super::marks::{Effect, Mark, Marks};
use super::schedule::Target;
use super::system::{Copies, System};
use testkit::checker::history::Tick;

/// How long a dead server stays dead: longer than an edge needs to see it, on a busy machine.
const SUPERVISOR: Duration = Duration::from_millis(700);
/// The pause between two looks of the operator.
const LOOK: Duration = Duration::from_millis(300);

pub struct Poison {
    marks: Arc<Marks>,
    clock: Clock,
    /// When each is restarted.
    dead: Vec<(usize, Instant)>,
    /// Instances that met a mark that is now off, with the time since when, until every copy is in step again.
    wounded: BTreeMap<usize, Tick>,
    look: Instant,
}

impl Poison {
    pub fn new(marks: &Arc<Marks>, clock: Clock) -> Poison {
        let marks = Arc::clone(marks);
        Poison { marks, clock, dead: Vec::new(), wounded: BTreeMap::new(), look: Instant::now() }
    }

    /// Sets a new mark on every targeted instance, then makes clients send writes that bear it.
    pub fn begin(&mut self, system: &System, target: Target, effect: Effect) -> Mark {
        let mark = self.marks.fresh(effect);
        let is_meant = |index: &usize| target == Target::Instances || target == Target::Instance(*index);
        let meant = (0..system.instances()).filter(is_meant);
        meant.for_each(|index| system.lay(index, mark, &self.marks, self.clock));
        self.marks.turn_on(mark);
        mark
    }

    /// Turns the mark off, and returns whether it met anything.
    pub fn end(&mut self, system: &System, mark: Mark) -> bool {
        self.marks.turn_off(mark);
        system.lift(mark);
        let met = self.marks.of(mark);
        for one in &met {
            self.wounded.entry(one.instance).or_insert(one.at);
        }
        !met.is_empty()
    }

    /// Restarts what has died, unless another fault keeps it down (`held`). Returns the instances that died since the
    /// last call.
    pub fn supervise(&mut self, system: &mut System, held: &[usize]) -> Vec<usize> {
        let fallen = system.fallen_servers();
        self.dead.extend(fallen.iter().map(|index| (*index, Instant::now() + SUPERVISOR)));
        let due: Vec<_> = self.dead.extract_if(.., |(_, due)| *due <= Instant::now()).collect();
        for (index, _) in due.into_iter().filter(|(index, _)| !held.contains(index)) {
            system.start_server(index);
        }
        fallen
    }

    /// Lifts quarantines, once no mark is on. Returns the finished periods in which an instance did not have all of its
    /// copies.
    pub fn allow_again(&mut self, system: &System) -> Vec<Disturbance> {
        let waits = self.wounded.is_empty() || !self.marks.now_on().is_empty() || Instant::now() < self.look;
        if waits {
            return Vec::new();
        }
        self.look = Instant::now() + LOOK;
        match system.allow_again() {
            Some(Copies::InStep) => self.healed(),
            Some(Copies::Apart) | None => Vec::new(),
        }
    }

    /// Returns all remaining periods, which count as over: the run goes on to repair everything.
    pub fn healed(&mut self) -> Vec<Disturbance> {
        let to = self.clock.now();
        let wound =
            |(index, from)| Disturbance { part: Part::Instance(index), from, to, what: "marked writes".to_owned() };
        std::mem::take(&mut self.wounded).into_iter().map(wound).collect()
    }
}
