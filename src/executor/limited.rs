//! Limited deletes. Executing one twice deletes more, so its ids are read at the head of the lane and made durable.
//! From then on every instance deletes those ids.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::attempt::{Attempt, Attempted};
use super::records::get_beside;
use crate::chroma::{self, Call, Class, Operation, route};
use crate::ids::CollectionId;
use crate::instance::{Answer, Outgoing};
use crate::journal::{Fact, Request};
use crate::order::{Resolved, Retry};
use crate::proof::{self, CrashPoint};

/// The fields of a delete that select records. The others do not matter here.
#[derive(Serialize, Deserialize)]
struct Selection {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ids: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "where")]
    condition: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    where_document: Option<Box<RawValue>>,
    limit: Option<u32>,
    /// For the read: empty, so that it returns ids only.
    #[serde(default)]
    include: Vec<String>,
}

#[derive(Deserialize)]
struct Found {
    ids: Vec<String>,
}

/// The outcome of reading the ids, with the answer that led to it.
pub(super) struct Reading {
    pub resolved: Resolved,
    pub answer: Option<Arc<Answer>>,
    /// As in [`Attempted`].
    pub failure: Option<String>,
}

impl Reading {
    pub fn of(resolved: Resolved) -> Reading {
        Reading { resolved, answer: None, failure: None }
    }

    /// The ids cannot be read now.
    pub fn failed() -> Reading {
        Reading::of(Resolved::Failed { retry: Retry::AfterBackoff })
    }
}

/// Reads the ids and makes them durable. A crash before they are durable leaves the entry as it was received.
pub(super) async fn resolve(attempt: &Attempt<'_>, collection: CollectionId, request: &Request) -> Reading {
    let Some(id) = attempt.mapping(collection) else { return Reading::failed() };
    let Some((path, body)) = read_of(request, id) else {
        // The scan lets no such request through as a limited delete.
        return Reading::of(Resolved::Rejected);
    };
    let outgoing = Outgoing::json(Method::POST, path, body);
    let answer = match attempt.read(&outgoing).await {
        Ok(answer) => answer,
        Err(Attempted { failure, .. }) => return Reading { failure, ..Reading::failed() },
    };
    match chroma::classify(Call::RecordRead, answer.status, &answer.body) {
        Class::Applied => {}
        Class::Rejected => {
            let mut answer = answer;
            answer.body = chroma::error_text(&answer.body, id, collection).into();
            return Reading { answer: Some(Arc::new(answer)), ..Reading::of(Resolved::Rejected) };
        }
        Class::Failed => {
            let signature = chroma::signature(answer.status, &answer.body);
            let (failure, mut answer) = (attempt.failure(&answer), answer);
            answer.body = chroma::error_text(&answer.body, id, collection).into();
            return Reading { resolved: Resolved::Unexplained { signature }, answer: Some(Arc::new(answer)), failure };
        }
        Class::Transient | Class::Broken | Class::Gateway => {
            return Reading { failure: attempt.failure(&answer), ..Reading::failed() };
        }
        Class::Unfit => return Reading::failed(),
    }
    let Ok(found) = serde_json::from_slice::<Found>(&answer.body) else { return Reading::failed() };
    proof::pass(CrashPoint::BeforeResolved);
    attempt.core.journal().record(vec![Fact::Resolved { seq: request.seq, body: delete_of(&found.ids) }]).await;
    attempt.resources.bodies.forget(request.seq);
    Reading::of(Resolved::Durable)
}

fn read_of(request: &Request, id: crate::ids::InstanceCollectionId) -> Option<(String, Bytes)> {
    let operation = route(&request.method, &request.path);
    if !matches!(operation, Operation::RecordWrite { .. }) {
        return None;
    }
    let selection: Selection = serde_json::from_slice(&request.body).ok()?;
    let path = get_beside(&chroma::instance_path(&operation, &request.path, id))?;
    Some((path, serde_json::to_vec(&selection).ok()?.into()))
}

/// Returns the body of a delete of these ids. Without ids it is `{}`: Chroma rejects an empty list, and answers
/// `{"deleted":0}` to a delete that selects nothing.
fn delete_of(ids: &[String]) -> Bytes {
    let body = if ids.is_empty() { json!({}) } else { json!({ "ids": ids }) };
    Bytes::from(body.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_found_deletes_nothing() {
        assert_eq!(delete_of(&[]), Bytes::from("{}"));
        assert_eq!(delete_of(&["a\"b".to_owned()]), Bytes::from(r#"{"ids":["a\"b"]}"#));
    }

    #[test]
    fn the_read_selects_what_the_delete_would() {
        let body = br#"{"where":{"k":{"$gt":1e400}},"limit":2,"unknown":1,"ids":null}"#;
        let selection: Selection = serde_json::from_slice(body).unwrap();
        let read = serde_json::to_string(&selection).unwrap();
        assert_eq!(read, r#"{"where":{"k":{"$gt":1e400}},"limit":2,"include":[]}"#);
    }
}
