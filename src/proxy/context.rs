//! What the proxy remembers of one request between Pingora's hooks. It decides nothing.

use std::time::Instant;

use super::admit::{AdmissionPermit, AnswerMemory, Memory};
use super::reading::Reading;
use crate::clock::{self, Timestamp};
use crate::ids::{InstanceId, Seq};
use crate::instance::Registry;
use crate::journal::{Fact, TimingGap};
use crate::order::Verdict;
use crate::web::TraceId;
use crate::web::idempotency_key::BroughtKey;

/// How far a request has come.
pub enum Stage {
    /// Neither passed on nor journaled: any answer is the edge's own.
    Arrived,
    /// Passed on to an instance.
    Reading(Box<Reading>),
    /// A journaled write with its answer: `logging` marks it complete.
    Answered(Completion),
}

/// What a journaled write's client was answered.
pub struct Completion {
    pub seq: Seq,
    pub verdict: Verdict,
    pub status: u16,
    pub executed_on: Option<InstanceId>,
    pub timing_gap: TimingGap,
}

impl Completion {
    /// The same, as the journal records it.
    pub(super) fn fact(&self, registry: &Registry) -> Fact {
        let executed_on = self.executed_on.map(|instance| registry.name(instance).clone());
        Fact::completed(self.seq, self.verdict, Some(self.status), executed_on, self.timing_gap, Timestamp::now())
    }
}

/// Pingora's CTX.
pub struct Context {
    /// Names the request in the log, in errors, and to instances.
    pub trace: TraceId,
    pub started: Instant,
    pub stage: Stage,
    pub permit: Option<AdmissionPermit>,
    pub memory: Option<Memory>,
    /// What the answer takes that the edge itself has put together.
    pub answer_memory: Option<AnswerMemory>,
    /// For metrics and the access log.
    pub operation: &'static str,
    pub failure: Option<&'static str>,
    /// The id that the client brought for its write.
    pub idempotency_key: Option<BroughtKey>,
}

impl Context {
    pub(super) fn new() -> Self {
        Context {
            trace: TraceId::random(),
            started: clock::now(),
            stage: Stage::Arrived,
            permit: None,
            memory: None,
            answer_memory: None,
            operation: "unknown",
            failure: None,
            idempotency_key: None,
        }
    }

    pub(super) fn reading(&mut self) -> Option<&mut Reading> {
        match &mut self.stage {
            Stage::Reading(reading) => Some(reading),
            Stage::Arrived | Stage::Answered(_) => None,
        }
    }
}
