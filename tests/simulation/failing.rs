//! Unexplained failures (rule R12): entries that every instance fails, instances that fail a collection or everything,
//! failures by chance, and the shell's checks and comparisons.

use std::collections::BTreeSet;

use chroma_edge::ids::{CollectionId, InstanceId, LaneId, Seq};
use chroma_edge::order::{Input, LaneState, Signature, Touched, Traces, Writable};

use crate::body::{Body, Flaw};
use crate::instance::{Answer, Power};
use crate::invariants::violated;
use crate::requests::Request;
use crate::world::{Weather, World};

#[derive(Default)]
pub struct Failing {
    /// Checks and comparisons under way.
    pub checks: Vec<(LaneId, InstanceId, Seq)>,
    pub touched: Vec<(LaneId, Seq, Vec<InstanceId>)>,
    /// Instances that fail every write of a lane. `None` means every lane.
    pub broken: BTreeSet<(InstanceId, Option<LaneId>)>,
    /// Entries that were rejected by agreement, as far as is known.
    pub agreed: BTreeSet<Seq>,
    /// Collections with an entry that every asked instance executed although it answered with a failure: undetectable.
    pub executed_by_all: BTreeSet<CollectionId>,
}

impl Failing {
    pub fn shell_forgets(&mut self) {
        self.checks.clear();
        self.touched.clear();
    }

    pub fn is_idle(&self) -> bool {
        self.checks.is_empty() && self.touched.is_empty()
    }

    fn breaks(&self, lane: LaneId, instance: InstanceId) -> bool {
        self.broken.contains(&(instance, Some(lane))) || self.broken.contains(&(instance, None))
    }
}

impl World {
    /// Returns whether the instance answers these entries with an unexplained failure, whatever else happens.
    pub fn fails(&self, lane: LaneId, instance: InstanceId, seqs: &[Seq]) -> bool {
        let failing = |seq: &Seq| {
            matches!(self.journal.rows.get(seq).map(|row| &row.body), Some(Body::Write { flaw: Flaw::Failing, .. }))
        };
        self.failures.breaks(lane, instance) || seqs.iter().any(failing)
    }

    /// Executes some of the failing entries on one of the instances before it answers.
    pub fn executes_all_the_same(&mut self, lane: LaneId, instance: InstanceId, seqs: &[Seq]) {
        let [seq] = seqs else { return };
        if instance != InstanceId(1) || !seq.get().is_multiple_of(3) || self.failures.breaks(lane, instance) {
            return;
        }
        if self.execute_anyhow(lane, instance, seqs) == Answer::Done {
            self.check_execution(lane, instance, seqs);
            self.counters.count("executed, and answered with a failure");
        }
    }

    pub fn signature(&mut self) -> Signature {
        Signature::of(500, if self.rng.per_mille(900) { "InternalError" } else { "ChromaError" })
    }

    /// Returns the collection that a catalog entry is about.
    pub fn about(&self, seq: Seq) -> Option<CollectionId> {
        let row = self.journal.rows.get(&seq)?;
        match &row.body {
            Body::UpdateCollection { collection, .. } => Some(*collection),
            Body::CreateCollection { .. } => row.created,
            _ => None,
        }
    }

    /// Damages an index, fills a disk, or repairs one of them.
    pub fn breaks_or_is_mended(&mut self) {
        if !self.failures.broken.is_empty() && self.rng.per_mille(700) {
            self.failures.broken.pop_first();
            return;
        }
        let instance = InstanceId(self.rng.index(self.instances.len()));
        let lanes: Vec<_> = self.journal.lanes.keys().copied().filter(|lane| *lane != LaneId::Catalog).collect();
        let lane = if self.rng.per_mille(200) { None } else { self.pick(lanes.len()).map(|at| lanes[at]) };
        self.note(|| format!("{instance:?} fails {lane:?}"));
        self.failures.broken.insert((instance, lane));
    }

    pub fn some_check(&mut self) {
        let Some(at) = self.pick(self.failures.checks.len()) else { return };
        let (lane, instance, seq) = self.failures.checks.swap_remove(at);
        let storm = self.weather == Weather::Storm;
        let fails = self.failures.breaks(lane, instance) || (storm && self.rng.per_mille(50));
        let up = self.instances[instance.0].power == Power::Up;
        let shows = if up && !fails { Writable::Yes } else { Writable::No };
        self.tell(Input::WriteChecked { lane, instance, seq, shows });
    }

    pub fn in_step(&self, lane: LaneId, instance: InstanceId) -> bool {
        match lane {
            LaneId::Catalog => true,
            LaneId::Records(collection) => self.board.state_of(collection, instance) == LaneState::InStep,
        }
    }

    pub fn count_departure(&mut self, before: bool, lane: LaneId, instance: InstanceId) {
        if before && !self.in_step(lane, instance) {
            self.counters.count("left the lane since it fails what others execute");
        }
    }

    pub fn some_touched(&mut self) {
        let Some(at) = self.pick(self.failures.touched.len()) else { return };
        let (lane, seq, instances) = self.failures.touched.swap_remove(at);
        // If no instance can be read, nothing is known, and the lane goes on all the same.
        let traces = instances.iter().any(|instance| self.facts.executed(*instance, seq));
        let readable = |instance: &InstanceId| self.instances[instance.0].power == Power::Up;
        let (executed, clean): (Vec<_>, Vec<_>) =
            instances.into_iter().filter(readable).partition(|instance| self.facts.executed(*instance, seq));
        if !clean.is_empty() && !executed.is_empty() {
            self.counters.count("differs after it failed");
        }
        let about = match lane {
            LaneId::Records(collection) => Some(collection),
            LaneId::Catalog => self.about(seq),
        };
        if clean.is_empty() && traces {
            self.failures.executed_by_all.extend(about);
        }
        let comparison = if clean.is_empty() {
            Touched { same: executed, differ: Vec::new(), traces: Traces::Possible }
        } else {
            Touched { same: clean, differ: executed, traces: Traces::None }
        };
        self.failures.agreed.insert(seq);
        self.counters.count("rejected by agreement");
        self.tell(Input::TouchedCompared { lane, seq, comparison });
    }

    /// R12: nothing that could still be executed is compared.
    pub fn r12_nothing_left(&self, lane: LaneId, seq: Seq, instances: &[InstanceId]) {
        let left = |request: &&Request| {
            (request.lane, instances.contains(&request.instance)) == (lane, true) && request.seqs().contains(&seq)
        };
        if let Some(request) = self.abandoned.iter().chain(&self.requests).find(left) {
            violated("R12", &format!("{seq} is compared while {request:?} may be executed"));
        }
    }
}
