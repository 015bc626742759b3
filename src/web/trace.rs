//! The name of a request: in the log, in the edge's own error answers, in a trace, and in the requests to instances.
//!
//! Decides what counts as an id. The rooms that answer, log or send write it down.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

pub use crate::chroma::TRACE_ID;
use crate::ids::TraceContext;
pub use crate::ids::TraceId;
use crate::traces::TRACEPARENT;

/// The name under which a request is passed on.
#[derive(Clone, Copy, Debug)]
pub struct RequestName {
    pub id: TraceId,
    /// The request's place in a trace, if it has one.
    pub context: Option<TraceContext>,
}

impl RequestName {
    /// Returns the name as headers.
    pub fn headers(self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let context = self.context.and_then(|context| HeaderValue::from_str(&context.to_string()).ok());
        [(TRACE_ID, self.id.header())].into_iter().chain(context.map(|context| (TRACEPARENT, context)))
    }
}

/// The digits of the golden ratio, made odd, so that consecutive ids do not look alike.
const STEP: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

impl TraceId {
    /// Returns the id in the request, if it has a valid one, or else a new one.
    pub fn of(headers: &HeaderMap) -> Self {
        let text = headers.get(TRACE_ID).and_then(|value| value.to_str().ok());
        let brought = text.filter(|text| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        brought.and_then(|text| u128::from_str_radix(text, 16).ok()).map_or_else(Self::random, TraceId)
    }

    /// Returns a new id, which may be guessable. Ids are unique within a process, and almost certainly between
    /// processes.
    pub fn random() -> Self {
        static FIRST: LazyLock<u128> = LazyLock::new(|| Uuid::new_v4().as_u128());
        static COUNT: AtomicU64 = AtomicU64::new(0);
        // An odd step reaches every number once.
        let step = u128::from(COUNT.fetch_add(1, Ordering::Relaxed)).wrapping_mul(STEP);
        TraceId(FIRST.wrapping_add(step))
    }

    /// Returns the id as a header value.
    pub fn header(self) -> HeaderValue {
        HeaderValue::from_str(&self.to_string()).unwrap_or_else(|_| HeaderValue::from_static("0"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_ids_are_all_different() {
        let ids: std::collections::HashSet<String> = (0..1000).map(|_| TraceId::random().to_string()).collect();
        assert!(ids.len() == 1000 && ids.iter().all(|id| id.len() == 32));
    }

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
