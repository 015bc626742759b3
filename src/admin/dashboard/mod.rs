//! `/dashboard`: one page that shows whether the data is safe, and what goes on, live.
//!
//! The page itself holds no data and loads nothing else; its numbers come from `/dashboard/live`, a stream of server-sent
//! events, and its buttons are the operators' pages. One observer makes each piece for all who watch.

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

/// The page.
const PAGE: &str = "/dashboard";

/// What the observer has seen, and who watches.
pub(super) struct Dashboard {
    timeline: Mutex<Timeline>,
    /// The last piece; empty while nobody watches.
    latest: watch::Sender<Bytes>,
    /// Watchers at once.
    limit: usize,
}

impl Dashboard {
    pub fn new(limit: usize) -> Dashboard {
        Dashboard { timeline: Mutex::default(), latest: watch::Sender::new(Bytes::new()), limit }
    }

    /// Those who watch now, and how many may.
    pub fn watchers(&self) -> (usize, usize) {
        (self.latest.receiver_count(), self.limit)
    }

    fn timeline(&self) -> MutexGuard<'_, Timeline> {
        self.timeline.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
