//! The state of one request between Pingora's hooks. It decides nothing.

use std::time::Instant;

use super::admit::{AdmissionPermit, AnswerMemory};
use super::incoming::Memory;
use crate::auth::Principal;
use crate::clock::{self, Timestamp};
use crate::ids::{InstanceId, Seq};
use crate::instance::Registry;
use crate::journal::{Fact, TimingGap};
use crate::order::Verdict;
use crate::traces::RequestTrace;
use crate::web::idempotency_key::BroughtKey;
use crate::web::{RequestName, TraceId};
use crate::wire::Serving;

/// How far the request has come.
pub enum Stage {
    /// Not journaled, or not answered so far.
    Arrived,
    /// A journaled write that has its answer. `logging` marks it complete.
    Answered(Completion),
}

/// The answer that the client of a journaled write got.
pub struct Completion {
    pub seq: Seq,
    pub verdict: Verdict,
    pub status: u16,
    pub executed_on: Option<InstanceId>,
    pub timing_gap: TimingGap,
}

impl Completion {
    /// Returns the completion as a journal fact.
    pub(super) fn fact(&self, registry: &Registry) -> Fact {
        let executed_on = self.executed_on.map(|instance| registry.name(instance).clone());
        Fact::completed(self.seq, self.verdict, Some(self.status), executed_on, self.timing_gap, Timestamp::now())
    }
}

/// The context that Pingora passes to each hook.
pub struct Context {
    /// Names the request in the log, in errors, and to instances.
    pub trace: TraceId,
    /// The request's spans in a distributed trace.
    pub traced: RequestTrace,
    pub started: Instant,
    pub stage: Stage,
    pub permit: Option<AdmissionPermit>,
    /// While it is set, the connection is not sent away.
    pub serving: Option<Serving>,
    /// The principal, once it is known.
    pub principal: Option<Principal>,
    pub memory: Option<Memory>,
    /// Covers the answer's memory.
    pub answer_memory: Option<AnswerMemory>,
    /// For metrics and the access log.
    pub operation: &'static str,
    pub failure: Option<&'static str>,
    /// The id that the client brought for its write.
    pub idempotency_key: Option<BroughtKey>,
}

impl Context {
    /// Returns the request's name for instances and spans.
    pub(super) fn name(&self) -> RequestName {
        RequestName { id: self.trace, context: self.traced.context }
    }

    pub(super) fn new() -> Self {
        Context {
            // Set as soon as the header has arrived.
            trace: TraceId(0),
            traced: RequestTrace::default(),
            started: clock::now(),
            stage: Stage::Arrived,
            permit: None,
            serving: None,
            principal: None,
            memory: None,
            answer_memory: None,
            operation: "unknown",
            failure: None,
            idempotency_key: None,
        }
    }
}
