//! Marked writes, as a fault: turns a mark on and off, starts again who died of one, and lifts what was quarantined.
//!
//! As a supervisor and an operator would. Which death counts for what, the checker decides (`deaths.rs`).

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
/// Between two looks of the operator.
const LOOK: Duration = Duration::from_millis(300);

pub struct Poison {
    marks: Arc<Marks>,
    clock: Clock,
    /// When each is started again.
    dead: Vec<(usize, Instant)>,
    /// Instances that met a mark that is off, since when, until every copy is in step again.
    wounded: BTreeMap<usize, Tick>,
    look: Instant,
}

impl Poison {
    pub fn new(marks: &Arc<Marks>, clock: Clock) -> Poison {
        let marks = Arc::clone(marks);
        Poison { marks, clock, dead: Vec::new(), wounded: BTreeMap::new(), look: Instant::now() }
    }

    /// Clients send what bears a new mark once every instance that is to mind it does.
    pub fn begin(&mut self, system: &System, target: Target, effect: Effect) -> Mark {
        let mark = self.marks.fresh(effect);
        let is_meant = |index: &usize| target == Target::Instances || target == Target::Instance(*index);
        let meant = (0..system.instances()).filter(is_meant);
        meant.for_each(|index| system.lay(index, mark, &self.marks, self.clock));
        self.marks.turn_on(mark);
        mark
    }

    /// Whether it met anything.
    pub fn end(&mut self, system: &System, mark: Mark) -> bool {
        self.marks.turn_off(mark);
        system.lift(mark);
        let met = self.marks.of(mark);
        for one in &met {
            self.wounded.entry(one.instance).or_insert(one.at);
        }
        !met.is_empty()
    }

    /// Starts again what has died, unless something else is done to it (`held`). Who has died since the last call.
    pub fn supervise(&mut self, system: &mut System, held: &[usize]) -> Vec<usize> {
        let fallen = system.fallen_servers();
        self.dead.extend(fallen.iter().map(|index| (*index, Instant::now() + SUPERVISOR)));
        let due: Vec<_> = self.dead.extract_if(.., |(_, due)| *due <= Instant::now()).collect();
        for (index, _) in due.into_iter().filter(|(index, _)| !held.contains(index)) {
            system.start_server(index);
        }
        fallen
    }

    /// Lifts what is quarantined, once no mark is on. From when to when which instance did not have all of its copies, where
    /// that is over.
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

    /// What is over, or counts as over: the run goes on to repair everything.
    pub fn healed(&mut self) -> Vec<Disturbance> {
        let to = self.clock.now();
        let wound =
            |(index, from)| Disturbance { part: Part::Instance(index), from, to, what: "marked writes".to_owned() };
        std::mem::take(&mut self.wounded).into_iter().map(wound).collect()
    }
}
