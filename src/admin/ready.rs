//! `/health/live` and `/health/ready`, for orchestrators.
//!
//! Live: the process serves; if not, it should be restarted. Ready: it would take a write now; if not, it may still
//! serve reads, which `/health` shows. A standby is live but not ready.

use std::time::Instant;

use serde_json::json;

use super::{Admin, Page};

/// The answer of a live process.
pub(super) fn live(started: Instant) -> Page {
    Page::Json { status: 200, body: json!({ "status": "live", "uptime_seconds": started.elapsed().as_secs() }) }
}

/// The answer of an edge that would not take a write, with the reason.
pub(super) fn not_ready(status: &str, why: &str) -> Page {
    Page::Json { status: 503, body: json!({ "status": status, "why": why }) }
}

impl Admin {
    /// As [`live`].
    pub(super) fn alive(&self) -> Page {
        live(self.started)
    }

    /// Answers whether the edge would take a write.
    pub(super) async fn ready(&self) -> Page {
        let registry = self.core.registry();
        let why = if !self.may_send() {
            "this edge may not write: its lease has ended, or has yet to begin".to_owned()
        } else if let Some(why) = self.journal_refusal().await {
            format!("the journal takes no writes: {why}")
        } else if !registry.ids().any(|id| self.core.is_in_use(id)) {
            "no instance can be reached".to_owned()
        } else {
            return Page::Json { status: 200, body: json!({ "status": "ready" }) };
        };
        not_ready("not_ready", &why)
    }
}
