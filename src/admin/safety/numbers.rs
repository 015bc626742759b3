//! The numbers of transactions by status and of those waiting for recovery, read from the journal and the board at the
//! time of the request.

use std::time::Duration;

use serde_json::{Value, json};

use super::Safety;
use crate::clock::Timestamp;
use crate::journal::{ReadError, Recent, Status, StatusSummary};
use crate::web::{Reply, rfc3339};

const RECENT: Duration = Duration::from_secs(2 * 60 * 60);
const GAPS: Duration = Duration::from_secs(24 * 60 * 60);

impl Safety {
    /// `GET /transaction/safety/status`.
    pub(super) async fn status(&self) -> Reply {
        let summary = self.core.store().summary().await;
        let recovering = self.core.is_recovering();
        let mut body = json!({
            "available": summary.is_ok(),
            // Only an active edge shows this page, and an active edge has its journal.
            "service_running": true,
            "recovery_service_running": recovering,
            "recovery_interval": self.options.get().recovery_interval.as_secs_f64(),
            "pending_recovery": self.core.board().awaiting_recovery(),
        });
        match summary {
            Ok(summary) => {
                body["summary_by_status"] = summary.iter().filter(|one| one.count > 0).map(one_status).collect();
                body["metrics"] = metrics(&summary);
            }
            Err(error) => unread(&mut body, &error, &["summary_by_status"], &["metrics"]),
        }
        Reply::json(200, body.to_string())
    }

    /// `GET /admin/transaction_safety_status`.
    pub(super) async fn admin_status(&self) -> Reply {
        let now = Timestamp::now();
        let recent = self.core.store().recent(now.before(RECENT), now.before(GAPS)).await;
        let pending = self.core.board().awaiting_recovery();
        let mut body = json!({
            "transaction_safety_service": {
                "available": recent.is_ok(),
                "running": self.core.is_recovering(),
                // The journal cannot be opened without the table.
                "table_exists": true,
            },
            "pending_recovery": pending,
            "pending_recovery_transactions": pending,
            "pending_recovery_operations": pending,
        });
        match recent {
            Ok(recent) => {
                body["recent_transactions"] = recent_transactions(&recent);
                body["timing_gap_failures_24h"] = json!(recent.timing_gaps);
            }
            Err(error) => unread(&mut body, &error, &[], &["recent_transactions", "timing_gap_failures_24h"]),
        }
        Reply::json(200, body.to_string())
    }
}

/// Sets the fields that need the journal to empty or null.
fn unread(body: &mut Value, error: &ReadError, lists: &[&str], others: &[&str]) {
    lists.iter().for_each(|name| body[*name] = json!([]));
    others.iter().for_each(|name| body[*name] = Value::Null);
    body["error"] = json!(error.to_string());
}

fn one_status(one: &StatusSummary) -> Value {
    // No average without a completed transaction.
    let seconds = (one.completed > 0).then(|| one.completion_millis as f64 / one.completed as f64 / 1_000.0);
    json!({
        "status": one.status.as_str(),
        "count": one.count,
        "timing_gap_failures": one.timing_gaps,
        "oldest_transaction": one.oldest.map(rfc3339::text),
        "newest_transaction": one.newest.map(rfc3339::text),
        "avg_retries": one.retries as f64 / one.count.max(1) as f64,
        "avg_completion_time_seconds": seconds,
    })
}

fn metrics(summary: &[StatusSummary]) -> Value {
    let recovered = summary.iter().find(|one| one.status == Status::Recovered).map_or(0, |one| one.count);
    json!({
        "total_transactions": summary.iter().map(|one| one.count).sum::<u64>(),
        "timing_gap_failures": summary.iter().map(|one| one.timing_gaps).sum::<u64>(),
        "recovered_transactions": recovered,
    })
}

fn recent_transactions(recent: &Recent) -> Value {
    let there = recent.by_status.iter().filter(|one| one.count > 0);
    let by_status: Vec<Value> = there
        .map(
            |one| json!({ "status": one.status.as_str(), "count": one.count, "latest": one.latest.map(rfc3339::text) }),
        )
        .collect();
    json!({
        "total_last_2_hours": recent.by_status.iter().map(|one| one.count).sum::<u64>(),
        "by_status": by_status,
    })
}
