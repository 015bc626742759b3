//! What an instance's answer means: status and body together, one table.
//!
//! Status is not class. A 500 can be a rejection, a passing condition, or a write that is committed behind a dead
//! compactor; a 404 can be a verdict, or a server that came back blank. This room says which; what follows
//! from it (next instance, settle, re-send) is `order/`'s to decide.

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::Deserialize;

use crate::order::{Kind, Signature};

/// What the request was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// A write, journaled as this kind.
    Write(Kind),
    /// A read below a collection, or of a collection by its id: its absence is no verdict.
    RecordRead,
    /// A read by name, or of a list.
    CatalogRead,
}

/// What the answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Executed.
    Applied,
    /// Definitely refused: no effect now or later, and every instance in the same state refuses it.
    Rejected,
    /// Not executed; the same request can succeed in a moment, on the same instance.
    Transient,
    /// Chroma answered that it failed, in its own words, and no row of the table says why. The request is over; whether
    /// it had an effect is unknown, and so is whose fault it was: the request's or the server's (rule R12).
    Failed,
    /// The instance is broken, and whether the write is committed is unknown: in doubt.
    Broken,
    /// Something between the edge and the server answered in its place. Whether the server got the request is unknown:
    /// a write is in doubt. It says nothing about the server's write path.
    Gateway,
    /// No verdict at all: this instance cannot judge the request (blank, misconfigured, another server).
    Unfit,
}

/// What an answer to a read is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadAdvice {
    /// It is the answer.
    PassOn,
    /// Another instance may know better; this one would say the same again.
    Elsewhere,
    /// Another instance, and where there is none, this one again after a pause.
    Again,
}

impl Class {
    /// What to do with a read that was answered so.
    pub const fn read_advice(self) -> ReadAdvice {
        match self {
            Class::Applied | Class::Rejected => ReadAdvice::PassOn,
            Class::Failed | Class::Broken | Class::Unfit => ReadAdvice::Elsewhere,
            Class::Transient | Class::Gateway => ReadAdvice::Again,
        }
    }
}

/// The class that the answer's header alone says; `None` where the body decides.
pub fn classify_header(status: u16, headers: &HeaderMap) -> Option<Class> {
    let json = headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    match status {
        200..=299 => Some(Class::Applied),
        // What is JSON and has such a status is Chroma's refusal, as in `classify`.
        400 | 409 | 415 | 422 | 501 if json => Some(Class::Rejected),
        // The same rows as in `classify`: what is not JSON is not Chroma's error.
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

/// The class of an answer.
pub fn classify(call: Call, status: u16, body: &[u8]) -> Class {
    match status {
        200..=299 => return Class::Applied,
        300..=399 | 0..=199 => return Class::Unfit,
        _ => {}
    }
    let error = serde_json::from_slice::<ChromaError>(body).ok();
    match (status, error) {
        // Only Chroma's own words are a verdict: a proxy in between speaks for itself.
        (400 | 409 | 415 | 422 | 501, Some(_)) => Class::Rejected,
        (404, Some(error)) => not_found(call, &error),
        (500, Some(error)) => internal(call, &error.message),
        // A server that is starting or overloaded: it does not speak of this request.
        (502..=504, Some(_)) => Class::Broken,
        (505..=599, Some(_)) => Class::Failed,
        (600.., Some(_)) => Class::Broken,
        // Chroma's own errors are JSON. A 408 gave up on reading the request, perhaps after enough of it was read.
        (500.. | 408, None) => Class::Gateway,
        // A limit on requests, the server's or a gateway's: not executed.
        (429, _) => Class::Transient,
        _ => Class::Unfit,
    }
}

/// A mapped collection that is missing says that the instance is blank or rolled back; a missing name is a verdict.
fn not_found(call: Call, error: &ChromaError) -> Class {
    let by_id = match call {
        Call::RecordRead => error.message.starts_with("Collection ["),
        Call::CatalogRead => false,
        Call::Write(kind) => is_record_write(call) || kind == Kind::UpdateCollection,
    };
    if !by_id && error.error == "NotFoundError" { Class::Rejected } else { Class::Unfit }
}

/// What SQLite and the regular expressions say of a condition that is too large for them. While records are looked up
/// nothing has been written. Elsewhere these words are no verdict: a record whose metadata SQLite cannot take is in
/// Chroma's log all the same, and breaks its collection.
const TOO_LARGE: [&str; 5] = [
    "too many SQL variables",
    "Expression tree is too large",
    "LIKE or GLOB pattern too complex",
    "Compiled regex exceeds size limit",
    // How SQLite reports that the function for regular expressions failed.
    "(code: 1043)",
];

fn internal(call: Call, message: &str) -> Class {
    let has = |text: &str| message.contains(text);
    // A delete by condition first reads which records it means: an error there is the read's, nothing is written.
    let resolving = message.starts_with(RESOLVING);
    let defining = matches!(call, Call::Write(Kind::CreateCollection | Kind::UpdateCollection));
    let reading = resolving || matches!(call, Call::RecordRead | Call::CatalogRead);
    if has("no such table") {
        Class::Unfit
    } else if has("UNIQUE constraint failed") {
        Class::Rejected
    } else if defining && has("too many SQL variables") {
        // One statement wrote all of the metadata, or none.
        Class::Rejected
    } else if has("database is locked") && (reading || !is_record_write(call)) {
        // Not for record writes: their log entry may be in before the lock is met.
        Class::Transient
    } else if reading && (has("Error finding id") || has("Nothing found on disk")) {
        Class::Transient
    } else if reading && (has("is not implemented") || TOO_LARGE.iter().any(|text| has(text))) {
        Class::Rejected
    } else if has("database is locked") || DEAD_WRITE_PATH.iter().any(|text| has(text)) {
        // The write may be committed, and the server does not recover by itself, or only much later.
        Class::Broken
    } else {
        Class::Failed
    }
}

/// How a server says that what executes its writes has ended: it answers no write any more before it is restarted.
const DEAD_WRITE_PATH: [&str; 2] = ["sending message to compactor", "Failed to send request"];

/// Whether the server's write path is dead, in its own words.
pub fn is_write_path_dead(body: &[u8]) -> bool {
    let error = serde_json::from_slice::<ChromaError>(body);
    error.is_ok_and(|error| DEAD_WRITE_PATH.iter().any(|text| error.message.contains(text)))
}

/// How a delete by condition fails while it still reads which records it means.
const RESOLVING: &str = "Failed to resolve records for deletion";

/// Whether a write failed before it wrote anything, in the server's own words.
pub fn failed_while_reading(body: &[u8]) -> bool {
    serde_json::from_slice::<ChromaError>(body).is_ok_and(|error| error.message.starts_with(RESOLVING))
}

/// What an error answer is, for the question whether two instances failed in the same way: its status and Chroma's name
/// for it. Texts differ by ids and positions.
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
