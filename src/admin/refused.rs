//! How the edge's own pages read an operator's word, and refuse it: in the edge's error shape, with a reason.
//!
//! It decides no refusal.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::chroma::{EdgeAnswer, ErrorBody, ErrorName};
use crate::web::Reply;

/// The refusal with this reason.
pub(super) fn refused(status: u16, name: ErrorName, reason: &'static str, text: &str) -> Reply {
    Reply::from(EdgeAnswer::error(status, &ErrorBody::new(name, text).with_reason(reason)))
}

/// The word in this body, which is an object: an array would be taken for the fields in their order.
pub(super) fn word<T: DeserializeOwned>(body: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice::<Map<String, Value>>(body).and_then(|object| serde_json::from_value(Value::Object(object)))
}
