//! Deaths (rule R13): writes that kill the instance that executes them, instances that die of any request, and the
//! supervisor that restarts them.
//!
//! A request kills while its connection lasts, or never: if an instance dies of a request that its edge has given up,
//! no request is blamed. Has its own source of randomness, so that runs without deaths stay the same.

use std::collections::{BTreeMap, BTreeSet};

use chroma_edge::ids::{CollectionId, InstanceId, LaneId, Seq};
use chroma_edge::journal::Status;
use chroma_edge::order::{
    AckPolicy, Company, Conditions, Input, Kind, LaneState, Outcome, Purpose, Resolved, Verdict, Vouching, WaitId,
};
use testkit::random::Random;

use crate::body::Body;
use crate::instance::{Power, Stored};
use crate::invariants::violated;
use crate::journal::Row;
use crate::requests::{Request, Work};
use crate::world::{Weather, World};

/// Where a write kills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadly {
    Everywhere,
    On(InstanceId),
}

pub struct Deaths {
    fate: Random,
    /// Per mille of the writes that kill. 0 in most runs.
    often: u64,
    /// Every unvouched write of this kind kills, for the time being.
    shape: Option<Kind>,
    /// This instance may die of anything, for the time being.
    frail: Option<InstanceId>,
    /// The shell's waits for instances that died.
    returns: Vec<(LaneId, InstanceId, WaitId)>,
    /// Instances to restart.
    fallen: BTreeSet<InstanceId>,
    /// Deaths of entries without a verdict, as far as they are known.
    open: BTreeMap<Seq, Vec<InstanceId>>,
    replicated: BTreeMap<(Seq, InstanceId), usize>,
    /// Entries that may have been acknowledged before the edge ended. They are tried for as long as it takes.
    never_set_aside: BTreeSet<Seq>,
}

impl Deaths {
    pub fn new(seed: u64) -> Self {
        let mut fate = Random::scattered(seed ^ 0x1313_1313_1313);
        let often = [0, 0, 25, 80][fate.index(4)];
        Deaths {
            fate,
            often,
            shape: None,
            frail: None,
            returns: Vec::new(),
            fallen: BTreeSet::new(),
            open: BTreeMap::new(),
            replicated: BTreeMap::new(),
            never_set_aside: BTreeSet::new(),
        }
    }

    pub fn await_return(&mut self, lane: LaneId, instance: InstanceId, wait: WaitId) {
        self.returns.push((lane, instance, wait));
    }

    pub fn all_stand(&self) -> bool {
        self.fallen.is_empty()
    }

    pub fn quiet_down(&mut self) {
        self.frail = None;
    }
}

impl World {
    /// Decides whether a write kills. Most writes are like others that succeeded. Returns `false` if it is refused
    /// before the journal.
    pub fn fated(&mut self, row: &mut Row) -> bool {
        let deaths = &mut self.deaths;
        if deaths.often == 0 {
            return true;
        }
        let kills = deaths.fate.per_mille(deaths.often);
        let unusual = deaths.fate.per_mille(if kills { 750 } else { 60 });
        let harmless = match &row.body {
            Body::UpdateCollection { new_name, .. } => new_name.is_some(),
            Body::CreateCollection { .. } => false,
            _ => row.lane == LaneId::Catalog,
        };
        if kills && !harmless {
            let one = InstanceId(deaths.fate.index(self.instances.len()));
            row.deadly = Some(if deaths.fate.per_mille(600) { Deadly::Everywhere } else { Deadly::On(one) });
        }
        let outside = matches!(&row.body, Body::UpdateCollection { .. } | Body::CreateCollection { .. });
        if !unusual || (row.lane == LaneId::Catalog && !outside) {
            return true;
        }
        row.profile.vouching = Vouching::Unvouched;
        row.profile.conditions = match &row.body {
            Body::DeleteIds(_) => Conditions::Ids,
            Body::DeleteWhere(_) | Body::DeleteLimited { .. } => Conditions::Metadata,
            _ => Conditions::None,
        };
        row.profile.merge = None;
        row.ack_policy = AckPolicy::Durable;
        if deaths.shape == Some(row.profile.kind) && !harmless {
            row.deadly = Some(Deadly::Everywhere);
        }
        let refused = self.board.refusal(row.lane, row.profile.class()).is_some();
        if refused {
            self.counters.count("refused before the journal, as a suspect's");
        }
        // Some were already on their way into the journal.
        !refused || self.deaths.fate.per_mille(150)
    }

    /// Returns whether the instance dies of this request.
    pub fn kills(&mut self, at: usize) -> bool {
        let request = &self.requests[at];
        let expected = matches!(request.work, Work::Send { purpose: Purpose::ExpectRefusal, .. });
        if self.deaths.often == 0 || (expected && request.lane == LaneId::Catalog) {
            return false;
        }
        let instance = request.instance;
        if request.seqs().iter().any(|seq| self.unanswerable(*seq)) {
            return false;
        }
        let deadly = request.seqs().iter().any(|seq| self.is_deadly(*seq, instance));
        let frail = self.deaths.frail == Some(instance) && self.weather == Weather::Storm;
        deadly || (frail && self.deaths.fate.per_mille(200))
    }

    fn is_deadly(&self, seq: Seq, instance: InstanceId) -> bool {
        let endless = self.weather == Weather::Quiesced && self.deaths.never_set_aside.contains(&seq);
        let deadly = self.journal.rows.get(&seq).and_then(|row| row.deadly);
        !endless && deadly.is_some_and(|deadly| deadly == Deadly::Everywhere || deadly == Deadly::On(instance))
    }

    /// Returns whether any of these would kill the instance. If so, the request is not executed late.
    pub fn would_kill(&self, instance: InstanceId, seqs: &[Seq]) -> bool {
        seqs.iter().any(|seq| self.is_deadly(*seq, instance))
    }

    pub fn dies_of(&mut self, at: usize) {
        let request = self.requests.swap_remove(at);
        let (lane, instance) = (request.lane, request.instance);
        let others = self.requests.iter().any(|other| other.instance == instance && other.entered);
        let company = if others || self.deaths.fate.per_mille(300) { Company::Others } else { Company::Alone };
        self.note(|| format!("{instance:?} dies of {:?}, {company:?}", request.seqs()));
        self.counters.count("died of a write");
        let first = request.seqs()[0];
        let outcome = match request.work {
            Work::Read { .. } => None,
            Work::Send { ref seqs, purpose, .. } => {
                let executes = lane != LaneId::Catalog || purpose == Purpose::Execute;
                if executes && self.deaths.fate.per_mille(400) {
                    self.counters.count("executed, and died of it");
                    self.execute(lane, instance, seqs);
                }
                Some(Outcome::Died { company, about: self.about(first) })
            }
        };
        self.account_for_death(&request);
        self.deaths.fallen.insert(instance);
        let others_first = self.deaths.fate.per_mille(500);
        if others_first {
            self.set_power(instance, Power::Down);
        }
        match outcome {
            Some(outcome) => self.tell(Input::Attempted { lane, instance, outcome }),
            None => self.tell(Input::IdsRead { lane, instance, resolved: Resolved::Died { company } }),
        }
        if !others_first {
            self.set_power(instance, Power::Down);
        }
    }

    /// Returns how an ordinary kill looks to a request that was under way on the instance.
    pub fn killed(&mut self, request: &Request, several: bool) -> Outcome {
        if self.deaths.often == 0 {
            return Outcome::InDoubt { instance_was: chroma_edge::order::Health::Gone };
        }
        let company = if several || self.deaths.fate.per_mille(600) { Company::Others } else { Company::Alone };
        self.counters.count("killed with a write under way");
        Outcome::Died { company, about: self.about(request.seqs()[0]) }
    }

    /// Checks the number of deaths. An entry that is not vouched for may cause at most two, both of one instance. A
    /// vouched-for entry may cause one more on another instance. An entry that others have applied may cause as many as
    /// rule R13 allows.
    fn account_for_death(&mut self, request: &Request) {
        let (instance, lane) = (request.instance, request.lane);
        for seq in request.seqs() {
            let row = &self.journal.rows[seq];
            if deletes(row.profile.kind)
                || self.deaths.never_set_aside.contains(seq)
                || (self.is_deadly(*seq, instance), row.deadly) == (false, None) && request.seqs().len() > 1
            {
                continue;
            }
            let unvouched = row.profile.vouching == Vouching::Unvouched;
            let settled = [Purpose::Replicate, Purpose::ExpectRefusal];
            let replicated = matches!(request.work, Work::Send { purpose, .. } if settled.contains(&purpose));
            if replicated {
                let times = self.deaths.replicated.entry((*seq, instance)).or_default();
                *times += 1;
                if *times > if unvouched { 2 } else { 3 } {
                    violated(
                        "R13",
                        &format!("{instance:?} died {times} times of {seq} in {lane:?}, which others have"),
                    );
                }
                continue;
            }
            let deaths = self.deaths.open.entry(*seq).or_default();
            deaths.push(instance);
            let replicas: BTreeSet<_> = deaths.iter().collect();
            let (most, most_places) = if unvouched { (2, 1) } else { (3, 2) };
            if deaths.len() > most || replicas.len() > most_places {
                violated("R13", &format!("{seq} of {lane:?}, unvouched: {unvouched}, killed {deaths:?}"));
            }
        }
    }

    /// Forgets deaths that were not durable, since the edge restarts.
    pub fn deaths_are_forgotten(&mut self) {
        self.deaths.returns.clear();
        self.deaths.replicated.clear();
        self.deaths.never_set_aside.clear();
        for row in self.journal.rows.values().filter(|row| row.verdict.is_none()) {
            let at_once = row.lane != LaneId::Catalog && row.ack_policy == AckPolicy::Applied;
            if at_once && row.status == Status::Attempting && row.suspect_on.is_none() {
                self.deaths.never_set_aside.insert(row.seq);
            }
            if row.suspect_on.is_some() {
                self.counters.count("restored with a suspect");
            }
            self.deaths.open.insert(row.seq, row.suspect_on.into_iter().collect());
        }
    }

    /// Supervisors restart what died, waits end, the writes that kill change, and an operator looks at what is
    /// quarantined.
    pub fn fate_takes_its_course(&mut self) {
        if self.deaths.often == 0 {
            return;
        }
        if self.deaths.fate.per_mille(25)
            && let Some(instance) = self.deaths.fallen.pop_first()
            && self.instances[instance.0].power == Power::Down
        {
            self.set_power(instance, Power::Up);
        }
        if self.deaths.fate.per_mille(12) && !self.deaths.returns.is_empty() {
            let at = self.deaths.fate.index(self.deaths.returns.len());
            let (lane, instance, wait) = self.deaths.returns.swap_remove(at);
            self.tell(Input::ReturnAwaited { lane, instance, wait });
        }
        if self.weather == Weather::Quiesced {
            return;
        }
        if self.deaths.fate.per_mille(3) {
            let kinds = [None, None, Some(Kind::Delete), Some(Kind::Upsert), Some(Kind::DeleteLimited)];
            self.deaths.shape = kinds[self.deaths.fate.index(kinds.len())];
            let one = InstanceId(self.deaths.fate.index(self.instances.len()));
            self.deaths.frail = self.deaths.fate.per_mille(200).then_some(one);
        }
        if self.deaths.fate.per_mille(4) {
            self.operator_acts();
        }
    }

    fn operator_acts(&mut self) {
        let quarantined: Vec<_> = self.board.quarantined().collect();
        if !quarantined.is_empty() {
            let (lane, seq, _) = quarantined[self.deaths.fate.index(quarantined.len())];
            self.counters.count("lifted");
            self.tell(Input::Lift { lane, seq });
        }
        let copies = self.journal.states.iter().filter(|(_, state)| **state == LaneState::Quarantined);
        let mut copies: Vec<_> = copies.map(|(replica, _)| *replica).collect();
        copies.sort();
        if !copies.is_empty() {
            let (lane, instance) = copies[self.deaths.fate.index(copies.len())];
            self.counters.count("a quarantined copy is looked at again");
            self.tell(Input::Reconsider { lane, instance });
        }
    }

    /// R13: nothing that a client was told is applied is set aside.
    pub fn r13_nothing_acknowledged(&mut self, verdicts: &[(Seq, Verdict)]) {
        for (seq, _) in verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Quarantined) {
            self.counters.count("quarantined");
            let row = &self.journal.rows[seq];
            let told = self.deaths.never_set_aside.contains(seq) || self.account.acknowledged(row.number);
            if deletes(row.profile.kind) || told {
                violated("R13", &format!("{seq} is quarantined, and may have been acknowledged, or is a deletion"));
            }
        }
    }

    /// Returns the collections in which a quarantined entry was still executed on a copy that goes on. That copy's
    /// content counts.
    pub fn shown_all_the_same(&self) -> BTreeSet<CollectionId> {
        let quarantined = self.journal.rows.values().filter(|row| row.verdict == Some(Verdict::Quarantined));
        let about = |row: &Row| match (&row.body, row.lane) {
            (_, LaneId::Records(collection)) => Some(collection),
            (Body::UpdateCollection { collection, .. }, LaneId::Catalog) => Some(*collection),
            (_, LaneId::Catalog) => None,
        };
        let executed = |row: &&Row| self.journal.instances().any(|instance| self.facts.executed(instance, row.seq));
        quarantined.filter(executed).filter_map(about).collect()
    }

    /// Checks that all copies in step are alike, whatever they hold.
    pub fn alike(&self, collection: CollectionId) {
        let in_step = |instance: &InstanceId| {
            self.board.state_of(collection, *instance) == LaneState::InStep
                && self.divergences.of(collection, *instance).is_none()
        };
        let held = |instance: InstanceId| -> Option<&Stored> {
            let mapped = self.board.catalog().mapping(collection, instance)?;
            self.instances[instance.0].collections.get(&mapped.uuid())
        };
        let copies: Vec<_> = self.journal.instances().filter(in_step).filter_map(|i| Some((i, held(i)?))).collect();
        let mut pairs = copies.windows(2).map(|pair| (pair[0], pair[1]));
        if let Some(((one, _), (other, _))) = pairs.find(|((_, one), (_, other))| one.records != other.records) {
            violated("R13", &format!("{collection:?} differs on {one:?} and {other:?}, and neither is diverged"));
        }
    }
}

fn deletes(kind: Kind) -> bool {
    matches!(kind, Kind::DeleteCollection | Kind::DeleteDatabase | Kind::Reset)
}
