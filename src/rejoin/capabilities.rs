//! Finds out what a server can do. Each inspection reads its openapi document. What the document does not show is tried
//! on the server, once for each document.
//!
//! A trial writes, into a reserved database that is hidden from clients and made and deleted for the trial, and only
//! after the server is known to be Chroma. A crash meanwhile leaves that database behind; the next inspection sweeps
//! it. This file decides only whether the server is supported at all. Whether a capability is needed is decided where
//! it is used.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tracing::{error, info, warn};
use uuid::Uuid;

use super::contents::Look;
use super::error::InspectError;
use crate::chroma::{
    self, ByIdRoute, Capabilities, CopiedBy, Described, DocumentError, Looked, Lookup, MetadataArrays, TRIAL_NAMES,
    Trial, describe,
};
use crate::clock;
use crate::coordinator::{Core, DocumentHash, Support};
use crate::ids::{InstanceCollectionId, InstanceId};
use crate::instance::{Answer, Licence, Outgoing, SendError};
use crate::lasting::LastingStates;

const DOCUMENT: &str = "/openapi.json";
/// The document of Chroma 1.5.9 has 86 KB.
const DOCUMENT_BYTES: usize = 4 * 1024 * 1024;
const ANSWER_BYTES: usize = 1024 * 1024;
/// How many times a sweep is tried, and the pause between the tries: other writes may lock the server's database for a
/// moment.
const SWEEPS: u32 = 5;
const BETWEEN_SWEEPS: Duration = Duration::from_millis(100);

/// The reserved database on one server.
pub(super) struct Scratch<'a> {
    core: &'a Core,
    look: &'a Look<'a>,
}

/// How a trial ended.
enum Tried {
    Copies(CopiedBy),
    /// Neither way makes an exact copy.
    Inexactly,
    /// No trial was possible, for this reason.
    Undecided(String),
}

/// Finds out what the server can do, and records it.
///
/// # Errors
/// When the server did not answer, or is not supported.
pub(super) async fn learn<'a>(
    core: &'a Core,
    look: &'a Look<'a>,
    untried: &LastingStates<InstanceId>,
) -> Result<Scratch<'a>, InspectError> {
    let scratch = Scratch { core, look };
    let servers = core.discovery().servers();
    let document = match look.get(DOCUMENT.to_owned(), DOCUMENT_BYTES).await {
        Ok(Answer { status: 200, body, .. }) => Some(body),
        Ok(_) | Err(SendError::TooLong { .. }) => None,
        Err(error) => return Err(InspectError::Unanswered(error.to_string())),
    };
    let described = document.as_deref().map_or(Err(DocumentError::NotChroma), describe);
    // A server that hides its document is tried again at each inspection.
    let hash = document.filter(|_| described != Err(DocumentError::NotChroma)).map(|document| hash_of(&document));
    if let Some(found) = hash.and_then(|hash| servers.of_document(look.instance, hash)) {
        return match found {
            Support::Supported(_) => Ok(scratch),
            Support::Unsupported(why) => Err(InspectError::Unsupported(why)),
        };
    }
    let described = match described {
        Ok(described) => described,
        Err(DocumentError::NotChroma) => by_behaviour(look).await?,
        Err(lacks) => return Err(unsupported(core, look, hash, lacks.to_string())),
    };
    let tried = match described.copied_by {
        Some(by) => Tried::Copies(by),
        None => scratch.try_copies().await?,
    };
    let (copied_by, hash) = match tried {
        Tried::Copies(by) => {
            if let Some(lasted) = untried.ended(&look.instance, clock::now()) {
                let (instance, seconds) = (core.registry().name(look.instance), lasted.time.as_secs());
                info!(%instance, seconds, times = lasted.times, "the trial on this server was possible after all");
            }
            (by, hash)
        }
        Tried::Inexactly => {
            let why = "the definition of a collection cannot be copied exactly there".to_owned();
            return Err(unsupported(core, look, hash, why));
        }
        // Treated like the weaker servers. Every copy is read back and compared in any case.
        Tried::Undecided(why) => {
            if let Some(times) = untried.seen(look.instance, clock::now()).times() {
                let instance = core.registry().name(look.instance);
                warn!(%instance, why, times, "could not try how definitions are copied exactly to this server");
            }
            (CopiedBy::Configuration, None)
        }
    };
    let can = Capabilities { by_id: described.by_id, copied_by, arrays: described.arrays };
    if servers.learn(look.instance, hash, Support::Supported(can)) {
        let Capabilities { by_id, copied_by, arrays } = can;
        info!(instance = %core.registry().name(look.instance), ?by_id, ?copied_by, ?arrays, "what this server can do");
    }
    Ok(scratch)
}

/// Notes that the server is not supported. Logged once for each server and reason.
fn unsupported(core: &Core, look: &Look<'_>, hash: Option<DocumentHash>, why: String) -> InspectError {
    if core.discovery().servers().learn(look.instance, hash, Support::Unsupported(why.clone())) {
        let instance = core.registry().name(look.instance);
        error!(%instance, why, "this server is not supported, nothing is sent to it: see docs/compatibility.md");
    }
    InspectError::Unsupported(why)
}

fn hash_of(document: &[u8]) -> DocumentHash {
    let mut hasher = DefaultHasher::new();
    document.hash(&mut hasher);
    DocumentHash(hasher.finish())
}

/// Finds out without a write what a server can do whose document is hidden, for example by a gateway.
async fn by_behaviour(look: &Look<'_>) -> Result<Described, InspectError> {
    let heartbeat = answer(look, "/api/v2/heartbeat".to_owned()).await?;
    let beats = serde_json::from_slice::<Value>(&heartbeat.body).is_ok_and(|body| {
        // The key by which `chroma-edge check --online` recognizes a server.
        body.get("nanosecond heartbeat").is_some()
    });
    if heartbeat.status != 200 || !beats {
        return Err(InspectError::Unanswered("what answers there is no Chroma server".to_owned()));
    }
    let absent = InstanceCollectionId::new(Uuid::from_u128(1));
    let name = TRIAL_NAMES[0].to_owned();
    let mut lookup = Lookup::new(ByIdRoute::Present, chroma::scratch_scope(), absent, name);
    let shown = answer(look, lookup.path()).await?;
    // Only a server with the route answers in Chroma's words that there is no such collection.
    let has_route = lookup.take(shown.status, &shown.body) == Looked::Absent;
    Ok(match has_route {
        // Every server with this route has the rest as well.
        true => {
            Described { by_id: ByIdRoute::Present, arrays: MetadataArrays::Taken, copied_by: Some(CopiedBy::Schema) }
        }
        false => Described { by_id: ByIdRoute::Absent, arrays: MetadataArrays::Refused, copied_by: None },
    })
}

async fn answer(look: &Look<'_>, path: String) -> Result<Answer, InspectError> {
    look.get(path, ANSWER_BYTES).await.map_err(|error| InspectError::Unanswered(error.to_string()))
}

impl Scratch<'_> {
    /// Deletes the reserved database and its contents. If that fails now, the next inspection deletes it.
    pub(super) async fn sweep(&self) {
        let path = chroma::database_path(&chroma::scratch_scope());
        for _ in 0..SWEEPS {
            match self.send(Method::DELETE, path.clone(), Vec::new()).await {
                Ok(Answer { status: 200..=299 | 404, .. }) => return,
                Ok(_) => tokio::time::sleep(BETWEEN_SWEEPS).await,
                Err(_) => return,
            }
        }
    }

    /// Tries both ways to copy a definition. Whatever the outcome, nothing is left behind, unless this process or the
    /// server dies meanwhile.
    async fn try_copies(&self) -> Result<Tried, InspectError> {
        self.sweep().await;
        let scope = chroma::scratch_scope();
        let body = json!({ "name": scope.database }).to_string().into_bytes();
        let made = self.send(Method::POST, chroma::databases_path(&scope.tenant), body).await?;
        let tried = match made.status {
            200..=299 => self.copies().await,
            status => Ok(Tried::Undecided(format!("it answered {status} to the creation of a database"))),
        };
        self.sweep().await;
        tried
    }

    async fn copies(&self) -> Result<Tried, InspectError> {
        let collections = chroma::collections_path(&chroma::scratch_scope());
        let made = self.send(Method::POST, collections, Trial::creation()).await?;
        if made.status >= 300 {
            return Ok(Tried::Undecided(format!("it answered {} to the creation of a collection", made.status)));
        }
        let Some(trial) = Trial::of(&self.shown(TRIAL_NAMES[0]).await?) else { return Ok(Tried::Inexactly) };
        for by in [CopiedBy::Schema, CopiedBy::Configuration] {
            if self.is_exact(&trial, by).await? {
                return Ok(Tried::Copies(by));
            }
        }
        Ok(Tried::Inexactly)
    }

    async fn is_exact(&self, trial: &Trial, by: CopiedBy) -> Result<bool, InspectError> {
        let Some((plan, name)) = trial.copy(by) else { return Ok(false) };
        let scope = chroma::scratch_scope();
        let made = self.send(Method::POST, chroma::collections_path(&scope), plan.create_body).await?;
        let id =
            serde_json::from_slice::<Value>(&made.body).ok().and_then(|body| Some(body["id"].as_str()?.to_owned()));
        let Some(id) = id.filter(|_| made.status < 300) else { return Ok(false) };
        if let Some(put) = plan.then_put {
            let put = self.send(Method::PUT, chroma::collection_path(&scope, &id), put).await?;
            if put.status >= 300 {
                return Ok(false);
            }
        }
        Ok(trial.is_exact(&self.shown(name).await?))
    }

    async fn shown(&self, name: &str) -> Result<Bytes, InspectError> {
        let path = chroma::collection_path(&chroma::scratch_scope(), name);
        Ok(answer(self.look, path).await?.body)
    }

    async fn send(&self, method: Method, path: String, body: Vec<u8>) -> Result<Answer, InspectError> {
        let outgoing = Outgoing::json(method, path, body);
        let sending = self.core.lease().sending();
        let Look { client, instance, deadline } = *self.look;
        let sent = client.send(instance, &outgoing, deadline, Licence::Lease(&sending)).await;
        drop(sending);
        sent.map_err(|error| InspectError::Unanswered(error.to_string()))
    }
}
