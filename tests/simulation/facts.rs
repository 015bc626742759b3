//! What has happened, recorded independently of any edge; the invariants are checked against it.

use std::collections::{HashMap, HashSet};

use chroma_edge::ids::{InstanceId, LaneId, Seq};
use chroma_edge::order::Verdict;

use crate::load::Load;
use crate::world::PerReplica;

/// What has happened, as an all-knowing observer sees it. Survives crashes of the edge.
#[derive(Default)]
pub struct Facts {
    pub executed: HashSet<(InstanceId, Seq)>,
    pub highest: PerReplica<Seq>,
    /// The end of what was executed last.
    pub latest: PerReplica<Seq>,
    /// Found equal up to here.
    pub admitted: PerReplica<Seq>,
    /// How many there were.
    pub admissions: u64,
    /// Durable progress up to here has been checked.
    pub checked: PerReplica<Seq>,
    pub answers: HashMap<Seq, Verdict>,
    pub answered_since_start: HashSet<Seq>,
    pub acknowledged: HashMap<LaneId, Vec<Seq>>,
    pub runs_lost_or_refused: HashSet<Seq>,
    /// Asked to be made durable; a crash before it is forgets it.
    pub withdrawn: HashSet<Seq>,
    pub load: Load,
}

impl Facts {
    pub fn executed(&self, instance: InstanceId, seq: Seq) -> bool {
        self.executed.contains(&(instance, seq))
    }

    pub fn answered(&self, seq: Seq) -> bool {
        self.answers.contains_key(&seq)
    }

    pub fn new_epoch(&mut self) {
        self.answered_since_start.clear();
        self.load = Load::default();
    }

    /// The content of the entry is on the instance: executed there, or found equal to one that has it.
    pub fn holds(&self, instance: InstanceId, lane: LaneId, seq: Seq) -> bool {
        self.executed(instance, seq) || self.admitted.get(&(instance, lane)).is_some_and(|at| *at >= seq)
    }

    /// A run that had no answer is being executed again, one by one: the content already has its last entries, and gets
    /// its first ones again.
    pub fn amid_a_run(&self, instance: InstanceId, lane: LaneId) -> bool {
        let replica = (instance, lane);
        self.latest
            .get(&replica)
            .is_some_and(|latest| self.highest.get(&replica).is_some_and(|highest| latest < highest))
    }

    pub fn answers(&self) -> impl Iterator<Item = (Seq, Verdict)> {
        self.answers.iter().map(|(seq, verdict)| (*seq, *verdict))
    }
}
