//! `/admin/wal_count`, `/admin/wal_errors`, `/admin/wal_debug`, `/wal/cleanup`: the journal, in the earlier system's names.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::Earlier;
use crate::admin::refused::word;
use crate::admin::safety::{Refusal, Safety};
use crate::clock::Timestamp;
use crate::journal::{AuditPage, AuditQuery, Filter, OperationType, Status, TransactionRow};
use crate::web::{PageRequest, Reply, rfc3339};

/// The most transactions in a list.
const LISTED: u32 = 50;
/// The period that counts as recent.
const RECENT: Duration = Duration::from_secs(24 * 60 * 60);
/// A hundred years.
const MOST_HOURS: f64 = 876_600.0;

/// The name of every write; an application's own operations are not included.
const WRITES: [&str; 12] = [
    "add",
    "update",
    "upsert",
    "delete",
    "create_tenant",
    "update_tenant",
    "create_database",
    "delete_database",
    "create_collection",
    "update_collection",
    "delete_collection",
    "reset",
];
const DELETES: [&str; 3] = ["delete", "delete_collection", "delete_database"];

#[derive(Deserialize)]
struct Cleanup {
    max_age_hours: Option<f64>,
}

fn query(operations: &[&str], statuses: &[Status], since: Option<Timestamp>) -> AuditQuery {
    let operations = operations.iter().flat_map(|name| OperationType::shown_as(name)).collect();
    let filter = Filter { operations, statuses: statuses.to_vec(), since, ..Filter::default() };
    AuditQuery { filter, after: None, limit: LISTED }
}

fn total(page: &AuditPage) -> u64 {
    page.counts.iter().map(|(_, count)| *count).sum()
}

fn written(row: &TransactionRow) -> Value {
    json!({
        "write_id": row.transaction_id.to_string(),
        "method": row.method,
        "path": row.path,
        "operation": row.operation.as_str(),
        "status": row.status.as_str(),
        "timestamp": rfc3339::text(row.created_at),
        "retry_count": row.retry_count,
    })
}

fn failed(row: &TransactionRow) -> Value {
    json!({
        "write_id": row.transaction_id.to_string(),
        "method": row.method,
        "path": row.path,
        "error": row.failure_reason,
        "timestamp": rfc3339::text(row.created_at),
        "retry_count": row.retry_count,
    })
}

impl Earlier {
    /// `GET /admin/wal_count`. `ready`: whether the journal takes writes.
    pub(in crate::admin) fn wal_count(pending: u64, ready: bool) -> Value {
        json!({ "pending_writes": pending, "wal_system_ready": ready })
    }

    /// `GET /admin/wal_errors`: writes that wait for recovery or were given up, and open ones with a failure so far.
    pub(in crate::admin) async fn wal_errors(&self) -> Result<Value, Refusal> {
        let store = self.core.store();
        let page = store.audit(&query(&WRITES, &[Status::Failed, Status::Abandoned], None)).await?;
        let open = store.audit(&query(&WRITES, &[Status::Attempting], None)).await?;
        let mut rows: Vec<&TransactionRow> = page.transactions.iter().collect();
        rows.extend(open.transactions.iter().filter(|row| row.failure_reason.is_some()));
        rows.sort_by_key(|row| std::cmp::Reverse((row.created_at, row.seq)));
        rows.truncate(LISTED as usize);
        let errors = total(&page);
        let given_up =
            page.counts.iter().find(|(status, _)| *status == Status::Abandoned).map_or(0, |(_, count)| *count);
        Ok(json!({
            "recent_errors": rows.into_iter().map(failed).collect::<Vec<_>>(),
            "error_count": errors,
            "errors": errors,
            "total_errors": errors,
            "critical_errors": given_up,
        }))
    }

    /// `GET /admin/wal_debug`.
    pub(in crate::admin) async fn wal_debug(&self, pending: u64) -> Result<Value, Refusal> {
        let (store, since) = (self.core.store(), Timestamp::now().before(RECENT));
        let writes = store.audit(&query(&WRITES, &[], Some(since))).await?;
        let deletes = store.audit(&query(&DELETES, &[], Some(since))).await?;
        Ok(json!({
            "recent_writes": writes.transactions.iter().map(written).collect::<Vec<_>>(),
            "delete_operations": deletes.transactions.iter().map(written).collect::<Vec<_>>(),
            "summary": {
                "total_recent_writes": total(&writes),
                "total_delete_operations": total(&deletes),
                "pending_writes": pending,
            },
        }))
    }

    /// `POST /wal/cleanup`: removes, as retention does, what ended at least this long ago. The default age is that of
    /// retention.
    pub(in crate::admin) async fn wal_cleanup(&self, safety: &Safety, request: &PageRequest) -> Result<Reply, Refusal> {
        let expected = || Refusal::BadBody(format!("Expected {{\"max_age_hours\": n}}, n from 0 to {MOST_HOURS}"));
        let body: &[u8] = if request.body.trim_ascii().is_empty() { b"{}" } else { &request.body };
        let Cleanup { max_age_hours } = word(body).map_err(|_| expected())?;
        let age = match max_age_hours {
            None => self.options.get().earlier.retention,
            Some(hours) if (0.0..=MOST_HOURS).contains(&hours) => Duration::from_secs_f64(hours * 3600.0),
            Some(_) => return Err(expected()),
        };
        let (deleted, message) = safety.remove_older(age).await?;
        let body = json!({
            "status": "success",
            "deleted_entries": deleted,
            // Recovery finishes open writes; none are reset.
            "reset_entries": 0,
            "cleaned": deleted,
            "message": message,
        });
        Ok(Reply::json(200, body.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::Kind;

    #[test]
    fn every_write_of_a_client_is_among_those_that_are_listed() {
        let listed: Vec<OperationType> = WRITES.iter().flat_map(|name| OperationType::shown_as(name)).collect();
        for kind in [Kind::Add, Kind::DeleteLimited, Kind::DeleteCollection, Kind::UpdateTenant, Kind::Reset] {
            assert!(listed.contains(&OperationType::Write(kind)), "{kind:?}");
        }
        assert!(!listed.contains(&OperationType::Application));
        assert!(WRITES.iter().all(|name| !OperationType::shown_as(name).is_empty()));
    }
}
