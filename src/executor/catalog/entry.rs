//! A catalog entry being sent, and what the files for the kinds of object share: sending a request and classifying its
//! answer. Those files decide what is sent, and what an answer means for the catalog.

use serde_json::Value;

use crate::chroma::{self, Class, EdgeAnswer, ErrorBody, ErrorName};
use crate::executor::attempt::{Attempt, Attempted, judge};
use crate::executor::records::content_type;
use crate::instance::{Answer, Outgoing};
use crate::journal::Request;
use crate::order::{CatalogChange, Consequences, Kind, Outcome, Purpose, Repeat, Retry};

/// A catalog entry being sent.
pub struct Entry<'a> {
    pub request: &'a Request,
    pub purpose: Purpose,
    pub repeat: Repeat,
}

impl Entry<'_> {
    /// Returns whether the entry may have been executed before.
    pub fn retry(&self) -> bool {
        matches!(self.repeat, Repeat::Retry { .. })
    }

    /// Returns whether another instance has given the entry its verdict. Its client has an answer then, and only the
    /// effect on this instance matters.
    pub fn has_verdict(&self) -> bool {
        self.purpose != Purpose::Execute
    }
}

/// Rejects an entry that this version of the edge cannot send, so that the lane goes on (rule R4: it never stops).
pub(super) fn not_executable(why: &'static str) -> Attempted {
    let answer = EdgeAnswer::error(500, &ErrorBody::new(ErrorName::InternalError, why));
    Attempted::by_the_edge(Outcome::Rejected { about: None }, answer)
}

/// Sends the journaled request as it is and classifies the answer.
pub(super) async fn send_as_is(attempt: &Attempt<'_>, entry: &Entry<'_>) -> Result<(Class, Answer), Attempted> {
    let request = entry.request;
    let method = http::Method::from_bytes(request.method.as_bytes())
        .map_err(|_| not_executable("a journaled write has no valid method"))?;
    let outgoing = Outgoing {
        method,
        path: request.path.clone(),
        headers: content_type(request.content_type.as_deref()),
        body: request.body.clone(),
    };
    send(attempt, entry.request.profile.kind, &outgoing).await
}

pub(super) async fn send(attempt: &Attempt<'_>, kind: Kind, outgoing: &Outgoing) -> Result<(Class, Answer), Attempted> {
    let answer = attempt.send(outgoing).await?;
    Ok((chroma::classify(chroma::Call::Write(kind), answer.status, &answer.body), answer))
}

/// Deletes the object at this path, if there is one.
pub(super) async fn remove(attempt: &Attempt<'_>, path: String) -> Result<(), Attempted> {
    let outgoing = Outgoing { method: http::Method::DELETE, path, headers: Vec::new(), body: bytes::Bytes::new() };
    match attempt.send(&outgoing).await?.status {
        200..=299 | 404 => Ok(()),
        _ => Err(not_done()),
    }
}

/// The instance did not carry out an additional request that the entry needs.
pub(super) fn not_done() -> Attempted {
    Attempted::of(Outcome::NotSent { retry: Retry::AfterBackoff }, None)
}

pub(super) fn applied(changes: Vec<CatalogChange>) -> Outcome {
    Outcome::Applied(Consequences { changes, diverged: Vec::new() })
}

/// An earlier attempt of the same entry reached the goal. Returns the answer that attempt would have had.
pub(super) fn already(changes: Vec<CatalogChange>) -> Attempted {
    Attempted::by_the_edge(applied(changes), EdgeAnswer::json(200, "{}"))
}

pub(super) fn plain(attempt: &Attempt<'_>, class: Class, answer: Answer, changes: Vec<CatalogChange>) -> Attempted {
    judge(attempt, class, answer, |_| applied(changes), None)
}

/// A field of a JSON answer.
pub(super) fn field(body: &[u8], name: &str) -> Option<Value> {
    serde_json::from_slice::<Value>(body).ok()?.get_mut(name).map(Value::take)
}

pub(super) fn uuid_field(body: &[u8], name: &str) -> Option<uuid::Uuid> {
    field(body, name)?.as_str().and_then(|text| uuid::Uuid::try_parse(text).ok())
}
