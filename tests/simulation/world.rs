//! The simulated world: the board, its journal, its instances, its shell, and the records of an omniscient observer.
//!
//! What happens next, and what goes wrong, is in [`crate::events`] and the modules that it calls.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::LazyLock;

use chroma_edge::ids::{CollectionId, InstanceId, InstanceName, LaneId, Seq};
use chroma_edge::order::{
    AckPolicy, Action, Board, Comparison, DivergenceCause, Effect, Input, Intent, Outcome, Persist, Reach, Submission,
    Verdict, WaitId,
};

use crate::account::Account;
use crate::assumptions::Assumptions;
use crate::beforehand::Beforehand;
use crate::body::{Body, Flaw};
use crate::condemning::Condemning;
use crate::counters::Counters;
use crate::deaths::Deaths;
use crate::divergence::Divergences;
use crate::edge::Succession;
use crate::facts::Facts;
use crate::failing::Failing;
use crate::holding::Holding;
use crate::instance::Instance;
use crate::journal::{Commit, Journal, LIMITS};
use crate::keeping::Keeping;
use crate::late_requests::LateRequest;
use crate::marking::Marking;
use crate::placing::Placing;
use crate::rebuilding::Rebuilding;
use crate::repairing::Repairing;
use crate::requests::Request;
use crate::rollback::Snapshot;
use testkit::random::Random;

/// How many events a report shows: `SIM_TRACE`.
static KEPT: LazyLock<usize> = LazyLock::new(|| crate::number("SIM_TRACE").map_or(200, |kept| kept as usize));

/// Whether things go wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Weather {
    Storm,
    /// Nothing new arrives and nothing breaks: everything must finish.
    Quiesced,
}

/// How a seed's world behaves: some seeds fail often, others make much progress.
#[derive(Clone, Copy, Debug)]
pub struct Temper {
    /// Per mille of the writes that go to the catalog.
    pub catalog: u64,
    /// Per mille of the chances to write that clients take.
    pub writes: u64,
    /// Per mille of the record writes that are refused.
    pub refusals: u64,
    /// Per mille of the possible faults that occur.
    pub breaks: u64,
    /// Per mille of the requests that fail in some way.
    pub loses: u64,
    /// Per mille of the faults that are a rollback of an instance.
    pub rollback: u64,
    /// Per mille of an edge's ends that are a takeover by another one.
    pub takeovers: u64,
    /// The most concurrent requests to one instance.
    pub permits: usize,
    /// The one instance that may be rolled back.
    pub unlucky: InstanceId,
}

impl Temper {
    fn new(rng: &mut Random) -> Self {
        Temper {
            catalog: [20, 60, 200][rng.index(3)],
            writes: [120, 500, 1000][rng.index(3)],
            refusals: [40, 70, 300][rng.index(3)],
            breaks: [100, 400, 1000][rng.index(3)],
            loses: [100, 400, 1000][rng.index(3)],
            rollback: [0, 0, 600][rng.index(3)],
            takeovers: [0, 300, 800][rng.index(3)],
            permits: [1, 2, 9][rng.index(3)],
            unlucky: InstanceId(rng.index(2)),
        }
    }
}

pub struct World {
    pub rng: Random,
    pub temper: Temper,
    pub assumptions: Assumptions,
    pub board: Board,
    pub journal: Journal,
    pub instances: Vec<Instance>,
    /// The last reach reported to the board, per instance.
    pub reach: Vec<Reach>,
    pub requests: Vec<Request>,
    /// Abandoned requests. They may be executed until quiescence is reported for their lane and instance.
    pub abandoned: Vec<Request>,
    /// Requests of earlier edges that ended, or may end, after the lease.
    pub late_requests: Vec<LateRequest>,
    /// The replicas to which earlier edges know that they sent too late, without having recorded it.
    pub unrecorded_late_writes: Vec<(LaneId, InstanceId)>,
    /// Late writes reported to this board.
    pub handled_late_writes: BTreeSet<u64>,
    pub succession: Succession,
    /// Nothing is sent before this step: requests of another edge may still arrive.
    pub lease_begins: u64,
    /// The shell's waits, and the step at which each began.
    pub waits: BTreeMap<(LaneId, InstanceId, WaitId), u64>,
    pub examinations: Vec<(LaneId, Seq)>,
    pub failures: Failing,
    pub deaths: Deaths,
    pub marking: Marking,
    pub holding: Holding,
    pub condemning: Condemning,
    pub beforehand: Beforehand,
    pub placing: Placing,
    pub keeping: Keeping,
    pub inspections: BTreeSet<InstanceId>,
    /// New instances that joined the catalog lane when its beginning was gone.
    pub joined: BTreeSet<InstanceId>,
    pub notices: VecDeque<(Input, Vec<(Seq, Verdict)>)>,
    /// Comparisons that were made but not reported.
    pub compared: Vec<Comparison>,
    pub rebuilding: Rebuilding,
    pub repairing: Repairing,
    pub unequal: HashSet<(CollectionId, InstanceId)>,
    pub heard_of: Vec<CollectionId>,
    /// A backup of each instance, from an earlier step.
    pub snapshots: Vec<Option<Snapshot>>,
    pub divergences: Divergences,
    pub facts: Facts,
    pub account: Account,
    pub counters: Counters,
    pub weather: Weather,
    pub now: u64,
    trace: Option<VecDeque<String>>,
}

impl World {
    pub fn new(seed: u64, assumptions: Assumptions, traced: bool) -> Self {
        let mut rng = Random::scattered(seed);
        let count = 2 + rng.index(3).min(1 + rng.index(2));
        let mut temper = Temper::new(&mut rng);
        if !assumptions.kept() {
            temper = Temper { takeovers: 900, rollback: 0, breaks: temper.breaks.max(400), ..temper };
        }
        let names: Vec<_> = (0..count).map(name).collect();
        let mut instances: Vec<_> = (0..count).map(Instance::new).collect();
        let beforehand = Beforehand::new(seed, assumptions, &mut instances);
        let mut world = World {
            rng,
            temper,
            assumptions,
            board: Board::new(names.clone(), LIMITS),
            journal: Journal::new(names),
            instances,
            reach: vec![Reach::Away; count],
            requests: Vec::new(),
            abandoned: Vec::new(),
            late_requests: Vec::new(),
            unrecorded_late_writes: Vec::new(),
            handled_late_writes: BTreeSet::new(),
            succession: Succession::None,
            lease_begins: 0,
            waits: BTreeMap::new(),
            examinations: Vec::new(),
            failures: Failing::default(),
            deaths: Deaths::new(seed),
            marking: Marking::new(seed),
            holding: Holding::new(seed),
            condemning: Condemning::new(seed),
            beforehand,
            placing: Placing::new(seed, count),
            keeping: Keeping::new(seed),
            inspections: BTreeSet::new(),
            joined: BTreeSet::new(),
            notices: VecDeque::new(),
            compared: Vec::new(),
            rebuilding: Rebuilding::default(),
            repairing: Repairing::new(seed),
            unequal: HashSet::new(),
            heard_of: Vec::new(),
            snapshots: (0..count).map(|_| None).collect(),
            divergences: Divergences::default(),
            facts: Facts::default(),
            account: Account::default(),
            counters: Counters::default(),
            weather: Weather::Storm,
            now: 0,
            trace: traced.then(VecDeque::new),
        };
        for index in 0..count {
            world.probe(InstanceId(index));
        }
        world
    }

    /// Notes an event for the report of a failed run, which is repeated to get it.
    pub fn note(&mut self, text: impl FnOnce() -> String) {
        let Some(trace) = &mut self.trace else { return };
        if trace.len() >= *KEPT {
            trace.pop_front();
        }
        trace.push_back(format!("{:>6} {}", self.now, text()));
    }

    pub fn report(&self, seed: u64, cause: &str) -> String {
        let events: Vec<_> = self.trace.iter().flatten().map(String::as_str).collect();
        format!("SEED={seed} STEP={} {cause}\n{}\n", self.now, events.join("\n"))
    }

    /// Gives the board one input, and carries out its effects.
    pub fn tell(&mut self, input: Input) {
        self.note(|| format!("in  {input:?}"));
        self.facts.load.hear(&input, &self.board, &self.reach, &self.placing);
        self.raise(&input);
        self.foretell(&input);
        let answered = applied_to_records(&input);
        self.note_input(&input);
        let effects = self.board.step(input);
        if let Some(replica) = answered {
            self.facts.load.answered(replica, &self.board);
        }
        self.take(effects);
    }

    /// Records what a deletion that is the first of a commit would take. Nothing that comes later may change it.
    fn foretell(&mut self, input: &Input) {
        let Input::Journaled(submissions) = input else { return };
        if let Some(Submission { seq, intent: Intent::Deletes(deletion), .. }) = submissions.first() {
            self.journal.foretold.insert(*seq, self.board.names_under(deletion));
        }
    }

    pub fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            self.note(|| format!("out {effect:?}"));
            self.check_effect(&effect);
            match effect {
                Effect::Answer(answer) => self.answer_client(answer.seq, answer.verdict),
                Effect::Persist(persist) => self.persist(persist),
                Effect::Perform(action) => self.perform(action),
            }
        }
    }

    fn persist(&mut self, persist: Persist) {
        if let Persist::Divergence { cause: DivergenceCause::LeftBehind, .. } = persist {
            self.counters.count("left behind");
        }
        self.journal.queue.push_back(Commit::Persist(persist));
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Send { lane, instance, seqs, purpose, repeat, send_priority } => {
                self.requests.push(Request::send(lane, instance, seqs, purpose, repeat, send_priority));
            }
            Action::ReadIds { lane, instance, seq, send_priority } => {
                self.requests.push(Request::read(lane, instance, seq, send_priority));
            }
            Action::AwaitQuiescence { lane, instance, wait, .. } => {
                self.waits.insert((lane, instance, wait), self.now);
            }
            Action::AwaitWriters { lane, after, .. } => self.holding.await_writers(lane, after),
            Action::AwaitMore { lane, instance, from, .. } => self.holding.await_more(lane, instance, from),
            Action::AwaitReturn { lane, instance, wait } => self.deaths.await_return(lane, instance, wait),
            Action::Inspect { instance } => {
                self.inspections.insert(instance);
            }
            Action::CheckWritable { lane, instance, seq } => self.failures.checks.push((lane, instance, seq)),
            Action::CompareTouched { lane, seq, instances } => self.failures.touched.push((lane, seq, instances)),
            Action::Examine { lane, seq } => self.examinations.push((lane, seq)),
        }
    }

    /// Returns whether no instance ever answers the entry.
    pub fn unanswerable(&self, seq: Seq) -> bool {
        matches!(self.journal.rows.get(&seq).map(|row| &row.body), Some(Body::Write { flaw: Flaw::Unanswerable, .. }))
    }

    pub fn recorded_answers(&self, seq: Seq) -> bool {
        self.journal.rows.get(&seq).is_some_and(|row| row.ack_policy == AckPolicy::Durable)
    }
}

fn applied_to_records(input: &Input) -> Option<(LaneId, InstanceId)> {
    match input {
        Input::Attempted { lane: lane @ LaneId::Records(_), instance, outcome: Outcome::Applied(_) } => {
            Some((*lane, *instance))
        }
        _ => None,
    }
}

pub fn name(index: usize) -> InstanceName {
    InstanceName::new(&format!("instance-{index}"))
}

/// By instance and lane.
pub type PerReplica<T> = HashMap<(InstanceId, LaneId), T>;
