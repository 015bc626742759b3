//! Diverged copies that are repaired in place (rule R14): the shell's part, with everything that may go wrong in it.
//!
//! A page is read from both sides, and the differences are written later, with everything that may happen in between:
//! the source is written to, a write gets no answer and is executed later or never, the target comes back older, the
//! edge ends. Has its own source of randomness.

use std::collections::{BTreeMap, BTreeSet};

use chroma_edge::ids::{CollectionId, InstanceCollectionId, InstanceId, LaneId, Seq};
use chroma_edge::order::{CutoverOutcome, CutoverState, Input, LaneState, Persist, Rebuild, RepairWrites};
use testkit::random::Random;

use crate::align::{self, Cursor, Written};
use crate::assumptions::Holds;
use crate::body::Body;
use crate::divergence::{Cause, Divergence, Known};
use crate::instance::{Power, Stored};
use crate::invariants::violated;
use crate::journal::Commit;
use crate::late_requests::{LANDED, ON_THE_WAY};
use crate::world::{Weather, World};

/// How often a repair begins where one may. The healer first waits for a comparison that finds nothing to repair.
const COMPARED_FIRST: u64 = 120;

/// The shell's next step of a repair.
#[derive(Clone, Debug)]
enum Stage {
    /// Read the page from this cursor on.
    Page(Cursor),
    /// The page was read, and this is on its way to the target. The next page starts at this cursor, if there is one.
    Writing(Written, Option<Cursor>),
    /// Everything was compared.
    Compared,
}

#[derive(Clone, Debug)]
struct Repair {
    rebuild: Rebuild,
    /// The copy's id on the target.
    id: InstanceCollectionId,
    stage: Stage,
    /// Whether the target came back older since the comparison began, without the board knowing.
    older_unseen: bool,
}

/// A write of a repair that its edge has given up, or was stopped in the middle of.
#[derive(Clone, Debug)]
struct Landing {
    collection: CollectionId,
    target: InstanceId,
    id: InstanceCollectionId,
    written: Written,
    /// The step at which it was given up, or its last byte was handed over. `None` if its edge is stopped in the middle
    /// of it.
    left: Option<u64>,
    lands: u64,
    /// Whether it was sent after the lease.
    late: bool,
}

pub struct Repairing {
    fate: Random,
    under_way: Vec<Repair>,
    landing: Vec<Landing>,
    /// How often a repair of each copy has begun.
    begun: BTreeMap<(CollectionId, InstanceId), u64>,
}

impl Repairing {
    pub fn new(seed: u64) -> Self {
        Repairing {
            fate: Random::scattered(seed ^ 0x1414_1414_1414),
            under_way: Vec::new(),
            landing: Vec::new(),
            begun: BTreeMap::new(),
        }
    }

    pub fn begun(&self, collection: CollectionId, instance: InstanceId) -> u64 {
        self.begun.get(&(collection, instance)).copied().unwrap_or_default()
    }

    pub fn is_idle(&self) -> bool {
        self.under_way.is_empty() && self.landing.is_empty()
    }

    pub fn is_about(&self, collection: CollectionId) -> bool {
        self.under_way.iter().any(|repair| repair.rebuild.collection == collection)
    }

    /// Notes that the instance's process is gone, with everything it had not executed.
    pub fn killed(&mut self, instance: InstanceId) {
        self.landing.retain(|landing| landing.target != instance || landing.left.is_none());
    }

    /// Notes that the instance came back older, unnoticed.
    pub fn came_back_older(&mut self, instance: InstanceId) {
        self.under_way
            .iter_mut()
            .filter(|repair| repair.rebuild.target == instance)
            .for_each(|repair| repair.older_unseen = true);
    }

    /// Notes that the board knows that the instance went away, or has come back older.
    pub fn told(&mut self, instance: InstanceId) {
        self.under_way
            .iter_mut()
            .filter(|repair| repair.rebuild.target == instance)
            .for_each(|repair| repair.older_unseen = false);
    }

    /// Ends the edge: what was on its way may arrive. Another edge has taken over, possibly while this one is in the
    /// middle of a write.
    pub fn shell_forgets(&mut self, now: u64, taken_over: bool) {
        for repair in std::mem::take(&mut self.under_way) {
            let Stage::Writing(written, _) = repair.stage else { continue };
            let half_sent = taken_over && self.fate.per_mille(600);
            if !half_sent && self.fate.per_mille(400) {
                continue;
            }
            let Rebuild { collection, target, .. } = repair.rebuild;
            let left = (!half_sent).then_some(now);
            self.landing.push(Landing {
                collection,
                target,
                id: repair.id,
                written,
                left,
                lands: now,
                late: half_sent,
            });
        }
    }
}

impl World {
    pub fn some_repair(&mut self) {
        self.some_landing();
        let often = if self.weather == Weather::Storm { 250 } else { 600 };
        if !self.repairing.fate.per_mille(often) {
            return;
        }
        let under_way = self.repairing.under_way.len();
        if under_way > 0 && self.repairing.fate.per_mille(850) {
            let at = self.repairing.fate.index(under_way);
            return self.go_on_repairing(at);
        }
        let possible: Vec<Rebuild> = self
            .board
            .rebuilds()
            .into_iter()
            .filter(|rebuild| self.board.can_repair(*rebuild) && !self.is_being_made(rebuild.collection))
            .collect();
        if !possible.is_empty() && self.repairing.fate.per_mille(COMPARED_FIRST) {
            let rebuild = possible[self.repairing.fate.index(possible.len())];
            self.begin_repair(rebuild);
        }
    }

    fn is_reachable(&self, instance: InstanceId) -> bool {
        self.instances[instance.0].power == Power::Up
    }

    /// Begins a repair. The copy must have the source's name and definition.
    fn begin_repair(&mut self, rebuild: Rebuild) {
        let Rebuild { collection, source, target, .. } = rebuild;
        if !self.is_reachable(source) || !self.is_reachable(target) || self.now < self.lease_begins {
            return;
        }
        let sides = (self.content_of(collection, source), self.content_of(collection, target));
        let (Some(ours), Some(theirs)) = sides else { return };
        let Some(id) = self.board.catalog().mapping(collection, target) else { return };
        if !align::same_definition(&ours, &theirs) {
            return self.counters.count("not repaired, since it is defined otherwise");
        }
        self.r14_nothing_unreadable_is_repaired(collection, target);
        self.tell(Input::RepairBegun(rebuild));
        if self.board.repairs(rebuild) {
            self.counters.count("repair begun");
            *self.repairing.begun.entry((collection, target)).or_default() += 1;
            let stage = Stage::Page(Cursor::default());
            self.repairing.under_way.push(Repair { rebuild, id, stage, older_unseen: false });
            self.tell(Input::CopyBegun(rebuild));
        }
    }

    /// R13, R17: a copy that killed its instance is not read, and one that is condemned for more than its records is
    /// made anew.
    fn r14_nothing_unreadable_is_repaired(&self, collection: CollectionId, target: InstanceId) {
        let replica = (LaneId::Records(collection), target);
        let state = self.journal.step(replica.0, target);
        // An operator's decision releases a copy at once, and is durable a little later.
        let lets_go = |commit: &Commit| matches!(commit, Commit::Persist(Persist::Divergence { replicas, .. }) if replicas.contains(&replica));
        let is_unreadable = matches!(state, LaneState::Quarantined | LaneState::Condemned);
        if is_unreadable && !self.journal.queue.iter().any(lets_go) {
            violated("R14", &format!("{collection:?} on {target:?} is {state:?}, and is repaired"));
        }
    }

    fn go_on_repairing(&mut self, at: usize) {
        let Repair { rebuild, stage, .. } = self.repairing.under_way[at].clone();
        self.may_come_back_older(rebuild.target, &stage);
        match stage {
            Stage::Page(cursor)
                if cursor.is_at_the_beginning()
                    && !(self.board.repairs(rebuild) && self.board.can_rebuild(rebuild)) =>
            {
                self.end_repair(at, CutoverOutcome::NotBegun, RepairWrites::Answered);
            }
            Stage::Page(cursor) => self.read_a_page(at, cursor),
            Stage::Writing(written, next) => self.write_a_page(at, &written, next),
            Stage::Compared => self.cut_over_the_repair(at),
        }
    }

    /// Lets the target come back older, most often once everything was compared, when nothing else would show that it
    /// must be compared again. The probes notice it, an inspection does, or nothing does.
    fn may_come_back_older(&mut self, target: InstanceId, stage: &Stage) {
        let often = if matches!(stage, Stage::Compared) { 500 } else { 150 };
        let may_lose = self.weather == Weather::Storm && self.temper.rollback > 0;
        if !may_lose || target != self.unlucky() || !self.repairing.fate.per_mille(often) {
            return;
        }
        self.counters.count("came back older amid a repair");
        self.comes_back_older(target);
        match self.repairing.fate.index(10) {
            0..4 => {
                self.set_power(target, Power::Down);
                self.probe(target);
                self.set_power(target, Power::Up);
                self.probe(target);
            }
            4..8 => {
                self.set_power(target, Power::Up);
                self.look_at(target);
            }
            _ => {}
        }
    }

    fn read_a_page(&mut self, at: usize, cursor: Cursor) {
        let Rebuild { collection, source, target, .. } = self.repairing.under_way[at].rebuild;
        let there = self.is_reachable(source) && self.is_reachable(target);
        let sides = (self.content_of(collection, source), self.content_of(collection, target));
        let (Some(ours), Some(theirs), true) = (sides.0, sides.1, there) else {
            return self.end_repair(at, CutoverOutcome::NotBegun, RepairWrites::Answered);
        };
        let most = 1 + self.repairing.fate.index(3);
        let (written, next) = align::page(&ours.records, &theirs.records, cursor, most);
        self.repairing.under_way[at].stage = Stage::Writing(written, next);
    }

    /// Executes and answers the write; or executes it and loses the answer; or leaves it to be executed later, or
    /// never.
    fn write_a_page(&mut self, at: usize, written: &Written, next: Option<Cursor>) {
        let Repair { rebuild, id, .. } = self.repairing.under_way[at].clone();
        let storm = self.weather == Weather::Storm;
        if written.is_empty() {
            return self.page_is_written(at, next);
        }
        if self.now < self.lease_begins {
            return;
        }
        if !self.is_reachable(rebuild.target) || (storm && self.repairing.fate.per_mille(150)) {
            self.counters.count("write of a repair without an answer");
            if self.repairing.fate.per_mille(700) {
                let Rebuild { collection, target, .. } = rebuild;
                let (left, lands) = (Some(self.now), self.now + self.repairing.fate.index(ON_THE_WAY / 5) as u64);
                let written = written.clone();
                self.repairing.landing.push(Landing { collection, target, id, written, left, lands, late: false });
            } else {
                self.execute_repair(rebuild.target, id, written);
            }
            return self.end_repair(at, CutoverOutcome::NotBegun, RepairWrites::InDoubt);
        }
        self.execute_repair(rebuild.target, id, written);
        self.page_is_written(at, next);
    }

    fn execute_repair(&mut self, target: InstanceId, id: InstanceCollectionId, written: &Written) {
        if !self.is_reachable(target) {
            return;
        }
        if let Some(stored) = self.instances[target.0].collections.get_mut(&id.uuid()) {
            align::write(&mut stored.records, written);
        }
    }

    fn page_is_written(&mut self, at: usize, next: Option<Cursor>) {
        self.repairing.under_way[at].stage = next.map_or(Stage::Compared, Stage::Page);
    }

    fn cut_over_the_repair(&mut self, at: usize) {
        let rebuild = self.repairing.under_way[at].rebuild;
        match self.board.cutover_state(rebuild) {
            CutoverState::GivenUp if !self.board.repairs(rebuild) => {
                self.end_repair(at, CutoverOutcome::NotBegun, RepairWrites::Answered);
            }
            CutoverState::GivenUp if self.repairing.fate.per_mille(700) => self.tell(Input::CutoverWanted(rebuild)),
            CutoverState::Ready { touched: Some(touched) } => {
                let (outcome, writes) = self.bring_up_to_date(at, &touched);
                self.end_repair(at, outcome, writes);
            }
            // Too much has happened since the comparison: it starts over.
            CutoverState::Ready { touched: None } => {
                self.tell(Input::CutoverEnded { rebuild, outcome: CutoverOutcome::NotBegun });
                self.counters.count("repair compared again");
                self.repairing.under_way[at].stage = Stage::Page(Cursor::default());
                self.repairing.under_way[at].older_unseen = false;
                self.tell(Input::CopyBegun(rebuild));
            }
            CutoverState::GivenUp | CutoverState::Draining => {
                if self.repairing.fate.per_mille(100) {
                    self.end_repair(at, CutoverOutcome::NotBegun, RepairWrites::Answered);
                }
            }
        }
    }

    /// Repairs what was touched since the comparison while the lane stands still. The order of the ids shows the rest.
    fn bring_up_to_date(&mut self, at: usize, touched: &[Seq]) -> (CutoverOutcome, RepairWrites) {
        let Repair { rebuild, id, older_unseen, .. } = self.repairing.under_way[at].clone();
        let Rebuild { collection, source, target, .. } = rebuild;
        self.r14_source_stands_still(collection, source);
        let not_this_time = (CutoverOutcome::NotBegun, RepairWrites::Answered);
        let sides = (self.content_of(collection, source), self.content_of(collection, target));
        let there = self.is_reachable(source) && self.is_reachable(target);
        let (Some(now), Some(mut held), true) = (sides.0, sides.1, there) else { return not_this_time };
        let (written, deleted) = self.ids_touched(touched);
        align::touched(&mut held, &now, &written, &deleted);
        let storm = self.weather == Weather::Storm;
        let is_lost = storm && self.repairing.fate.per_mille(100);
        if let Some(stored) = self.instances[target.0].collections.get_mut(&id.uuid()) {
            stored.records.clone_from(&held.records);
            stored.dimension = stored.dimension.or(now.dimension);
            held = stored.clone();
        }
        if is_lost {
            self.counters.count("write of a repair without an answer");
            return (CutoverOutcome::NotBegun, RepairWrites::InDoubt);
        }
        // Read and compared as they are: definitions, dimensions and lists of ids.
        let ids = |stored: &Stored| stored.records.iter().map(|record| record.id).collect::<Vec<_>>();
        if !align::same_definition(&now, &held) || now.dimension != held.dimension || ids(&now) != ids(&held) {
            return not_this_time;
        }
        if held != now && !older_unseen {
            violated("R14", &format!("{rebuild:?}: {held:?} is repaired, and is not {now:?} after {touched:?}"));
        }
        (CutoverOutcome::Repaired, RepairWrites::Answered)
    }

    fn ids_touched(&self, touched: &[Seq]) -> (BTreeSet<u8>, BTreeSet<u8>) {
        let (mut written, mut deleted) = (BTreeSet::new(), BTreeSet::new());
        for seq in touched {
            match &self.journal.rows[seq].body {
                Body::Write { docs, .. } => written.extend(docs.iter().map(|doc| doc.id)),
                Body::DeleteIds(ids) => deleted.extend(ids.iter().copied()),
                // Only the lists show their ids.
                _ => {}
            }
        }
        (written, deleted)
    }

    fn end_repair(&mut self, at: usize, outcome: CutoverOutcome, writes: RepairWrites) {
        let Repair { rebuild, older_unseen, .. } = self.repairing.under_way.swap_remove(at);
        let Rebuild { collection, source, target, .. } = rebuild;
        let admissions = self.facts.admissions;
        let before = (self.content_of(collection, source), self.content_of(collection, target));
        self.end_rebuild(rebuild, outcome);
        if self.facts.admissions > admissions {
            self.counters.count("repaired");
            self.may_still_be_repaired(collection, target);
            if before.0 != before.1 {
                if !older_unseen {
                    violated("R14", &format!("{target:?} is admitted to {collection:?} and differs from {source:?}"));
                }
                let divergence = Divergence { cause: Cause::Older, known: Known::ToNobody };
                self.divergences.diverge_again(collection, target, divergence);
            }
        }
        self.tell(Input::RepairEnded { rebuild, writes });
    }

    /// R14, R4: no write of a repair that the board could know of is executed after the admission.
    pub fn may_still_be_repaired(&self, collection: CollectionId, instance: InstanceId) {
        let here = |landing: &&Landing| {
            let id = self.board.catalog().mapping(collection, instance);
            (landing.collection, landing.target, Some(landing.id)) == (collection, instance, id) && !landing.late
        };
        if let Some(landing) = self.repairing.landing.iter().find(here) {
            violated("R14", &format!("{instance:?} is admitted while {landing:?} may be executed"));
        }
        let written = |repair: &&Repair| (repair.rebuild.collection, repair.rebuild.target) == (collection, instance);
        if let Some(repair) = self.repairing.under_way.iter().find(written) {
            violated("R14", &format!("{instance:?} is admitted by something else amid {repair:?}"));
        }
    }

    /// Executes a write that its edge has given up, or sends too late one that an edge was stopped in the middle of.
    fn some_landing(&mut self) {
        let gone = |landing: &Landing| self.board.catalog().get(landing.collection).is_none();
        let left: Vec<Landing> = self.repairing.landing.iter().filter(|landing| !gone(landing)).cloned().collect();
        self.repairing.landing = left;
        if self.repairing.landing.is_empty() || !self.repairing.fate.per_mille(200) {
            return;
        }
        let at = self.repairing.fate.index(self.repairing.landing.len());
        let landing = self.repairing.landing[at].clone();
        if landing.left.is_none() {
            return self.send_too_late(at);
        }
        if landing.lands <= self.now && self.is_reachable(landing.target) {
            self.repairing.landing.swap_remove(at);
            self.land(&landing);
        }
    }

    fn send_too_late(&mut self, at: usize) {
        let Landing { collection, target, .. } = self.repairing.landing[at];
        if self.weather == Weather::Quiesced || self.repairing.fate.per_mille(200) {
            self.repairing.landing.swap_remove(at);
            return;
        }
        self.counters.count("write of a repair sent after the lease");
        let lands = self.now + self.repairing.fate.index(ON_THE_WAY) as u64;
        let landing = &mut self.repairing.landing[at];
        (landing.left, landing.lands) = (Some(self.now), lands);
        if self.assumptions.lateness_is_noticed == Holds::Always {
            self.unrecorded_late_writes.push((LaneId::Records(collection), target));
        }
    }

    fn land(&mut self, landing: &Landing) {
        let before = self.instances[landing.target.0].collections.clone();
        self.execute_repair(landing.target, landing.id, &landing.written);
        if before == self.instances[landing.target.0].collections {
            return;
        }
        self.counters.count("write of a repair that landed later");
        if landing.late {
            self.counters.count(LANDED);
            self.note_changes(landing.target, &before, Cause::Late);
        }
    }

    /// Ends a settle time: what was sent to the replica before it began can no longer be executed.
    pub fn landings_end(&mut self, lane: LaneId, instance: InstanceId, since: u64) {
        let ends = |landing: &Landing| {
            (LaneId::Records(landing.collection), landing.target) == (lane, instance)
                && landing.left.is_some_and(|left| left <= since)
        };
        let (ended, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.repairing.landing).into_iter().partition(ends);
        self.repairing.landing = others;
        for landing in ended {
            if self.repairing.fate.per_mille(400) {
                self.land(&landing);
            }
        }
    }
}
