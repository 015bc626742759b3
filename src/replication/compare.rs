//! Comparing one collection on two instances, record by record, so that a diverged instance whose content is equal
//! can be admitted again. Nothing is copied.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::core::Core;
use super::records::content_type;
use crate::chroma;
use crate::ids::InstanceId;
use crate::instance::{Answer, Client, Outgoing};
use crate::order::Comparison;

/// Records read at once from each instance.
const PAGE: usize = 1000;

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Equal {
        records: usize,
    },
    Different(String),
    /// One of them did not answer as it should: try again later.
    Unclear(String),
}

struct Side<'a> {
    core: &'a Core,
    client: &'a Client,
    instance: InstanceId,
    path: String,
    deadline: Duration,
}

/// Compares definition and content. The caller has made sure that neither is being written to.
pub(super) async fn compare(core: &Core, client: &Client, comparison: &Comparison, deadline: Duration) -> Found {
    let (Some(reference), Some(other)) = (
        side(core, client, comparison, comparison.reference, deadline),
        side(core, client, comparison, comparison.instance, deadline),
    ) else {
        return Found::Unclear("the collection is not mapped on both".to_owned());
    };
    compare_sides(&reference, &other).await.unwrap_or_else(Found::Unclear)
}

fn side<'a>(
    core: &'a Core,
    client: &'a Client,
    comparison: &Comparison,
    instance: InstanceId,
    deadline: Duration,
) -> Option<Side<'a>> {
    let board = core.board();
    let collection = board.catalog().get(comparison.collection)?;
    let id = collection.mappings[instance.0]?;
    let path = chroma::collection_path(&collection.scope, &id.to_string());
    drop(board);
    Some(Side { core, client, instance, path, deadline })
}

async fn compare_sides(reference: &Side<'_>, other: &Side<'_>) -> Result<Found, String> {
    // Chroma can have committed a write that it shows only after the next one to that collection.
    other.flush().await?;
    let (ours, theirs) = (reference.definition().await?, other.definition().await?);
    if ours != theirs {
        return Ok(Found::Different(format!("definitions differ: {ours} and {theirs}")));
    }
    let mut offset = 0;
    loop {
        let (ours, theirs) = (reference.page(offset).await?, other.page(offset).await?);
        if ours != theirs {
            return Ok(Found::Different(format!("records differ from number {offset} on")));
        }
        let read = ours.get("ids").and_then(Value::as_array).map_or(0, Vec::len);
        offset += read;
        if read < PAGE {
            return Ok(Found::Equal { records: offset });
        }
    }
}

impl Side<'_> {
    async fn send(&self, method: Method, path: String, body: Value) -> Result<Answer, String> {
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let headers = content_type(Some("application/json"));
        let outgoing = Outgoing { method, path, headers, body };
        let name = self.core.registry().name(self.instance);
        let sent = self.client.send_idempotent(self.instance, &outgoing, self.deadline).await;
        let answer = sent.map_err(|error| format!("{name}: {error}"))?;
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        Err(format!("{name} answered {}", answer.status))
    }

    /// A delete of an id that nobody has: changes nothing, and makes everything committed visible.
    async fn flush(&self) -> Result<(), String> {
        let nobody = format!("chroma-edge-{}", uuid::Uuid::new_v4());
        self.send(Method::POST, format!("{}/delete", self.path), json!({ "ids": [nobody] })).await.map(|_| ())
    }

    async fn definition(&self) -> Result<Value, String> {
        let (base, id) = self.path.rsplit_once('/').unwrap_or((&self.path, ""));
        let answer = self.send(Method::GET, format!("{base}/by-id/{id}"), Value::Null).await?;
        let mut all: Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
        // The number of threads is the host's, not the collection's.
        if let Some(hnsw) = all.pointer_mut("/configuration_json/hnsw").and_then(Value::as_object_mut) {
            hnsw.remove("num_threads");
        }
        let part = |name: &str| all.get(name).cloned().unwrap_or(Value::Null);
        Ok(json!([part("metadata"), part("configuration_json"), part("dimension")]))
    }

    async fn page(&self, offset: usize) -> Result<Value, String> {
        let include = ["embeddings", "documents", "metadatas", "uris"];
        let body = json!({ "limit": PAGE, "offset": offset, "include": include });
        let answer = self.send(Method::POST, format!("{}/get", self.path), body).await?;
        serde_json::from_slice(&answer.body).map_err(|error| error.to_string())
    }
}

/// Whether none of these ids is on the instance, everything committed being visible.
pub(super) async fn absent(
    core: &Core,
    client: &Client,
    comparison: &Comparison,
    ids: &Value,
    deadline: Duration,
) -> Result<bool, String> {
    let side = side(core, client, comparison, comparison.instance, deadline).ok_or("not mapped")?;
    side.flush().await?;
    let body = json!({ "ids": ids, "include": [] });
    let answer = side.send(Method::POST, format!("{}/get", side.path), body).await?;
    let found: Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
    Ok(found.get("ids").and_then(Value::as_array).is_some_and(Vec::is_empty))
}
