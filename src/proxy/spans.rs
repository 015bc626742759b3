//! The spans of a client's request in a distributed trace: the request, and its append to the journal. The attempts of
//! a read are recorded where it is sent (`read/`), those of a write by the executor.
//!
//! Builds nothing while tracing is off, or for a trace that is not recorded. Attributes hold no client's content or
//! name.

use pingora::proxy::Session;

use super::context::{Context, Stage};
use super::prepare::{OWN_PAGE, PREFLIGHT};
use super::read::{Plan, collection_of};
use crate::clock;
use crate::ids::{LaneId, Seq};
use crate::journal::{AppendError, Draft, Journal, Judge};
use crate::traces::{self, Key, Kind, RequestTrace};
use crate::web::INSTANCE;

/// Ends the request's span: it has been answered, or its client is gone.
pub(super) fn request_ended(session: &Session, context: &mut Context) {
    let (Some(tracer), Some(mut span)) = (traces::tracer(), context.traced.span.take()) else { return };
    // Probes and dashboards would flood the traces. Their own clients may record them.
    if matches!(context.operation, OWN_PAGE | PREFLIGHT) && span.begins_its_trace() {
        return;
    }
    let written = session.response_written();
    let status = written.map_or(0, |response| response.status.as_u16());
    span.rename(context.operation);
    span.note(Key::Operation, context.operation);
    span.note(Key::RequestId, context.trace.to_string());
    span.note(Key::Method, method(session));
    if let Some(instance) = written.and_then(|response| response.headers.get(&INSTANCE)?.to_str().ok()) {
        span.note(Key::Instance, instance.to_owned());
    }
    if status > 0 {
        span.note(Key::Status, status);
    }
    if let Stage::Answered(completion) = &context.stage {
        span.note(Key::Outcome, completion.verdict.as_str());
    }
    match context.failure {
        Some(reason) if status >= 500 => span.fail(reason),
        Some(reason) => span.note(Key::ErrorType, reason),
        None if status == 0 => span.fail("client_gone"),
        None if status >= 500 => span.fail("instance_error"),
        None => {}
    }
    tracer.end(span);
}

/// Returns the method if Chroma knows it: any other method is a client's text.
fn method(session: &Session) -> &'static str {
    let method = session.req_header().method.as_str();
    let known = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"];
    known.into_iter().find(|known| *known == method).unwrap_or("_OTHER")
}

/// Makes the write durable, under the request's span.
pub(super) async fn append(
    journal: &Journal,
    draft: Draft,
    judge: Option<Judge>,
    traced: &mut RequestTrace,
) -> Result<Seq, AppendError> {
    let Some(request) = &mut traced.span else {
        return journal.append_judged(draft, judge).await.map(|committed| committed.seq);
    };
    let began = clock::now();
    if let LaneId::Records(collection) = draft.lane {
        request.note(Key::Collection, collection.to_string());
    }
    let appended = journal.append_judged(draft, judge).await;
    let tracer = traces::tracer();
    let span = tracer.and_then(|tracer| tracer.child(request.context(), Kind::Internal, "journal append", began));
    if let (Some(tracer), Some(mut span)) = (tracer, span) {
        match &appended {
            Ok(committed) => {
                span.note(Key::Seq, committed.seq.get());
                span.note(Key::Batch, committed.batch);
            }
            Err(error) => span.fail(why(error)),
        }
        tracer.end(span);
    }
    let seq = appended?.seq;
    request.note(Key::Seq, seq.get());
    Ok(seq)
}

fn why(error: &AppendError) -> &'static str {
    match error {
        AppendError::Full => "queue_full",
        AppendError::Unavailable(_) => "journal_unavailable",
        AppendError::InDoubt(_) => "in_doubt",
        AppendError::Taken(_) => "transaction_id_taken",
        AppendError::Declined => "declined",
    }
}

/// Notes the read's collection, which is now known.
pub(super) fn planned(plan: &Plan, traced: &mut RequestTrace) {
    let Some(span) = &mut traced.span else { return };
    if let Plan::Pass(read) | Plan::Object(read) = plan
        && let Some(collection) = collection_of(read)
    {
        span.note(Key::Collection, collection.to_string());
    }
}
