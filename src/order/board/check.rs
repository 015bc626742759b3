//! Invariants of the board after each step, however the instances behave. Checked in debug builds and in tests, never
//! in a release.
//!
//! Only what the board itself can know. The simulation checks what has to be compared with the journal and the
//! instances (`tests/simulation/invariants.rs`).

use super::abandon::is_quiescent;
use super::{Action, Board, Effect, Persist, Purpose};
use crate::ids::{InstanceId, LaneId, Seq};
use crate::order::entry::{Kind, Verdict};
use crate::order::lane::{InFlight, Lane, LaneState, ReplicaProgress, Slot};
use crate::order::merging::mergeable;
use crate::order::placement::Duty;
use crate::proof;

/// The rule, and what is wrong.
type Broken = (&'static str, String);

/// With more lanes or collections than this, the counts are not verified at each step.
const FEW_LANES: usize = 64;

fn holds(rule: &'static str, holds: bool, what: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err((rule, what())) }
}

impl Board {
    /// Panics if this step has broken a rule.
    pub(super) fn check(&self, effects: &[Effect]) {
        // A rule that is broken on purpose must be found by its consequences.
        if proof::any_broken() {
            return;
        }
        if self.lanes.len().max(self.catalog.count()) <= FEW_LANES
            && let Some(what) = self.lanes.miscounted().or_else(|| self.catalog.miscounted())
        {
            panic!("the board has miscounted: {what}");
        }
        for effect in effects {
            let checked = match effect {
                Effect::Perform(action) => self.check_action(action),
                Effect::Persist(Persist::Record { lane, instance, record, .. }) => {
                    let is_recording = self
                        .lanes
                        .get(lane)
                        .is_none_or(|lane| matches!(lane.progress(*instance).in_flight, InFlight::Recording { .. }));
                    let known = record.through.is_none_or(|through| through <= self.last);
                    holds("R2", is_recording && known, || "a record that nothing waits for".to_owned())
                }
                Effect::Answer(answer) => self.check_answer(answer.lane, answer.seq, answer.verdict),
                Effect::Persist(
                    Persist::Divergence { .. }
                    | Persist::Voids { .. }
                    | Persist::Withdrawal { .. }
                    | Persist::Suspected { .. }
                    | Persist::Lifted { .. },
                ) => Ok(()),
            };
            if let Err((rule, what)) = checked {
                panic!("{rule} is broken: {what} ({effect:?})");
            }
        }
    }

    /// Panics if this lane is in a state that the rules do not allow.
    pub(super) fn check_lane(&self, id: LaneId) {
        let Some(lane) = self.lanes.get(&id).filter(|_| !proof::any_broken()) else { return };
        let checked = self.r6_nothing_unknown(lane).and_then(|()| r3_one_instance_at_a_time(lane));
        if let Err((rule, what)) = checked {
            panic!("{rule} is broken: {what} ({id})");
        }
    }

    fn r6_nothing_unknown(&self, lane: &Lane) -> Result<(), Broken> {
        for progress in &lane.replicas {
            let first = match progress.in_flight {
                InFlight::Sent { first, last } if first <= last && last <= self.last => first,
                InFlight::Sent { .. } => return Err(("R6", format!("{:?}", progress.in_flight))),
                InFlight::Resolving { seq } | InFlight::Checking { seq } => seq,
                InFlight::None | InFlight::Recording { .. } | InFlight::InDoubt | InFlight::Paused => continue,
            };
            holds("R1", first > progress.durable, || format!("{first} is under way and durable"))?;
        }
        let durable = lane.replicas.iter().map(|progress| progress.durable).max().unwrap_or(Seq::ZERO);
        holds("R6", durable <= self.last, || format!("{durable} is durable, and the last entry is {}", self.last))
    }

    fn check_action(&self, action: &Action) -> Result<(), Broken> {
        match action {
            Action::Send { lane: id, instance, seqs, purpose, .. } => {
                let Some(lane) = self.lanes.get(id) else { return Err(("R1", "no such lane".to_owned())) };
                r1_first_after_the_mark(lane, *instance, seqs)?;
                r9_mergeable(lane, seqs, self.batches)?;
                purpose_fits(lane, *instance, seqs, *purpose)?;
                self.check_duty(*id, *instance, seqs, *purpose)
            }
            Action::ReadIds { lane: id, instance, seq, .. } => {
                let Some(lane) = self.lanes.get(id) else { return Err(("R1", "no such lane".to_owned())) };
                r1_first_after_the_mark(lane, *instance, &[*seq])?;
                let limited = lane
                    .slot(*seq)
                    .is_some_and(|slot| slot.entry.profile.kind == Kind::DeleteLimited && !slot.resolved);
                holds("R1", limited, || "only ids of a limited delete are read, once".to_owned())?;
                self.check_duty(*id, *instance, &[*seq], Purpose::Execute)
            }
            Action::Examine { lane, seq } => {
                let fits = self.lanes.get(lane).is_some_and(|lane| {
                    let open = lane.slot(*seq).is_some_and(|slot| slot.examined && slot.entry.verdict.is_none());
                    open && lane.replicas.iter().all(is_quiescent)
                });
                holds("R10", fits, || "examined while something may be executed".to_owned())
            }
            Action::AwaitQuiescence { .. }
            | Action::AwaitReturn { .. }
            | Action::AwaitWriters { .. }
            | Action::AwaitMore { .. }
            | Action::Inspect { .. }
            | Action::CheckWritable { .. }
            | Action::CompareTouched { .. } => Ok(()),
        }
    }

    /// Checks that nothing goes to a stopped instance, and no open entry to a drained one while another instance is ready.
    fn check_duty(&self, id: LaneId, instance: InstanceId, seqs: &[Seq], purpose: Purpose) -> Result<(), Broken> {
        let duty = self.duty(instance);
        holds("placement", duty != Duty::Stopped, || "the instance is stopped".to_owned())?;
        let (Some(first), true) = (seqs.first(), duty == Duty::SyncOnly && purpose == Purpose::Execute) else {
            return Ok(());
        };
        let slot = self.lanes.get(&id).and_then(|lane| lane.slot(*first));
        let ready = |other: &InstanceId| {
            let next = self.sendable(id, *other).is_some_and(|next| next.seq == *first);
            next && self.duty(*other) == Duty::Full
                && !self.others_come_first(id, *first, *other)
                && slot.is_some_and(|slot| self.may_be_risked(id, *other, slot))
        };
        let other = self.instances().find(ready);
        holds("placement", other.is_none(), || format!("{instance:?} is drained, and {other:?} stands ready"))
    }

    /// Checks that an answer matches the entry's verdict and is given once.
    fn check_answer(&self, lane: LaneId, seq: Seq, verdict: Verdict) -> Result<(), Broken> {
        let Some(slot) = self.lanes.get(&lane).and_then(|lane| lane.slot(seq)) else { return Ok(()) };
        let same = slot.entry.verdict == Some(verdict) && slot.answer_given;
        holds("R3", same, || format!("the verdict is {:?}", slot.entry.verdict))
    }
}

/// G9, R1: a request goes only to a replica in step, as its one request, starting at the first entry after what is durable.
fn r1_first_after_the_mark(lane: &Lane, instance: InstanceId, seqs: &[Seq]) -> Result<(), Broken> {
    let progress = lane.progress(instance);
    holds("G9", progress.state == LaneState::InStep, || "the instance is diverged".to_owned())?;
    let (Some(first), Some(last)) = (seqs.first(), seqs.last()) else { return Err(("R1", "nothing".to_owned())) };
    let noted = match progress.in_flight {
        InFlight::Sent { first: from, last: to } => (from, to) == (*first, *last),
        InFlight::Resolving { seq } => seq == *first,
        _ => false,
    };
    holds("R1", noted, || format!("it is not what is under way: {:?}", progress.in_flight))?;
    let whole: Vec<Seq> = slots_after(lane, progress.durable).take(seqs.len()).map(|slot| slot.entry.seq).collect();
    holds("R1", whole == seqs, || format!("the next entries there are {whole:?}"))
}

/// R9: only neighbors of one kind and encoding share a request, within the limits.
fn r9_mergeable(lane: &Lane, seqs: &[Seq], limits: super::MergeLimits) -> Result<(), Broken> {
    let profiles: Vec<_> = seqs.iter().filter_map(|seq| lane.slot(*seq)).map(|slot| slot.entry.profile).collect();
    let Some((head, others)) = profiles.split_first().filter(|(_, others)| !others.is_empty()) else { return Ok(()) };
    let documents: u32 = profiles.iter().filter_map(|profile| profile.merge).map(|merge| merge.docs).sum();
    let bytes: u64 = profiles.iter().map(|profile| profile.bytes).sum();
    let fits = documents <= limits.documents && bytes <= limits.bytes;
    holds("R9", fits && others.iter().all(|other| mergeable(head, other)), || "they must not be merged".to_owned())
}

/// R3, R4: an entry sent to be executed has no verdict and is under way nowhere else; a replicated entry is applied.
fn purpose_fits(lane: &Lane, instance: InstanceId, seqs: &[Seq], purpose: Purpose) -> Result<(), Broken> {
    let all = |verdict: Option<Verdict>| {
        seqs.iter().all(|seq| lane.slot(*seq).is_some_and(|slot| slot.entry.verdict == verdict))
    };
    let fits = match purpose {
        Purpose::Execute => all(None) && !seqs.iter().any(|seq| lane.under_way_elsewhere(*seq, instance)),
        Purpose::Replicate => all(Some(Verdict::Applied)),
        Purpose::ExpectRefusal => seqs.len() == 1 && (all(Some(Verdict::Rejected)) || all(Some(Verdict::Quarantined))),
    };
    holds("R3", fits, || "its entries are not such".to_owned())
}

/// R3: an entry without a verdict is under way on only one instance.
fn r3_one_instance_at_a_time(lane: &Lane) -> Result<(), Broken> {
    let span = |progress: &ReplicaProgress| match progress.in_flight {
        InFlight::Sent { first, last } => Some((first, last)),
        InFlight::Resolving { seq } | InFlight::Checking { seq } => Some((seq, seq)),
        InFlight::None | InFlight::Recording { .. } | InFlight::InDoubt | InFlight::Paused => None,
    };
    let spans: Vec<(Seq, Seq)> = lane.replicas.iter().filter_map(span).collect();
    for (index, (first, last)) in spans.iter().enumerate() {
        for (other_first, other_last) in &spans[index + 1..] {
            let (from, to) = (*first.max(other_first), *last.min(other_last));
            let both = slots_after(lane, from.prior()).take_while(|slot| slot.entry.seq <= to);
            let open = both.filter(|slot| slot.entry.verdict.is_none()).map(|slot| slot.entry.seq).next();
            holds("R3", open.is_none(), || format!("{open:?} is under way on two instances"))?;
        }
    }
    Ok(())
}

fn slots_after(lane: &Lane, after: Seq) -> impl Iterator<Item = &Slot> {
    lane.slots.range(lane.slots.partition_point(|slot| slot.entry.seq <= after)..)
}
