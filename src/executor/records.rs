//! One attempt of a record write, merged or single, on one instance.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};

use super::attempt::{Attempt, Attempted, judge};
use crate::chroma::{self, Class, Operation, route};
use crate::clock;
use crate::ids::{CollectionId, InstanceCollectionId};
use crate::instance::{Answer, Outgoing};
use crate::journal::Request;
use crate::order::{Consequences, Kind, Outcome, Purpose, Repeat, Retry};
use crate::proof;

/// Sends the requests as one and returns the outcome.
pub(super) async fn attempt(attempt: &Attempt<'_>, collection: CollectionId, requests: &[Request]) -> Attempted {
    let Some(first) = requests.first() else { return Attempted::not_sent("no request") };
    let Some(id) = attempt.mapping(collection) else {
        return Attempted::not_sent("the collection is not mapped on the instance");
    };
    if requests.len() > 1 && attempt.purpose == Purpose::Replicate && proof::out_of_order() {
        return one_by_one(attempt, collection, requests).await;
    }
    let Some(outgoing) = outgoing(requests, id) else {
        // Unexpected, since the rules merge only what the scan found mergeable. The entries are then sent one by one,
        // and each gets its own verdict.
        return Attempted::of(Outcome::Rejected { about: None }, None);
    };
    if let Err(failed) = warm_up(attempt, &outgoing, collection).await {
        return failed;
    }
    let answer = match attempt.send(&outgoing).await {
        Ok(answer) => answer,
        Err(failed) => return failed,
    };
    let class = chroma::classify(chroma::Call::Write(first.profile.kind), answer.status, &answer.body);
    let mut answer = hide_instance_id(answer, id, collection);
    if class == Class::Applied && only_the_first_knows(attempt, first) {
        answer.body = chroma::deleted_unknown();
    }
    judge(attempt, class, answer, |_| Outcome::Applied(Consequences::default()), None)
}

/// Returns whether the answer's number of removed records is unreliable, because an earlier attempt may have removed
/// them.
fn only_the_first_knows(attempt: &Attempt<'_>, request: &Request) -> bool {
    attempt.repeat != Repeat::First
        && request.profile.kind == Kind::Delete
        && chroma::deletes_by_condition(&request.body)
}

/// Sends each request on its own, because neighbors that changed places may be of different kinds.
async fn one_by_one(one: &Attempt<'_>, collection: CollectionId, requests: &[Request]) -> Attempted {
    let mut ended = Attempted::not_sent("no request");
    for request in requests {
        ended = Box::pin(attempt(one, collection, std::slice::from_ref(request))).await;
        if !matches!(ended.outcome, Outcome::Applied(_)) {
            break;
        }
    }
    ended
}

/// Reads from the collection before the first write after each possible restart. A restarted Chroma that is written to
/// before anything was read can show an embedding of an update that came before its record's add (measured on 1.5.9).
async fn warm_up(attempt: &Attempt<'_>, write: &Outgoing, collection: CollectionId) -> Result<(), Attempted> {
    let generation = attempt.core.registry.generation(attempt.instance);
    if attempt.resources.warmed.is(attempt.instance, collection, generation, clock::now()) {
        return Ok(());
    }
    let Some(path) = get_beside(&write.path) else { return Ok(()) };
    let read = Outgoing::json(http::Method::POST, path, Bytes::from_static(br#"{"limit":1,"include":[]}"#));
    // The read writes nothing, however it ends.
    let unsent = |failed| Attempted { outcome: Outcome::NotSent { retry: Retry::AfterBackoff }, ..failed };
    let answer = attempt.read(&read).await.map_err(unsent)?;
    if answer.status == 200 {
        attempt.resources.warmed.note(attempt.instance, collection, generation, clock::now());
    }
    Ok(())
}

/// Returns the path of `get` for the collection of a record write with this path.
pub(super) fn get_beside(write: &str) -> Option<String> {
    let (before_query, _) = write.split_once('?').unwrap_or((write, ""));
    let (collection, _verb) = before_query.rsplit_once('/')?;
    Some(format!("{collection}/get"))
}

/// Returns the request to the instance for these entries, or `None` if they cannot be merged after all.
fn outgoing(requests: &[Request], id: InstanceCollectionId) -> Option<Outgoing> {
    let first = requests.first()?;
    let operation = route(&first.method, &first.path);
    if !matches!(operation, Operation::RecordWrite { .. }) {
        return None;
    }
    let body = match requests {
        [single] => single.body.clone(),
        several => {
            let bodies: Vec<&[u8]> = several.iter().map(|request| request.body.as_ref()).collect();
            Bytes::from(chroma::merge(first.profile.kind, &bodies)?)
        }
    };
    Some(Outgoing {
        method: http::Method::POST,
        path: chroma::instance_path(&operation, &first.path, id),
        headers: content_type(first.content_type.as_deref()),
        body,
    })
}

/// Returns the content type as the client sent it. The instance rejects a wrong one, as it would without the edge.
pub(super) fn content_type(given: Option<&str>) -> Vec<(HeaderName, HeaderValue)> {
    given.and_then(|text| HeaderValue::from_str(text).ok()).map(|value| (CONTENT_TYPE, value)).into_iter().collect()
}

fn hide_instance_id(mut answer: Answer, id: InstanceCollectionId, collection: CollectionId) -> Answer {
    if answer.status >= 400 {
        answer.body = chroma::error_text(&answer.body, id, collection).into();
    }
    answer
}
