//! What must hold after every step, each check named by its rule (docs/rules.md).

use chroma_edge::ids::{CollectionId, InstanceId, LaneId, Seq};
use chroma_edge::order::{
    AckState, Action, ClientAnswer, Consistency, Effect, Input, Intent, Kind, LaneState, Persist, Purpose, Record,
    Repeat, Verdict,
};

use crate::body::Body;
use crate::divergence::{Divergence, Known};
use crate::journal::Row;
use crate::requests::Request;
use crate::world::World;

/// Ends the run with the name of a broken rule.
pub fn violated(rule: &str, what: &str) -> ! {
    panic!("{rule} is broken: {what}")
}

fn prior(seq: Seq) -> Seq {
    Seq::new(seq.get() - 1)
}

impl World {
    pub fn check_effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Answer(ClientAnswer { lane, seq, verdict, ack_state, .. }) => {
                if self.facts.load.stops_waiting(*lane, *seq) {
                    self.holding.answers(*lane);
                }
                self.g9_no_contrary(*seq, *verdict, *ack_state);
                self.r2_r3_answer(*lane, *seq, *verdict);
            }
            Effect::Persist(Persist::Record { record, lane, instance, .. }) => {
                self.see_record(*lane, *instance, record);
                self.note_record(*lane, *instance, record);
            }
            Effect::Persist(Persist::Voids { .. }) => self.counters.count("void by deletion"),
            Effect::Persist(Persist::Withdrawal { lane, seq }) => self.r15_never_sent(*lane, *seq),
            Effect::Persist(Persist::Suspected { on: Some(_), .. }) => {
                self.counters.count("bound to an instance that died")
            }
            Effect::Persist(Persist::Divergence { .. } | Persist::Suspected { .. } | Persist::Lifted { .. }) => {}
            Effect::Perform(action) => self.check_action(action),
        }
    }

    fn check_action(&mut self, action: &Action) {
        match action {
            Action::Send { lane, instance, seqs, purpose, repeat, send_priority } => {
                self.check_send_priority(*lane, *instance, seqs, *send_priority);
                self.r1_one_in_doubt(*lane, *instance, seqs);
                self.r7_deletion_waits(*instance, seqs[0]);
                self.check_placed(*lane, *instance, seqs, *purpose);
                self.count_send(seqs, *purpose, *repeat);
            }
            Action::ReadIds { lane, instance, seq, send_priority } => {
                self.check_send_priority(*lane, *instance, &[*seq], *send_priority);
                self.r1_one_in_doubt(*lane, *instance, &[*seq]);
                self.check_placed(*lane, *instance, &[*seq], Purpose::Execute);
            }
            Action::Examine { lane, seq } => self.r10_nothing_left(*lane, *seq),
            Action::AwaitQuiescence { lane, instance, why, .. } => self.check_wait(*lane, *instance, *why),
            Action::CompareTouched { lane, seq, instances } => self.r12_nothing_left(*lane, *seq, instances),
            Action::AwaitWriters { lane, writers, .. } => self.r19_not_alone(*lane, *writers),
            Action::AwaitMore { lane, instance, from, .. } => self.r19_not_catching_up(*lane, *instance, *from),
            Action::Inspect { .. } | Action::CheckWritable { .. } | Action::AwaitReturn { .. } => {}
        }
    }

    fn count_send(&mut self, seqs: &[Seq], purpose: Purpose, repeat: Repeat) {
        if repeat != Repeat::First {
            self.counters.count("doubt re-sent");
        }
        if purpose == Purpose::ExpectRefusal {
            self.counters.count("expected refusal sent");
            if repeat != Repeat::First {
                self.counters.count("sent again where it was in doubt, to be refused");
            }
        }
        if seqs.len() > 1 {
            self.counters.count("merged run sent");
            self.facts.runs_lost_or_refused.extend(seqs);
        } else if self.facts.runs_lost_or_refused.remove(&seqs[0]) {
            self.counters.count("run split into singles");
        }
        let elsewhere = |request: &Request| request.seqs().contains(&seqs[0]);
        if purpose == Purpose::Execute && self.abandoned.iter().any(elsewhere) {
            self.counters.count("answered from a late failover");
        }
    }

    /// R1: at most one request per lane and instance is under way or in doubt, and it starts at the first entry after
    /// the durable progress, which covers what is skipped. R6: only durable entries are sent. R11: and none below a
    /// floor.
    fn r1_one_in_doubt(&mut self, lane: LaneId, instance: InstanceId, seqs: &[Seq]) {
        let same = |request: &Request| request.lane == lane && request.instance == instance;
        if let Some(other) = self.requests.iter().find(|request| same(request)) {
            violated("R1", &format!("{seqs:?} is sent to {instance:?} beside {other:?}"));
        }
        if let Some(other) = self.abandoned.iter().find(|request| same(request)) {
            violated("R1", &format!("{seqs:?} is sent to {instance:?} while {other:?} may still be executed"));
        }
        let (first, last) = (seqs[0], seqs[seqs.len() - 1]);
        if last > self.journal.last {
            violated("R6", &format!("{last} is sent and not durable"));
        }
        let durable = self.journal.durable(lane, instance);
        if durable < self.journal.floor(lane) || first <= self.journal.floor(lane) {
            violated("R11", &format!("{first} is sent to {instance:?}, durable through {durable}, below the floor"));
        }
        if first <= durable {
            violated("R1", &format!("{first} is sent again to {instance:?}, durable through {durable}"));
        }
        if let LaneId::Records(collection) = lane
            && self.board.state_of(collection, instance) != LaneState::InStep
        {
            violated("G9", &format!("{first} is sent to {instance:?}, which is diverged"));
        }
        if let Some(row) = self.journal.between(lane, durable, prior(first)).next() {
            violated("R1", &format!("{first} is sent to {instance:?} before {}: {:?}", row.seq, row.verdict));
        }
        let whole: Vec<_> = self.journal.between(lane, prior(first), last).map(|row| row.seq).collect();
        if whole != seqs {
            violated("R1", &format!("{seqs:?} is not a run of neighbours: {whole:?}"));
        }
    }

    /// R7: a deletion waits for the requests that are in flight on that instance and that it affects.
    fn r7_deletion_waits(&mut self, instance: InstanceId, seq: Seq) {
        let Intent::Deletes(deletion) = &self.journal.rows[&seq].intent else { return };
        let hit = match self.journal.closed.get(&seq) {
            Some(closed) => closed.clone(),
            // Rejected elsewhere: the collection that now has this name did not have it yet on this instance.
            None if self.journal.rows[&seq].verdict.is_some() => Vec::new(),
            None => self.board.catalog().hit_by(deletion),
        };
        let under = |request: &Request| match request.lane {
            LaneId::Records(collection) => request.instance == instance && hit.contains(&collection),
            LaneId::Catalog => false,
        };
        // A request that was sent before a crash to a collection deleted since is not waited for: it finds nothing
        // afterwards.
        let loaded = |request: &&Request| !self.deleted(request.lane);
        let abandoned = self.abandoned.iter().filter(loaded);
        if let Some(request) = self.requests.iter().chain(abandoned).find(|request| under(request)) {
            violated("R7", &format!("the deletion {seq} is sent to {instance:?} over {request:?}"));
        }
    }

    /// G3: no instance executes two writes of one lane in another order than the journal's. Executing again what was in
    /// doubt is harmless only within a run of one kind.
    pub fn check_execution(&mut self, lane: LaneId, instance: InstanceId, seqs: &[Seq]) {
        if let Some(seq) = seqs.iter().find(|seq| self.facts.withdrawn.contains(seq)) {
            violated("R15", &format!("{instance:?} executes {seq}, which was withdrawn"));
        }
        let (first, last) = (seqs[0], seqs[seqs.len() - 1]);
        let highest = self.facts.highest.get(&(instance, lane)).copied().unwrap_or(Seq::ZERO);
        let admitted = self.facts.admitted.get(&(instance, lane)).copied().unwrap_or(Seq::ZERO);
        let highest = highest.max(admitted);
        if first <= highest && !(first == last && first == highest) {
            let end = highest.max(last);
            let kind = self.journal.rows[&first].profile.kind;
            let one_kind = |row: &Row| {
                let left_out = !self.facts.executed(instance, row.seq) && !seqs.contains(&row.seq);
                left_out || (row.profile.kind == kind && row.profile.merge.is_some())
            };
            if !self.journal.between(lane, prior(first), end).all(one_kind) {
                violated("G3", &format!("{instance:?} executes {seqs:?} after {highest}"));
            }
        }
        self.facts.highest.insert((instance, lane), highest.max(last));
        self.facts.latest.insert((instance, lane), last);
        self.facts.executed.extend(seqs.iter().map(|seq| (instance, *seq)));
    }

    /// R2: a refusal, a creation, and a write with its own id are durable before the client is answered. R3, G6: an
    /// answer is given once, and never changes.
    fn r2_r3_answer(&mut self, lane: LaneId, seq: Seq, verdict: Verdict) {
        let durable = self.journal.rows[&seq].verdict;
        let must_be_durable = lane == LaneId::Catalog || verdict != Verdict::Applied || self.recorded_answers(seq);
        if must_be_durable && durable != Some(verdict) {
            violated("R2", &format!("{seq} is answered {verdict:?} while the journal says {durable:?}"));
        }
        if !self.facts.answered_since_start.insert(seq) {
            violated("G6", &format!("{seq} is answered twice"));
        }
        let before = self.facts.answers.insert(seq, verdict);
        let went = verdict == Verdict::Void && self.went_since_it_was_acknowledged(lane, seq);
        if before.is_some_and(|before| before != verdict) && !went {
            violated("R3", &format!("the answer to {seq} changes from {before:?} to {verdict:?}"));
        }
        if verdict == Verdict::Void && !self.deleted(lane) && lane != LaneId::Catalog {
            violated("R7", &format!("{seq} is answered 'no such collection', which exists"));
        }
        if verdict == Verdict::Applied {
            self.facts.acknowledged.entry(lane).or_default().push(seq);
            self.r8_mapped(seq);
        }
    }

    /// G9: an acknowledgment that a client may have received is never contradicted. The shell decides this by
    /// `ack_state`.
    fn g9_no_contrary(&mut self, seq: Seq, verdict: Verdict, ack_state: AckState) {
        let acknowledged = self.account.acknowledged(self.journal.rows[&seq].number);
        if acknowledged && verdict != Verdict::Applied {
            self.counters.count("acknowledged, and void since its collection was deleted");
            if ack_state == AckState::Unacknowledged || verdict != Verdict::Void {
                violated("G9", &format!("{seq} was acknowledged, and is {verdict:?}"));
            }
        }
    }

    /// Returns whether its client may have been answered before that was durable, and its collection is gone now.
    pub fn went_since_it_was_acknowledged(&self, lane: LaneId, seq: Seq) -> bool {
        self.deleted(lane) && !self.recorded_answers(seq)
    }

    pub fn deleted(&self, lane: LaneId) -> bool {
        match lane {
            LaneId::Catalog => false,
            LaneId::Records(collection) => self.journal.catalog.get(collection).is_none(),
        }
    }

    /// R8: the mapping of what was created is durable before the client is answered.
    fn r8_mapped(&mut self, seq: Seq) {
        let row = &self.journal.rows[&seq];
        if row.profile.kind != Kind::CreateCollection {
            return;
        }
        let mapped = row.created.is_some_and(|collection| {
            let catalog = &self.journal.catalog;
            self.journal.instances().any(|i| catalog.mapping_while_held(collection, i).is_some())
        });
        if !mapped {
            violated("R8", &format!("the creation {seq} is answered without a durable mapping"));
        }
    }

    fn see_record(&mut self, lane: LaneId, instance: InstanceId, record: &Record) {
        if let (false, Some(through)) = (record.admitted.is_empty(), record.through) {
            self.counters.count("admitted after comparison");
            self.facts.admitted.insert((instance, lane), through);
            self.facts.admissions += 1;
        }
        if record.admitted.contains(&(LaneId::Catalog, instance)) {
            self.counters.count("joined the catalog lane");
            self.joined.insert(instance);
        }
    }

    /// R10: nothing that could still be executed is examined.
    fn r10_nothing_left(&mut self, lane: LaneId, seq: Seq) {
        let LaneId::Records(collection) = lane else { violated("R10", "a catalog entry is examined") };
        let left = |request: &&Request| {
            request.seqs().contains(&seq) && self.board.state_of(collection, request.instance) == LaneState::InStep
        };
        if let Some(request) = self.abandoned.iter().chain(&self.requests).find(left) {
            violated("R10", &format!("{seq} is examined while {request:?} may be executed"));
        }
    }

    /// R15: a withdrawn write was executed nowhere, and no request of this edge or an earlier one can still execute it.
    fn r15_never_sent(&mut self, lane: LaneId, seq: Seq) {
        self.counters.count("withdrawn");
        if lane == LaneId::Catalog {
            self.counters.count("withdrawn from the catalog lane");
        }
        let late = self.late_requests.iter().map(|late| &late.request);
        let mut requests = self.requests.iter().chain(&self.abandoned).chain(late);
        if let Some(request) = requests.find(|request| request.seqs().contains(&seq)) {
            violated("R15", &format!("{seq} is withdrawn, and {request:?} may execute it"));
        }
        if let Some(instance) = self.journal.instances().find(|instance| self.facts.executed(*instance, seq)) {
            violated("R15", &format!("{seq} is withdrawn, and was executed on {instance:?}"));
        }
        self.facts.withdrawn.insert(seq);
    }

    /// R4, G9: durable progress covers an applied entry only where it was executed. R10: an abandoned entry was never
    /// acknowledged, and exists on no instance.
    pub fn check_durable(&mut self, reports: &[(Input, Vec<(Seq, Verdict)>)]) {
        for (input, verdicts) in reports {
            if let Input::Recorded { lane, instance } = input {
                self.r4_nothing_skipped(*lane, *instance);
            }
            self.r13_nothing_acknowledged(verdicts);
            for (seq, _) in verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Abandoned) {
                self.counters.count("abandoned");
                let lane = self.journal.rows[seq].lane;
                let in_step = |i: &InstanceId| self.journal.step(lane, *i) == LaneState::InStep;
                let somewhere = self.journal.instances().filter(in_step).any(|i| self.facts.executed(i, *seq));
                if somewhere || self.facts.answers.get(seq) == Some(&Verdict::Applied) {
                    violated("R10", &format!("{seq} is abandoned, and was executed or acknowledged"));
                }
            }
        }
    }

    fn r4_nothing_skipped(&mut self, lane: LaneId, instance: InstanceId) {
        let durable = self.journal.durable(lane, instance);
        let checked = self.facts.checked.insert((instance, lane), durable).unwrap_or(Seq::ZERO);
        if self.journal.step(lane, instance) != LaneState::InStep {
            return;
        }
        for row in self.journal.between(lane, checked, durable) {
            match row.verdict {
                None => {
                    violated("R1", &format!("{instance:?} is durable through {durable}, beyond the open {}", row.seq))
                }
                Some(Verdict::Applied)
                    if !self.facts.holds(instance, lane, row.seq) && !self.excused(row, instance) =>
                {
                    violated("R4", &format!("{} is silently skipped on {instance:?}", row.seq));
                }
                Some(_) => {}
            }
        }
    }

    /// Returns whether the instance rejected a catalog entry whose collection is diverged on it, or gone.
    fn excused(&self, row: &Row, instance: InstanceId) -> bool {
        let about: Option<CollectionId> = match &row.body {
            Body::UpdateCollection { collection, .. } => Some(*collection),
            Body::CreateCollection { .. } => row.created,
            // It does not exist, as intended: nothing had to be executed.
            Body::DeleteCollection { .. } | Body::DeleteDatabase(_) | Body::CreateDatabase(_) => return true,
            _ => None,
        };
        about.is_some_and(|collection| {
            let lane = LaneId::Records(collection);
            self.deleted(lane)
                || self.journal.step(lane, instance) != LaneState::InStep
                || self.journal.catalog.mapping(collection, instance).is_some()
        })
    }

    /// Checks the state after every step.
    pub fn check_state(&mut self) {
        let mut collections: Vec<_> = self.board.catalog().collections().map(|c| c.id).collect();
        collections.sort();
        if collections.is_empty() {
            return;
        }
        let collection = collections[self.rng.index(collections.len())];
        self.r19_every_wait_ends();
        self.some_reader_wants(collection);
        self.r5_fresh(collection);
        self.check_readers(collection);
    }

    /// R5: an instance that serves fresh reads has every acknowledged write.
    fn r5_fresh(&mut self, collection: CollectionId) {
        let lane = LaneId::Records(collection);
        for reader in self.board.readers(collection, Consistency::Fresh) {
            let instance = reader.instance;
            match self.divergences.of(collection, instance) {
                Some(Divergence { known: Known::ToTheBoard, cause }) => {
                    violated("R5", &format!("{instance:?} serves {collection:?}, and is known to be {cause:?}"));
                }
                Some(Divergence { known: Known::ToNobody, .. }) => continue,
                None => {}
            }
            let acknowledged = self.facts.acknowledged.get(&lane).map(Vec::as_slice).unwrap_or_default();
            let lacks = |seq: &&Seq| !self.facts.holds(instance, lane, **seq);
            if let Some(seq) = acknowledged.iter().rev().take(40).find(lacks) {
                violated("R5", &format!("{instance:?} serves {collection:?} and lacks {seq}"));
            }
            let about = |seq: &&Seq| match &self.journal.rows[seq].body {
                Body::UpdateCollection { collection: about, .. } => *about == collection,
                _ => false,
            };
            let changes = self.facts.acknowledged.get(&LaneId::Catalog).map(Vec::as_slice).unwrap_or_default();
            let mut changes = changes.iter().rev().take(60).filter(about);
            if let Some(seq) = changes.find(|seq| !self.facts.executed(instance, **seq)) {
                violated("R5", &format!("{instance:?} serves {collection:?} and lacks its change {seq}"));
            }
        }
    }
}
