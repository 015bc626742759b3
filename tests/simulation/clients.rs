//! What clients do: they write, and some stop waiting.

use chroma_edge::ids::LaneId;
use chroma_edge::order::{Input, Kind};

use crate::journal::Commit;
use crate::workload;
use crate::world::World;

impl World {
    pub fn client_writes(&mut self) {
        let open = self.journal.rows.values().rev().take(80).filter(|row| row.verdict.is_none()).count();
        if open + self.journal.queue.len() > 60 {
            return;
        }
        for _ in 0..1 + self.rng.index(3) {
            let mut known: Vec<_> = self.board.catalog().collections().map(|c| c.id).collect();
            known.sort();
            if self.rng.per_mille(40) {
                known.extend(self.heard_of.last());
            }
            let mut row = workload::draft(&mut self.rng, self.temper, &known);
            if !self.fated(&mut row) {
                continue;
            }
            if let LaneId::Records(collection) = row.lane
                && !self.heard_of.contains(&collection)
            {
                self.heard_of.push(collection);
            }
            row.number = self.account.begin(self.now);
            self.journal.queue.push_back(Commit::Append(row));
        }
    }

    pub fn client_gives_up(&mut self) {
        let open: Vec<_> = self
            .journal
            .rows
            .values()
            .rev()
            .take(40)
            .filter(|row| row.verdict.is_none() && !self.facts.answered(row.seq) && row.profile.kind != Kind::Adopt)
            .map(|row| (row.lane, row.seq))
            .collect();
        if let Some(at) = self.pick(open.len()) {
            let (lane, seq) = open[at];
            if self.rng.per_mille(500) && self.board.withdrawable(lane, seq) {
                // Its client is answered when that is durable.
                self.tell(Input::Withdraw { lane, seq });
                return;
            }
            self.counters.count("client gave up");
            self.client_leaves(seq);
            self.journal.queue.push_back(Commit::Pending(seq));
            self.tell(Input::ClientGone { lane, seq });
        }
    }
}
