//! `/health/live` and `/health/ready`, for orchestrators.
//!
//! Live: the process serves; if not, it is to be restarted. Ready: it would take a write now; if not, it may still serve
//! reads, which `/health` says. A standby is live and not ready.

use std::time::Instant;

use serde_json::json;

use super::{Admin, Page};

/// The process serves.
pub(super) fn live(started: Instant) -> Page {
    Page::Json { status: 200, body: json!({ "status": "live", "uptime_seconds": started.elapsed().as_secs() }) }
}

/// No write would be taken, for this reason.
pub(super) fn not_ready(status: &str, why: &str) -> Page {
    Page::Json { status: 503, body: json!({ "status": status, "why": why }) }
}

impl Admin {
    /// As [`live`].
    pub(super) fn alive(&self) -> Page {
        live(self.started)
    }

    /// Whether a write would be taken.
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
