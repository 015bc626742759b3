//! The behavior of the board where a rule is broken on purpose (`crate::proof`). Nothing here is reached otherwise.
//!
//! Each breach is as small as its rule allows and leaves the board's own state in order, so that only the instances go
//! wrong. Breaches affect only record lanes: an instance without a catalog entry would stand still, and prove less.

use super::{Board, Effect, Purpose, Reach, Record};
use crate::ids::{InstanceId, LaneId, Seq};
use crate::order::entry::{Kind, MAX_RETRIES, Verdict};
use crate::order::lane::{InFlight, Lane, LaneState, Pending};
use crate::proof::{Rule, broken, panics_at};

/// How many entries before the one in doubt are sent again with it.
const RANGE: usize = 32;

impl Board {
    /// G9: counts another failure of this entry on the instance. Returns whether the entry is now given up there.
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

    /// G9: counts another failure of everything that an absent instance lacks.
    pub(super) fn drop_what_the_absent_lacks(&mut self, id: LaneId, instance: InstanceId, effects: &mut Vec<Effect>) {
        let lane = self.lanes.get_mut(&id).filter(|_| id != LaneId::Catalog);
        let absent = self.reach[instance.0] == Reach::Away;
        if let Some(through) = lane.filter(|_| absent).and_then(|lane| failed_again(lane, instance)) {
            self.pass_by(id, instance, through, effects);
        }
    }

    /// R2: forgets what was sent to the instance and not answered, if the entry goes on elsewhere. Returns whether it did.
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

    /// R12: passes by an entry that the instance fails and another one has applied, as if it had been rejected. Returns
    /// whether it did.
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

    /// Marks entries as passed that were not executed on the instance.
    fn pass_by(&mut self, id: LaneId, instance: InstanceId, through: Seq, effects: &mut Vec<Effect>) {
        let record = Record { through: Some(through), ..Record::default() };
        self.begin_record(id, instance, record, Pending::default(), effects);
    }
}

/// Counts another failure of everything that the instance lacks. Returns the last entry that has failed often enough.
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

/// R14: returns whether a lane that stands still goes on while the new copy takes its place.
pub(super) fn lets_lanes_go_on() -> bool {
    broken(Rule::HeldLane)
}

/// R13: returns whether a suspect of this lane is sent to an instance that it is not bound to.
pub(super) fn sends_suspects_on(id: LaneId) -> bool {
    broken(Rule::SuspectBound) && id != LaneId::Catalog
}

/// R1, R2: sets the instance back by some entries before the one in doubt. Only by applied ones: an entry that was
/// rejected elsewhere would make the replica diverged, which proves less.
pub(super) fn go_back(lane: &mut Lane, instance: InstanceId, first: Seq) {
    let before = lane.slots.iter().rev().filter(|slot| slot.entry.seq < first);
    let applied = before.take_while(|slot| slot.entry.verdict == Some(Verdict::Applied));
    let Some(from) = applied.map(|slot| slot.entry.seq).take(RANGE + 1).last() else { return };
    let back = from.prior();
    let progress = lane.progress_mut(instance);
    progress.durable = progress.durable.min(back);
    progress.scan_from = progress.scan_from.min(back);
}

/// R6, and what a delete was decided on: returns the run in the order in which it is sent. A lone entry takes its
/// neighbor along and goes behind it.
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

/// Panics if the request contains an entry that the proof has marked by its size.
pub(super) fn panic_at_marked(lane: &mut Lane, first: Seq, last: Seq) {
    let marked = lane.between_mut(first.prior(), last).any(|slot| panics_at(slot.entry.profile.bytes));
    assert!(!marked, "the outcome of an entry that is marked for a panic");
}
