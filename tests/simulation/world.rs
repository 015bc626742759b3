//! The simulated world: the board, its journal, its instances, its shell, and what goes wrong.
//!
//! One call of [`World::advance`] lets one thing happen, chosen by the seed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use chroma_edge::ids::{CollectionId, InstanceId, InstanceName, LaneId, Seq};
use chroma_edge::order::{Acknowledge, Board, Comparison, Effect, Examination, Input, Reach, Step, Verdict};

use crate::body::{Body, Flaw};
use crate::counters::Counters;
use crate::instance::{Instance, Power};
use crate::invariants::Facts;
use crate::journal::{Commit, Journal, LIMITS};
use crate::requests::Request;
use crate::rng::Rng;
use crate::workload;

/// Whether things go wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Weather {
    Storm,
    /// Nothing new comes in and nothing breaks: everything must come to rest.
    Calm,
}

/// How a seed's world behaves: some seeds break all the time, others get much done.
#[derive(Clone, Copy, Debug)]
pub struct Temper {
    /// Of a thousand writes, so many go to the catalog.
    pub catalog: u64,
    /// Of a thousand chances to write, clients take so many.
    pub writes: u64,
    /// Of a thousand writes to records, so many are refused.
    pub refusals: u64,
    /// Of a thousand things that could break, so many do.
    pub breaks: u64,
    /// Of a thousand requests, so many go wrong in some way.
    pub loses: u64,
}

impl Temper {
    fn new(rng: &mut Rng) -> Self {
        Temper {
            catalog: [20, 60, 200][rng.below(3)],
            writes: [120, 500, 1000][rng.below(3)],
            refusals: [40, 70, 300][rng.below(3)],
            breaks: [100, 400, 1000][rng.below(3)],
            loses: [100, 400, 1000][rng.below(3)],
        }
    }
}

pub struct World {
    pub rng: Rng,
    pub temper: Temper,
    pub board: Board,
    pub journal: Journal,
    pub instances: Vec<Instance>,
    /// What the board has been told of each instance.
    pub reach: Vec<Reach>,
    pub requests: Vec<Request>,
    /// Requests nobody waits for any more: they may be executed until calm is reported for their place.
    pub abandoned: Vec<Request>,
    pub rests: BTreeMap<(LaneId, InstanceId), u64>,
    pub examinations: Vec<(LaneId, Seq)>,
    pub inspections: BTreeSet<InstanceId>,
    pub notices: VecDeque<(Input, Vec<(Seq, Verdict)>)>,
    /// Comparisons made, not yet reported.
    pub compared: Vec<Comparison>,
    pub unequal: HashSet<(CollectionId, InstanceId)>,
    pub heard_of: Vec<CollectionId>,
    pub facts: Facts,
    pub counters: Counters,
    pub weather: Weather,
    pub now: u64,
    trace: VecDeque<String>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let count = 2 + rng.below(3).min(1 + rng.below(2));
        let temper = Temper::new(&mut rng);
        let names: Vec<_> = (0..count).map(name).collect();
        let mut world = World {
            rng,
            temper,
            board: Board::new(names.clone(), LIMITS),
            journal: Journal::new(names),
            instances: (0..count).map(Instance::new).collect(),
            reach: vec![Reach::Away; count],
            requests: Vec::new(),
            abandoned: Vec::new(),
            rests: BTreeMap::new(),
            examinations: Vec::new(),
            inspections: BTreeSet::new(),
            notices: VecDeque::new(),
            compared: Vec::new(),
            unequal: HashSet::new(),
            heard_of: Vec::new(),
            facts: Facts::default(),
            counters: Counters::default(),
            weather: Weather::Storm,
            now: 0,
            trace: VecDeque::new(),
        };
        for index in 0..count {
            world.probe(InstanceId(index));
        }
        world
    }

    pub fn note(&mut self, text: String) {
        if self.trace.len() >= 200 {
            self.trace.pop_front();
        }
        self.trace.push_back(format!("{:>6} {text}", self.now));
    }

    pub fn report(&self, seed: u64, cause: &str) -> String {
        let events: Vec<_> = self.trace.iter().map(String::as_str).collect();
        format!("SEED={seed} STEP={} {cause}\n{}\n", self.now, events.join("\n"))
    }

    /// Gives the board one input, and takes what it wants done.
    pub fn tell(&mut self, input: Input) {
        self.note(format!("in  {input:?}"));
        let effects = self.board.step(input);
        self.take(effects);
    }

    pub fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            self.note(format!("out {effect:?}"));
            self.check_effect(&effect);
            match effect {
                Effect::Send { lane, instance, seqs, purpose, repeat, .. } => {
                    self.requests.push(Request::send(lane, instance, seqs, purpose, repeat));
                }
                Effect::ReadIds { lane, instance, seq, .. } => self.requests.push(Request::read(lane, instance, seq)),
                Effect::Record { lane, instance, record } => {
                    self.journal.queue.push_back(Commit::Record { lane, instance, record });
                }
                Effect::Note { record } => self.journal.queue.push_back(Commit::Note { record }),
                Effect::RecordVoids { lane, seqs } => self.journal.queue.push_back(Commit::Voids { lane, seqs }),
                Effect::Answer { .. } => {}
                Effect::AwaitCalm { lane, instance, rest, .. } => {
                    self.rests.insert((lane, instance), rest);
                }
                Effect::Inspect { instance } => {
                    self.inspections.insert(instance);
                }
                Effect::Examine { lane, seq } => self.examinations.push((lane, seq)),
            }
        }
    }

    /// Lets one thing happen.
    pub fn advance(&mut self) {
        self.now += 1;
        let storm = self.weather == Weather::Storm;
        match self.rng.below(1000) {
            0..350 => self.some_request(),
            350..500 => self.flush(),
            500..660 => self.some_notice(),
            660..740 => self.some_calm(),
            740..780 => self.some_probe(),
            780..788 => self.some_examination(),
            788..790 => self.tell(Input::LookAgain),
            790..820 => self.some_comparison(),
            820..840 => self.inspect(),
            _ if !storm => self.some_notice(),
            // Lulls, so that lanes come to rest now and then and can be compared.
            840..940 if self.now % 400 < 250 && self.rng.chance(self.temper.writes) => self.client_writes(),
            840..940 => self.some_comparison(),
            940..960 => self.late_execution(),
            960..965 => self.client_gives_up(),
            965..970 => self.trim(),
            _ if !self.rng.chance(self.temper.breaks) => self.some_request(),
            970..990 => self.change_power(),
            990..997 => self.crash(),
            _ => self.configure_another(),
        }
        self.check_state();
    }

    fn pick(&mut self, count: usize) -> Option<usize> {
        (count > 0).then(|| self.rng.below(count))
    }

    pub fn some_request(&mut self) {
        if let Some(at) = self.pick(self.requests.len()) {
            self.progress(at);
        }
    }

    pub fn flush(&mut self) {
        let most = 1 + self.rng.below(6);
        let told = self.journal.flush(most);
        self.check_durable(&told);
        self.notices.extend(told);
    }

    pub fn some_notice(&mut self) {
        if let Some((input, _)) = self.notices.pop_front() {
            self.tell(input);
        }
    }

    fn some_calm(&mut self) {
        let ready: Vec<_> = self.rests.keys().copied().filter(|(_, instance)| self.there(*instance)).collect();
        if let Some(at) = self.pick(ready.len()) {
            let (lane, instance) = ready[at];
            // From now on nothing abandoned there is executed any more.
            self.abandoned.retain(|request| (request.lane, request.instance) != (lane, instance));
            if let Some(rest) = self.rests.remove(&(lane, instance)) {
                self.tell(Input::Calm { lane, instance, rest });
            }
        }
    }

    fn there(&self, instance: InstanceId) -> bool {
        self.instances[instance.0].power == Power::Up && self.reach[instance.0] != Reach::Away
    }

    fn some_probe(&mut self) {
        let at = self.rng.below(self.reach.len());
        self.probe(InstanceId(at));
    }

    pub fn probe(&mut self, instance: InstanceId) {
        let suspect = self.weather == Weather::Storm && self.rng.chance(50);
        let reach = match self.instances[instance.0].power {
            Power::Up if suspect => Reach::Suspect,
            Power::Up => Reach::Here,
            Power::Hung | Power::Down => Reach::Away,
        };
        if self.reach[instance.0] != reach {
            self.reach[instance.0] = reach;
            self.tell(Input::Reached { instance, reach });
        }
    }

    fn some_examination(&mut self) {
        let Some(at) = self.pick(self.examinations.len()) else { return };
        let (lane, seq) = self.examinations.swap_remove(at);
        let LaneId::Records(collection) = lane else { return };
        let in_step: Vec<_> =
            self.journal.instances().filter(|i| self.board.step_of(collection, *i) == Step::In).collect();
        let hasty = self.rng.chance(300);
        let absent = !hasty && in_step.iter().all(|i| self.there(*i) && !self.facts.executed(*i, seq));
        let shows = if absent { Examination::AbsentEverywhere } else { Examination::Unclear };
        if !absent {
            self.counters.count("examination unclear");
        }
        self.tell(Input::Examined { lane, seq, shows });
    }

    fn some_comparison(&mut self) {
        if let Some(at) = self.pick(self.compared.len())
            && self.rng.chance(500)
        {
            let comparison = self.compared.swap_remove(at);
            self.tell(Input::FoundEqual(comparison));
            return;
        }
        let possible = self.board.comparisons();
        if let Some(at) = self.pick(possible.len()) {
            let comparison = possible[at].clone();
            let place = (comparison.collection, comparison.instance);
            if !(self.there(comparison.instance) && self.there(comparison.reference)) {
                return;
            }
            if self.same_content(&comparison) {
                self.compared.push(comparison);
            } else if self.unequal.insert(place) {
                self.counters.count("found unequal");
            }
        }
    }

    fn inspect(&mut self) {
        let Some(instance) = self.inspections.pop_first() else { return };
        if !self.there(instance) {
            self.inspections.insert(instance);
            return;
        }
        let held = &self.instances[instance.0].collections;
        let missing = |id: &CollectionId| {
            let mapped = self.board.catalog().mapping(*id, instance);
            mapped.is_some_and(|mapped| !held.contains_key(&mapped.uuid()))
        };
        let mut collections: Vec<_> = self.board.catalog().collections().map(|c| c.id).filter(missing).collect();
        collections.sort();
        if !collections.is_empty() {
            self.counters.count("missing reported");
            self.tell(Input::Missing { instance, collections });
        }
    }

    fn client_writes(&mut self) {
        let open = self.journal.rows.values().rev().take(80).filter(|row| row.verdict.is_none()).count();
        if open + self.journal.queue.len() > 60 {
            return;
        }
        for _ in 0..1 + self.rng.below(3) {
            let mut known: Vec<_> = self.board.catalog().collections().map(|c| c.id).collect();
            known.sort();
            if self.rng.chance(40) {
                known.extend(self.heard_of.last());
            }
            let row = workload::draft(&mut self.rng, self.temper, &known);
            if let LaneId::Records(collection) = row.lane
                && !self.heard_of.contains(&collection)
            {
                self.heard_of.push(collection);
            }
            self.journal.queue.push_back(Commit::Append(row));
        }
    }

    fn client_gives_up(&mut self) {
        let open: Vec<_> = self
            .journal
            .rows
            .values()
            .rev()
            .take(40)
            .filter(|row| row.verdict.is_none() && !self.facts.answered(row.seq))
            .map(|row| (row.lane, row.seq))
            .collect();
        if let Some(at) = self.pick(open.len()) {
            let (lane, seq) = open[at];
            self.counters.count("client gave up");
            self.tell(Input::Unattended { lane, seq });
        }
    }

    fn change_power(&mut self) {
        let at = self.rng.below(self.instances.len());
        let power = match (self.instances[at].power, self.rng.below(3)) {
            (Power::Up, 0) => Power::Hung,
            (Power::Up, _) => Power::Down,
            (Power::Hung | Power::Down, _) => Power::Up,
        };
        self.set_power(InstanceId(at), power);
    }

    pub fn set_power(&mut self, instance: InstanceId, power: Power) {
        self.note(format!("{instance:?} is {power:?}"));
        if power == Power::Down {
            self.kill(instance);
        }
        self.instances[instance.0].power = power;
    }

    fn trim(&mut self) {
        let lanes: Vec<_> = self.journal.lanes.keys().copied().collect();
        if let Some(at) = self.pick(lanes.len())
            && self.journal.trim(lanes[at])
        {
            self.counters.count("trimmed");
        }
    }

    /// The edge is killed and started again: only what is durable is left.
    pub fn crash(&mut self) {
        self.counters.count("crash of the edge");
        self.note("the edge crashes".to_owned());
        let under_way = std::mem::take(&mut self.requests);
        self.abandoned.extend(under_way.into_iter().filter(Request::may_still_execute));
        self.rests.clear();
        self.examinations.clear();
        self.inspections.clear();
        self.notices.clear();
        self.compared.clear();
        self.facts.new_epoch();
        self.reach = vec![Reach::Away; self.instances.len()];
        let (board, effects) = self.journal.restart();
        self.board = board;
        if effects.iter().any(|effect| matches!(effect, Effect::AwaitCalm { .. })) {
            self.counters.count("restored with doubt");
        }
        if effects.iter().any(|effect| matches!(effect, Effect::Note { .. })) {
            self.counters.count("below the floor");
        }
        self.take(effects);
    }

    /// A blank instance is added to the configuration, which takes a restart of the edge.
    fn configure_another(&mut self) {
        if self.instances.len() >= 4 || !self.rng.chance(150) {
            return;
        }
        let index = self.instances.len();
        self.note(format!("instance {index} is configured"));
        self.journal.configure(name(index));
        self.instances.push(Instance::new(index));
        self.crash();
    }

    /// Whether the entry is never answered by any instance.
    pub fn unanswerable(&self, seq: Seq) -> bool {
        matches!(self.journal.rows.get(&seq).map(|row| &row.body), Some(Body::Write { flaw: Flaw::Unanswerable, .. }))
    }

    pub fn recorded_answers(&self, seq: Seq) -> bool {
        self.journal.rows.get(&seq).is_some_and(|row| row.acknowledge == Acknowledge::WhenRecorded)
    }
}

fn name(index: usize) -> InstanceName {
    InstanceName::new(&format!("instance-{index}"))
}

/// By instance and lane.
pub type Places<T> = HashMap<(InstanceId, LaneId), T>;
