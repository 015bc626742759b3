//! How the edge's own pages parse an operator's request, and refuse it: in the edge's error format, with a reason.
//!
//! It decides no refusal.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::chroma::{EdgeAnswer, ErrorBody, ErrorName};
use crate::web::Reply;

/// Builds a refusal with this reason.
pub(super) fn refused(status: u16, name: ErrorName, reason: &'static str, text: &str) -> Reply {
    Reply::from(EdgeAnswer::error(status, &ErrorBody::new(name, text).with_reason(reason)))
}

/// Parses the body, which must be an object: serde would also accept an array as the fields in order.
pub(super) fn word<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice::<Map<String, Value>>(body).and_then(|object| serde_json::from_value(Value::Object(object)))
}
