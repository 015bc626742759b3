//! Reads one collection's definition and content from one instance.
//!
//! It decides nothing: `rejoin/compare.rs` decides which copies to compare, and `absence.rs` what absence means.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::chroma::{self, Looked, Lookup};
use crate::coordinator::Core;
use crate::ids::{CollectionId, InstanceId};
use crate::instance::{Answer, Client, Outgoing};

/// How many records to read from an instance at once.
pub(crate) const PAGE: usize = 1000;

/// One collection on one instance.
pub(crate) struct CollectionReader<'a> {
    core: &'a Core,
    client: &'a Client,
    instance: InstanceId,
    pub(crate) path: String,
    /// How to find the collection on the instance.
    lookup: Lookup,
    deadline: Duration,
}

/// Returns a reader, or `None` if the collection is not mapped on the instance.
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
    let (scope, name) = (known.scope.clone(), known.name.clone());
    drop(board);
    let lookup = Lookup::new(core.discovery().servers().by_id(instance), scope, id, name);
    Some(CollectionReader { core, client, instance, path, lookup, deadline })
}

impl CollectionReader<'_> {
    pub(crate) async fn send(&self, method: Method, path: String, body: Value) -> Result<Answer, String> {
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let outgoing = Outgoing::json(method, path, body);
        let name = self.core.registry().name(self.instance);
        let sent = self.client.send_idempotent(self.instance, &outgoing, self.deadline).await;
        let answer = sent.map_err(|error| format!("{name}: {error}"))?;
        if (200..300).contains(&answer.status) {
            return Ok(answer);
        }
        Err(format!("{name} answered {}", answer.status))
    }

    /// Deletes an id that no record has. This changes nothing, and makes everything committed visible.
    pub(crate) async fn flush(&self) -> Result<(), String> {
        let absent = format!("chroma-edge-{}", uuid::Uuid::new_v4());
        self.send(Method::POST, format!("{}/delete", self.path), json!({ "ids": [absent] })).await.map(|_| ())
    }

    /// Returns the collection as its instance shows it.
    pub(crate) async fn shown(&self) -> Result<Vec<u8>, String> {
        let name = self.core.registry().name(self.instance);
        let mut lookup = self.lookup.clone();
        let mut path = lookup.path();
        loop {
            let outgoing = Outgoing::get(path);
            let sent = self.client.send_idempotent(self.instance, &outgoing, self.deadline).await;
            let answer = sent.map_err(|error| format!("{name}: {error}"))?;
            match lookup.take(answer.status, &answer.body) {
                Looked::Ask(next) => path = next,
                Looked::Found(shown) => return Ok(shown),
                Looked::Absent => return Err(format!("{name} has no such collection")),
                Looked::Unclear => return Err(format!("{name} answered {}", answer.status)),
            }
        }
    }

    pub(crate) async fn definition(&self) -> Result<Value, String> {
        let mut all: Value = serde_json::from_slice(&self.shown().await?).map_err(|error| error.to_string())?;
        // The number of threads depends on the host, not on the collection.
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
