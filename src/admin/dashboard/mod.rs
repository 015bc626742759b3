//! `/dashboard`: one page that shows live whether the data is safe, and what the edge is doing.
//!
//! The page itself holds no data and loads nothing else. Its numbers come from `/dashboard/live`, a stream of
//! server-sent events, and its buttons are the operators' pages. One observer builds each event for all watchers.

mod answer;
mod live;
mod page;
mod snapshot;
mod timeline;
mod traffic;
mod verdict;

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use self::timeline::Timeline;

/// The path of the page.
const PAGE: &str = "/dashboard";

/// What the observer has seen, and the open streams.
pub(super) struct Dashboard {
    timeline: Mutex<Timeline>,
    /// The latest event; empty while nobody watches.
    latest: watch::Sender<Bytes>,
    /// The most watchers at once.
    limit: usize,
}

impl Dashboard {
    pub fn new(limit: usize) -> Dashboard {
        Dashboard { timeline: Mutex::default(), latest: watch::Sender::new(Bytes::new()), limit }
    }

    /// Returns the current number of watchers and their limit.
    pub fn watchers(&self) -> (usize, usize) {
        (self.latest.receiver_count(), self.limit)
    }

    fn timeline(&self) -> MutexGuard<'_, Timeline> {
        self.timeline.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
