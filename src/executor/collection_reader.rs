//! Reading one collection's definition and content from one instance.
//!
//! It decides nothing: who is compared with whom is `rejoin/compare.rs`, what absence means is `absence.rs`.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::records::content_type;
use crate::chroma;
use crate::coordinator::Core;
use crate::ids::{CollectionId, InstanceId};
use crate::instance::{Answer, Client, Outgoing};

/// Records read at once from an instance.
pub(crate) const PAGE: usize = 1000;

/// One collection on one instance.
pub(crate) struct CollectionReader<'a> {
    core: &'a Core,
    client: &'a Client,
    instance: InstanceId,
    pub(crate) path: String,
    deadline: Duration,
}

/// `None`: the collection is not mapped there.
pub(crate) fn reader<'a>(
    core: &'a Core,
    client: &'a Client,
    collection: CollectionId,
    instance: InstanceId,
    deadline: Duration,
) -> Option<CollectionReader<'a>> {
    let board = core.board();
    let known = board.catalog().get(collection)?;
    let id = known.mappings[instance.0]?;
    let path = chroma::collection_path(&known.scope, &id.to_string());
    drop(board);
    Some(CollectionReader { core, client, instance, path, deadline })
}

impl CollectionReader<'_> {
    pub(crate) async fn send(&self, method: Method, path: String, body: Value) -> Result<Answer, String> {
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
    pub(crate) async fn flush(&self) -> Result<(), String> {
        let nobody = format!("chroma-edge-{}", uuid::Uuid::new_v4());
        self.send(Method::POST, format!("{}/delete", self.path), json!({ "ids": [nobody] })).await.map(|_| ())
    }

    pub(crate) async fn definition(&self) -> Result<Value, String> {
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

    pub(crate) async fn page(&self, offset: usize) -> Result<Value, String> {
        let include = ["embeddings", "documents", "metadatas", "uris"];
        let body = json!({ "limit": PAGE, "offset": offset, "include": include });
        let answer = self.send(Method::POST, format!("{}/get", self.path), body).await?;
        serde_json::from_slice(&answer.body).map_err(|error| error.to_string())
    }
}
