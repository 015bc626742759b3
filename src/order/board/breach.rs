//! What the board does instead, where a rule is broken on purpose (`crate::proof`): nothing of it is reached otherwise.
//!
//! Each is as small as its rule allows and leaves the board's own state in order: what goes wrong, goes wrong on the
//! instances. Only lanes of records: an instance without a catalog entry would stand still, and prove less.

use super::{Board, Effect, Purpose, Reach, Record};
use crate::ids::{InstanceId, LaneId, Seq};
use crate::order::entry::{Kind, MAX_RETRIES, Verdict};
use crate::order::lane::{InFlight, Lane, LaneState, Pending};
use crate::proof::{Rule, broken, panics_at};

/// How many entries before the one in doubt are sent again with it.
const RANGE: usize = 32;

impl Board {
    /// G9: counts another failure of this entry there; whether it is given up there now.
    pub(super) fn dropped(&mut self, id: LaneId, instance: InstanceId, seq: Seq, effects: &mut Vec<Effect>) -> bool {
        let Some(lane) = self.lanes.get_mut(&id).filter(|_| id != LaneId::Catalog) else { return false };
        let Some(slot) = lane.slot_mut(seq).filter(|slot| slot.entry.verdict == Some(Verdict::Applied)) else {
            return false;
        };
        slot.unanswered[instance.0] = slot.unanswered[instance.0].saturating_add(1);
        let enough = slot.unanswered[instance.0] >= MAX_RETRIES;
        if enough {
            self.pass_by(id, instance, seq, effects);
        }
        enough
    }

    /// G9: an instance that is not there has failed once more, with all that it lacks.
    pub(super) fn drop_what_the_absent_lacks(&mut self, id: LaneId, instance: InstanceId, effects: &mut Vec<Effect>) {
        let lane = self.lanes.get_mut(&id).filter(|_| id != LaneId::Catalog);
        let absent = self.reach[instance.0] == Reach::Away;
        if let Some(through) = lane.filter(|_| absent).and_then(|lane| failed_again(lane, instance)) {
            self.pass_by(id, instance, through, effects);
        }
    }

    /// R2: whether what was sent there without an answer can be forgotten, since the entry goes on elsewhere; then it is.
    pub(super) fn forgotten(
        &mut self,
        id: LaneId,
        instance: InstanceId,
        run: (Seq, Seq),
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(lane) = self.lanes.get(&id).filter(|_| id != LaneId::Catalog) else { return false };
        let settled = lane.slot(run.1).is_some_and(|slot| slot.entry.verdict.is_some());
        let stands_there = |other: &InstanceId| {
            let progress = lane.progress(*other);
            *other != instance && progress.state == LaneState::InStep && progress.durable < run.0
        };
        let elsewhere = settled || self.instances().any(|other| stands_there(&other));
        if elsewhere {
            self.pass_by(id, instance, run.1, effects);
        }
        elsewhere
    }

    /// R12: whether an entry that the instance fails, and another one has applied, is passed by as if it had been rejected.
    pub(super) fn rejected_all_the_same(
        &mut self,
        id: LaneId,
        instance: InstanceId,
        seq: Seq,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let slot = self.lanes.get(&id).filter(|_| id != LaneId::Catalog).and_then(|lane| lane.slot(seq));
        let applied = slot.is_some_and(|slot| slot.entry.verdict == Some(Verdict::Applied));
        if applied {
            self.pass_by(id, instance, seq, effects);
        }
        applied
    }

    /// Marks what was not executed there.
    fn pass_by(&mut self, id: LaneId, instance: InstanceId, through: Seq, effects: &mut Vec<Effect>) {
        let record = Record { through: Some(through), ..Record::default() };
        self.begin_record(id, instance, record, Pending::default(), effects);
    }
}

/// Counts another failure of all that the instance lacks: the end of what has failed often enough.
fn failed_again(lane: &mut Lane, instance: InstanceId) -> Option<Seq> {
    let progress = lane.progress(instance);
    let waits = matches!(progress.in_flight, InFlight::None | InFlight::InDoubt | InFlight::Paused);
    if progress.state != LaneState::InStep || !waits || lane.closed_by.is_some() {
        return None;
    }
    let behind = progress.durable.max(progress.scan_from);
    let mut through = None;
    for slot in lane.between_mut(behind, Seq::MAX).take_while(|slot| slot.entry.verdict.is_some()) {
        slot.unanswered[instance.0] = slot.unanswered[instance.0].saturating_add(1);
        if slot.unanswered[instance.0] >= MAX_RETRIES {
            through = Some(slot.entry.seq);
        }
    }
    through
}

/// R14: whether a lane that has stood still goes on while the new copy takes its place.
pub(super) fn lets_lanes_go_on() -> bool {
    broken(Rule::HeldLane)
}

/// R13: whether a suspect of this lane is sent to an instance that it is not bound to.
pub(super) fn sends_suspects_on(id: LaneId) -> bool {
    broken(Rule::SuspectBound) && id != LaneId::Catalog
}

/// R1, R2: the instance is set back to some entries before the one in doubt. Only applied ones: with one that was
/// rejected elsewhere the replica would become diverged, which proves less.
pub(super) fn go_back(lane: &mut Lane, instance: InstanceId, first: Seq) {
    let before = lane.slots.iter().rev().filter(|slot| slot.entry.seq < first);
    let applied = before.take_while(|slot| slot.entry.verdict == Some(Verdict::Applied));
    let Some(from) = applied.map(|slot| slot.entry.seq).take(RANGE + 1).last() else { return };
    let back = from.prior();
    let progress = lane.progress_mut(instance);
    progress.durable = progress.durable.min(back);
    progress.scan_from = progress.scan_from.min(back);
}

/// R6, and what a delete was decided on: the run as it is sent, and where it ends. A lone entry takes its neighbour
/// with it, to go behind it.
pub(super) fn out_of_order(lane: &Lane, run: Vec<Seq>, purpose: Purpose, before: Seq) -> Vec<Seq> {
    let Some(head) = run.first().and_then(|seq| lane.slot(*seq)).filter(|_| purpose == Purpose::Replicate) else {
        return run;
    };
    let deletes = matches!(head.entry.profile.kind, Kind::Delete | Kind::DeleteLimited);
    if head.solo || !(broken(Rule::KeepOrder) || broken(Rule::DeleteInPlace) && deletes) {
        return run;
    }
    let next = lane.slots.iter().find(|slot| slot.entry.seq > head.entry.seq).filter(|slot| {
        let ready = slot.entry.profile.kind != Kind::DeleteLimited || slot.resolved || broken(Rule::DeleteInPlace);
        slot.entry.verdict == Some(Verdict::Applied) && slot.entry.seq <= before && !slot.solo && ready
    });
    match (run.as_slice(), next) {
        ([_], Some(next)) => vec![next.entry.seq, head.entry.seq],
        ([first, second, wait @ ..], _) => [*second, *first].into_iter().chain(wait.iter().copied()).collect(),
        _ => run,
    }
}

/// Panics where the request has an entry that the proof has marked by its size.
pub(super) fn panic_at_marked(lane: &mut Lane, first: Seq, last: Seq) {
    let marked = lane.between_mut(first.prior(), last).any(|slot| panics_at(slot.entry.profile.bytes));
    assert!(!marked, "the outcome of an entry that is marked for a panic");
}
