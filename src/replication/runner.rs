//! The runner: a background service that carries out the board's effects, each in a task of its own.
//!
//! It keeps one client for all lanes, foreground, sync and recovery alike. It decides nothing: each task ends with
//! an input to the board.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tracing::{error, warn};

use super::attempt::{Attempt, Attempted};
use super::catalog::{self, Entry};
use super::core::{Core, Work, WorkQueue};
use super::facts::facts_of;
use super::{examine, limited, records};
use crate::ids::{InstanceId, LaneId, Seq};
use crate::instance::{Answer, Client};
use crate::journal::{Fact, Request};
use crate::order::{Effect, Input, Purpose, Record, Repeat, Resolved, Rest, Verdict};

/// How the runner sends.
#[derive(Clone, Debug)]
pub struct RunnerOptions {
    /// The time limit of one attempt; doubled by each that went unanswered before it, so that a slow write is not
    /// re-sent for ever.
    pub attempt_timeout: Duration,
    /// How long an abandoned request may still be executed by an instance that is there.
    pub settle_time: Duration,
    /// Requests under way at once to one instance, over all lanes.
    pub concurrent_attempts: usize,
}

/// No attempt takes longer, however often it was doubled.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(600);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The background service `sync`.
pub struct Runner {
    core: Arc<Core>,
    client: Client,
    options: RunnerOptions,
    /// One for each instance: requests that hang on one take no place from those to another.
    permits: Vec<Semaphore>,
    inspections: tokio::sync::mpsc::Sender<InstanceId>,
}

impl Runner {
    /// Run it in the runtime that `client` is to belong to. `inspections`: who looks after instances that are not
    /// what they should be.
    pub fn new(
        core: Arc<Core>,
        client: Client,
        options: RunnerOptions,
        inspections: tokio::sync::mpsc::Sender<InstanceId>,
    ) -> Arc<Runner> {
        let permits = core.registry.ids().map(|_| Semaphore::new(options.concurrent_attempts)).collect();
        Arc::new(Runner { core, client, options, permits, inspections })
    }

    /// Carries out effects until the core is gone.
    pub async fn run(self: Arc<Self>, queue: WorkQueue) {
        let WorkQueue(mut queue) = queue;
        while let Some(work) = queue.recv().await {
            let runner = Arc::clone(&self);
            // Facts are handed to the journal here, in the order of the effects, across lanes: waiting for them is the
            // task's. A crash between two records leaves the earlier one.
            match work.effect {
                Effect::Record { lane, instance, ref record } => {
                    let recorded = runner.record(lane, instance, record, work.answer.as_deref());
                    tokio::spawn(async move {
                        recorded.await;
                        runner.core.step_with(Input::Recorded { lane, instance }, work.answer);
                    });
                }
                Effect::Note { ref record } => {
                    tokio::spawn(runner.record(LaneId::Catalog, InstanceId(0), record, work.answer.as_deref()));
                }
                Effect::RecordVoids { lane, seqs } => {
                    let recorded = runner.record_voids(&seqs);
                    tokio::spawn(async move {
                        recorded.await;
                        runner.core.step(Input::VoidsRecorded { lane, seqs });
                    });
                }
                _ => {
                    tokio::spawn(async move { runner.carry_out(work).await });
                }
            }
        }
    }

    fn record(
        &self,
        lane: LaneId,
        instance: InstanceId,
        record: &Record,
        answer: Option<&Answer>,
    ) -> impl Future<Output = ()> + Send + 'static {
        self.hand_over(facts_of(lane, instance, record, answer, &self.core.registry))
    }

    fn record_voids(&self, seqs: &[Seq]) -> impl Future<Output = ()> + Send + 'static {
        let void = |seq: &Seq| Fact::Verdict { seq: *seq, verdict: Verdict::Void, by: None, answer: None };
        self.hand_over(seqs.iter().map(void).collect())
    }

    fn hand_over(&self, facts: Vec<Fact>) -> impl Future<Output = ()> + Send + 'static {
        let recorded = self.core.journal().map(|journal| journal.record(facts));
        async move {
            match recorded {
                Some(recorded) => recorded.await,
                None => std::future::pending().await,
            }
        }
    }

    async fn carry_out(&self, work: Work) {
        match work.effect {
            Effect::Send { lane, instance, seqs, purpose, repeat } => {
                let attempted = self.attempt(lane, instance, &seqs, purpose, repeat).await;
                self.report(lane, instance, attempted);
            }
            Effect::ReadIds { lane, instance, seq } => self.read_ids(lane, instance, seq).await,
            Effect::AwaitCalm { lane, instance, rest, why } => {
                self.await_calm(instance, why).await;
                self.core.step(Input::Calm { lane, instance, rest });
            }
            Effect::Inspect { instance } => {
                // A full queue means that an inspection is due anyway.
                let _ = self.inspections.try_send(instance);
            }
            Effect::Examine { lane, seq } => {
                let shows = examine::examine(&self.core, &self.client, lane, seq, self.options.settle_time).await;
                self.core.step(Input::Examined { lane, seq, shows });
            }
            // Recorded in order by `run`, answered at once by the core.
            Effect::Record { .. } | Effect::Note { .. } | Effect::RecordVoids { .. } | Effect::Answer { .. } => {
                error!("an effect came the wrong way")
            }
        }
    }

    fn report(&self, lane: LaneId, instance: InstanceId, attempted: Attempted) {
        let Attempted { outcome, answer } = attempted;
        self.core.step_with(Input::Attempted { lane, instance, outcome }, answer);
    }

    async fn requests(&self, seqs: &[Seq]) -> Option<Vec<Request>> {
        match self.core.bodies.requests(self.core.store.as_ref(), seqs).await {
            Ok(requests) => Some(requests),
            Err(error) => {
                warn!(%error, "a journaled write waits: its request cannot be read");
                None
            }
        }
    }

    async fn attempt(
        &self,
        lane: LaneId,
        instance: InstanceId,
        seqs: &[Seq],
        purpose: Purpose,
        repeat: Repeat,
    ) -> Attempted {
        if lane == LaneId::Catalog && purpose != Purpose::Execute {
            // A copy needs the stored answer, which came after the request was cached.
            seqs.iter().for_each(|seq| self.core.bodies.forget(*seq));
        }
        // Before the bodies are read: what waits here would hold them in memory.
        let Ok(_permit) = self.permits[instance.0].acquire().await else {
            return Attempted::not_sent("the edge is stopping");
        };
        let Some(requests) = self.requests(seqs).await else { return Attempted::not_sent("it cannot be read") };
        let attempt = Attempt {
            core: &self.core,
            client: &self.client,
            instance,
            seqs,
            purpose,
            deadline: self.deadline(repeat),
        };
        match lane {
            LaneId::Records(collection) => records::attempt(&attempt, collection, &requests).await,
            LaneId::Catalog => match requests.first() {
                Some(request) => catalog::attempt(&attempt, &Entry { request, purpose, repeat }).await,
                None => Attempted::not_sent("no request"),
            },
        }
    }

    fn deadline(&self, repeat: Repeat) -> Duration {
        let doublings = match repeat {
            Repeat::First => 0,
            Repeat::Again { unanswered } => unanswered.min(16),
        };
        (self.options.attempt_timeout * 2u32.pow(doublings)).min(LONGEST_ATTEMPT.max(self.options.attempt_timeout))
    }

    async fn read_ids(&self, lane: LaneId, instance: InstanceId, seq: Seq) {
        let seqs = [seq];
        let (resolved, answer) = match (lane, self.requests(&seqs).await.and_then(|mut found| found.pop())) {
            (LaneId::Records(collection), Some(request)) => {
                let deadline = self.options.attempt_timeout;
                let purpose = Purpose::Execute;
                let attempt =
                    Attempt { core: &self.core, client: &self.client, instance, seqs: &seqs, purpose, deadline };
                limited::resolve(&attempt, collection, &request).await
            }
            _ => (Resolved::Failed { again: crate::order::Again::AfterAPause }, None),
        };
        self.core.step_with(Input::IdsRead { lane, instance, resolved }, answer.map(Arc::new));
    }

    /// Waits until the instance has been there, without a break, for the settle time: an abandoned request that it
    /// had read has been executed by then, or never will be.
    async fn await_calm(&self, instance: InstanceId, why: Rest) {
        let span = match why {
            Rest::Doubt => self.options.settle_time,
            Rest::Pause { in_a_row } => (FIRST_PAUSE * 2u32.pow(in_a_row.saturating_sub(1).min(10))).min(LONGEST_PAUSE),
        };
        let registry = &self.core.registry;
        let (mut changes, mut again) = (registry.changes(), self.core.asked_again());
        loop {
            let before = registry.generation(instance);
            if registry.usable(instance) {
                match why {
                    // Nobody can shorten what an abandoned request may need.
                    Rest::Doubt => tokio::time::sleep(span).await,
                    Rest::Pause { .. } => drop(tokio::time::timeout(span, again.changed()).await),
                }
                if registry.usable(instance) && registry.generation(instance) == before {
                    return;
                }
            } else if changes.changed().await.is_err() {
                return;
            }
        }
    }
}
