//! The stream of one open page: an event at once, then each new one. A slow page skips events and gets the latest.

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use tokio::sync::watch;

use crate::web::Live;

/// Formats the event with this state.
pub(super) fn event(state: &Value) -> Bytes {
    Bytes::from(format!("event: state\ndata: {state}\n\n"))
}

/// An open stream.
pub(super) struct Watching {
    first: Option<Bytes>,
    latest: watch::Receiver<Bytes>,
}

impl Watching {
    /// Creates a stream that sends `first` at once.
    pub fn new(first: Bytes, latest: watch::Receiver<Bytes>) -> Watching {
        Watching { first: Some(first), latest }
    }
}

#[async_trait]
impl Live for Watching {
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers
    }

    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        // An error means that the observer has ended, with the process.
        self.latest.changed().await.ok()?;
        Some(self.latest.borrow_and_update().clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_page_gets_the_last_piece_and_the_stream_ends_with_the_observer() {
        let pieces = watch::Sender::new(Bytes::new());
        let mut watching = Watching::new(event(&1.into()), pieces.subscribe());
        pieces.send_replace(event(&2.into()));
        pieces.send_replace(event(&3.into()));
        assert_eq!(watching.next().await.unwrap(), "event: state\ndata: 1\n\n");
        assert_eq!(watching.next().await.unwrap(), "event: state\ndata: 3\n\n");
        drop(pieces);
        assert_eq!(watching.next().await, None);
    }
}
