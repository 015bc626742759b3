//! The id of one request: in the log, in the edge's own error answers, and in the requests to instances.
//!
//! It decides what counts as an id. The rooms that answer, log or send write it down.

use http::{HeaderMap, HeaderValue};
use uuid::Uuid;

pub use crate::chroma::TRACE_ID;
pub use crate::ids::TraceId;

impl TraceId {
    /// The id that the request brings, if it is one; else a new one.
    pub fn of(headers: &HeaderMap) -> Self {
        let text = headers.get(TRACE_ID).and_then(|value| value.to_str().ok());
        let brought = text.filter(|text| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        brought.and_then(|text| u128::from_str_radix(text, 16).ok()).map_or_else(Self::random, TraceId)
    }

    /// A new id.
    pub fn random() -> Self {
        TraceId(Uuid::new_v4().as_u128())
    }

    /// As a header's value.
    pub fn header(self) -> HeaderValue {
        HeaderValue::from_str(&self.to_string()).unwrap_or_else(|_| HeaderValue::from_static("0"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_one_is_kept_and_anything_else_replaced() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(TRACE_ID, text.parse().unwrap());
            TraceId::of(&headers).to_string()
        };
        let id = "00ab5f3c9d2e4f61a7b8c9d0e1f20304";
        assert_eq!(of(id), id);
        for wrong in ["", "short", "+0ab5f3c9d2e4f61a7b8c9d0e1f20304", "00ab5f3c9d2e4f61a7b8c9d0e1f203045"] {
            let made = of(wrong);
            assert!(made != wrong && made.len() == 32, "{wrong}: {made}");
        }
    }
}
