//! What an instance's answer means: status and body together, in one table.
//!
//! The status alone does not tell. A 500 can be a rejection, a transient error, or a write committed behind a dead
//! compactor; a 404 can be a verdict, or come from a server that came back blank. This room decides which. `order/`
//! decides what follows from it (next instance, settle, re-send).

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::Deserialize;

use crate::order::{Kind, Signature};

/// The request that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// A write, journaled as this kind.
    Write(Kind),
    /// A read below a collection, or of a collection by its id. A 404 is no verdict.
    RecordRead,
    /// A read by name, or of a list.
    CatalogRead,
}

/// The meaning of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Executed.
    Applied,
    /// Definitely refused: no effect now or later, and every instance in the same state refuses it.
    Rejected,
    /// Not executed. The same request can succeed in a moment, on the same instance.
    Transient,
    /// Chroma reported a failure that no row of the table explains. The request is over. Its effect is unknown, and so
    /// is the cause: the request or the server (rule R12).
    Failed,
    /// The instance is broken. Whether the write is committed is unknown: in doubt.
    Broken,
    /// Something between the edge and the server answered instead. Whether the server received the request is unknown,
    /// so a write is in doubt. This says nothing about the server's write path.
    Gateway,
    /// No verdict: this instance cannot judge the request (blank, misconfigured, or another server).
    Unfit,
}

/// How the edge should use an answer to a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadAdvice {
    /// Pass it on.
    PassOn,
    /// Try another instance, which may know better; this one would give the same answer again.
    Elsewhere,
    /// Try another instance, or if there is none, this one again after a pause.
    Again,
}

impl Class {
    /// Returns how to use an answer of this class to a read.
    pub const fn read_advice(self) -> ReadAdvice {
        match self {
            Class::Applied | Class::Rejected => ReadAdvice::PassOn,
            Class::Failed | Class::Broken | Class::Unfit => ReadAdvice::Elsewhere,
            Class::Transient | Class::Gateway => ReadAdvice::Again,
        }
    }
}

/// Returns the class if the header alone decides it; `None` if the body decides.
pub fn classify_header(status: u16, headers: &HeaderMap) -> Option<Class> {
    let json = headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    match status {
        200..=299 => Some(Class::Applied),
        // A JSON answer with one of these statuses is Chroma's refusal, as in `classify`.
        400 | 409 | 415 | 422 | 501 if json => Some(Class::Rejected),
        // The same rows as in `classify`: an error that is not JSON is not Chroma's.
        500.. | 408 if !json => Some(Class::Gateway),
        429 => Some(Class::Transient),
        _ => None,
    }
}

#[derive(Deserialize)]
struct ChromaError {
    error: String,
    message: String,
}

/// Returns the class of an answer.
pub fn classify(call: Call, status: u16, body: &[u8]) -> Class {
    match status {
        200..=299 => return Class::Applied,
        300..=399 | 0..=199 => return Class::Unfit,
        _ => {}
    }
    let error = serde_json::from_slice::<ChromaError>(body).ok();
    match (status, error) {
        // Only Chroma's own error is a verdict: a proxy in between speaks for itself.
        (400 | 409 | 415 | 422 | 501, Some(_)) => Class::Rejected,
        (404, Some(error)) => not_found(call, &error),
        (500, Some(error)) => internal(call, &error.message),
        // The server is starting or overloaded: this is not about the request.
        (502..=504, Some(_)) => Class::Broken,
        (505..=599, Some(_)) => Class::Failed,
        (600.., Some(_)) => Class::Broken,
        // Chroma's own errors are JSON. A 408 gave up reading the request, perhaps after enough of it was read.
        (500.. | 408, None) => Class::Gateway,
        // A rate limit, the server's or a gateway's: not executed.
        (429, _) => Class::Transient,
        _ => Class::Unfit,
    }
}

/// A missing mapped collection means that the instance is blank or rolled back. A missing name is a verdict.
fn not_found(call: Call, error: &ChromaError) -> Class {
    let by_id = match call {
        Call::RecordRead => error.message.starts_with("Collection ["),
        Call::CatalogRead => false,
        Call::Write(kind) => is_record_write(call) || kind == Kind::UpdateCollection,
    };
    if !by_id && error.error == "NotFoundError" { Class::Rejected } else { Class::Unfit }
}

/// How SQLite and the regex engine report a condition that is too large for them. Nothing is written while records are
/// looked up. Elsewhere these texts are no verdict: a record whose metadata SQLite cannot store is still in Chroma's
/// log, and breaks its collection.
const TOO_LARGE: [&str; 5] = [
    "too many SQL variables",
    "Expression tree is too large",
    "LIKE or GLOB pattern too complex",
    "Compiled regex exceeds size limit",
    // SQLite's report that its regex function failed.
    "(code: 1043)",
];

fn internal(call: Call, message: &str) -> Class {
    let has = |text: &str| message.contains(text);
    // A delete by condition first reads which records match. An error there is the read's: nothing is written.
    let resolving = message.starts_with(RESOLVING);
    let defining = matches!(call, Call::Write(Kind::CreateCollection | Kind::UpdateCollection));
    let reading = resolving || matches!(call, Call::RecordRead | Call::CatalogRead);
    if has("no such table") {
        Class::Unfit
    } else if has("UNIQUE constraint failed") {
        Class::Rejected
    } else if defining && has("too many SQL variables") {
        // One statement writes all of the metadata, or none.
        Class::Rejected
    } else if has("database is locked") && (reading || !is_record_write(call)) {
        // Not for record writes: their log entry may be written before the lock error.
        Class::Transient
    } else if reading && (has("Error finding id") || has("Nothing found on disk")) {
        Class::Transient
    } else if reading && (has("is not implemented") || TOO_LARGE.iter().any(|text| has(text))) {
        Class::Rejected
    } else if has("database is locked") || DEAD_WRITE_PATH.iter().any(|text| has(text)) {
        // The write may be committed. The server recovers only much later, or not at all.
        Class::Broken
    } else {
        Class::Failed
    }
}

/// How a server reports that its write executor has ended. It answers no more writes until it is restarted.
const DEAD_WRITE_PATH: [&str; 2] = ["sending message to compactor", "Failed to send request"];

/// Returns whether the answer reports a dead write path.
pub fn is_write_path_dead(body: &[u8]) -> bool {
    let error = serde_json::from_slice::<ChromaError>(body);
    error.is_ok_and(|error| DEAD_WRITE_PATH.iter().any(|text| error.message.contains(text)))
}

/// How a delete by condition reports a failure while it still reads which records match.
const RESOLVING: &str = "Failed to resolve records for deletion";

/// Returns whether the answer reports that a write failed before it wrote anything.
pub fn failed_while_reading(body: &[u8]) -> bool {
    serde_json::from_slice::<ChromaError>(body).is_ok_and(|error| error.message.starts_with(RESOLVING))
}

/// Returns the signature of an error answer, used to tell whether two instances failed in the same way: its status and
/// Chroma's error name. Texts differ by ids and positions.
pub fn signature(status: u16, body: &[u8]) -> Signature {
    let name = serde_json::from_slice::<ChromaError>(body).map(|error| error.error).unwrap_or_default();
    Signature::of(status, &name)
}

const fn is_record_write(call: Call) -> bool {
    match call {
        Call::Write(kind) => kind.is_record(),
        Call::RecordRead | Call::CatalogRead => false,
    }
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
