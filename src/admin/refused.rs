//! How the edge's own pages refuse an operator's word: in the edge's error shape, with a reason.
//!
//! It decides no refusal.

use crate::chroma::{EdgeAnswer, ErrorBody, ErrorName};
use crate::web::Reply;

/// The refusal with this reason.
pub(super) fn refused(status: u16, name: ErrorName, reason: &'static str, text: &str) -> Reply {
    Reply::from(EdgeAnswer::error(status, &ErrorBody::new(name, text).with_reason(reason)))
}
