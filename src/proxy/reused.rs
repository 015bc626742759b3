//! Notices a header that carries the same id for many different writes, such as a gateway's correlation header.
//!
//! It decides when the log names the header. The writes themselves are refused elsewhere.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use http::HeaderName;

use crate::lasting::Lasting;

/// How many refused writes it takes to log a header: a few are a client's own mistake.
const MANY: u64 = 5;

/// What was seen of each configured header; there are few.
#[derive(Debug, Default)]
pub struct ReusedKeys(Mutex<HashMap<HeaderName, Header>>);

#[derive(Debug, Default)]
struct Header {
    refused: u64,
    lasting: Lasting,
}

impl ReusedKeys {
    /// Notes that a write was refused because the id in this header belongs to another write.
    pub fn note(&self, header: &HeaderName, now: Instant) {
        if let Some(refused) = self.count(header, now) {
            tracing::warn!(
                %header,
                refused,
                "many different writes came under one id in this header and were refused (422): if it is not meant to \
                 identify a write, leave it out of edge.idempotency.headers"
            );
        }
    }

    /// Returns the number of refused writes if it should be logged.
    fn count(&self, header: &HeaderName, now: Instant) -> Option<u64> {
        let mut headers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = headers.entry(header.clone()).or_default();
        seen.refused += 1;
        if seen.refused < MANY {
            return None;
        }
        seen.lasting.seen(now).times().map(|_| seen.refused)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_header_is_named_after_a_few_refusals_and_then_once_a_minute() {
        let (keys, start) = (ReusedKeys::default(), Instant::now());
        let header = HeaderName::from_static("x-transaction-id");
        let lines: Vec<u64> =
            (0..130).filter_map(|second| keys.count(&header, start + Duration::from_secs(second))).collect();
        assert_eq!(lines, [5, 65, 125]);
        let other = HeaderName::from_static("idempotency-key");
        assert_eq!(keys.count(&other, start), None, "each header by itself");
    }
}
