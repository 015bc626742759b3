//! What clients saw, for the checker: their writes from the first byte to the answer, and their reads.
//!
//! A read must show what was acknowledged when it began. It shows the content at the time of its answer.

use chroma_edge::ids::{CollectionId, InstanceId, LaneId, Seq};
use chroma_edge::order::{Consistency, Verdict};

use crate::instance::{Power, Record};
use crate::world::World;
use testkit::checker::history::{Outcome, Read, Shown, Write};

/// What clients were answered.
#[derive(Default)]
pub struct Account {
    pub writes: Vec<Write>,
    pub reads: Vec<Read<Vec<Record>>>,
    /// Writes whose client waits, by number.
    open: Vec<usize>,
    begun: Vec<Begun>,
}

/// A read under way.
#[derive(Clone, Copy, Debug)]
struct Begun {
    collection: CollectionId,
    instance: InstanceId,
    at: u64,
    /// How often a repair of the copy had begun by then.
    repairs: u64,
}

impl Account {
    /// Begins a client's write. Returns its number, which identifies it in the journal.
    pub fn begin(&mut self, now: u64) -> usize {
        let number = self.writes.len();
        let outcome = Outcome::Unknown("not answered".to_owned());
        self.writes.push(Write { token: token(number), invoked: now, ended: u64::MAX, outcome });
        self.open.push(number);
        number
    }

    fn end(&mut self, number: usize, now: u64, outcome: Outcome) {
        if let Some(at) = self.open.iter().position(|open| *open == number) {
            self.open.swap_remove(at);
            self.writes[number].ended = now;
            self.writes[number].outcome = outcome;
        }
    }

    pub fn acknowledged(&self, number: usize) -> bool {
        self.writes[number].outcome == Outcome::Acknowledged
    }

    /// Ends every wait: no waiting client gets an answer.
    pub fn cut(&mut self, now: u64, why: &str) {
        for number in std::mem::take(&mut self.open) {
            self.writes[number].ended = now;
            self.writes[number].outcome = Outcome::Unknown(why.to_owned());
        }
        self.begun.clear();
    }
}

pub fn token(number: usize) -> String {
    format!("w{number}")
}

impl World {
    pub fn answer_client(&mut self, seq: Seq, verdict: Verdict) {
        let outcome = match verdict {
            Verdict::Applied => Outcome::Acknowledged,
            // A `get_or_create` that found its collection.
            Verdict::Void if self.journal.rows[&seq].lane == LaneId::Catalog => Outcome::Found,
            // Its client was answered with a failure, which promises nothing.
            Verdict::Rejected if self.failures.agreed.contains(&seq) => Outcome::Unknown("failed".to_owned()),
            Verdict::Rejected | Verdict::Void => Outcome::Refused(format!("{verdict:?}")),
            Verdict::Quarantined => Outcome::Unknown("quarantined".to_owned()),
            Verdict::Abandoned => Outcome::Unknown("abandoned".to_owned()),
        };
        let number = self.journal.rows[&seq].number;
        self.account.end(number, self.now, outcome);
    }

    pub fn client_leaves(&mut self, seq: Seq) {
        let number = self.journal.rows[&seq].number;
        self.account.end(number, self.now, Outcome::Unknown("recovery pending".to_owned()));
    }

    pub fn client_reads(&mut self) {
        if let Some(at) = self.pick(self.account.begun.len())
            && self.rng.per_mille(600)
        {
            let begun = self.account.begun.swap_remove(at);
            self.read_is_answered(begun);
        }
        let Some(at) = self.pick(self.heard_of.len()) else { return };
        let collection = self.heard_of[at];
        if self.board.catalog().get(collection).is_none() {
            // Answered from the edge's own catalog.
            self.counters.count("read of a deleted collection");
            let (lane, now) = (LaneId::Records(collection).to_string(), self.now);
            self.account.reads.push(Read { lane, invoked: now, ended: now, shown: Shown::Nothing });
            return;
        }
        let readers = self.board.readers(collection, Consistency::Fresh);
        if let Some(at) = self.pick(readers.len()) {
            let instance = readers[at].instance;
            let repairs = self.repairing.begun(collection, instance);
            self.account.begun.push(Begun { collection, instance, at: self.now, repairs });
        }
    }

    /// Answers a read. Nothing is expected of a replica whose divergence the board does not know.
    fn read_is_answered(&mut self, begun: Begun) {
        let Begun { collection, instance, at, repairs } = begun;
        if self.repairing.begun(collection, instance) != repairs {
            self.counters.count("read again, since a repair began meanwhile");
            return;
        }
        if self.instances[instance.0].power != Power::Up || self.divergences.of(collection, instance).is_some() {
            return;
        }
        if self.facts.amid_a_run(instance, LaneId::Records(collection)) {
            // It shows everything acknowledged, and any part of the rest.
            self.counters.count("read amid a run that is executed again");
            return;
        }
        let mapped = self.board.catalog().mapping(collection, instance);
        let Some(held) = mapped.and_then(|id| self.instances[instance.0].collections.get(&id.uuid())) else { return };
        let (lane, shown) = (LaneId::Records(collection).to_string(), Shown::Content(held.records.clone()));
        if self.now > at {
            self.counters.count("read that took its time");
        }
        self.account.reads.push(Read { lane, invoked: at, ended: self.now, shown });
    }
}
