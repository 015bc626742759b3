//! Records: what waits for the journal, and what happens once it is durable (rule R2).

use super::{Board, ClientAnswer, Comparison, Effect, Persist, Record, Urgency, known, never};
use crate::ids::{InstanceId, LaneId, Seq};
use crate::order::admission::Admission;
use crate::order::entry::{Kind, Verdict};
use crate::order::lane::{InFlight, LaneState, Pending};

impl Board {
    /// Begins a record. The replica's request stays in flight until the record is durable: no second request may be in
    /// doubt (rule R1).
    pub(super) fn begin_record(
        &mut self,
        id: LaneId,
        instance: InstanceId,
        record: Record,
        pending: Pending,
        effects: &mut Vec<Effect>,
    ) {
        let lane = known(self.lanes.get_mut(&id));
        let progress = lane.progress_mut(instance);
        progress.in_flight = InFlight::Recording { through: record.through.unwrap_or(progress.durable) };
        progress.pending = pending;
        let is_awaited = !progress.pending.answers.is_empty();
        let has_all = lane.slots.back().is_none_or(|last| last.entry.seq <= lane.covered(instance));
        let waits = id == LaneId::Catalog || is_awaited || !has_all;
        let urgency = if waits || !record.is_progress() { Urgency::Now } else { Urgency::WithTheNext };
        effects.push(Effect::Persist(Persist::Record { lane: id, instance, record, urgency }));
    }

    pub(super) fn recorded(&mut self, id: LaneId, instance: InstanceId, effects: &mut Vec<Effect>) {
        self.dirty.insert(id);
        self.dirty.insert(LaneId::Catalog);
        self.admission_recorded(id, instance);
        let lane = known(self.lanes.get_mut(&id));
        let progress = lane.progress_mut(instance);
        let InFlight::Recording { through } = progress.in_flight else {
            never("recorded, and nothing was recording");
        };
        progress.in_flight = InFlight::None;
        progress.durable = progress.durable.max(through);
        if progress.doubt <= progress.durable {
            progress.doubt = Seq::ZERO;
        }
        let pending = std::mem::take(&mut progress.pending);
        for (seq, verdict) in &pending.verdicts {
            if let Some(slot) = lane.slot_mut(*seq)
                && slot.entry.verdict.is_none()
            {
                slot.entry.verdict = Some(*verdict);
            }
        }
        if pending.admission == Admission::WhenDurable {
            lane.progress_mut(instance).state = LaneState::InStep;
        }
        for (seq, _) in pending.verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Quarantined) {
            self.note_quarantined(id, *seq);
        }
        match id {
            LaneId::Catalog => self.fold_catalog(through, &pending, effects),
            // The new copy's id on the instance (rule R14), and a dimension, which the catalog does not keep.
            LaneId::Records(_) => pending.changes.iter().for_each(|change| self.catalog.fold(Seq::ZERO, change)),
        }
        self.give_answers(id, instance, &pending.answers, effects);
    }

    fn fold_catalog(&mut self, through: Seq, pending: &Pending, effects: &mut Vec<Effect>) {
        // The collections that a deletion hits are read before the deletion is folded.
        for (seq, verdict) in &pending.verdicts {
            self.catalog_settled(*seq, *verdict, effects);
        }
        for change in &pending.changes {
            self.catalog.fold(through, change);
        }
        self.diverge(pending.diverged.iter().map(|(c, i)| (LaneId::Records(*c), *i)).collect());
        self.wake_changed(&pending.changes);
        self.forget_settled_deletions();
    }

    fn forget_settled_deletions(&mut self) {
        let catalog = known(self.lanes.get(&LaneId::Catalog));
        let low = self
            .instances()
            .filter(|i| catalog.progress(*i).state == LaneState::InStep)
            .map(|i| catalog.progress(i).durable)
            .min()
            .unwrap_or(Seq::ZERO);
        if self.settled_deletions.first_key_value().is_some_and(|(seq, _)| *seq <= low) {
            self.settled_deletions.retain(|seq, _| *seq > low);
            self.catalog.forget_departed(low);
        }
    }

    fn give_answers(&mut self, id: LaneId, instance: InstanceId, seqs: &[Seq], effects: &mut Vec<Effect>) {
        let lane = known(self.lanes.get_mut(&id));
        let mut answered = 0;
        for seq in seqs {
            let Some(slot) = lane.slot_mut(*seq) else { continue };
            let Some(verdict) = slot.entry.verdict else { continue };
            if std::mem::replace(&mut slot.answer_given, true) {
                continue;
            }
            let ack_state = slot.ack_state;
            let waited = lane.stops_waiting(*seq);
            if verdict == Verdict::Applied {
                answered += u32::from(waited);
                lane.answered = lane.answered.max(*seq);
            }
            let from = Some(instance);
            effects.push(Effect::Answer(ClientAnswer { lane: id, seq: *seq, from, verdict, ack_state }));
        }
        if let Some(last) = seqs.last().filter(|_| answered > 0) {
            self.expect_writers(id, instance, *last, answered, effects);
        }
    }

    /// Admits a diverged instance that was found equal, unless either has moved since.
    pub(super) fn found_equal(&mut self, comparison: &Comparison, effects: &mut Vec<Effect>) {
        let Comparison { collection, reference, instance, at, wait, divergences } = *comparison;
        let id = LaneId::Records(collection);
        // Another copy is about to take the place of the one that was compared, or that one is being written to.
        if self.cutovers.contains_key(&id) || self.is_repaired(id, instance) {
            return;
        }
        // The reference may have executed a deletion by now.
        let quiet = self.quiet(collection, reference) && self.first_deletion(collection) == Seq::MAX;
        // Late: the collection was deleted during the comparison.
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let unmoved = quiet && lane.covered(reference) == at && lane.divergences == divergences;
        let progress = lane.progress_mut(instance);
        let untouched = progress.in_flight == InFlight::None && progress.wait == wait;
        if !unmoved || progress.state != LaneState::Diverged || !untouched {
            return;
        }
        progress.state = LaneState::InStep;
        progress.doubt = Seq::ZERO;
        let record = Record { through: Some(at), admitted: vec![(id, instance)], ..Record::default() };
        self.begin_record(id, instance, record, Pending::default(), effects);
    }

    pub(super) fn voids_recorded(&mut self, id: LaneId, seqs: &[Seq], effects: &mut Vec<Effect>) {
        self.dirty.insert(id);
        let lane = known(self.lanes.get_mut(&id));
        for seq in seqs {
            let Some(slot) = lane.slot_mut(*seq) else { continue };
            if !std::mem::replace(&mut slot.answer_given, true) {
                let ack_state = slot.ack_state;
                lane.stops_waiting(*seq);
                let (from, verdict) = (None, Verdict::Void);
                effects.push(Effect::Answer(ClientAnswer { lane: id, seq: *seq, from, verdict, ack_state }));
            }
        }
    }

    /// Returns whether an entry of this kind changes the catalog when it is applied.
    pub fn changes_catalog(kind: Kind) -> bool {
        !kind.is_record()
    }
}
