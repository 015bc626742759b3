//! What an attempt's outcome means (rules R2, R3, R4).
//!
//! Every outcome ends or keeps the flight of one place, and may settle entries. When an unanswered entry is given
//! up is in [`super::abandon`], what waits for the journal in [`super::record`].

use super::{
    Acknowledge, Again, Attendance, Board, Consequences, Effect, Health, Outcome, Record, Resolved, Rest, breach,
};
use crate::ids::{CollectionId, InstanceId, LaneId, Seq};
use crate::order::catalog_change::CatalogChange;
use crate::order::entry::{Encoding, Kind, Verdict};
use crate::order::lane::{Dimension, Flight, Lane, Pending, Step};
use crate::proof::{self, Rule};

impl Board {
    pub(super) fn attempted(&mut self, id: LaneId, instance: InstanceId, outcome: Outcome, effects: &mut Vec<Effect>) {
        self.dirty.insert(id);
        self.dirty.insert(LaneId::Catalog);
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let Flight::Sent { first, last } = lane.place(instance).flight else { return };
        let place = lane.place_mut(instance);
        place.flight = Flight::None;
        match outcome {
            // Nobody asks any more how it went there.
            _ if place.step == Step::Diverged || lane.closed_by.is_some() => match outcome {
                Outcome::InDoubt { .. } => self.doubt(id, instance, first, last, Health::Gone, effects),
                _ => lane.place_mut(instance).doubt = Seq::ZERO,
            },
            Outcome::Applied(consequences) => self.applied(id, instance, last, consequences, effects),
            Outcome::Void => self.voided(id, instance, first, effects),
            Outcome::Rejected { about } if first == last => self.rejected(id, instance, first, about, effects),
            // A merged request that was refused had no effect: which entry was wrong shows when they go one by one.
            Outcome::Rejected { .. } => lane.between_mut(prior(first), last).for_each(|slot| slot.solo = true),
            Outcome::NotSent { .. } | Outcome::InDoubt { .. }
                if proof::broken(Rule::DropNothing) && self.dropped(id, instance, first, effects) => {}
            Outcome::InDoubt { .. }
                if proof::broken(Rule::RememberDoubt) && self.forgotten(id, instance, (first, last), effects) => {}
            Outcome::NotSent { again } => self.rest(id, instance, again, effects),
            Outcome::InDoubt { instance_was } => self.doubt(id, instance, first, last, instance_was, effects),
            Outcome::Unfit => self.unfit(id, instance, first, effects),
        }
    }

    fn rest(&mut self, id: LaneId, instance: InstanceId, again: Again, effects: &mut Vec<Effect>) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if again == Again::AfterAPause {
            let place = lane.place_mut(instance);
            let rest = place.begin_rest(Flight::Paused);
            place.pauses = place.pauses.saturating_add(1);
            let why = Rest::Pause { in_a_row: place.pauses };
            effects.push(Effect::AwaitCalm { lane: id, instance, rest, why });
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
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let marked = lane.place(instance).marked;
        let mut record = Record { through: Some(last), changes: consequences.changes, ..Record::default() };
        let mut pending = Pending { diverged: consequences.diverged, ..Pending::default() };
        let mut answer_now = Vec::new();
        let mut refused_elsewhere = false;
        for slot in lane.between_mut(marked, last) {
            let seq = slot.entry.seq;
            match slot.entry.verdict {
                None => {
                    record.verdicts.push((seq, Verdict::Applied));
                    if id == LaneId::Catalog || slot.acknowledge == Acknowledge::WhenRecorded {
                        pending.verdicts.push((seq, Verdict::Applied));
                        pending.answers.push(seq);
                    } else {
                        slot.entry.verdict = Some(Verdict::Applied);
                        slot.answer_given = true;
                        answer_now.push((seq, slot.told));
                    }
                }
                Some(Verdict::Rejected) if seq == last => refused_elsewhere = true,
                Some(Verdict::Rejected | Verdict::Applied | Verdict::Void | Verdict::Abandoned) => {}
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
        lane.place_mut(instance).answered();
        for (seq, told) in answer_now {
            lane.stops_waiting(seq);
            effects.push(Effect::Answer { lane: id, seq, from: Some(instance), verdict: Verdict::Applied, told });
        }
        self.begin_record(id, instance, record, pending, effects);
    }

    /// Executed here though it was refused elsewhere: never served from here until compared (rule R4). The catalog
    /// lane itself never stops; there it is the collections that the shell names.
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
                let record = self.diverge(vec![(id, instance)]);
                effects.push(Effect::Note { record });
            }
            LaneId::Catalog => {
                let mut record = self.diverge(collections.into_iter().map(|(c, i)| (LaneId::Records(c), i)).collect());
                record.through = Some(seq);
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
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.place_mut(instance).answered();
        match lane.slot(seq).and_then(|slot| slot.entry.verdict) {
            None => {
                // In doubt elsewhere: sent there once more, to be refused there as well (rule R4). Else one wrong write of a
                // client while an answer is lost, or a restart with an open one, would take an instance out.
                self.settle_without_effect(id, instance, seq, Verdict::Rejected, effects);
            }
            Some(Verdict::Applied) => self.refused_after_applied(id, instance, seq, about, effects),
            Some(Verdict::Rejected | Verdict::Void | Verdict::Abandoned) => {
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
        let mut record = self.diverge(lane.map(|lane| (lane, instance)).into_iter().collect());
        if id == LaneId::Catalog {
            record.through = Some(seq);
            self.begin_record(id, instance, record, Pending::default(), effects);
        } else {
            effects.push(Effect::Note { record });
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

    fn doubt(
        &mut self,
        id: LaneId,
        instance: InstanceId,
        first: Seq,
        last: Seq,
        instance_was: Health,
        effects: &mut Vec<Effect>,
    ) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let single = first == last;
        for slot in lane.between_mut(prior(first), last) {
            slot.solo = true;
            if single && instance_was == Health::Healthy {
                slot.unanswered[instance.0] = slot.unanswered[instance.0].saturating_add(1);
            }
        }
        if proof::broken(Rule::ReplayOne) {
            breach::go_back(lane, instance, first);
        }
        let place = lane.place_mut(instance);
        place.doubt = place.doubt.max(last);
        let rest = place.begin_rest(Flight::InDoubt);
        if instance_was == Health::Healthy {
            place.unanswered = place.unanswered.saturating_add(1);
            place.pauses = place.pauses.saturating_add(1);
        }
        let in_a_row = if instance_was == Health::Healthy { place.pauses } else { 0 };
        effects.push(Effect::AwaitCalm { lane: id, instance, rest, why: Rest::Doubt { in_a_row } });
        if single {
            self.consider_examination(id, first);
        }
        self.examine_when_calm(id, effects);
    }

    fn unfit(&mut self, id: LaneId, instance: InstanceId, seq: Seq, effects: &mut Vec<Effect>) {
        effects.push(Effect::Inspect { instance });
        let deleted = self.may_be_deleted(id, instance);
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let place = lane.place_mut(instance);
        place.declined = Some(seq);
        if deleted {
            // Nothing of the lane is left there to be in doubt: the deletion would wait for it, and it for the deletion.
            place.doubt = Seq::ZERO;
        }
        let open = lane.slot(seq).is_some_and(|slot| slot.entry.verdict.is_none());
        if open && self.declined_by_all(id, seq) {
            self.settle_without_effect(id, instance, seq, Verdict::Rejected, effects);
        } else {
            self.rest(id, instance, Again::AfterAPause, effects);
        }
    }

    pub(super) fn ids_read(&mut self, id: LaneId, instance: InstanceId, resolved: Resolved, effects: &mut Vec<Effect>) {
        self.dirty.insert(id);
        // A deletion may have waited for the read to end.
        self.dirty.insert(LaneId::Catalog);
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let Flight::Resolving { seq } = lane.place(instance).flight else { return };
        lane.place_mut(instance).flight = Flight::None;
        if lane.closed_by.is_some() {
            return;
        }
        match resolved {
            Resolved::Durable => {
                if let Some(slot) = lane.slot_mut(seq) {
                    slot.resolved = true;
                }
            }
            Resolved::Rejected => self.rejected(id, instance, seq, None, effects),
            Resolved::Failed { again } => self.rest(id, instance, again, effects),
        }
    }

    /// Whether a client still waits for the entry.
    pub fn attendance(&self, lane: LaneId, seq: Seq) -> Option<Attendance> {
        self.lanes.get(&lane).and_then(|lane| lane.slot(seq)).map(|slot| slot.attendance)
    }
}

/// The first write with embeddings that is applied gives the collection its dimension (rule R4).
fn note_dimension(id: LaneId, lane: &mut Lane, last: Seq, changes: &mut Vec<CatalogChange>) {
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

/// The position right before this one: ranges are open at their start.
fn prior(seq: Seq) -> Seq {
    Seq::new(seq.get().saturating_sub(1))
}
