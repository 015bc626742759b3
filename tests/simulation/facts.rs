//! The events so far, recorded independently of any edge. The invariants are checked against them.

use std::collections::{HashMap, HashSet};

use chroma_edge::ids::{InstanceId, LaneId, Seq};
use chroma_edge::order::Verdict;

use crate::load::Load;
use crate::world::PerReplica;

/// The events so far, as an omniscient observer sees them. Survives crashes of the edge.
#[derive(Default)]
pub struct Facts {
    pub executed: HashSet<(InstanceId, Seq)>,
    pub highest: PerReplica<Seq>,
    /// The last entry of the latest execution.
    pub latest: PerReplica<Seq>,
    /// The position through which the replica was found equal.
    pub admitted: PerReplica<Seq>,
    /// The number of admissions.
    pub admissions: u64,
    /// The position through which durable progress has been checked.
    pub checked: PerReplica<Seq>,
    pub answers: HashMap<Seq, Verdict>,
    pub answered_since_start: HashSet<Seq>,
    pub acknowledged: HashMap<LaneId, Vec<Seq>>,
    pub runs_lost_or_refused: HashSet<Seq>,
    /// Withdrawals that were handed to the journal. A crash before they are durable forgets them.
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

    /// Returns whether the instance has the entry's content: executed on it, or found equal to an instance that has it.
    pub fn holds(&self, instance: InstanceId, lane: LaneId, seq: Seq) -> bool {
        self.executed(instance, seq) || self.admitted.get(&(instance, lane)).is_some_and(|at| *at >= seq)
    }

    /// Returns whether a run without an answer is being executed again, one entry at a time: the content already has
    /// its last entries, and gets its first ones again.
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
