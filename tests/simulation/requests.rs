//! The shell's requests: sent, executed, answered, lost, abandoned, executed late.

use chroma_edge::ids::{InstanceCollectionId, InstanceId, LaneId, Seq};
use chroma_edge::order::{
    Consequences, Health, Input, Kind, Outcome, Purpose, Reach, Repeat, Resolved, Retry, SendPriority,
};

use crate::body::Body;
use crate::instance::{Answer, Power};
use crate::journal::Commit;
use crate::world::{Weather, World};

#[derive(Clone, Debug)]
pub enum Work {
    Send { seqs: Vec<Seq>, purpose: Purpose, repeat: Repeat },
    Read { seq: Seq },
}

#[derive(Clone, Debug)]
pub struct Request {
    pub lane: LaneId,
    pub instance: InstanceId,
    pub work: Work,
    pub send_priority: SendPriority,
    /// Whether it has passed the instance's limiter, and so may have been sent.
    pub entered: bool,
    /// The instance's answer, once it has executed the request.
    pub answer: Option<Answer>,
    /// The step at which it was abandoned.
    pub left: u64,
}

impl Request {
    pub fn send(
        lane: LaneId,
        instance: InstanceId,
        seqs: Vec<Seq>,
        purpose: Purpose,
        repeat: Repeat,
        send_priority: SendPriority,
    ) -> Self {
        Request {
            lane,
            instance,
            work: Work::Send { seqs, purpose, repeat },
            send_priority,
            entered: false,
            answer: None,
            left: 0,
        }
    }

    pub fn read(lane: LaneId, instance: InstanceId, seq: Seq, send_priority: SendPriority) -> Self {
        Request { lane, instance, work: Work::Read { seq }, send_priority, entered: false, answer: None, left: 0 }
    }

    pub fn may_still_execute(&self) -> bool {
        self.entered && self.is_not_answered()
    }

    pub fn is_not_answered(&self) -> bool {
        self.answer.is_none() && matches!(self.work, Work::Send { .. })
    }

    pub fn seqs(&self) -> &[Seq] {
        match &self.work {
            Work::Send { seqs, .. } => seqs,
            Work::Read { seq } => std::slice::from_ref(seq),
        }
    }
}

impl World {
    /// Lets one request take its next step, or loses it.
    pub fn progress(&mut self, at: usize) {
        if self.now < self.lease_begins && self.requests[at].answer.is_none() {
            return;
        }
        let power = self.instances[self.requests[at].instance.0].power;
        match (power, self.requests[at].answer) {
            (Power::Down, _) => self.refused_connection(at),
            (Power::Hung, _) => {
                if self.rng.per_mille(300) {
                    self.lose(at);
                }
            }
            (Power::Up, Some(answer)) => self.answered(at, answer),
            (Power::Up, None) if self.is_adoption(self.requests[at].seqs()[0]) => self.adopts(at),
            (Power::Up, None) if self.kills(at) => self.dies_of(at),
            (Power::Up, None) => self.reaches(at),
        }
    }

    fn reaches(&mut self, at: usize) {
        let storm = self.weather == Weather::Storm;
        let (lane, instance) = (self.requests[at].lane, self.requests[at].instance);
        match self.requests[at].work.clone() {
            Work::Read { .. } if storm && self.goes_wrong(25) => {
                self.requests.swap_remove(at);
                let resolved = Resolved::Unexplained { signature: self.signature() };
                self.tell(Input::IdsRead { lane, instance, resolved });
            }
            Work::Read { seq } => self.read_ids(at, seq),
            Work::Send { seqs, .. } if seqs.iter().any(|seq| self.unanswerable(*seq)) => {
                self.requests.swap_remove(at);
                self.tell_outcome(lane, instance, Outcome::InDoubt { instance_was: Health::Healthy });
            }
            Work::Send { .. } if storm && self.goes_wrong(120) => self.lose(at),
            Work::Send { seqs, purpose, .. } if self.fails(lane, instance, &seqs) => {
                if storm && purpose == Purpose::Execute {
                    self.executes_all_the_same(lane, instance, &seqs);
                }
                self.requests[at].answer = Some(Answer::Failed);
            }
            Work::Send { seqs, purpose, .. } if storm && purpose != Purpose::ExpectRefusal && self.goes_wrong(25) => {
                self.counters.count("failed by chance");
                if lane != LaneId::Catalog && self.rng.per_mille(400) {
                    self.counters.count("executed, and answered with a failure");
                    self.execute(lane, instance, &seqs);
                }
                self.requests[at].answer = Some(Answer::Failed);
            }
            Work::Send { .. } if storm && self.goes_wrong(60) => {
                self.counters.count("transient error");
                self.requests.swap_remove(at);
                let retry = if self.rng.per_mille(500) { Retry::Immediately } else { Retry::AfterBackoff };
                self.tell_outcome(lane, instance, Outcome::NotSent { retry });
            }
            Work::Send { .. } if storm && self.goes_wrong(30) => {
                self.counters.count("unfit");
                self.requests.swap_remove(at);
                self.tell_outcome(lane, instance, Outcome::Unfit);
            }
            Work::Send { purpose: Purpose::Replicate, repeat: Repeat::First, .. }
                if storm && lane != LaneId::Catalog && self.goes_wrong(6) =>
            {
                self.counters.count("refused after it was applied elsewhere");
                self.requests[at].answer = Some(Answer::Refused);
            }
            Work::Send { seqs, purpose: Purpose::Execute, .. } if self.shown_elsewhere(instance, seqs[0]) => {
                self.requests.swap_remove(at);
                self.tell_outcome(lane, instance, Outcome::NotSent { retry: Retry::AfterBackoff });
            }
            Work::Send { seqs, purpose: Purpose::Execute, .. } if self.refused_by_the_edge(seqs[0]) => {
                self.requests[at].answer = Some(Answer::Conflict);
            }
            Work::Send { seqs, purpose: Purpose::Replicate, .. }
                if lane == LaneId::Catalog && self.was_found(seqs[0]) =>
            {
                self.requests[at].answer = Some(Answer::Done);
            }
            Work::Send { seqs, purpose: Purpose::ExpectRefusal, .. } if lane == LaneId::Catalog => {
                self.requests[at].answer = Some(self.execute_to_be_refused(instance, seqs[0]));
            }
            Work::Send { seqs, .. } => {
                let answer = self.execute(lane, instance, &seqs);
                self.requests[at].answer = Some(answer);
            }
        }
    }

    fn goes_wrong(&mut self, per_mille: u64) -> bool {
        self.rng.per_mille(per_mille) && self.rng.per_mille(self.temper.loses)
    }

    fn answered(&mut self, at: usize, answer: Answer) {
        if self.weather == Weather::Storm && self.goes_wrong(150) {
            self.lose(at);
            return;
        }
        let request = self.requests.swap_remove(at);
        let Work::Send { seqs, purpose, repeat } = request.work else { return };
        if answer == Answer::Failed {
            let signature = self.signature();
            let about = self.about(seqs[0]);
            let before = self.in_step(request.lane, request.instance);
            self.tell_outcome(request.lane, request.instance, Outcome::Failed { signature, about });
            return self.count_departure(before, request.lane, request.instance);
        }
        let outcome = match request.lane {
            LaneId::Records(_) => match answer {
                Answer::Done => Outcome::Applied(Consequences::default()),
                Answer::Refused => Outcome::Rejected { about: None },
                Answer::NotFound | Answer::Created(_) | Answer::Found(_) | Answer::Conflict | Answer::Failed => {
                    Outcome::Unfit
                }
            },
            LaneId::Catalog => self.judge(request.instance, seqs[0], purpose, repeat, answer),
        };
        self.tell_outcome(request.lane, request.instance, outcome);
    }

    /// Stops waiting for a request. It may be executed later.
    fn lose(&mut self, at: usize) {
        let mut request = self.requests.swap_remove(at);
        request.left = self.now;
        let (lane, instance) = (request.lane, request.instance);
        if let Work::Read { .. } = request.work {
            self.tell(Input::IdsRead { lane, instance, resolved: Resolved::Failed { retry: Retry::AfterBackoff } });
            return;
        }
        if matches!(self.journal.rows[&request.seqs()[0]].body, Body::DeleteLimited { .. }) {
            self.counters.count("limited delete lost after its ids were durable");
        }
        self.counters.count(if request.answer.is_some() { "lost after execution" } else { "lost before execution" });
        if request.may_still_execute() {
            self.abandoned.push(request);
        }
        let instance_was = if self.reach[instance.0] == Reach::Away { Health::Gone } else { Health::Healthy };
        self.look_later(instance);
        self.tell_outcome(lane, instance, Outcome::InDoubt { instance_was });
    }

    /// Refuses a connection: a request whose instance died after it was sent is in doubt, a later one was never sent.
    fn refused_connection(&mut self, at: usize) {
        if self.requests[at].answer.is_some() {
            self.lose(at);
            return;
        }
        let request = self.requests.swap_remove(at);
        let (lane, instance) = (request.lane, request.instance);
        self.probe(instance);
        let retry = if self.rng.per_mille(500) { Retry::Immediately } else { Retry::AfterBackoff };
        match request.work {
            Work::Read { .. } => self.tell(Input::IdsRead { lane, instance, resolved: Resolved::Failed { retry } }),
            Work::Send { .. } => self.tell_outcome(lane, instance, Outcome::NotSent { retry }),
        }
    }

    /// Kills the process: each request that it had received was executed before, or never will be.
    pub fn kill(&mut self, instance: InstanceId) {
        self.abandoned.retain(|request| request.instance != instance);
        self.late_requests.retain(|late| late.request.instance != instance || late.sent.is_none());
        self.repairing.killed(instance);
        let there: Vec<_> = (0..self.requests.len()).filter(|at| self.requests[*at].instance == instance).collect();
        let several =
            self.requests.iter().filter(|request| request.instance == instance && request.entered).count() > 1;
        for at in there.into_iter().rev() {
            let Work::Send { seqs, .. } = self.requests[at].work.clone() else { continue };
            if !self.requests[at].may_still_execute() || self.rng.per_mille(400) {
                continue;
            }
            let request = self.requests.swap_remove(at);
            if self.now >= self.lease_begins
                && self.rng.per_mille(500)
                && !seqs.iter().any(|seq| self.unanswerable(*seq))
                && !self.would_kill(instance, &seqs)
            {
                self.execute(request.lane, instance, &seqs);
            }
            self.look_later(instance);
            let outcome = self.killed(&request, several);
            self.tell_outcome(request.lane, instance, outcome);
        }
    }

    /// Executes an abandoned request after all.
    pub fn late_execution(&mut self) {
        if self.abandoned.is_empty() {
            return;
        }
        let at = self.rng.index(self.abandoned.len());
        if self.instances[self.abandoned[at].instance.0].power != Power::Up {
            return;
        }
        let request = self.abandoned.swap_remove(at);
        self.lands(request);
    }

    /// Executes a request late, but before quiescence.
    pub fn lands(&mut self, request: Request) {
        let power = self.instances[request.instance.0].power;
        let never = request.seqs().iter().any(|seq| self.unanswerable(*seq));
        if power != Power::Up || never || self.would_kill(request.instance, request.seqs()) {
            return;
        }
        self.counters.count("late execution");
        let answer = self.execute(request.lane, request.instance, request.seqs());
        self.note(|| format!("late on {:?} {:?}: {:?}: {answer:?}", request.instance, request.lane, request.seqs()));
    }

    /// Schedules an inspection: an instance that returns after a lost connection may not hold what it held.
    fn look_later(&mut self, instance: InstanceId) {
        if self.reach[instance.0] != Reach::Away {
            self.inspections.insert(instance);
        }
    }

    fn tell_outcome(&mut self, lane: LaneId, instance: InstanceId, outcome: Outcome) {
        self.tell(Input::Attempted { lane, instance, outcome });
    }

    fn read_ids(&mut self, at: usize, seq: Seq) {
        let request = self.requests.swap_remove(at);
        let (lane, instance) = (request.lane, request.instance);
        let mapped = self.mapped(lane, instance);
        let Some(Body::DeleteLimited { remainder, limit }) = self.journal.rows.get(&seq).map(|row| &row.body) else {
            return;
        };
        let server = &self.instances[instance.0];
        match mapped.and_then(|id| server.resolve(id.uuid(), *remainder, *limit)) {
            Some(ids) => {
                self.counters.count("limited delete resolved");
                self.journal.queue.push_back(Commit::Resolution { lane, instance, seq, ids });
            }
            None => {
                self.inspections.insert(instance);
                let resolved = Resolved::Failed { retry: Retry::AfterBackoff };
                self.tell(Input::IdsRead { lane, instance, resolved });
            }
        }
    }

    fn mapped(&self, lane: LaneId, instance: InstanceId) -> Option<InstanceCollectionId> {
        match lane {
            LaneId::Catalog => None,
            LaneId::Records(collection) => self.journal.catalog.mapping_while_held(collection, instance),
        }
    }

    /// Executes the whole request on the instance, or nothing of it.
    pub fn execute(&mut self, lane: LaneId, instance: InstanceId, seqs: &[Seq]) -> Answer {
        if self.fails(lane, instance, seqs) {
            return Answer::Failed;
        }
        let answer = self.execute_anyhow(lane, instance, seqs);
        self.note(|| format!("     {instance:?} executes {lane:?} {seqs:?}: {answer:?}"));
        if matches!(answer, Answer::Done | Answer::Created(_)) {
            self.check_execution(lane, instance, seqs);
        }
        answer
    }

    /// Executes it in any order.
    pub fn execute_anyhow(&mut self, lane: LaneId, instance: InstanceId, seqs: &[Seq]) -> Answer {
        match lane {
            LaneId::Catalog => self.execute_catalog(instance, seqs[0]),
            LaneId::Records(_) => match self.mapped(lane, instance) {
                Some(id) => self.execute_records(instance, id, seqs),
                None => Answer::NotFound,
            },
        }
    }

    fn execute_records(&mut self, instance: InstanceId, id: InstanceCollectionId, seqs: &[Seq]) -> Answer {
        let rows: Vec<_> = seqs.iter().filter_map(|seq| self.journal.rows.get(seq)).collect();
        let server = &mut self.instances[instance.0];
        let id = id.uuid();
        match &rows[0].body {
            Body::Write { .. } => {
                let writes: Vec<_> = rows
                    .iter()
                    .filter_map(|row| match &row.body {
                        Body::Write { docs, flaw } => Some((docs.as_slice(), *flaw)),
                        _ => None,
                    })
                    .collect();
                server.write(id, rows[0].profile.kind, &writes)
            }
            Body::DeleteIds(ids) => server.delete(id, |record| ids.contains(&record.id)),
            Body::DeleteWhere(remainder) => server.delete(id, |record| record.value % 3 == *remainder),
            Body::DeleteLimited { .. } => {
                assert_eq!(rows[0].profile.kind, Kind::DeleteLimited);
                let ids = rows[0].resolved.clone().expect("a limited delete is sent as its resolved ids");
                server.delete(id, |record| ids.contains(&record.id))
            }
            _ => Answer::Refused,
        }
    }
}
