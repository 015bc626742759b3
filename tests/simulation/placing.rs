//! Switchovers and drains at random, and their invariants: nothing is sent to a stopped instance, and nothing of a
//! client to a drained one while another is ready. Has its own source of randomness.

use std::collections::HashSet;

use chroma_edge::ids::{CollectionId, InstanceId, LaneId, Seq};
use chroma_edge::order::{Consistency, Duty, Input, LaneState, Persist, Purpose, Reach, Repeat, Verdict};
use testkit::random::Random;

use crate::invariants::violated;
use crate::journal::Commit;
use crate::requests::{Request, Work};
use crate::world::{Weather, World};

pub struct Placing {
    fate: Random,
    duties: Vec<Duty>,
    /// Whether this seed has any. The others stay as fast as before.
    busy: bool,
    /// Entries that this edge has sent to some instance without a verdict.
    tried: HashSet<(LaneId, Seq)>,
}

impl Placing {
    pub fn new(seed: u64, instances: usize) -> Self {
        let mut fate = Random::scattered(seed ^ 0x0031_0031_0031);
        let busy = fate.per_mille(600);
        Placing { fate, duties: vec![Duty::Full; instances], busy, tried: HashSet::new() }
    }

    /// Forgets everything: none of it outlives the edge.
    pub fn shell_forgets(&mut self, instances: usize) {
        self.duties = vec![Duty::Full; instances];
        self.tried.clear();
    }

    pub fn duty(&self, instance: InstanceId) -> Duty {
        self.duties[instance.0]
    }
}

impl World {
    /// Switches over, drains, or ends a drain from time to time.
    pub fn some_placement(&mut self) {
        if !self.placing.busy || self.weather != Weather::Storm || !self.placing.fate.per_mille(12) {
            return;
        }
        let instance = InstanceId(self.placing.fate.index(self.instances.len()));
        match self.placing.fate.index(8) {
            0 | 1 => {
                if self.board.why_not_preferred(instance).is_none() {
                    self.counters.count("switched over to one that is ready");
                }
                self.counters.count("switched over");
                self.tell(Input::Prefer { instance });
            }
            2 if self.placing.fate.per_mille(500) => self.tell(Input::HandedOver),
            2 => (0..2).for_each(|_| self.tell(Input::DeferredLongEnough)),
            3 | 4 => self.assign(instance, Duty::Full),
            5 | 6 => self.assign(instance, Duty::SyncOnly),
            _ => self.assign(instance, Duty::Stopped),
        }
    }

    fn assign(&mut self, instance: InstanceId, duty: Duty) {
        match duty {
            Duty::SyncOnly => self.counters.count("drained"),
            Duty::Stopped => self.counters.count("stopped"),
            Duty::Full => {}
        }
        let before = std::mem::replace(&mut self.placing.duties[instance.0], duty);
        if before != duty && (before == Duty::Stopped || self.reach[instance.0] == Reach::Away) {
            self.facts.load.comes_back(instance);
        }
        self.tell(Input::Assign { instance, duty });
    }

    /// Ends every stop at the end of a run. Some instances stay drained, and everything must finish all the same.
    pub fn place_for_the_end(&mut self) {
        for instance in self.journal.instances() {
            let stays = self.placing.duty(instance) == Duty::SyncOnly && self.placing.fate.per_mille(500);
            if !stays {
                self.assign(instance, Duty::Full);
            }
        }
        if self.placing.fate.per_mille(500) {
            self.tell(Input::HandedOver);
        }
    }

    pub fn check_placed(&mut self, lane: LaneId, instance: InstanceId, seqs: &[Seq], purpose: Purpose) {
        match self.placing.duty(instance) {
            Duty::Stopped => violated("placement", &format!("{seqs:?} is sent to {instance:?}, which is stopped")),
            Duty::SyncOnly if purpose == Purpose::Execute => {
                self.counters.count("executed first on a drained instance");
                if let Some(other) = self.journal.instances().find(|other| self.stands_ready(lane, seqs[0], *other)) {
                    violated(
                        "placement",
                        &format!("{seqs:?} is sent to {instance:?}, drained, and {other:?} is ready"),
                    );
                }
            }
            Duty::SyncOnly | Duty::Full => {}
        }
        if purpose == Purpose::Execute {
            self.placing.tried.extend(seqs.iter().map(|seq| (lane, *seq)));
        }
    }

    /// Returns whether nothing keeps the entry from this instance, as far as an observer can know. Errs on the safe
    /// side.
    fn stands_ready(&self, lane: LaneId, seq: Seq, other: InstanceId) -> bool {
        let LaneId::Records(collection) = lane else { return false };
        let here = |at: LaneId, instance: InstanceId| (at, instance) == (lane, other);
        let before = Seq::new(seq.get() - 1);
        let lags = self.journal.between(lane, self.journal.durable(lane, other), before).next().is_some();
        self.placing.duty(other) == Duty::Full
            && self.reach[other.0] != Reach::Away
            && self.board.state_of(collection, other) == LaneState::InStep
            && self.journal.step(lane, other) == LaneState::InStep
            && self.board.catalog().mapping(collection, other).is_some()
            && self.board.suspects().next().is_none()
            && !lags
            && !self.placing.tried.contains(&(lane, seq))
            && !self.requests.iter().any(|request| here(request.lane, request.instance))
            && !self.abandoned.iter().any(|request| here(request.lane, request.instance))
            && !self.waits.keys().any(|(at, instance, _)| here(*at, *instance))
            && !self.is_recording(lane, other)
    }

    /// Returns whether a record of the replica is on its way into the journal, or the report about it on its way back.
    fn is_recording(&self, lane: LaneId, other: InstanceId) -> bool {
        let queued = |commit: &Commit| matches!(commit, Commit::Persist(Persist::Record { lane: at, instance, .. }) if (*at, *instance) == (lane, other));
        let reported = |(input, _): &(Input, Vec<(Seq, Verdict)>)| matches!(input, Input::Recorded { lane: at, instance } if (*at, *instance) == (lane, other));
        self.journal.queue.iter().any(queued) || self.notices.iter().any(reported)
    }

    /// Returns whether a read may wait for this instance: it is reachable, and no request that it left unanswered
    /// before is being sent to it.
    fn may_be_awaited(&self, collection: CollectionId, other: InstanceId) -> bool {
        let lanes = [LaneId::Records(collection), LaneId::Catalog];
        let again = |request: &Request| matches!(request.work, Work::Send { repeat: Repeat::Retry { .. }, .. });
        let here = |request: &Request| request.instance == other && lanes.contains(&request.lane);
        self.reach[other.0] != Reach::Away && !self.requests.iter().any(|request| here(request) && again(request))
    }

    /// Checks that a drained instance serves only if no other one does.
    pub fn check_readers(&self, collection: CollectionId) {
        let readers = self.board.readers(collection, Consistency::Fresh);
        let used = self.board.spared(Some(collection), readers.clone());
        let on_duty = |instance: InstanceId| self.placing.duty(instance) == Duty::Full;
        if readers.iter().any(|reader| self.placing.duty(reader.instance) == Duty::Stopped) {
            violated("placement", &format!("{collection:?} is read from a stopped instance: {readers:?}"));
        }
        let (full, drained) =
            (readers.iter().any(|one| on_duty(one.instance)), used.iter().any(|one| !on_duty(one.instance)));
        if full && drained {
            violated("placement", &format!("{collection:?} is read from a drained instance: {used:?}"));
        }
        if !readers.is_empty()
            && used.is_empty()
            && !self.journal.instances().any(|other| on_duty(other) && self.may_be_awaited(collection, other))
        {
            violated("placement", &format!("{collection:?} is served by {readers:?} only, and not read there"));
        }
        if readers.iter().any(|one| on_duty(one.instance) && !used.contains(one)) {
            violated("placement", &format!("{collection:?} is not read from an instance that serves: {used:?}"));
        }
    }
}
