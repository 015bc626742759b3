//! What a distributed trace records about an attempt.
//!
//! An attempt that gives writes their verdict belongs to the trace of the first of them, whose client waits for it. The
//! other requests are linked. Replication happens outside any client's request: it is a trace of its own, linked to
//! each of the writes' requests. The contexts come with the requests, from the journal if need be.

use std::time::Instant;

use super::attempt::Attempted;
use super::counters::outcome_of;
use crate::ids::{InstanceName, LaneId, TraceContext};
use crate::journal::{OperationType, Request};
use crate::metrics::AttemptOutcome;
use crate::order::{Purpose, Repeat};
use crate::traces::{self, Key, Kind, Span, Tracer};

/// Why and where requests are sent.
pub(super) struct Sending<'a> {
    pub lane: LaneId,
    pub instance: &'a InstanceName,
    pub purpose: Purpose,
    pub repeat: Repeat,
}

/// An attempt that may be recorded.
#[derive(Default)]
pub(super) struct AttemptSpan {
    /// Sent to the instance.
    pub context: Option<TraceContext>,
    span: Option<Box<Span>>,
}

impl AttemptSpan {
    /// Begins the span of an attempt.
    pub fn begin(sending: &Sending<'_>, requests: &[Request], began: Instant) -> AttemptSpan {
        let Some(tracer) = traces::tracer() else { return AttemptSpan::default() };
        let mut contexts = requests.iter().filter_map(|request| request.trace_context);
        let Some(mut span) = begun(tracer, sending.purpose, contexts.clone(), began) else {
            // A trace that is not recorded continues at the instance if the attempt executes just one write.
            let context = contexts.next().filter(|_| sending.purpose == Purpose::Execute && requests.len() == 1);
            return AttemptSpan { context, span: None };
        };
        span.note(Key::Instance, sending.instance.as_str().to_owned());
        if let Some(first) = requests.first() {
            span.note(Key::Operation, OperationType::Write(first.profile.kind).as_str());
            span.note(Key::Seq, first.seq.get());
        }
        if let LaneId::Records(collection) = sending.lane {
            span.note(Key::Collection, collection.to_string());
        }
        span.note(Key::Writes, requests.len());
        span.note(Key::Purpose, if sending.purpose == Purpose::Execute { "execute" } else { "replicate" });
        if sending.repeat != Repeat::First {
            span.note(Key::Repeated, true);
        }
        AttemptSpan { context: Some(span.context()), span: Some(span) }
    }

    /// Ends the span with the attempt's outcome.
    pub fn end(self, attempted: &Attempted) {
        let (Some(tracer), Some(mut span)) = (traces::tracer(), self.span) else { return };
        if let Some(answer) = &attempted.answer {
            span.note(Key::Status, answer.status);
        }
        let outcome = outcome_of(&attempted.outcome);
        span.note(Key::Outcome, outcome.as_str());
        match outcome {
            AttemptOutcome::Applied | AttemptOutcome::Rejected => {}
            AttemptOutcome::NotSent | AttemptOutcome::InDoubt | AttemptOutcome::Failed | AttemptOutcome::Unfit => {
                span.fail(outcome.as_str());
            }
        }
        tracer.end(span);
    }
}

fn begun(
    tracer: &Tracer,
    purpose: Purpose,
    mut contexts: impl Iterator<Item = TraceContext>,
    began: Instant,
) -> Option<Box<Span>> {
    match purpose {
        Purpose::Execute => {
            let first = contexts.by_ref().find(|context| context.is_sampled())?;
            let mut span = tracer.child(first, Kind::Client, "attempt", began)?;
            contexts.for_each(|context| span.link(context));
            Some(span)
        }
        Purpose::Replicate | Purpose::ExpectRefusal => tracer.linked(contexts, Kind::Client, "replicate", began),
    }
}
