//! The observer, and the answers to requests for the page and its stream.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::time::{MissedTickBehavior, interval};

use super::{PAGE, live, page};
use crate::admin::Admin;
use crate::admin::refused::refused;
use crate::chroma::ErrorName;
use crate::clock::Timestamp;
use crate::web::{PageAnswer, PageRequest, Reply};

/// The time between two observations.
const INTERVAL: Duration = Duration::from_secs(1);

impl Admin {
    /// Observes once a second, until the future is dropped.
    pub async fn observe(self: Arc<Self>) {
        let mut tick = interval(INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.note_end();
            let picture = self.picture();
            self.dashboard.timeline().observe(Timestamp::now(), self.observation(&picture));
            if self.dashboard.latest.receiver_count() > 0 {
                let piece = live::event(&self.snapshot(&picture).await);
                self.dashboard.latest.send_replace(piece);
            }
        }
    }

    pub(in crate::admin) async fn on_dashboard(&self, request: &PageRequest) -> PageAnswer {
        if request.method != Method::GET && request.method != Method::HEAD {
            return Reply::wrong_method("GET,HEAD").into();
        }
        if request.path == PAGE {
            return page::document().into();
        }
        let (watching, limit) = self.dashboard.watchers();
        if watching >= limit {
            let text = "Too many dashboards are open";
            return refused(503, ErrorName::InternalError, "too_many_dashboards", text).into();
        }
        let watcher = self.dashboard.latest.subscribe();
        let first = live::event(&self.snapshot(&self.picture()).await);
        PageAnswer::Live(Box::new(live::Watching::new(first, watcher)))
    }
}
