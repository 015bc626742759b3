//! Executes a schedule, and records what really happened: which fault took effect, when, and on which target.
//!
//! It restarts edges that die by themselves, as a supervisor would. It counts a crash point only if the edge's log
//! names it, and a link's fault only if it affected something. Faults that took no effect are repeated at the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::clock::Clock;
use super::deaths;
use super::history::Operation;
use super::loss::{Ended, Loss, Losses, Tampered};
use super::marks::{Mark, Marks};
use super::poison::Poison;
use super::proof_points::POINTS;
use super::schedule::{ARMED, Fault, LOSS, Schedule, Step, Target};
use super::system::{Life, System};
use testkit::checker::history::Tick;
use testkit::link::{FaultLink, LinkFault};

/// Something that is not as it should be, from one moment to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disturbance {
    pub part: Part,
    pub from: Tick,
    pub to: Tick,
    pub what: String,
}

/// A part of the system that operations depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Instance(usize),
    /// The active edge and the connection to it.
    Edge,
    /// The journal and the connection to it.
    Journal,
}

/// What the driver did.
#[derive(Clone, Debug, Default)]
pub struct Done {
    pub disturbances: Vec<Disturbance>,
    /// The disturbances of instances by marked writes.
    pub wounds: Vec<Disturbance>,
    /// Faults that took effect, by kind of target and of fault.
    pub faults: BTreeMap<(&'static str, &'static str), u64>,
    /// Crash points that were reached.
    pub crashes: BTreeMap<&'static str, u64>,
    /// Collections that were changed behind the edge's back.
    pub tampered: Vec<Tampered>,
    /// The operations that the driver itself performed as a client.
    pub operations: Vec<Operation>,
    /// What the driver did, for people.
    pub log: Vec<String>,
}

/// A fault that is in effect.
struct Active {
    step: Step,
    from: Tick,
    /// The targeted edge.
    edge: usize,
    /// For a crash point: how often it had been reached before.
    met: u64,
    /// For marked writes: their mark.
    mark: Option<Mark>,
    /// For a loss of data that is over: how it ended.
    ended: Option<Ended>,
}

impl Active {
    /// Returns whether it was a crash or a loss of data, and has taken effect.
    fn is_met(&self, crashes: &BTreeMap<&'static str, u64>) -> bool {
        match self.step.fault {
            Fault::Crash(point, _) => crashes.get(point.as_str()).copied().unwrap_or(0) > self.met,
            Fault::Data(_) => self.ended.is_some(),
            _ => false,
        }
    }

    /// Returns whether it lasts until it ends by itself.
    fn is_a_loss(&self) -> bool {
        matches!(self.step.fault, Fault::Data(_))
    }
}

/// An edge that was killed so that another one takes over. If it were restarted at once, it could get the journal
/// first.
struct Waiting {
    edge: usize,
    next: usize,
    at_last: Instant,
}

pub struct Driver<'a> {
    system: &'a mut System,
    clock: Clock,
    done: Done,
    active: Vec<Active>,
    /// How much of each edge's log has been searched.
    read: Vec<usize>,
    /// Edges that ended by themselves, when they did, and when they are restarted.
    fallen: Vec<(usize, Tick, Instant)>,
    waiting: Vec<Waiting>,
    missed: Vec<Step>,
    marks: Arc<Marks>,
    poison: Poison,
    losses: Losses,
}

const TICK: Duration = Duration::from_millis(10);
/// How often faults that took no effect are repeated.
const AGAIN: u32 = 20;
/// How long to wait for a crash when it is repeated.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a supervisor takes.
const SUPERVISOR: Duration = Duration::from_millis(150);
/// The longest time between an edge's end and its detection, in nanoseconds. Other faults may have begun meanwhile.
const NOTICED: Tick = 5_000_000_000;
const STANDBY: Duration = Duration::from_secs(4);
/// How long the next edge may take until it has the journal: the lease is 1.5 s, the settle time 1 s.
const TAKEOVER: Duration = Duration::from_secs(6);

impl Driver<'_> {
    pub fn new<'a>(system: &'a mut System, clock: Clock, marks: &Arc<Marks>, seed: u64) -> Driver<'a> {
        let read = vec![0; system.edges.len()];
        Driver {
            system,
            clock,
            done: Done::default(),
            active: Vec::new(),
            read,
            fallen: Vec::new(),
            waiting: Vec::new(),
            missed: Vec::new(),
            marks: Arc::clone(marks),
            poison: Poison::new(marks, clock),
            losses: Losses::new(clock, marks, seed),
        }
    }

    /// Runs the whole schedule from now on. Then repeats the faults that took no effect, and marked writes until an
    /// edge could note `deaths` deaths.
    pub fn run(mut self, schedule: &Schedule, deaths: usize) -> Done {
        self.play(&schedule.steps);
        for _ in 0..AGAIN {
            let missed = std::mem::take(&mut self.missed);
            let mut at = Duration::from_secs(1);
            let mut again = Vec::new();
            for step in missed {
                // A crash is over when it has happened, so there is time to wait for a rare step.
                let lasting = if matches!(step.fault, Fault::Crash(..)) { PATIENCE } else { step.lasting };
                let step = Step { at, lasting, ..step };
                again.push(step);
                // The edge only reaches this point while it heals a copy: cause a loss for it to heal.
                if let Fault::Crash(point, _) = step.fault
                    && point.is_in_a_copy()
                {
                    let target = Target::Instance(again.len() % self.system.instances());
                    let loss = if point.is_in_a_repair() { Loss::Rollback } else { Loss::Wipe };
                    again.push(Step { at: at + ARMED, target, fault: Fault::Data(loss), lasting: LOSS });
                }
                at = step.end() + Duration::from_secs(1);
            }
            self.play(&again);
        }
        self.die_in_peace(deaths);
        self.count_crashes();
        self.done.wounds.extend(self.poison.healed());
        self.done.tampered = self.losses.tampered;
        self.done.operations = self.losses.operations;
        self.done
    }

    /// Kills instances with marked writes, and nothing else, until enough deaths can be noted. On a slow machine,
    /// faults can lie so close together that no edge could note any death before.
    fn die_in_peace(&mut self, least: usize) {
        for _ in 0..AGAIN {
            self.rest(deaths::NOTED);
            if deaths::noted(self.marks.deaths(), &self.done.disturbances).len() >= least {
                return;
            }
            self.play(&[Step::poison(Duration::ZERO)]);
        }
    }

    /// Does nothing new for this long.
    fn rest(&mut self, lasting: Duration) {
        let over = Instant::now() + lasting;
        while Instant::now() < over {
            self.supervise();
            std::thread::sleep(TICK);
        }
    }

    fn play(&mut self, steps: &[Step]) {
        let start = Instant::now();
        let mut stood_still = Duration::ZERO;
        let mut waiting = steps.iter().peekable();
        while waiting.peek().is_some() || !self.active.is_empty() {
            let (began, now) = (Instant::now(), start.elapsed().saturating_sub(stood_still));
            self.supervise();
            self.go_on_with_a_loss();
            let crashes = &self.done.crashes;
            let is_over = |one: &mut Active| (one.step.end() <= now && !one.is_a_loss()) || one.is_met(crashes);
            let over: Vec<Active> = self.active.extract_if(.., is_over).collect();
            over.into_iter().for_each(|one| self.end(one));
            while let Some(step) = waiting.next_if(|step| step.at <= now) {
                self.begin(*step);
            }
            // Faults follow the clock, since a schedule is made of times.
            std::thread::sleep(TICK);
            if self.losses.is_under_way() {
                stood_still += began.elapsed();
            }
        }
    }

    fn go_on_with_a_loss(&mut self) {
        self.losses.go_on(self.system);
        if let Some(ended) = self.losses.ended() {
            self.active.iter_mut().filter(|one| one.is_a_loss()).for_each(|one| one.ended = Some(ended));
        }
    }

    fn note(&mut self, text: String) {
        self.done.log.push(format!("{:8.2} s  {text}", self.clock.now() as f64 / 1e9));
    }

    fn begin(&mut self, step: Step) {
        let from = self.clock.now();
        let edge = self.victim();
        self.note(format!("begin {step} (edge {edge})"));
        let met = match step.fault {
            Fault::Crash(point, _) => self.done.crashes.get(point.as_str()).copied().unwrap_or(0),
            _ => 0,
        };
        let mut mark = None;
        match (step.target, step.fault) {
            (Target::Instance(index), Fault::Data(loss)) => self.losses.begin(loss, index),
            (target, Fault::Marked(effect)) => mark = Some(self.poison.begin(self.system, target, effect)),
            (_, Fault::Link(fault)) => self.links(step.target, edge).into_iter().for_each(|link| link.set(fault)),
            (Target::Instance(index), Fault::Kill) => self.system.kill_server(index),
            (Target::Instance(index), Fault::Stop) => self.system.stop_server(index),
            (Target::Instance(index), _) => {
                self.system.kill_server(index);
                self.system.start_server(index);
                self.system.stop_server(index);
            }
            (Target::Postgres, Fault::Stop) => self.system.stop_postgres(),
            (Target::Postgres, _) => self.system.kill_postgres(),
            (_, Fault::Kill) => self.system.kill_edge(edge),
            (_, Fault::Stop) => self.system.stop_edge(edge),
            (_, Fault::SlowStart) => {
                self.system.kill_edge(edge);
                self.system.start_edge(edge, None);
                self.system.stop_edge(edge);
            }
            (_, Fault::Crash(point, passes)) => self.arm(edge, &format!("{point}:{passes}")),
            (_, Fault::Data(_)) => {}
        }
        self.active.push(Active { step, from, edge, met, mark, ended: None });
    }

    /// Returns the active edge, or the one that is most likely active.
    fn victim(&self) -> usize {
        let alive = || (0..self.system.edges.len()).find(|index| self.system.edge_life(*index) == Life::Running);
        self.system.active().or_else(alive).unwrap_or(0)
    }

    /// Makes the edge that serves next die at this point: the standby, or the same edge after a restart.
    fn arm(&mut self, edge: usize, point: &str) {
        let next = (0..self.system.edges.len()).find(|index| *index != edge).unwrap_or(edge);
        self.system.kill_edge(next);
        self.system.start_edge(next, Some(point));
        if next != edge {
            let deadline = Instant::now() + STANDBY;
            while !self.system.stands_by(next) && Instant::now() < deadline {
                std::thread::sleep(TICK);
            }
            self.system.kill_edge(edge);
            self.waiting.push(Waiting { edge, next, at_last: Instant::now() + TAKEOVER });
        }
    }

    fn end(&mut self, over: Active) {
        self.count_crashes();
        let met = over.is_met(&self.done.crashes);
        let Active { step, from, edge, mark, ended, .. } = over;
        let effect = match step.fault {
            Fault::Link(_) => self.links(step.target, edge).into_iter().map(FaultLink::hits).sum::<u64>() > 0,
            Fault::Crash(..) => met,
            Fault::Data(_) => ended == Some(Ended::Noticed),
            Fault::Kill | Fault::Stop | Fault::SlowStart => true,
            Fault::Marked(_) => mark.is_some_and(|mark| self.poison.end(self.system, mark)),
        };
        match step.target {
            _ if mark.is_some() => {}
            Target::Clients | Target::ToInstance(_) | Target::ToJournal => {
                self.links(step.target, edge).into_iter().for_each(|link| link.set(LinkFault::None));
            }
            Target::Instances => {}
            Target::Instance(index) => {
                self.system.continue_server(index);
                self.system.start_server(index);
            }
            Target::Postgres => {
                self.system.continue_postgres();
                self.system.start_postgres();
            }
            Target::Edge => {
                self.waiting.retain(|one| one.edge != edge);
                self.system.continue_edge(edge);
                self.system.start_edge(edge, None);
            }
        }
        if effect {
            *self.done.faults.entry((step.target.kind(), step.fault.kind())).or_default() += 1;
        } else {
            self.missed.push(step);
        }
        self.note(format!("end   {step}{}", if effect { "" } else { ": met nothing" }));
        let part = match step.target {
            // The effects of marks are recorded separately.
            Target::Instances => return,
            _ if mark.is_some() => return,
            Target::Instance(index) | Target::ToInstance(index) => Part::Instance(index),
            Target::ToJournal | Target::Postgres => Part::Journal,
            Target::Clients | Target::Edge => Part::Edge,
        };
        let disturbance = Disturbance { part, from, to: self.clock.now(), what: step.to_string() };
        self.done.disturbances.push(disturbance);
    }

    fn links(&self, target: Target, edge: usize) -> Vec<&FaultLink> {
        match target {
            Target::Clients => self.system.links.iter().map(|links| &links.clients).collect(),
            Target::ToInstance(index) => self.system.links.iter().map(|links| &links.instances[index]).collect(),
            Target::ToJournal => self.system.links[edge].journal.iter().collect(),
            Target::Instances | Target::Instance(_) | Target::Edge | Target::Postgres => Vec::new(),
        }
    }

    /// Restarts what has ended by itself, and records why.
    fn supervise(&mut self) {
        let held = |one: &Active| match (one.step.target, one.mark) {
            (Target::Instance(index), None) if !one.is_a_loss() => Some(index),
            _ => None,
        };
        let held: Vec<usize> = self.active.iter().filter_map(held).collect();
        for index in self.poison.supervise(self.system, &held) {
            self.note(format!("instance {index} has ended"));
        }
        self.done.wounds.extend(self.poison.allow_again(self.system));
        for index in self.system.fallen() {
            let why = self.why(index);
            self.note(format!("edge {index} has ended: {why}"));
            self.fallen.push((index, self.clock.now(), Instant::now() + SUPERVISOR));
        }
        let system = &*self.system;
        let there = |next| system.edge_life(next) != Life::Running || system.active() == Some(next);
        let over = |one: &mut Waiting| one.at_last <= Instant::now() || there(one.next);
        let over: Vec<_> = self.waiting.extract_if(.., over).collect();
        for one in over {
            self.system.start_edge(one.edge, None);
        }
        let due: Vec<_> = self.fallen.extract_if(.., |(_, _, due)| *due <= Instant::now()).collect();
        for (index, from, _) in due {
            self.system.start_edge(index, None);
            let (from, to) = (from.saturating_sub(NOTICED), self.clock.now());
            self.done.disturbances.push(Disturbance { part: Part::Edge, from, to, what: "it had ended".to_owned() });
        }
    }

    /// Counts the crash points that this edge's log names since it was last read. Returns why the edge ended: the last
    /// of them, or otherwise the last thing that the log says.
    fn why(&mut self, index: usize) -> String {
        let log = self.system.edges[index].log();
        let fresh = log.get(self.read[index]..).unwrap_or_default();
        let mut why = None;
        for point in POINTS {
            let times = fresh.matches(&format!("crash point: {point}\n")).count();
            if times > 0 {
                *self.done.crashes.entry(point.as_str()).or_default() += times as u64;
                why = Some(point.to_string());
            }
        }
        self.read[index] = log.len();
        why.unwrap_or_else(|| log.lines().last().unwrap_or("nothing said").chars().take(120).collect())
    }

    /// Counts crashes that were not seen because the edge was killed or restarted at the same moment.
    fn count_crashes(&mut self) {
        for index in 0..self.read.len() {
            let _ = self.why(index);
        }
    }
}
