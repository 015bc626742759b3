//! The examination of rule R10: an entry that every healthy instance has repeatedly left without an answer is abandoned
//! only if no instance holds any of its records.

use std::time::Duration;

use serde_json::{Value, json};
use tracing::warn;

use super::collection_reader::reader;
use super::resources::LaneFindings;
use crate::clock;
use crate::coordinator::Core;
use crate::ids::{CollectionId, InstanceId, LaneId};
use crate::instance::Client;
use crate::journal::Request;
use crate::order::{Examination, Kind, LaneState};

const DEADLINE: Duration = Duration::from_secs(10);
const ABSENT: &str = "every instance left a write unanswered, and none holds its records";

/// Only a write that adds records can be shown to be absent, and only if none of its ids exists. Every other entry
/// stays unclear and is retried until it has a verdict.
pub(super) async fn examine(
    core: &Core,
    client: &Client,
    (lane, findings): (LaneId, &LaneFindings),
    request: &Request,
) -> Examination {
    let LaneId::Records(collection) = lane else { return Examination::Unclear };
    if !matches!(request.profile.kind, Kind::Add | Kind::Upsert) {
        return Examination::Unclear;
    }
    let body = serde_json::from_slice::<Value>(&request.body).unwrap_or_default();
    let Some(ids) = body.get("ids").filter(|ids| ids.as_array().is_some_and(|ids| !ids.is_empty())) else {
        return Examination::Unclear;
    };
    for instance in core.registry().ids() {
        if core.board().state_of(collection, instance) != LaneState::InStep {
            continue;
        }
        match absent(core, client, (collection, instance), ids).await {
            Ok(true) => {}
            Ok(false) | Err(_) => return Examination::Unclear,
        }
    }
    if let Some(times) = findings.seen((lane, ABSENT), clock::now()).times() {
        warn!(%lane, seq = %request.seq, times, "{ABSENT}");
    }
    Examination::AbsentEverywhere
}

/// Returns whether the instance holds none of these ids. Flushes first, so that everything committed is visible.
async fn absent(
    core: &Core,
    client: &Client,
    (collection, instance): (CollectionId, InstanceId),
    ids: &Value,
) -> Result<bool, String> {
    let reader = reader(core, client, collection, instance, DEADLINE).ok_or("not mapped")?;
    reader.flush().await?;
    let body = json!({ "ids": ids, "include": [] });
    let answer = reader.send(http::Method::POST, format!("{}/get", reader.path), body).await?;
    let found: Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
    Ok(found.get("ids").and_then(Value::as_array).is_some_and(Vec::is_empty))
}
