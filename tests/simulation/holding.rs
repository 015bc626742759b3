//! Requests that wait for writers (rule R19): the shell's part, which ends each wait at random, and the checks of an
//! observer that tracks waiting clients itself. Has its own source of randomness.

use std::collections::{BTreeMap, BTreeSet};

use chroma_edge::ids::{CollectionId, InstanceId, LaneId, Seq};
use chroma_edge::order::{Duty, Input, Reach};
use testkit::random::Random;

use crate::invariants::violated;
use crate::world::World;

struct Missed {
    last: Seq,
    open: BTreeSet<Seq>,
}

pub struct Holding {
    fate: Random,
    /// The waits that the shell will end.
    waits: Vec<(LaneId, Seq)>,
    trails: Vec<(LaneId, InstanceId, Seq)>,
    /// What the journal held when the instance last came: it catches up with that, except for entries that were still
    /// open.
    came: BTreeMap<InstanceId, Missed>,
    /// The end of the journal when this edge started.
    started: Seq,
    /// Clients answered in this step, by lane.
    answered: BTreeMap<LaneId, usize>,
}

impl Holding {
    pub fn new(seed: u64) -> Self {
        Holding {
            fate: Random::scattered(seed ^ 0x1919_1919_1919),
            waits: Vec::new(),
            trails: Vec::new(),
            came: BTreeMap::new(),
            started: Seq::ZERO,
            answered: BTreeMap::new(),
        }
    }

    pub fn shell_forgets(&mut self, journaled: Seq) {
        self.waits.clear();
        self.trails.clear();
        self.came.clear();
        self.answered.clear();
        self.started = journaled;
    }

    pub fn answers(&mut self, lane: LaneId) {
        *self.answered.entry(lane).or_default() += 1;
    }

    pub fn await_writers(&mut self, lane: LaneId, after: Seq) {
        self.waits.push((lane, after));
    }

    pub fn await_more(&mut self, lane: LaneId, instance: InstanceId, from: Seq) {
        self.trails.push((lane, instance, from));
    }
}

impl World {
    /// R19: nothing waits in a lane with one writer, or for more writers than have just been answered.
    pub fn r19_not_alone(&mut self, lane: LaneId, writers: u32) {
        let answered = self.holding.answered.get(&lane).copied().unwrap_or_default();
        let waiting = self.facts.load.waiting_in(lane);
        if writers == 0 || writers as usize > answered {
            violated("R19", &format!("{writers} writers are expected in {lane}, and {answered} were answered"));
        }
        if answered + waiting < 2 {
            violated("R19", &format!("a lone writer's lane is held: {lane}"));
        }
        if lane == LaneId::Catalog {
            violated("R19", "the catalog lane is held");
        }
        self.counters.count("waited for writers");
    }

    /// Notes an input before the board takes a step.
    pub fn note_input(&mut self, input: &Input) {
        self.holding.answered.clear();
        let comes = match input {
            Input::Reached { instance, reach } if *reach != Reach::Away && self.reach[instance.0] == Reach::Away => {
                *instance
            }
            Input::Assign { instance, .. } if self.board.duty(*instance) == Duty::Stopped => *instance,
            _ => return,
        };
        let open = self.journal.rows.values().filter(|row| row.verdict.is_none()).map(|row| row.seq).collect();
        self.holding.came.insert(comes, Missed { last: self.board.last(), open });
    }

    /// R19: what an instance missed is never held, and neither is anything on its way to the primary or in a lane with
    /// one writer.
    pub fn r19_not_catching_up(&mut self, lane: LaneId, instance: InstanceId, from: Seq) {
        let missed = |missed: &Missed| from <= missed.last && !missed.open.contains(&from);
        if from <= self.holding.started || self.holding.came.get(&instance).is_some_and(missed) {
            violated("R19", &format!("{from} is held on its way to {instance:?}, which missed it"));
        }
        if instance == self.board.primary() || lane == LaneId::Catalog {
            violated("R19", &format!("{from} is held on its way to {instance:?} in {lane}"));
        }
        let answered = self.holding.answered.get(&lane).copied().unwrap_or_default();
        if self.facts.load.waiting_in(lane) + answered < 2 && self.board.expects_after(lane).is_none() {
            violated("R19", &format!("what a lone writer wrote is held on its way to {instance:?}: {lane}"));
        }
        self.counters.count("replicated entries were held");
    }

    /// R19: a reader gets at once what is held.
    pub fn some_reader_wants(&mut self, collection: CollectionId) {
        if !self.board.holds_copies(collection) || !self.holding.fate.per_mille(700) {
            return;
        }
        self.counters.count("a reader wanted what was held");
        self.tell(Input::FreshWanted { collection });
        let lane = LaneId::Records(collection);
        let held = |instance: &InstanceId| self.board.trails_since(lane, *instance).is_some();
        if let Some(instance) = self.journal.instances().find(held) {
            violated("R19", &format!("{lane} is wanted, and held on its way to {instance:?} still"));
        }
    }

    /// R19: whatever waits for writers has a wait under way that ends.
    pub fn r19_every_wait_ends(&mut self) {
        for lane in self.journal.lanes.keys() {
            let after = self.board.expects_after(*lane);
            if after.is_some_and(|after| !self.holding.waits.contains(&(*lane, after))) {
                violated("R19", &format!("{lane} waits for writers, and nothing ends that"));
            }
            for instance in self.journal.instances() {
                let from = self.board.trails_since(*lane, instance);
                if from.is_some_and(|from| !self.holding.trails.contains(&(*lane, instance, from))) {
                    violated("R19", &format!("{lane} is held on its way to {instance:?}, and nothing ends that"));
                }
            }
        }
    }

    /// Ends a hold: the time is over, or the clients have come. The shell does not distinguish the two.
    pub fn some_hold_ends(&mut self) {
        if !self.holding.trails.is_empty() && self.holding.fate.per_mille(60) {
            let at = self.holding.fate.index(self.holding.trails.len());
            let (lane, instance, from) = self.holding.trails.swap_remove(at);
            self.tell(Input::MoreAwaited { lane, instance, from });
        }
        if self.holding.waits.is_empty() || !self.holding.fate.per_mille(120) {
            return;
        }
        let at = self.holding.fate.index(self.holding.waits.len());
        let (lane, after) = self.holding.waits.swap_remove(at);
        if self.board.expects_after(lane) == Some(after) {
            self.counters.count("waited for writers in vain");
        }
        self.tell(Input::WritersAwaited { lane, after });
    }
}
