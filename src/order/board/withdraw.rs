//! When a journaled write is withdrawn, so that its client may send it again (rule R15).
//!
//! Decides that only from the board's own state of the entry: no request for it can have been executed anywhere, nor
//! can any be from now on. Whether its client wants that is up to the proxy.

use super::{Board, ClientAnswer, Effect, Persist, known};
use crate::ids::{LaneId, Seq};
use crate::order::entry::{AckState, ClientState, Verdict};

impl Board {
    /// Returns whether the entry can be withdrawn now: it was never sent, or every request for it ended without any
    /// possible effect.
    pub fn withdrawable(&self, id: LaneId, seq: Seq) -> bool {
        let Some(lane) = self.lanes.get(&id) else { return false };
        let untouched = lane.slot(seq).is_some_and(|slot| {
            slot.entry.verdict.is_none() && !slot.may_have_run && slot.ack_state == AckState::Unacknowledged
        });
        untouched && !lane.under_way(seq) && lane.replicas.iter().all(|progress| progress.doubt < seq)
    }

    /// Withdraws the entry: from now on nothing of it is sent. A crash before that is durable leaves the entry as it
    /// was, and its client without an answer.
    pub(super) fn withdraw(&mut self, id: LaneId, seq: Seq, effects: &mut Vec<Effect>) {
        if !self.withdrawable(id, seq) {
            return;
        }
        let slot = known(self.lanes.get_mut(&id).and_then(|lane| lane.slot_mut(seq)));
        slot.entry.verdict = Some(Verdict::Abandoned);
        effects.push(Effect::Persist(Persist::Withdrawal { lane: id, seq }));
        self.dirty.insert(id);
    }

    pub(super) fn withdrawal_recorded(&mut self, id: LaneId, seq: Seq, effects: &mut Vec<Effect>) {
        if id == LaneId::Catalog {
            // Entries that waited for a deletion or a rename go on.
            self.catalog_settled(seq, Verdict::Abandoned, effects);
        }
        self.dirty.insert(id);
        let lane = known(self.lanes.get_mut(&id));
        // Already answered, and every instance has skipped it.
        let Some(slot) = lane.slot_mut(seq) else { return };
        slot.client = ClientState::Gone;
        if std::mem::replace(&mut slot.answer_given, true) {
            return;
        }
        let (from, verdict, ack_state) = (None, Verdict::Abandoned, slot.ack_state);
        lane.stops_waiting(seq);
        effects.push(Effect::Answer(ClientAnswer { lane: id, seq, from, verdict, ack_state }));
    }
}
