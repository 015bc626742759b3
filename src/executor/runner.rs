//! The runner: a background service that carries out the board's effects, each in a task of its own.
//!
//! One HTTP client serves all lanes and purposes. The runner decides nothing: each task except an inspection ends with
//! an input to the board.

mod waits;

use std::collections::hash_map::RandomState;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::attempt::{Attempt, Attempted};
use super::catalog::{self, Entry};
use super::deaths::Deaths;
use super::limited::Reading;
use super::limiter::Permit;
use super::patience::{Patience, Timeouts};
use super::resources::Resources;
use super::spans::{AttemptSpan, Sending};
use super::{absence, holds, limited, records, touched, writable};
use crate::clock::{self, Timestamp};
use crate::coordinator::{Core, Inspections, Work, WorkQueue, facts_of, intent};
use crate::current::Current;
use crate::ids::{InstanceId, LaneId, Seq, shown};
use crate::instance::{Answer, Client, Generation};
use crate::journal::{Fact, Request};
use crate::lasting::LastingStates;
use crate::order::{
    Action, Examination, Health, Input, Outcome, Persist, Purpose, Repeat, Resolved, Retry, SendPriority, Touched,
    Urgency, Verdict, WaitReason,
};
use crate::proof::{self, CrashPoint};

/// How the runner sends. Fields are named after their configuration keys, except `quarantine_wait`, which is
/// `quarantine.wait`.
#[derive(Clone, Debug)]
pub struct RunnerOptions {
    /// The time limits of an attempt and of a write's answer ([`Patience`]). Each earlier attempt without an answer
    /// doubles both.
    pub attempt_timeout: Duration,
    pub request_timeout: Duration,
    /// How long a reachable instance may still execute a request that was given up.
    pub settle_time: Duration,
    /// How long a suspect waits for the instance that died while it had it (rule R13).
    pub quarantine_wait: Duration,
}

/// How often to check whether another instance could take a request that waits for its turn.
const LOOK: Duration = Duration::from_millis(250);

/// The background service `executor`.
pub struct Runner {
    core: Arc<Core>,
    resources: Arc<Resources>,
    client: Client,
    options: Current<RunnerOptions>,
    /// The source of the random part of pauses.
    chance: RandomState,
    inspections: Arc<Inspections>,
    /// Why writes are not sent to an instance.
    held_back: LastingStates<(InstanceId, &'static str)>,
    /// Why requests cannot be read from the journal.
    unreadable: LastingStates<&'static str>,
    deaths: Deaths,
}

/// How often to check whether a logged state is over.
const SWEEP: Duration = Duration::from_secs(5);

impl Runner {
    /// Creates the runner. It must run in the runtime that `client` belongs to. `inspections` is the queue of instances
    /// to inspect.
    pub fn new(
        core: Arc<Core>,
        resources: Arc<Resources>,
        client: Client,
        options: Current<RunnerOptions>,
        inspections: Arc<Inspections>,
    ) -> Arc<Runner> {
        let (held_back, unreadable) = (LastingStates::default(), LastingStates::default());
        let (chance, deaths) = (RandomState::new(), Deaths::default());
        Arc::new(Runner { core, resources, client, options, chance, inspections, held_back, unreadable, deaths })
    }

    /// Takes work until the core is gone.
    #[allow(
        clippy::disallowed_methods,
        reason = "one task for each action: a send waits for its permit and ends at its deadline, a wait after its span"
    )]
    pub async fn run(self: Arc<Self>, queue: WorkQueue) {
        let WorkQueue(mut queue) = queue;
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            let work = tokio::select! {
                work = queue.recv() => work,
                _ = sweep.tick() => {
                    self.tell_what_is_over();
                    continue;
                }
            };
            let Some(work) = work else { return };
            match work {
                Work::Persist { persist, answer } => self.persist(persist, answer),
                Work::Perform { action: Action::AwaitWriters { lane, instance, after, writers }, .. } => {
                    holds::await_writers(&self.core, &self.resources, (lane, instance), after, writers);
                }
                Work::Perform { action: Action::AwaitMore { lane, instance, leader, from }, .. } => {
                    holds::await_more(&self.core, &self.resources, (lane, instance), leader, from);
                }
                Work::Perform { action, answer } => {
                    let runner = Arc::clone(&self);
                    let guard = self.core.ends_with_a_panic(action.lane());
                    tokio::spawn(async move {
                        let _guard = guard;
                        runner.perform(action, answer).await;
                    });
                }
                Work::HandedOver(reached) => drop(reached.send(())),
                // The journal keeps the order of facts, so this one becomes durable only after those before it.
                Work::Handled(late_write) => drop(self.core.journal().record(vec![Fact::LateWriteHandled(late_write)])),
            }
        }
    }

    fn tell_what_is_over(&self) {
        for ((instance, reason), lasted) in self.held_back.quiet(clock::now()) {
            let (instance, seconds) = (self.core.registry.name(instance), lasted.time.as_secs());
            info!(%instance, reason, seconds, times = lasted.times, "writes are no longer held back for this");
        }
        for (_, lasted) in self.unreadable.quiet(clock::now()) {
            info!(seconds = lasted.time.as_secs(), times = lasted.times, "journaled writes can be read again");
        }
        for ((lane, finding), lasted) in self.resources.findings.quiet(clock::now()) {
            let seconds = lasted.time.as_secs();
            info!(%lane, finding, seconds, times = lasted.times, "no longer found of the lane's writes");
        }
        for (scope, instance, lasted) in self.resources.recreated_no_more(clock::now()) {
            let (instance, times) = (self.core.registry.name(instance), lasted.times);
            let (tenant, database) = (shown(&scope.tenant), shown(&scope.database));
            info!(%instance, %tenant, %database, times, "the instance no longer lacks the database");
        }
    }

    /// Hands facts to the journal at once, in the order of the effects across lanes. A task waits until they are
    /// durable. A crash between two records leaves the earlier one.
    #[allow(
        clippy::disallowed_methods,
        reason = "one task for each record, at most one for each lane and instance: it ends with its commit"
    )]
    fn persist(self: &Arc<Self>, persist: Persist, answer: Option<Arc<Answer>>) {
        let facts = facts_of(&persist, answer.as_deref(), &|id| self.core.registry.name(id).clone());
        if let Persist::Record { .. } = persist {
            proof::pass(CrashPoint::BeforeMark);
        }
        self.tell(&persist);
        let urgency = match &persist {
            Persist::Record { urgency, .. } => *urgency,
            _ => Urgency::Now,
        };
        let (recorded, began) = (self.core.journal().record_with(facts, urgency), clock::now());
        let (core, resources) = (Arc::clone(&self.core), Arc::clone(&self.resources));
        let guard = self.core.ends_with_a_panic(None);
        tokio::spawn(async move {
            let _guard = guard;
            recorded.await;
            match persist {
                Persist::Record { lane, instance, record, .. } => {
                    proof::pass(CrashPoint::AfterMark);
                    if !record.admitted.is_empty() && !record.changes.is_empty() {
                        proof::pass(CrashPoint::AfterCutover);
                    }
                    resources.gathering.recorded(began.elapsed());
                    core.step_with(Input::Recorded { lane, instance }, answer);
                }
                Persist::Voids { lane, seqs } => core.step(Input::VoidsRecorded { lane, seqs }),
                Persist::Withdrawal { lane, seq } => core.step(Input::WithdrawalRecorded { lane, seq }),
                Persist::Divergence { .. } | Persist::Suspected { .. } | Persist::Lifted { .. } => {}
            }
        });
    }

    /// Logs what the servers' operator should know, once for each entry.
    fn tell(&self, persist: &Persist) {
        match persist {
            Persist::Suspected { seq, on: Some(instance) } => {
                let instance = self.core.registry.name(*instance);
                warn!(%seq, %instance, "the instance died while it had this write: it is sent to no other instance");
            }
            Persist::Record { lane, instance, record, .. } => {
                let instance = self.core.registry.name(*instance);
                for (seq, _) in record.verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Quarantined) {
                    warn!(%lane, %seq, %instance, "quarantined: writes like it are refused there until the quarantine is lifted");
                }
            }
            Persist::Suspected { .. }
            | Persist::Divergence { .. }
            | Persist::Voids { .. }
            | Persist::Withdrawal { .. }
            | Persist::Lifted { .. } => {}
        }
    }

    async fn perform(&self, action: Action, answer: Option<Arc<Answer>>) {
        match action {
            Action::Send { lane, instance, seqs, purpose, repeat, send_priority } => {
                let begun = clock::now();
                let attempted = self.attempt((lane, instance), &seqs, purpose, repeat, send_priority).await;
                let (writes, numbers) = (seqs.len(), self.core.sync_numbers());
                numbers.attempted(lane, purpose, writes, &attempted.outcome, begun.elapsed());
                self.report((lane, instance), &seqs, send_priority, attempted);
            }
            Action::ReadIds { lane, instance, seq, send_priority } => {
                self.read_ids((lane, instance), seq, send_priority).await
            }
            Action::AwaitQuiescence { lane, instance, wait, why } => {
                self.await_quiescence((lane, instance), why).await;
                self.core.step(Input::Quiesced { lane, instance, wait });
            }
            Action::AwaitReturn { lane, instance, wait } => {
                tokio::time::sleep(self.options.get().quarantine_wait).await;
                self.core.step(Input::ReturnAwaited { lane, instance, wait });
            }
            // `run` handles these two: they need a task only if the wait pays.
            Action::AwaitWriters { lane, after, .. } => self.core.step(Input::WritersAwaited { lane, after }),
            Action::AwaitMore { lane, instance, from, .. } => {
                self.core.step(Input::MoreAwaited { lane, instance, from });
            }
            Action::Inspect { instance } => {
                self.inspections.ask(instance);
            }
            Action::CheckWritable { lane, instance, seq } => {
                let shows = writable::check(&self.core, &self.client, lane, instance).await;
                self.core.step_with(Input::WriteChecked { lane, instance, seq, shows }, answer);
            }
            Action::CompareTouched { lane, seq, instances } => {
                let comparison = match self.request(seq).await {
                    Some(request) => {
                        let (lane, failure) = ((lane, &self.resources.findings), answer.as_deref());
                        touched::compare(&self.core, &self.client, lane, &request, &instances, failure).await
                    }
                    None => Touched::default(),
                };
                self.core.step_with(Input::TouchedCompared { lane, seq, comparison }, answer);
            }
            Action::Examine { lane, seq } => {
                tokio::time::sleep(self.options.get().settle_time).await;
                let shows = match self.request(seq).await {
                    Some(request) => {
                        let lane = (lane, &self.resources.findings);
                        absence::examine(&self.core, &self.client, lane, &request).await
                    }
                    None => Examination::Unclear,
                };
                self.core.step(Input::Examined { lane, seq, shows });
            }
        }
    }

    fn report(
        &self,
        (lane, instance): (LaneId, InstanceId),
        seqs: &[Seq],
        send_priority: SendPriority,
        attempted: Attempted,
    ) {
        let Attempted { outcome, answer, failure, held_back } = attempted;
        if let Some(reason) = held_back
            && let Some(times) = self.held_back.seen((instance, reason), clock::now()).times()
        {
            let instance = self.core.registry.name(instance);
            warn!(%instance, %lane, reason, times, "journaled writes are not sent yet");
        }
        let in_a_row = send_priority.failures.saturating_add(1);
        let wait = match outcome {
            Outcome::NotSent { retry: Retry::AfterBackoff } => Some(WaitReason::Backoff { in_a_row }),
            Outcome::InDoubt { instance_was: Health::Healthy } => Some(WaitReason::Settle { in_a_row }),
            _ => None,
        };
        if failure.is_some() {
            self.core.note_gap(seqs);
        }
        self.core.step_with(Input::Attempted { lane, instance, outcome }, answer);
        if let Some(reason) = failure {
            let next = wait.map(|why| Timestamp::now().after(self.span((lane, instance), why)));
            self.core.retried(lane, instance, seqs, &reason, next);
        }
    }

    async fn requests(&self, seqs: &[Seq]) -> Option<Vec<Request>> {
        match self.resources.bodies.requests(seqs).await {
            Ok(requests) => Some(requests),
            Err(error) => {
                if let Some(times) = self.unreadable.seen("", clock::now()).times() {
                    warn!(%error, times, "journaled writes wait: their requests cannot be read");
                }
                None
            }
        }
    }

    async fn request(&self, seq: Seq) -> Option<Request> {
        self.requests(&[seq]).await.and_then(|mut found| found.pop())
    }

    async fn attempt(
        &self,
        (lane, instance): (LaneId, InstanceId),
        seqs: &[Seq],
        purpose: Purpose,
        repeat: Repeat,
        send_priority: SendPriority,
    ) -> Attempted {
        let trace = seqs.first().and_then(|seq| self.resources.bodies.trace(*seq));
        if lane == LaneId::Catalog && purpose != Purpose::Execute {
            // Replicating needs the stored answer, which the cached request does not contain yet.
            seqs.iter().for_each(|seq| self.resources.bodies.forget(*seq));
        }
        let Some(first) = seqs.first().copied() else { return Attempted::not_sent("no request") };
        // The wait comes before the bodies are read, so that a waiting request does not hold them in memory.
        let Some(_permit) = self.enter((lane, first), instance, send_priority).await else {
            return Attempted::not_sent(
                "another instance can take it, or another request of its lane is about to be sent",
            );
        };
        let Some(requests) = self.requests(seqs).await else { return Attempted::not_sent("it cannot be read") };
        if repeat != Repeat::First {
            proof::pass(CrashPoint::BeforeRepeat);
        }
        if purpose == Purpose::Replicate {
            proof::pass(CrashPoint::DuringSync);
        }
        let mut lanes = vec![lane];
        if let (LaneId::Catalog, Some(request)) = (lane, requests.first()) {
            lanes.extend(
                intent::about(self.core.board().catalog(), &request.method, &request.path).map(LaneId::Records),
            );
        }
        let (core, resources, client) = (self.core.as_ref(), self.resources.as_ref(), &self.client);
        let (lanes, entry) = (lanes.as_slice(), (lane, first));
        let patience = Patience::of(&requests, repeat, self.timeouts());
        let (since, began) = (core.registry.generation(instance), clock::now());
        let sending = Sending { lane, instance: core.registry.name(instance), purpose, repeat };
        let span = AttemptSpan::begin(&sending, &requests, began);
        let context = span.context;
        let attempt =
            Attempt { core, resources, client, lanes, entry, instance, purpose, repeat, patience, trace, context };
        let attempted = match lane {
            LaneId::Records(collection) => {
                let began = clock::now();
                let attempted = records::attempt(&attempt, collection, &requests).await;
                if matches!(attempted.outcome, Outcome::Applied(_)) {
                    holds::applied(&self.resources, (lane, instance), &requests, purpose, began);
                }
                attempted
            }
            LaneId::Catalog => match requests.first() {
                Some(request) => catalog::attempt(&attempt, &Entry { request, purpose, repeat }).await,
                None => Attempted::not_sent("no request"),
            },
        };
        resources.counters.ended((&core.registry, instance), (purpose, &attempted.outcome), began.elapsed());
        span.end(&attempted);
        let request = requests.first().filter(|_| lane == LaneId::Catalog);
        self.blamed(attempted, (instance, since), request).await
    }

    /// Finds out whether a lost answer was a death. A crash meanwhile loses that finding. `request` is set for a
    /// catalog entry.
    async fn blamed(
        &self,
        attempted: Attempted,
        (instance, since): (InstanceId, Generation),
        request: Option<&Request>,
    ) -> Attempted {
        if !matches!(attempted.outcome, Outcome::InDoubt { .. }) {
            return attempted;
        }
        let whom = (self.core.registry.as_ref(), &self.client);
        let Some(company) = self.deaths.company(whom, instance, since, attempted.answer.as_deref()).await else {
            return attempted;
        };
        let about = request.and_then(|request| catalog::about(&self.core, request));
        Attempted { outcome: Outcome::Died { company, about }, ..attempted }
    }

    fn timeouts(&self) -> Timeouts {
        let options = self.options.get();
        Timeouts { attempt: options.attempt_timeout, request: options.request_timeout }
    }

    /// Waits for the entry's turn on the instance. Long requests may hold every permit, so after the attempt's time
    /// limit this returns `None` as soon as another instance could take the entry.
    async fn enter(&self, entry: (LaneId, Seq), instance: InstanceId, priority: SendPriority) -> Option<Permit> {
        let waits_long = async {
            tokio::time::sleep(self.options.get().attempt_timeout).await;
            while !self.core.another_stands_ready(entry, instance) {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            permit = self.resources.permit(&self.core, instance, entry.0, priority.precedence) => permit,
            () = waits_long => None,
        }
    }

    async fn read_ids(&self, (lane, instance): (LaneId, InstanceId), seq: Seq, send_priority: SendPriority) {
        let permit = self.resources.permit(&self.core, instance, lane, send_priority.precedence).await;
        let seqs = [seq];
        let Reading { resolved, answer, failure } = match (lane, permit, self.request(seq).await) {
            (LaneId::Records(collection), Some(_permit), Some(request)) => {
                let (purpose, repeat) = (Purpose::Execute, Repeat::First);
                let patience = Patience::of(std::slice::from_ref(&request), repeat, self.timeouts());
                let (core, resources) = (self.core.as_ref(), self.resources.as_ref());
                let (client, lanes, entry) = (&self.client, &[lane], (lane, seq));
                // This is not an attempt at the write yet, so it uses the request's own span.
                let (trace, context) = (resources.bodies.trace(seq), request.trace_context);
                let attempt = Attempt {
                    core,
                    resources,
                    client,
                    lanes,
                    entry,
                    instance,
                    purpose,
                    repeat,
                    patience,
                    trace,
                    context,
                };
                let since = core.registry.generation(instance);
                let reading = limited::resolve(&attempt, collection, &request).await;
                self.blamed_for_reading(reading, instance, since).await
            }
            _ => Reading::failed(),
        };
        if failure.is_some() {
            self.core.note_gap(&seqs);
        }
        self.core.step_with(Input::IdsRead { lane, instance, resolved }, answer);
        if let (Some(reason), Resolved::Failed { retry: Retry::AfterBackoff }) = (failure, resolved) {
            let why = WaitReason::Backoff { in_a_row: send_priority.failures.saturating_add(1) };
            let next = Timestamp::now().after(self.span((lane, instance), why));
            self.core.retried(lane, instance, &seqs, &reason, Some(next));
        }
    }

    async fn blamed_for_reading(&self, reading: Reading, instance: InstanceId, since: Generation) -> Reading {
        if !matches!(reading.resolved, Resolved::Failed { .. }) || reading.failure.is_none() {
            return reading;
        }
        let whom = (self.core.registry.as_ref(), &self.client);
        match self.deaths.company(whom, instance, since, None).await {
            Some(company) => Reading { resolved: Resolved::Died { company }, ..reading },
            None => reading,
        }
    }
}
