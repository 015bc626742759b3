//! A transaction as pages and events show it.

use serde_json::{Map, Value, json};

use crate::clock::Timestamp;
use crate::instance::Registry;
use crate::journal::{ClientKey, Details, Status, TimingGap, TransactionRow, is_given};
use crate::order::{MAX_RETRIES, Verdict};
use crate::web::rfc3339;

/// Returns the fields of the list; the transaction's own page has more.
pub(super) fn listed(row: &TransactionRow) -> Map<String, Value> {
    let time = |moment: Option<Timestamp>| moment.map(rfc3339::text);
    let fields = json!({
        "transaction_id": row.transaction_id.to_string(),
        "client_transaction_id": idempotency_key(row),
        "status": row.status.as_str(),
        "completed": is_done(row.status),
        "method": row.method,
        "path": row.path,
        "operation_type": row.operation.as_str(),
        "created_at": rfc3339::text(row.created_at),
        "completed_at": time(row.completed_at),
        "retry_count": row.retry_count,
        "max_retries": MAX_RETRIES,
        "next_retry_at": time(row.next_retry_at),
        "is_timing_gap_failure": row.timing_gap == TimingGap::Yes,
        "failure_reason": row.failure_reason,
        "response_status": row.response_status,
        "target_instance": row.executed_on.as_ref().map(|instance| instance.as_str()),
        "client_session": row.client_session,
        "principal": row.client_key.as_ref().and_then(ClientKey::principal),
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// Returns the fields of an event: those of the list that do not change between events.
pub fn shown_in_event(row: &TransactionRow) -> Map<String, Value> {
    let mut fields = listed(row);
    for volatile in ["retry_count", "max_retries", "next_retry_at", "target_instance"] {
        fields.remove(volatile);
    }
    fields
}

/// Returns the fields of the transaction's own page.
pub(super) fn whole(details: &Details, registry: &Registry) -> Value {
    let row = &details.transaction;
    let mut fields = listed(row);
    let answer = row.answer.as_ref().map_or(Value::Null, |answer| body(&answer.body));
    fields.insert("result".to_owned(), answer.clone());
    fields.insert("response_data".to_owned(), answer);
    let instances = if row.lane.is_some() { instances(details, registry) } else { Vec::new() };
    fields.insert("instances".to_owned(), Value::Array(instances));
    if let Some(data) = &details.application_data {
        fields.insert("application".to_owned(), body(data));
    }
    Value::Object(fields)
}

/// Returns whether the client got a definite answer.
pub(super) const fn is_done(status: Status) -> bool {
    matches!(status, Status::Completed | Status::Recovered)
}

/// Returns the id that the client sent, if any: otherwise the stored key is the transaction's own id.
fn idempotency_key(row: &TransactionRow) -> Option<&str> {
    let key: &ClientKey = row.client_key.as_ref()?;
    (!is_given(&key.key, row.transaction_id)).then_some(key.key.as_str())
}

/// Lists whether each instance has applied the write. A rejected write is applied nowhere, although every instance's
/// progress is beyond it.
fn instances(details: &Details, registry: &Registry) -> Vec<Value> {
    let row = &details.transaction;
    let reached = |name: &str| {
        let progress = details.progress.iter().find(|progress| progress.instance.as_str() == name);
        progress.is_some_and(|progress| progress.through >= row.seq)
    };
    let applied = |name: &str| row.verdict == Some(Verdict::Applied) && reached(name);
    let names = registry.ids().map(|id| registry.name(id).as_str());
    names.map(|name| json!({ "name": name, "applied": applied(name) })).collect()
}

/// Returns a body as JSON, or as text if it is not JSON.
fn body(bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}
