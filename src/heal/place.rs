//! One collection on one instance, read and written outside the lanes: a source, or a copy that no client sees.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::records::{End, Record, records_of};
use crate::chroma::{Call, Class, classify};
use crate::coordinator::{Core, LateWrites};
use crate::ids::{InstanceId, LaneId};
use crate::instance::{Answer, Client, Licence, Outgoing, SendError, Sent};
use crate::order::Kind;

const NOT_FOUND: u16 = 404;
const PAGE_RECORDS: usize = 2_000;
/// Ids that are asked for at once.
pub(crate) const PAGE_IDS: usize = 10_000;
/// Records that are named in one request: below SQLite's number of variables.
pub(crate) const NAMED: usize = 500;

/// The most bytes that a page should have, and the most records. A single record is read whatever it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageLimits {
    pub bytes: usize,
    pub records: usize,
}

impl Default for PageLimits {
    fn default() -> Self {
        PageLimits { bytes: 4 * 1024 * 1024, records: PAGE_RECORDS }
    }
}

/// A collection on an instance.
pub(crate) struct Place<'a> {
    core: &'a Core,
    client: &'a Client,
    instance: InstanceId,
    pub path: String,
    deadline: Duration,
    limits: PageLimits,
    /// Where to note a write that ends after the lease, and for which lane. Set for a copy that others know, too.
    late: Option<(LaneId, &'a LateWrites)>,
}

/// Some records in a row.
pub(crate) struct Page {
    pub records: Vec<Record>,
    pub end: End,
}

/// An answer to `get`, as it came.
#[derive(PartialEq, Eq)]
pub(crate) struct Shown(Bytes);

impl Shown {
    pub fn records(&self) -> Result<Vec<Record>, String> {
        records_of(&self.0).map_err(|error| error.to_string())
    }

    /// Returns only the ids, which is a quarter of the work of reading all of it.
    pub fn ids(&self) -> Result<Vec<String>, String> {
        ids_of(&self.0)
    }
}

/// Why something was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("{0}")]
    Refused(String),
    /// It may still be executed.
    #[error("{0}")]
    Unanswered(String),
}

impl<'a> Place<'a> {
    pub fn new(core: &'a Core, client: &'a Client, instance: InstanceId, path: String, deadline: Duration) -> Self {
        Place { core, client, instance, path, deadline, limits: PageLimits::default(), late: None }
    }

    /// The same place. The next edge must know of a write that may reach it after this edge's lease.
    pub fn known_to_others(self, lane: LaneId, late: &'a LateWrites) -> Self {
        Place { late: Some((lane, late)), ..self }
    }

    /// The same place, read in pages of this size at most.
    pub fn limited(self, limits: PageLimits) -> Self {
        let records = limits.records.clamp(1, PAGE_RECORDS);
        Place { limits: PageLimits { records, ..limits }, ..self }
    }

    /// Records that a page has at most.
    pub fn most_records(&self) -> usize {
        self.limits.records
    }

    /// The same instance, another path.
    pub fn at(&self, path: String) -> Place<'a> {
        Place { path, ..*self }
    }

    /// Returns how many records there are, or `None` if there is no such collection.
    pub async fn count(&self) -> Result<Option<u64>, String> {
        let answer = self.read(Method::GET, format!("{}/count", self.path), Value::Null).await?;
        match answer.status {
            200 => serde_json::from_slice(&answer.body).map(Some).map_err(|error| error.to_string()),
            NOT_FOUND => Ok(None),
            _ => Err(self.unexpected(&answer)),
        }
    }

    /// The Collection object at this path, with its body as the instance gave it.
    pub async fn definition(&self) -> Result<Option<Bytes>, String> {
        let answer = self.read(Method::GET, self.path.clone(), Value::Null).await?;
        match answer.status {
            200 => Ok(Some(answer.body)),
            NOT_FOUND => Ok(None),
            _ => Err(self.unexpected(&answer)),
        }
    }

    /// Returns the records from this offset on. `records` is how many to ask for. It shrinks if the instance cannot
    /// show so many, and for the next page if the answer is long.
    pub async fn page(&self, offset: usize, records: &mut usize) -> Result<Page, String> {
        loop {
            let asked = (*records).max(1);
            let include = ["embeddings", "documents", "metadatas", "uris"];
            let body = json!({ "limit": asked, "offset": offset, "include": include });
            match self.read(Method::POST, format!("{}/get", self.path), body).await {
                Ok(answer) if answer.status == 200 => {
                    let found = records_of(&answer.body).map_err(|error| error.to_string())?;
                    let fitting = found.len().saturating_mul(self.limits.bytes) / answer.body.len().max(1);
                    *records = fitting.clamp(1, (asked * 2).min(self.limits.records));
                    let end = if found.len() < asked { End::Reached } else { End::Beyond };
                    return Ok(Page { records: found, end });
                }
                // Too many for the instance. With some records that shows only when they are requested.
                Ok(_) | Err(_) if asked > 1 => *records = asked / 4,
                Ok(answer) => return Err(self.unexpected(&answer)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns whether the instance is serving other requests.
    pub fn is_busy(&self) -> bool {
        self.core.registry().in_flight(self.instance) > 0
    }

    /// A page of ids from this offset on.
    pub async fn ids(&self, offset: usize) -> Result<Vec<String>, String> {
        self.some_ids(offset, PAGE_IDS).await
    }

    /// Returns this many ids from this offset on, or as many as there are.
    pub async fn some_ids(&self, offset: usize, count: usize) -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        while found.len() < count {
            let asked = (count - found.len()).min(PAGE_IDS);
            let body = json!({ "limit": asked, "offset": offset + found.len(), "include": [] });
            let more = ids_of(&self.get(body).await?)?;
            let end = more.len() < asked;
            found.extend(more);
            if end {
                break;
            }
        }
        Ok(found)
    }

    /// Those of these records that exist.
    pub async fn named(&self, ids: &[String]) -> Result<Vec<Record>, String> {
        let mut found = Vec::with_capacity(ids.len());
        for some in ids.chunks(NAMED) {
            found.extend(self.shown(some).await?.records()?);
        }
        Ok(found)
    }

    /// Reads these records as the instance shows them, at most [`NAMED`] at once.
    pub async fn shown(&self, ids: &[String]) -> Result<Shown, String> {
        let include = ["embeddings", "documents", "metadatas", "uris"];
        let body = json!({ "ids": ids, "include": include });
        self.get(body).await.map(Shown)
    }

    /// Those of these ids that exist.
    pub async fn existing(&self, ids: &[String]) -> Result<Vec<String>, String> {
        let mut found = Vec::with_capacity(ids.len());
        for some in ids.chunks(NAMED) {
            let body = json!({ "ids": some, "include": [] });
            found.extend(ids_of(&self.get(body).await?)?);
        }
        Ok(found)
    }

    pub async fn delete(&self, ids: &[String]) -> Result<(), WriteError> {
        for some in ids.chunks(NAMED) {
            let body = json!({ "ids": some }).to_string();
            self.write(Method::POST, format!("{}/delete", self.path), body).await?;
        }
        Ok(())
    }

    /// Changes nothing, and makes everything committed visible.
    pub async fn flush(&self) -> Result<(), WriteError> {
        self.delete(&[format!("chroma-edge-{}", uuid::Uuid::new_v4())]).await
    }

    /// Sends a request that may be executed twice.
    pub async fn read(&self, method: Method, path: String, body: Value) -> Result<Answer, String> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let sent = self.client.send_idempotent(self.instance, &Outgoing::json(method, path, body), self.deadline).await;
        sent.map_err(|error| error.to_string())
    }

    /// Sends a write once, while the lease lasts. After a crash during the wait, the write may or may not be executed.
    /// It concerns a collection that nothing reads and that is removed before the next copy is made, or a copy under
    /// repair. The latter is out of step, durably, and the next edge does not examine it before a settle time is over.
    pub async fn write(&self, method: Method, path: String, body: String) -> Result<Answer, WriteError> {
        let sending = self.core.lease().sending();
        let licence = Licence::Lease(&sending);
        let sent = self.client.send(self.instance, &Outgoing::json(method, path, body), self.deadline, licence).await;
        // Noted before `sending` is dropped: the edge's shutdown waits for `sending`, and then reads the notes.
        note_if_late(self.late, self.instance, &sent);
        drop(sending);
        match sent {
            Ok(answer) if may_be_executed_yet(&answer) => Err(WriteError::Unanswered(self.unexpected(&answer))),
            Ok(answer) => self.success(answer).map_err(WriteError::Refused),
            Err(error @ SendError::NotSent { .. }) => Err(WriteError::Refused(error.to_string())),
            Err(error) => Err(WriteError::Unanswered(error.to_string())),
        }
    }

    /// Returns the answer of `get` to this body.
    async fn get(&self, body: Value) -> Result<Bytes, String> {
        let answer = self.read(Method::POST, format!("{}/get", self.path), body).await?;
        self.success(answer).map(|answer| answer.body)
    }

    fn success(&self, answer: Answer) -> Result<Answer, String> {
        if (200..300).contains(&answer.status) { Ok(answer) } else { Err(self.unexpected(&answer)) }
    }

    fn unexpected(&self, answer: &Answer) -> String {
        let text: String = String::from_utf8_lossy(&answer.body).chars().take(200).collect();
        format!("{} answered {}: {text}", self.core.registry().name(self.instance), answer.status)
    }
}

/// Notes a write that may be executed after this edge's lease, so that the next edge compares a copy that others know.
fn note_if_late(late: Option<(LaneId, &LateWrites)>, instance: InstanceId, sent: &Result<Answer, SendError>) {
    if let (Err(SendError::LeaseEnded(Sent::Whole)), Some((lane, late))) = (sent, late) {
        late.note(&[lane], instance);
    }
}

/// Returns whether the write may still be executed despite this answer: it came from something between the edge and the
/// server, or from a server whose write path is dead. What was to be written makes no difference.
fn may_be_executed_yet(answer: &Answer) -> bool {
    matches!(classify(Call::Write(Kind::Upsert), answer.status, &answer.body), Class::Gateway | Class::Broken)
}

fn ids_of(body: &[u8]) -> Result<Vec<String>, String> {
    #[derive(serde::Deserialize)]
    struct Found {
        ids: Vec<String>,
    }
    serde_json::from_slice::<Found>(body).map(|found| found.ids).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn what_may_be_executed_after_the_lease_is_noted_if_others_know_the_copy() {
        let (late, lane, instance) = (LateWrites::default(), LaneId::Catalog, InstanceId(1));
        for sent in [Sent::Nothing, Sent::Part] {
            note_if_late(Some((lane, &late)), instance, &Err(SendError::LeaseEnded(sent)));
        }
        note_if_late(
            Some((lane, &late)),
            instance,
            &Err(SendError::InDoubt { reason: "handed over in time".to_owned() }),
        );
        note_if_late(None, instance, &Err(SendError::LeaseEnded(Sent::Whole)));
        assert_eq!(late.all(), []);
        note_if_late(Some((lane, &late)), instance, &Err(SendError::LeaseEnded(Sent::Whole)));
        assert_eq!(late.all(), [(lane, instance)]);
    }

    #[test]
    fn an_answer_from_in_between_says_nothing_of_a_write() {
        let of = |status: u16, body: &'static str| {
            may_be_executed_yet(&Answer {
                status,
                headers: HeaderMap::new(),
                body: Bytes::from_static(body.as_bytes()),
            })
        };
        assert!(of(504, "<html>504 Gateway Time-out</html>") && of(502, "") && of(408, "") && of(503, "no upstream"));
        assert!(!of(200, "{}") && !of(404, r#"{"error":"NotFoundError","message":"x"}"#));
        assert!(!of(400, r#"{"error":"InvalidArgumentError","message":"x"}"#), "it was refused");
    }
}
