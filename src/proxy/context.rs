//! What is remembered of one request on its way through the hooks.

use bytes::Bytes;
use std::time::Instant;

use super::admit::{AdmissionPermit, AnswerMemory, Memory};
use super::failure::Failure;
use super::read::Read;
use crate::clock::{self, Timestamp};
use crate::ids::{CollectionId, InstanceCollectionId, InstanceId, Seq};
use crate::instance::{InFlight, Registry};
use crate::journal::{Fact, TimingGap};

/// How far a request has come.
pub enum Stage {
    /// Not passed on, and no journaled write: what it gets, if anything, is the edge's own.
    Arrived,
    /// Passed on to an instance.
    Reading(Box<Reading>),
    /// A journaled write with its answer: `logging` marks it complete.
    Answered(Completion),
}

/// A request on its way to instances.
pub struct Reading {
    pub read: Read,
    /// The whole body, to be sent again as often as needed.
    pub body: Option<Bytes>,
    pub chosen: Option<InstanceId>,
    /// The ids of its collection: on the chosen instance, and as clients know it.
    pub ids: Option<(InstanceCollectionId, CollectionId)>,
    /// In the order in which they were tried.
    pub tried: Vec<InstanceId>,
    /// Those of them that denied what they should have.
    pub unfit: Vec<InstanceId>,
    pub patience: Patience,
    pub in_flight: Option<InFlight>,
    /// The part of the answer that is held back to be rewritten.
    pub held: Option<Vec<u8>>,
    /// What the answer may take while it is held back and rewritten.
    pub answer_memory: Option<AnswerMemory>,
    pub timed_out: TimedOut,
    /// The status of the answer that is coming in.
    pub status: u16,
}

impl Reading {
    pub(super) fn new(read: Read, body: Option<Bytes>) -> Self {
        Reading {
            read,
            body,
            chosen: None,
            ids: None,
            tried: Vec::new(),
            unfit: Vec::new(),
            patience: Patience::UntilProbed,
            in_flight: None,
            held: None,
            answer_memory: None,
            timed_out: TimedOut::No,
            status: 0,
        }
    }
}

/// How long an attempt waits for its instance. Pingora cannot be told that the probes have given an instance up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Until the probes must have noticed an instance that hangs.
    UntilProbed,
    /// It is the request that is slow: the whole time limit.
    Full,
}

/// Whether the last failure was a time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimedOut {
    Yes,
    No,
}

/// What a journaled write's client was told.
pub struct Completion {
    pub seq: Seq,
    pub status: u16,
    pub executed_on: Option<InstanceId>,
    pub timing_gap: TimingGap,
}

impl Completion {
    /// What the journal is told of it.
    pub(super) fn fact(&self, registry: &Registry) -> Fact {
        let executed_on = self.executed_on.map(|instance| registry.name(instance).clone());
        Fact::completed(self.seq, Some(self.status), executed_on, self.timing_gap, Timestamp::now())
    }
}

/// Pingora's CTX.
pub struct Context {
    pub started: Instant,
    pub stage: Stage,
    pub permit: Option<AdmissionPermit>,
    pub memory: Option<Memory>,
    /// For metrics and the access log.
    pub operation: &'static str,
    pub failure: Option<&'static str>,
    /// The id that the client brought for its write.
    pub idempotency_key: Option<String>,
    /// Why no further instance is tried.
    pub given_up: Option<Failure>,
}

impl Context {
    pub(super) fn new() -> Self {
        Context {
            started: clock::now(),
            stage: Stage::Arrived,
            permit: None,
            memory: None,
            operation: "unknown",
            failure: None,
            idempotency_key: None,
            given_up: None,
        }
    }

    /// What the client is told after the last attempt failed.
    pub(super) fn last_failure(&self) -> Failure {
        match &self.stage {
            Stage::Reading(reading) if reading.timed_out == TimedOut::Yes => Failure::InstanceTimedOut,
            _ => Failure::InstancesFailed,
        }
    }

    pub(super) fn reading(&mut self) -> Option<&mut Reading> {
        match &mut self.stage {
            Stage::Reading(reading) => Some(reading),
            Stage::Arrived | Stage::Answered(_) => None,
        }
    }
}
