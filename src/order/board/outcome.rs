//! The meaning of an attempt's outcome (rules R2, R3, R4).
//!
//! Every outcome ends the request in flight of one replica, or keeps it in flight, and may settle entries. [`super::abandon`]
//! decides when an unanswered entry is given up; [`super::record`] handles what must first be durable.

use super::{
    Action, Board, ClientAnswer, Consequences, DivergenceCause, Effect, Health, Outcome, Record, Resolved, Retry,
    WaitReason, breach, known, never, persist_divergence, suspects::DEATHS_WITHOUT_PAUSE,
};
use crate::ids::{CollectionId, InstanceId, LaneId, Seq};
use crate::order::catalog_change::CatalogChange;
use crate::order::entry::{AckPolicy, ClientState, Encoding, Kind, Verdict};
use crate::order::lane::{Dimension, InFlight, Lane, LaneState, Pending};
use crate::proof::{self, Rule};

impl Board {
    pub(super) fn attempted(&mut self, id: LaneId, instance: InstanceId, outcome: Outcome, effects: &mut Vec<Effect>) {
        self.dirty.insert(id);
        self.dirty.insert(LaneId::Catalog);
        let lane = known(self.lanes.get_mut(&id));
        let InFlight::Sent { first, last } = lane.progress(instance).in_flight else {
            never("an attempt ended, and none was under way");
        };
        breach::panic_at_marked(lane, first, last);
        let progress = lane.progress_mut(instance);
        progress.in_flight = InFlight::None;
        if !matches!(outcome, Outcome::NotSent { .. }) {
            lane.between_mut(first.prior(), last).for_each(|slot| slot.may_have_run = true);
        }
        self.wake_suspects(instance);
        if is_answer(&outcome) {
            self.cleared(id, instance, effects);
        }
        let lane = known(self.lanes.get_mut(&id));
        let progress = lane.progress_mut(instance);
        match outcome {
            // The outcome no longer matters: the replica is diverged, or its collection is deleted.
            _ if progress.state != LaneState::InStep || lane.closed_by.is_some() => match outcome {
                Outcome::Died { company, about } if lane.closed_by.is_none() => {
                    self.died(id, instance, (first, last), company, about, effects);
                }
                Outcome::InDoubt { .. } | Outcome::Died { .. } => {
                    self.doubt(id, instance, first, last, Health::Gone, effects);
                }
                _ => lane.progress_mut(instance).doubt = Seq::ZERO,
            },
            Outcome::Applied(consequences) => self.applied(id, instance, last, consequences, effects),
            Outcome::Void => self.voided(id, instance, first, effects),
            Outcome::Rejected { about } if first == last => self.rejected(id, instance, first, about, effects),
            // A merged request that was rejected had no effect: sending its entries one by one shows which one was
            // invalid.
            Outcome::Rejected { .. } => lane.between_mut(first.prior(), last).for_each(|slot| slot.solo = true),
            Outcome::Failed { signature, about } => {
                self.failed(id, instance, (first, last), signature, about, effects);
            }
            Outcome::NotSent { .. } | Outcome::InDoubt { .. }
                if proof::broken(Rule::DropNothing) && self.dropped(id, instance, first, effects) => {}
            Outcome::InDoubt { .. }
                if proof::broken(Rule::RememberDoubt) && self.forgotten(id, instance, (first, last), effects) => {}
            Outcome::NotSent { retry } => {
                self.put_off(id, instance, first);
                self.wait(id, instance, retry, effects);
            }
            Outcome::InDoubt { instance_was } => {
                self.doubt(id, instance, first, last, instance_was, effects);
                self.unanswered_alone(id, instance, first);
            }
            Outcome::Died { company, about } => {
                self.died(id, instance, (first, last), company, about, effects);
            }
            Outcome::Unfit => self.unfit(id, instance, first, effects),
        }
    }

    pub(super) fn wait(&mut self, id: LaneId, instance: InstanceId, retry: Retry, effects: &mut Vec<Effect>) {
        let lane = known(self.lanes.get_mut(&id));
        if retry == Retry::AfterBackoff {
            let progress = lane.progress_mut(instance);
            let wait = progress.begin_wait(InFlight::Paused);
            progress.backoffs = progress.backoffs.saturating_add(1);
            let why = WaitReason::Backoff { in_a_row: progress.backoffs };
            effects.push(Effect::Perform(Action::AwaitQuiescence { lane: id, instance, wait, why }));
        }
    }

    fn applied(
        &mut self,
        id: LaneId,
        instance: InstanceId,
        last: Seq,
        consequences: Consequences,
        effects: &mut Vec<Effect>,
    ) {
        let lane = known(self.lanes.get_mut(&id));
        let durable = lane.progress(instance).durable;
        let mut record = Record { through: Some(last), changes: consequences.changes, ..Record::default() };
        let mut pending = Pending { diverged: consequences.diverged, ..Pending::default() };
        let mut answer_now = Vec::new();
        let mut refused_elsewhere = false;
        for slot in lane.between_mut(durable, last) {
            let seq = slot.entry.seq;
            match slot.entry.verdict {
                None => {
                    record.verdicts.push((seq, Verdict::Applied));
                    if id == LaneId::Catalog || slot.ack_policy == AckPolicy::Durable {
                        pending.verdicts.push((seq, Verdict::Applied));
                        pending.answers.push(seq);
                    } else {
                        slot.entry.verdict = Some(Verdict::Applied);
                        slot.answer_given = true;
                        answer_now.push((seq, slot.ack_state));
                    }
                }
                Some(Verdict::Rejected | Verdict::Quarantined) if seq == last => refused_elsewhere = true,
                Some(
                    Verdict::Rejected | Verdict::Applied | Verdict::Void | Verdict::Abandoned | Verdict::Quarantined,
                ) => {}
            }
        }
        if refused_elsewhere {
            self.applied_after_refusal(id, instance, last, pending.diverged, effects);
            return;
        }
        note_dimension(id, lane, last, &mut record.changes);
        lane.answered = answer_now.last().map_or(lane.answered, |(seq, _)| *seq).max(lane.answered);
        for (collection, other) in &pending.diverged {
            record.diverged.push((LaneId::Records(*collection), *other));
        }
        pending.changes.clone_from(&record.changes);
        lane.progress_mut(instance).answered();
        let mut answered = 0;
        for (seq, ack_state) in answer_now {
            answered += u32::from(lane.stops_waiting(seq));
            let verdict = Verdict::Applied;
            effects.push(Effect::Answer(ClientAnswer { lane: id, seq, from: Some(instance), verdict, ack_state }));
        }
        if answered > 0 {
            self.expect_writers(id, instance, last, answered, effects);
        }
        self.begin_record(id, instance, record, pending, effects);
    }

    /// Executed here although another instance rejected it: the replica does not serve until it has been compared (rule
    /// R4). The catalog lane never stops. There, the collections that the shell names become diverged.
    fn applied_after_refusal(
        &mut self,
        id: LaneId,
        instance: InstanceId,
        seq: Seq,
        collections: Vec<(CollectionId, InstanceId)>,
        effects: &mut Vec<Effect>,
    ) {
        match id {
            LaneId::Records(_) => {
                let diverged = self.diverge(vec![(id, instance)]);
                persist_divergence(diverged, DivergenceCause::Unverified, effects);
            }
            LaneId::Catalog => {
                let diverged = self.diverge(collections.into_iter().map(|(c, i)| (LaneId::Records(c), i)).collect());
                let record = Record { through: Some(seq), diverged, ..Record::default() };
                self.begin_record(id, instance, record, Pending::default(), effects);
            }
        }
    }

    fn voided(&mut self, id: LaneId, instance: InstanceId, seq: Seq, effects: &mut Vec<Effect>) {
        self.settle_without_effect(id, instance, seq, Verdict::Void, effects);
    }

    fn rejected(
        &mut self,
        id: LaneId,
        instance: InstanceId,
        seq: Seq,
        about: Option<CollectionId>,
        effects: &mut Vec<Effect>,
    ) {
        let lane = known(self.lanes.get_mut(&id));
        lane.progress_mut(instance).answered();
        match lane.slot(seq).and_then(|slot| slot.entry.verdict) {
            None => {
                // Where it is in doubt, it is sent once more and should be rejected as well (rule R4). Otherwise one
                // invalid write, together with a lost answer or a restart, would make an instance diverged.
                self.settle_without_effect(id, instance, seq, Verdict::Rejected, effects);
            }
            Some(Verdict::Applied) => self.refused_after_applied(id, instance, seq, about, effects),
            Some(Verdict::Rejected | Verdict::Void | Verdict::Abandoned | Verdict::Quarantined) => {
                let record = Record { through: Some(seq), ..Record::default() };
                self.begin_record(id, instance, record, Pending::default(), effects);
            }
        }
    }

    /// Rejected here after being applied elsewhere: diverged, never skipped silently (rule R4, G9).
    fn refused_after_applied(
        &mut self,
        id: LaneId,
        instance: InstanceId,
        seq: Seq,
        about: Option<CollectionId>,
        effects: &mut Vec<Effect>,
    ) {
        let lane = match id {
            LaneId::Records(_) => Some(id),
            LaneId::Catalog => about.map(LaneId::Records),
        };
        let diverged = self.diverge(lane.map(|lane| (lane, instance)).into_iter().collect());
        if id == LaneId::Catalog {
            let record = Record { through: Some(seq), diverged, ..Record::default() };
            self.begin_record(id, instance, record, Pending::default(), effects);
        } else {
            persist_divergence(diverged, DivergenceCause::Unverified, effects);
        }
    }

    pub(super) fn settle_without_effect(
        &mut self,
        id: LaneId,
        instance: InstanceId,
        seq: Seq,
        verdict: Verdict,
        effects: &mut Vec<Effect>,
    ) {
        let open = self.lanes.get(&id).and_then(|lane| lane.slot(seq)).is_some_and(|s| s.entry.verdict.is_none());
        let mut record = Record { through: Some(seq), ..Record::default() };
        let mut pending = Pending::default();
        if open {
            record.verdicts.push((seq, verdict));
            pending.verdicts.push((seq, verdict));
            pending.answers.push(seq);
        }
        self.begin_record(id, instance, record, pending, effects);
    }

    pub(super) fn doubt(
        &mut self,
        id: LaneId,
        instance: InstanceId,
        first: Seq,
        last: Seq,
        instance_was: Health,
        effects: &mut Vec<Effect>,
    ) {
        let lane = known(self.lanes.get_mut(&id));
        let single = first == last;
        for slot in lane.between_mut(first.prior(), last) {
            slot.solo = true;
            if single && instance_was == Health::Healthy {
                slot.unanswered[instance.0] = slot.unanswered[instance.0].saturating_add(1);
            }
        }
        if proof::broken(Rule::ReplayOne) {
            breach::go_back(lane, instance, first);
        }
        let progress = lane.progress_mut(instance);
        progress.doubt = progress.doubt.max(last);
        progress.over = Seq::ZERO;
        let wait = progress.begin_wait(InFlight::InDoubt);
        if instance_was == Health::Healthy {
            progress.unanswered = progress.unanswered.saturating_add(1);
            progress.backoffs = progress.backoffs.saturating_add(1);
        }
        let in_a_row = if instance_was == Health::Healthy { progress.backoffs } else { 0 };
        let why = match lane.slot(first).map_or(0, |slot| slot.deaths(instance)).saturating_sub(DEATHS_WITHOUT_PAUSE) {
            0 => WaitReason::Settle { in_a_row },
            in_a_row => WaitReason::Deaths { in_a_row },
        };
        effects.push(Effect::Perform(Action::AwaitQuiescence { lane: id, instance, wait, why }));
        if single {
            self.consider_examination(id, first);
        }
        self.examine_when_quiescent(id, effects);
    }

    fn unfit(&mut self, id: LaneId, instance: InstanceId, seq: Seq, effects: &mut Vec<Effect>) {
        effects.push(Effect::Perform(Action::Inspect { instance }));
        let deleted = self.may_be_deleted(id, instance);
        let lane = known(self.lanes.get_mut(&id));
        let progress = lane.progress_mut(instance);
        progress.declined = Some(seq);
        // The request was answered, so every earlier one without an answer is over, and a deletion does not wait for it.
        progress.over = progress.doubt;
        if deleted {
            // The collection is gone there, so nothing can be in doubt. Otherwise the deletion and the doubt would wait
            // for each other.
            progress.doubt = Seq::ZERO;
        }
        let open = lane.slot(seq).is_some_and(|slot| slot.entry.verdict.is_none());
        if open && self.declined_by_all(id, seq) {
            self.settle_without_effect(id, instance, seq, Verdict::Rejected, effects);
        } else {
            self.wait(id, instance, Retry::AfterBackoff, effects);
        }
    }

    pub(super) fn ids_read(&mut self, id: LaneId, instance: InstanceId, resolved: Resolved, effects: &mut Vec<Effect>) {
        self.dirty.insert(id);
        // A deletion may have waited for the read to end.
        self.dirty.insert(LaneId::Catalog);
        let lane = known(self.lanes.get_mut(&id));
        let InFlight::Resolving { seq } = lane.progress(instance).in_flight else {
            never("ids were read, and no read was under way");
        };
        lane.progress_mut(instance).in_flight = InFlight::None;
        if lane.closed_by.is_some() {
            return;
        }
        self.wake_suspects(instance);
        match resolved {
            Resolved::Durable | Resolved::Rejected | Resolved::Unexplained { .. } => {
                self.cleared(id, instance, effects)
            }
            Resolved::Failed { .. } | Resolved::Died { .. } => {}
        }
        let lane = known(self.lanes.get_mut(&id));
        match resolved {
            Resolved::Durable => {
                if let Some(slot) = lane.slot_mut(seq) {
                    slot.resolved = true;
                }
            }
            Resolved::Rejected => self.rejected(id, instance, seq, None, effects),
            Resolved::Failed { retry } => self.wait(id, instance, retry, effects),
            Resolved::Died { company } => self.died_reading(id, instance, seq, company, effects),
            Resolved::Unexplained { signature } => {
                self.failed_alone(id, instance, seq, signature, None, effects);
            }
        }
    }

    /// Returns whether a client still waits for the entry, if the entry is on the board.
    pub fn client(&self, lane: LaneId, seq: Seq) -> Option<ClientState> {
        self.lanes.get(&lane).and_then(|lane| lane.slot(seq)).map(|slot| slot.client)
    }
}

/// Returns whether the instance lived to answer.
const fn is_answer(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Applied(_) | Outcome::Void | Outcome::Rejected { .. } | Outcome::Failed { .. } | Outcome::Unfit => {
            true
        }
        Outcome::NotSent { .. } | Outcome::InDoubt { .. } | Outcome::Died { .. } => false,
    }
}

/// Notes the collection's dimension, which the first applied write with embeddings sets (rule R4).
fn note_dimension(id: LaneId, lane: &mut Lane, last: Seq, changes: &mut Vec<CatalogChange>) {
    // The catalog has no dimension.
    let LaneId::Records(collection) = id else { return };
    let sets = lane.slot(last).is_some_and(|slot| {
        let writes = matches!(slot.entry.profile.kind, Kind::Add | Kind::Upsert | Kind::Update);
        let embeds = slot.entry.profile.merge.is_some_and(|m| m.docs > 0 && m.encoding != Encoding::Absent);
        writes && embeds
    });
    if sets && lane.dimension == Dimension::Unknown {
        lane.dimension = Dimension::Known;
        changes.push(CatalogChange::Dimensioned { collection });
    }
}
