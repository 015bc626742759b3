//! The span of one attempt of a read at an instance.
//!
//! Builds nothing for a read that is not recorded.

use super::ask::{Broken, Came};
use super::{Read, Target};
use crate::clock;
use crate::ids::{CollectionId, InstanceId};
use crate::instance::{Answer, SendError};
use crate::proxy::Edge;
use crate::traces::{self, Key, Kind, Span};
use crate::web::RequestName;

/// Returns the one collection that the read is about.
pub fn collection_of(read: &Read) -> Option<CollectionId> {
    match read.target {
        Target::Collection(collection) => Some(collection),
        Target::Collections(_) | Target::Catalog | Target::Anything => None,
    }
}

/// Starts the span of the read's `number`th attempt, on this instance. `None` if the request is not recorded.
pub(super) fn attempt(
    edge: &Edge,
    name: &RequestName,
    (operation, collection): (&'static str, Option<CollectionId>),
    instance: InstanceId,
    number: usize,
) -> Option<Box<Span>> {
    let mut span = traces::tracer()?.child(name.context?, Kind::Client, "attempt", clock::now())?;
    span.note(Key::Instance, edge.registry.name(instance).as_str().to_owned());
    span.note(Key::Operation, operation);
    span.note(Key::Attempt, number);
    if let Some(collection) = collection {
        span.note(Key::Collection, collection.to_string());
    }
    Some(span)
}

/// Returns the request's name within this attempt.
pub(super) fn under(span: Option<&Span>, name: RequestName) -> RequestName {
    RequestName { context: span.map(Span::context).or(name.context), ..name }
}

/// Ends the span: the attempt has ended, or its answer begins to be passed on.
pub(super) fn attempt_ended(span: Option<Box<Span>>, came: &Result<Came, Broken>) {
    let Some(span) = span else { return };
    match came {
        Ok(Came::Whole(_, answer)) => ended(span, Ok(answer.status)),
        Ok(Came::Part(incoming, _)) => ended(span, Ok(incoming.status().as_u16())),
        Ok(Came::Denied) => ended(span, Err("denied")),
        Ok(Came::Mixed) => ended(span, Err("repaired meanwhile")),
        Err(Broken::Lost(lost)) => ended(span, Err(lost.error.as_word())),
        Err(Broken::Ours(failure)) => ended(span, Err(failure.reason())),
    }
}

/// Ends the span of a page request; `None` means that the page did not come in time.
pub(super) fn page_ended(span: Option<Box<Span>>, answer: Option<&Result<Answer, SendError>>) {
    let Some(span) = span else { return };
    ended(
        span,
        match answer {
            Some(Ok(answer)) => Ok(answer.status),
            Some(Err(error)) => Err(error.as_word()),
            None => Err("timeout"),
        },
    );
}

fn ended(mut span: Box<Span>, how: Result<u16, &'static str>) {
    match how {
        Ok(status) => {
            span.note(Key::Status, status);
            if status >= 500 {
                span.fail("instance_error");
            }
        }
        Err(why) => span.fail(why),
    }
    if let Some(tracer) = traces::tracer() {
        tracer.end(span);
    }
}
