//! Which faults happen when: data, drawn from a seed before anything runs.
//!
//! A minute has two rounds. In each, faults of every component overlap for a while. Then there are none. Then a single
//! instance is disturbed, so that the promises for tolerable faults can be checked. A minute ends with writes that kill
//! instances. The faults come from a deck that holds each kind: shuffled, not thinned. After each round come losses of
//! data, one at a time, some with an edge that dies while it makes the copy anew.

use std::fmt;
use std::time::Duration;

use super::loss::Loss;
use super::marks::Effect;
use super::plan::{Faults, Plan, Store};
use crate::proof_points::{CrashPoint, POINTS};
use testkit::link::LinkFault;
use testkit::random::Random;

/// What is done to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Link(LinkFault),
    /// SIGKILL. Restarted afterwards.
    Kill,
    /// SIGSTOP. SIGCONT afterwards.
    Stop,
    /// SIGKILL. Restarted at once under SIGSTOP (PostgreSQL: restarted late), SIGCONT afterwards.
    SlowStart,
    /// Clients send writes that are not vouched for, and that kill the target, or that the target fails.
    Marked(Effect),
    /// The target's data are lost or damaged. Ends when every copy is in step again.
    Data(Loss),
    /// The edge that serves next dies by itself when it passes this point for this many times.
    Crash(CrashPoint, u64),
}

impl Fault {
    /// Returns the name of its kind, under which it is counted.
    pub fn kind(self) -> &'static str {
        match self {
            Fault::Link(fault) => fault.as_str(),
            Fault::Kill => "kill",
            Fault::Stop => "stop",
            Fault::SlowStart => "slow start",
            Fault::Marked(Effect::Kills) => "poison",
            Fault::Marked(Effect::Fails) => "failure",
            Fault::Data(loss) => loss.as_str(),
            Fault::Crash(..) => "crash point",
        }
    }
}

/// What a fault affects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// Every connection between clients and edges.
    Clients,
    /// Every connection between the edges and this instance.
    ToInstance(usize),
    /// The connections between the active edge and PostgreSQL.
    ToJournal,
    Instance(usize),
    /// Every instance.
    Instances,
    /// The active edge.
    Edge,
    Postgres,
}

impl Target {
    /// Returns the name of its kind, under which it is counted.
    pub fn kind(self) -> &'static str {
        match self {
            Target::Clients => "clients-edge",
            Target::ToInstance(_) => "edge-instance",
            Target::ToJournal => "edge-postgres",
            Target::Instance(_) => "instance",
            Target::Instances => "instances",
            Target::Edge => "edge",
            Target::Postgres => "postgres",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::ToInstance(index) | Target::Instance(index) => write!(f, "{} {index}", self.kind()),
            _ => f.write_str(self.kind()),
        }
    }
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Since the beginning of the run.
    pub at: Duration,
    pub target: Target,
    pub fault: Fault,
    pub lasting: Duration,
}

impl Step {
    /// Creates a step with writes that kill every instance, and nothing else.
    pub fn poison(at: Duration) -> Step {
        Step { at, target: Target::Instances, fault: POISON, lasting: POISONED }
    }

    pub fn end(&self) -> Duration {
        self.at + self.lasting
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Step { at, target, fault, lasting } = self;
        write!(f, "{:7.2} s  {target}: {fault:?} for {:.2} s", at.as_secs_f64(), lasting.as_secs_f64())
    }
}

/// All faults of a run, in the order in which they begin.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub seed: u64,
    pub instances: usize,
    pub steps: Vec<Step>,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, {} instances", self.seed, self.instances)?;
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

/// The parts of a round, of which a minute has two: overlapping faults, no faults, one instance alone, no faults.
const STORM: Duration = Duration::from_secs(17);
const CALM: Duration = Duration::from_secs(5);
const WARM_UP: Duration = Duration::from_secs(2);
/// At the end of a minute: writes that kill instances, and nothing else, so that every death can be noted.
const POISONED: Duration = Duration::from_secs(4);
/// How long copies may take to be in step again.
const RESCUE: Duration = Duration::from_secs(8);
/// A loss takes as long as it takes: the schedule's clock stands still meanwhile.
pub const LOSS: Duration = Duration::from_millis(100);
pub const ARMED: Duration = Duration::from_millis(200);
const CALM_AFTER_LOSS: Duration = Duration::from_millis(500);
const POISON: Fault = Fault::Marked(Effect::Kills);

impl Schedule {
    /// Returns the faults of this plan. Equal plans have equal faults.
    pub fn draw(plan: &Plan) -> Schedule {
        let instances = plan.instances();
        if let Faults::Given { steps, .. } = &plan.faults {
            let mut steps = steps.clone();
            steps.sort_by_key(|step| step.at);
            return Schedule { seed: plan.seed, instances, steps };
        }
        let mut random = Random::new(plan.seed);
        let mut steps = Vec::new();
        let mut start = Duration::ZERO;
        for minute in 0..plan.minutes() {
            let decks = rounds(deck(&mut random, plan.store, instances, minute));
            for (cards, losses) in decks.into_iter().zip(losses(&mut random, instances)) {
                let calm = storm(&mut random, &mut steps, cards, start) + CALM;
                let alone = alone(&mut random, calm, instances);
                start = alone.end() + CALM;
                steps.push(alone);
                for (loss, point) in losses.into_iter().filter(|_| plan.loses_data()) {
                    start = lost(&mut steps, (loss, point), start) + CALM_AFTER_LOSS;
                }
            }
            let poison = Step::poison(start);
            start = poison.end() + RESCUE;
            steps.push(poison);
        }
        steps.sort_by_key(|step| step.at);
        Schedule { seed: plan.seed, instances, steps }
    }
}

type Card = (Target, Fault);

/// Returns each kind of fault at least once, shuffled.
fn deck(random: &mut Random, store: Store, instances: usize, minute: u64) -> Vec<Card> {
    let instance = |random: &mut Random| usize::try_from(random.below(instances as u64)).expect("an index");
    let mut cards: Vec<Card> = Vec::new();
    for (index, fault) in link_faults(random).into_iter().enumerate() {
        let places = if store == Store::Postgres { 3 } else { 2 };
        // In the next minute, each kind has another target.
        let target = match (index as u64 + minute) % places {
            0 => Target::ToInstance(instance(random)),
            1 => Target::Clients,
            _ => Target::ToJournal,
        };
        cards.push((target, Fault::Link(fault)));
    }
    for fault in [Fault::Kill, Fault::Stop, Fault::SlowStart] {
        cards.push((Target::Instance(instance(random)), fault));
        cards.push((Target::Edge, fault));
        if store == Store::Postgres {
            cards.push((Target::Postgres, fault));
        }
    }
    for effect in [Effect::Kills, Effect::Fails] {
        cards.push((Target::Instances, Fault::Marked(effect)));
        cards.push((Target::Instance(instance(random)), Fault::Marked(effect)));
    }
    let passed = POINTS.into_iter().filter(|point| !point.is_in_a_copy());
    for point in passed.filter(|point| store == Store::Postgres || !point.needs_two_edges()) {
        cards.push((Target::Edge, Fault::Crash(point, 1 + random.below(point.most_passes()))));
    }
    shuffle(random, &mut cards);
    cards
}

/// Splits a deck into two rounds. The edge's faults cannot overlap, so each round has half of them.
fn rounds(deck: Vec<Card>) -> [Vec<Card>; 2] {
    let mut rounds = [Vec::new(), Vec::new()];
    let (edge, others): (Vec<Card>, Vec<Card>) = deck.into_iter().partition(|(target, _)| *target == Target::Edge);
    for (index, card) in edge.into_iter().enumerate() {
        rounds[index % 2].push(card);
    }
    for (index, card) in others.into_iter().enumerate() {
        let round = &mut rounds[index % 2];
        // Between the edge's faults, not after them.
        round.insert((index * 3) % (round.len() + 1), card);
    }
    rounds
}

/// Returns each fault of a link, and those that leave writes in doubt a second time.
fn link_faults(random: &mut Random) -> Vec<LinkFault> {
    let delay = |random: &mut Random| LinkFault::Delay(Duration::from_millis(20 + random.below(280)));
    let bytes = |random: &mut Random, most| usize::try_from(random.below(most)).expect("a number of bytes");
    vec![
        LinkFault::Refuse,
        delay(random),
        LinkFault::Reset,
        LinkFault::BlackHole,
        LinkFault::HalfClose,
        LinkFault::CutResponse(bytes(random, 400)),
        LinkFault::CutRequest(bytes(random, 900)),
        LinkFault::CutResponse(0),
        LinkFault::BlackHole,
        LinkFault::HalfClose,
    ]
}

fn shuffle<T>(random: &mut Random, cards: &mut [T]) {
    for last in (1..cards.len()).rev() {
        let other = usize::try_from(random.below(last as u64 + 1)).expect("an index");
        cards.swap(last, other);
    }
}

/// Spreads these faults over a storm: one target has one fault at a time, different targets overlap. Returns its end.
fn storm(random: &mut Random, steps: &mut Vec<Step>, cards: Vec<Card>, start: Duration) -> Duration {
    let each = (STORM - WARM_UP) / u32::try_from(cards.len().max(1)).expect("a deck");
    let first = steps.len();
    for (index, (target, fault)) in cards.into_iter().enumerate() {
        let drawn = start + WARM_UP + each * u32::try_from(index).expect("a deck");
        let free = steps[first..].iter().filter(|step| step.target == target).map(Step::end).max();
        let at = free.map_or(drawn, |free| drawn.max(free + Duration::from_millis(300)));
        steps.push(Step { at, target, fault, lasting: lasting(random, fault) });
    }
    steps[first..].iter().map(Step::end).max().unwrap_or(start)
}

fn lasting(random: &mut Random, fault: Fault) -> Duration {
    let (least, span) = match fault {
        Fault::Kill => (100, 1500),
        Fault::Stop | Fault::SlowStart => (300, 2700),
        Fault::Marked(_) => (1000, 2000),
        // Ends when it is reached. A lease must expire, and the settle time must pass.
        Fault::Crash(..) => (4000, 500),
        Fault::Data(_) => (100, 1),
        Fault::Link(LinkFault::Delay(_)) => (500, 2000),
        Fault::Link(_) => (200, 1300),
    };
    Duration::from_millis(least + random.below(span))
}

/// What is lost on which target, and the crash point at which an edge dies while it heals the loss.
type Lost = ((Target, Loss), Option<CrashPoint>);

/// Returns each loss, and each crash point in a copy, in pairs for two rounds.
fn losses(random: &mut Random, instances: usize) -> [Vec<Lost>; 2] {
    let points = POINTS.into_iter().filter(|point| point.is_in_a_copy());
    let (mut repairs, mut copies): (Vec<CrashPoint>, Vec<CrashPoint>) =
        points.partition(|point| point.is_in_a_repair());
    shuffle(random, &mut repairs);
    shuffle(random, &mut copies);
    let (repaired, mut anew): (Vec<Loss>, Vec<Loss>) = Loss::ALL.into_iter().partition(|loss| loss.is_repaired());
    // A loss that makes every copy anew is repeated for each remaining point.
    anew.extend(std::iter::repeat_n(Loss::Wipe, copies.len().saturating_sub(anew.len())));
    let pairs = |kinds: Vec<Loss>, points: Vec<CrashPoint>| {
        let points = points.into_iter().map(Some).chain(std::iter::repeat(None));
        kinds.into_iter().zip(points).collect::<Vec<_>>()
    };
    let mut pairs = [pairs(repaired, repairs), pairs(anew, copies)].concat();
    shuffle(random, &mut pairs);
    let mut rounds = [Vec::new(), Vec::new()];
    for (index, (kind, point)) in pairs.into_iter().enumerate() {
        let instance = usize::try_from(random.below(instances as u64)).expect("an index");
        rounds[index % 2].push(((Target::Instance(instance), kind), point));
    }
    rounds
}

/// Adds a loss, and an edge that is armed to die of it. Returns its end. The driver delays everything else until it is
/// over.
fn lost(steps: &mut Vec<Step>, ((target, loss), point): Lost, start: Duration) -> Duration {
    let mut at = start;
    if let Some(point) = point {
        let lasting = ARMED + LOSS + ARMED;
        steps.push(Step { at, target: Target::Edge, fault: Fault::Crash(point, 1), lasting });
        at += ARMED;
    }
    let step = Step { at, target, fault: Fault::Data(loss), lasting: LOSS };
    steps.push(step);
    step.end() + ARMED
}

/// Returns a step in which one instance is disturbed, and nothing else.
fn alone(random: &mut Random, at: Duration, instances: usize) -> Step {
    let index = usize::try_from(random.below(instances as u64)).expect("an index");
    let process = [Fault::Kill, Fault::Stop, Fault::SlowStart];
    let links = [LinkFault::BlackHole, LinkFault::CutResponse(0), LinkFault::Refuse, LinkFault::HalfClose];
    let lasting = Duration::from_millis(1500 + random.below(2000));
    if random.percent(50) {
        return Step { at, target: Target::Instance(index), fault: *random.pick(&process), lasting };
    }
    Step { at, target: Target::ToInstance(index), fault: Fault::Link(*random.pick(&links)), lasting }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::plan::Losses;

    fn plan(seed: u64, store: Store) -> Plan {
        Plan { losses: Losses::Drawn, ..Plan::new(seed, Duration::from_secs(60), store) }
    }

    #[test]
    fn the_same_seed_has_the_same_faults_and_another_one_others() {
        let shown = |seed| Schedule::draw(&plan(seed, Store::Postgres)).to_string();
        assert_eq!(shown(7), shown(7));
        assert_ne!(shown(7), shown(8));
    }

    #[test]
    fn every_minute_has_every_kind_of_fault_and_every_crash_point() {
        for seed in 0..200 {
            for store in [Store::Sqlite, Store::Postgres] {
                let schedule = Schedule::draw(&plan(seed, store));
                let kinds: BTreeSet<_> = schedule.steps.iter().map(|step| step.fault.kind()).collect();
                assert_eq!(kinds.len(), 18, "{kinds:?}");
                let points: BTreeSet<_> = schedule.steps.iter().filter_map(point).collect();
                let all = POINTS.into_iter().filter(|point| store == Store::Postgres || !point.needs_two_edges());
                assert_eq!(points, all.collect());
            }
        }
    }

    fn point(step: &Step) -> Option<CrashPoint> {
        match step.fault {
            Fault::Crash(point, _) => Some(point),
            _ => None,
        }
    }

    #[test]
    fn one_target_has_one_fault_at_a_time_and_different_ones_overlap() {
        let mut overlaps = 0;
        for seed in 0..200 {
            let steps = Schedule::draw(&plan(seed, Store::Postgres)).steps;
            for (index, one) in steps.iter().enumerate() {
                for other in steps[index + 1..].iter().filter(|other| other.at < one.end()) {
                    assert_ne!(one.target, other.target, "{one} and {other}");
                    overlaps += 1;
                }
            }
        }
        assert!(overlaps > 1000, "{overlaps}");
    }
}
