//! The choice of what is sent next, and where (rules R1, R3, R7).

use super::{Action, Board, ClientState, Effect, Purpose, Reach, Record, Repeat, SendPriority, breach, known};
use crate::ids::{InstanceId, LaneId, Seq};
use crate::order::choose::{Candidate, CandidateHealth, Preference, choose};
use crate::order::entry::{Kind, Verdict};
use crate::order::lane::{InFlight, Lane, LaneState, Pending};
use crate::proof::{self, Rule};

/// The next entry of an instance.
pub(super) struct Next {
    pub seq: Seq,
    pub verdict: Option<Verdict>,
}

impl Board {
    pub(super) fn launch_all(&mut self, effects: &mut Vec<Effect>) {
        self.give_up_cutovers();
        while let Some(id) = self.dirty.pop_first() {
            // The lane may not be on the board: a change of the catalog also marks the lane of a collection that has no
            // entries, or none left.
            if self.halted.contains(id) || !self.lanes.contains_key(&id) {
                continue;
            }
            self.at = Some(id);
            self.await_late_writes(id, effects);
            known(self.lanes.get_mut(&id)).pass_skipped();
            self.settle_suspects(id, effects);
            self.mark_skips(id, effects);
            self.replicate(id, effects);
            self.execute(id, effects);
            known(self.lanes.get_mut(&id)).trim();
            if cfg!(debug_assertions) {
                self.check_lane(id);
            }
            self.forget_finished(id);
        }
        self.begin_cutovers();
    }

    /// Records skips durably before anything newer is sent to the instance. Therefore, after a restart, exactly what follows the
    /// durable progress is in doubt, and an entry that another instance rejected is never sent after a newer one.
    fn mark_skips(&mut self, id: LaneId, effects: &mut Vec<Effect>) {
        for instance in self.instances() {
            let lane = known(self.lanes.get(&id));
            let progress = lane.progress(instance);
            let idle =
                progress.state == LaneState::InStep && progress.in_flight == InFlight::None && lane.closed_by.is_none();
            if idle && progress.scan_from > progress.durable {
                let record = Record { through: Some(progress.scan_from), ..Record::default() };
                self.begin_record(id, instance, record, Pending::default(), effects);
            }
        }
    }

    /// Sends settled entries to every instance that lacks them; instances do not wait for each other.
    fn replicate(&mut self, id: LaneId, effects: &mut Vec<Effect>) {
        for instance in self.instances() {
            if proof::broken(Rule::DropNothing) {
                self.drop_what_the_absent_lacks(id, instance, effects);
            }
            self.note_level(id, instance);
            if let Some(next) = self.sendable(id, instance)
                && next.verdict.is_some()
                && self.may_risk(id, instance, next.seq)
                && !self.trails(id, instance, next.seq, effects)
            {
                self.send(id, instance, next.seq, effects);
            }
        }
    }

    /// Sends an open entry to one instance at a time (rule R3): the preferred one of those whose head it is, drained ones aside.
    fn execute(&mut self, id: LaneId, effects: &mut Vec<Effect>) {
        let mut open: Vec<(Seq, Candidate)> = Vec::new();
        for instance in self.instances() {
            let Some(next) = self.sendable(id, instance) else { continue };
            let lane = known(self.lanes.get(&id));
            let held = lane.slot(next.seq).is_some_and(|slot| slot.examined)
                || (next.verdict.is_none()
                    && (self.others_come_first(id, next.seq, instance) || !self.may_risk(id, instance, next.seq)));
            if next.verdict.is_none() && !held && !lane.under_way_elsewhere(next.seq, instance) {
                let health = if self.reach[instance.0] == Reach::Here {
                    CandidateHealth::Sound
                } else {
                    CandidateHealth::Suspect
                };
                open.push((next.seq, Candidate { instance, health, in_flight: 0 }));
            }
        }
        // No instance can take an open entry now.
        let Some(first) = open.iter().map(|(seq, _)| *seq).min() else { return };
        let candidates: Vec<_> = open.iter().filter(|(seq, _)| *seq == first).map(|(_, c)| *c).collect();
        let candidates = self.placed(id, first, candidates);
        if let Some(instance) = choose(&candidates, Preference::Primary, self.primary()).first() {
            if self.shares_a_quarantine(id, first) {
                self.quarantine(id, *instance, first, (None, None), effects);
            } else if !self.awaits_writers(id, *instance, first) {
                self.send(id, *instance, first, effects);
            }
        }
    }

    fn may_risk(&self, id: LaneId, instance: InstanceId, seq: Seq) -> bool {
        let slot = self.lanes.get(&id).and_then(|lane| lane.slot(seq));
        slot.is_some_and(|slot| self.may_be_risked(id, instance, slot))
    }

    pub(super) fn instances(&self) -> impl Iterator<Item = InstanceId> + use<> {
        (0..self.reach.len()).map(InstanceId)
    }

    /// The next entry that may be sent to the instance now, if any (rule R1).
    pub(super) fn sendable(&self, id: LaneId, instance: InstanceId) -> Option<Next> {
        let lane = self.lanes.get(&id)?;
        let progress = lane.progress(instance);
        let free = self.reach[instance.0] != Reach::Away
            && progress.state == LaneState::InStep
            && progress.in_flight == InFlight::None;
        if !free || lane.closed_by.is_some() {
            return None;
        }
        let slot = lane.head(instance)?;
        let next = Next { seq: slot.entry.seq, verdict: slot.entry.verdict };
        let held = progress.declined == Some(next.seq) || self.held_for_cutover(id, instance, next.seq);
        (!held && self.clear_to_send(id, next.seq, next.verdict, instance)).then_some(next)
    }

    fn send(&mut self, id: LaneId, instance: InstanceId, seq: Seq, effects: &mut Vec<Effect>) {
        let limits = self.batches;
        let before = self.run_bound(id);
        let lane = known(self.lanes.get_mut(&id));
        let slot = known(lane.slot(seq));
        if slot.entry.profile.kind == Kind::DeleteLimited && !slot.resolved && !proof::broken(Rule::DeleteInPlace) {
            let send_priority = send_priority(id, lane, instance, &[seq]);
            lane.progress_mut(instance).in_flight = InFlight::Resolving { seq };
            effects.push(Effect::Perform(Action::ReadIds { lane: id, instance, seq, send_priority }));
            return;
        }
        let purpose = match slot.entry.verdict {
            None => Purpose::Execute,
            Some(Verdict::Rejected | Verdict::Quarantined) => Purpose::ExpectRefusal,
            Some(Verdict::Applied | Verdict::Void | Verdict::Abandoned) => Purpose::Replicate,
        };
        let seqs = match purpose {
            // An entry that is expected to be rejected must not be merged with others.
            Purpose::ExpectRefusal => vec![seq],
            Purpose::Execute | Purpose::Replicate => lane.run_from(instance, seq, before, limits),
        };
        let swapped = proof::out_of_order() && id != LaneId::Catalog;
        let seqs = if swapped { breach::out_of_order(lane, seqs, purpose, before) } else { seqs };
        let last = seqs.iter().max().copied().unwrap_or(seq);
        let send_priority = send_priority(id, lane, instance, &seqs);
        if purpose == Purpose::Execute {
            lane.expected = None;
        }
        let progress = lane.progress_mut(instance);
        progress.trail = progress.trail.after_sending();
        let repeat =
            if seq <= progress.doubt { Repeat::Retry { unanswered: progress.unanswered } } else { Repeat::First };
        progress.in_flight = InFlight::Sent { first: seq, last };
        effects.push(Effect::Perform(Action::Send { lane: id, instance, seqs, purpose, repeat, send_priority }));
    }

    /// Returns whether the entry is rejected because every configured instance answered `Unfit`. It is not if its
    /// client no longer waits, or if an instance may have executed it before (rule R2).
    pub(super) fn declined_by_all(&self, id: LaneId, seq: Seq) -> bool {
        self.lanes.get(&id).is_some_and(|lane| {
            let waiting = lane.slot(seq).is_some_and(|slot| slot.client == ClientState::Waiting);
            waiting && lane.replicas.iter().all(|progress| progress.declined == Some(seq) && progress.doubt < seq)
        })
    }
}

/// Returns the priority of a request. The catalog lane always counts as having a waiting client: other lanes wait for
/// its mappings, and a client that creates a collection waits until every reachable instance has it.
fn send_priority(id: LaneId, lane: &Lane, instance: InstanceId, seqs: &[Seq]) -> SendPriority {
    let mut precedence = lane.precedence(seqs);
    if id == LaneId::Catalog {
        precedence.client = ClientState::Waiting;
    }
    SendPriority { precedence, failures: lane.progress(instance).backoffs }
}
