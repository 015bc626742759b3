//! `POST /admin/create_mapping` and `/admin/complete_mappings`.
//!
//! Neither writes a mapping. The first verifies the claimed ids at the instances, and triggers an inspection, through
//! which the edge adopts collections that it does not know. The second triggers recovery of every lane, which maps what
//! can be mapped. Both report the outcome.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout_at;
use uuid::Uuid;

use super::Earlier;
use super::mappings::{id_on, not_done};
use crate::admin::refused::word;
use crate::chroma::{ErrorName, collection_path};
use crate::clock;
use crate::ids::{CollectionId, InstanceCollectionId, InstanceId, Scope, shown};
use crate::instance::Outgoing;
use crate::order::{DEFAULT_DATABASE, DEFAULT_TENANT};
use crate::web::{PageRequest, Reply};

/// How long an instance may take to answer whether it has a collection.
const LOOK: Duration = Duration::from_secs(5);
/// How long either page waits for the outcome.
const DONE: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateBody {
    collection_name: String,
    primary_id: Option<String>,
    replica_id: Option<String>,
    tenant: Option<String>,
    database: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CompleteBody {
    collection_name: Option<String>,
}

#[derive(Deserialize)]
struct ShownCollection {
    id: Uuid,
}

/// An id that the caller claims for an instance.
type Claim = (InstanceId, InstanceCollectionId);

impl Earlier {
    /// `POST /admin/create_mapping`.
    pub(in crate::admin) async fn create_mapping(&self, request: &PageRequest) -> Reply {
        let bad = |why: &str| {
            let text = format!(
                "Expected {{\"collection_name\": NAME, \"primary_id\": UUID, \"replica_id\": UUID}}, one id at least, \
                 optionally \"tenant\" and \"database\": {why}"
            );
            not_done(400, ErrorName::InvalidArgumentError, "bad_body", &text)
        };
        let body = match word::<CreateBody>(&request.body) {
            Ok(body) => body,
            Err(error) => return bad(&error.to_string()),
        };
        let scope = Scope::new(
            body.tenant.as_deref().unwrap_or(DEFAULT_TENANT),
            body.database.as_deref().unwrap_or(DEFAULT_DATABASE),
        );
        let mut claims: Vec<Claim> = Vec::new();
        for (instance, id) in self.pair().into_iter().zip([body.primary_id, body.replica_id]) {
            let Some(id) = id.filter(|id| !id.is_empty()) else { continue };
            let Ok(id) = Uuid::try_parse(&id) else { return bad("an id is a UUID") };
            let Some(instance) = instance else { return bad("there is no such instance") };
            claims.push((instance, InstanceCollectionId::new(id)));
        }
        if claims.is_empty() {
            return bad("there is no id");
        }
        for (instance, id) in &claims {
            if let Err(refusal) = self.verify(*instance, *id, &scope, &body.collection_name).await {
                return refusal;
            }
        }
        self.known(&scope, &body.collection_name, &claims).await
    }

    /// Checks that the instance has the collection of this name under this id.
    async fn verify(
        &self,
        instance: InstanceId,
        id: InstanceCollectionId,
        scope: &Scope,
        name: &str,
    ) -> Result<(), Reply> {
        let on = self.core.registry().name(instance);
        let asked = Outgoing::get(collection_path(scope, name));
        let answer = self.client.send_idempotent(instance, &asked, LOOK).await.map_err(|error| {
            let text = format!("{on} could not be asked: {error}");
            not_done(503, ErrorName::InternalError, "no_instance_available", &text)
        })?;
        let there = serde_json::from_slice::<ShownCollection>(&answer.body).ok().filter(|_| answer.status == 200);
        match there {
            Some(there) if there.id == id.uuid() => Ok(()),
            Some(there) => {
                let text = format!("{on} has the collection [{}] under the id {}, not {id}", shown(name), there.id);
                Err(not_done(409, ErrorName::ChromaError, "not_verified", &text))
            }
            None => {
                let text = format!("{on} has no collection [{}] (it answers {})", shown(name), answer.status);
                Err(not_done(409, ErrorName::ChromaError, "not_verified", &text))
            }
        }
    }

    /// Waits, within limits, until the edge knows these ids.
    async fn known(&self, scope: &Scope, name: &str, claims: &[Claim]) -> Reply {
        let deadline = clock::now() + DONE;
        let mut changes = self.core.changes();
        let mut message = "The edge knows these ids already";
        loop {
            let mut lacking = Vec::new();
            {
                let board = self.core.board();
                let known = board.catalog().by_name(scope, name);
                for (instance, id) in claims {
                    match known.and_then(|known| known.mappings.get(instance.0).copied().flatten()) {
                        Some(mapped) if mapped == *id => {}
                        Some(mapped) => {
                            let on = self.core.registry().name(*instance);
                            let text = format!("The edge uses {mapped} on {on} for the collection [{}]", shown(name));
                            return not_done(409, ErrorName::ChromaError, "other_mapping", &text);
                        }
                        None => lacking.push(*instance),
                    }
                }
                if let (true, Some(known)) = (lacking.is_empty(), known) {
                    let body = json!({
                        "success": true,
                        "message": message,
                        "primary_id": id_on(known, self.pair()[0]),
                        "replica_id": id_on(known, self.pair()[1]),
                    });
                    return Reply::json(200, body.to_string());
                }
            }
            if message != FOUND {
                message = FOUND;
                lacking.iter().for_each(|instance| self.core.doubt_contents(*instance));
            }
            if timeout_at(deadline.into(), changes.changed()).await.is_err() {
                let text = format!(
                    "The instances have it, and the edge has not taken [{}] into its catalog yet: see /collection/mappings",
                    shown(name)
                );
                return not_done(409, ErrorName::ChromaError, "not_now", &text);
            }
        }
    }

    /// `POST /admin/complete_mappings`.
    pub(in crate::admin) async fn complete_mappings(&self, request: &PageRequest) -> Reply {
        let body = match request.body.trim_ascii().is_empty() {
            true => Ok(CompleteBody::default()),
            false => word::<CompleteBody>(&request.body),
        };
        let Ok(CompleteBody { collection_name }) = body else {
            let text = "Expected {\"collection_name\": NAME (optional)}";
            return not_done(400, ErrorName::InvalidArgumentError, "bad_body", text);
        };
        let configured: Vec<InstanceId> = self.core.registry().ids().collect();
        let asked: Vec<(CollectionId, String)> = {
            let board = self.core.board();
            let wanted = board.catalog().collections().filter(|known| match &collection_name {
                Some(name) => known.name == *name,
                None => configured.iter().any(|id| id_on(known, Some(*id)).is_none()),
            });
            wanted.map(|known| (known.id, known.name.clone())).collect()
        };
        if let (Some(name), true) = (&collection_name, asked.is_empty()) {
            let text = format!("There is no collection [{}]", shown(name));
            return not_done(404, ErrorName::NotFoundError, "unknown_collection", &text);
        }
        self.core.hurry();
        let deadline = clock::now() + DONE;
        let mut changes = self.core.changes();
        // A collection that is deleted meanwhile lacks nothing.
        while asked.iter().any(|(id, _)| self.lacks(*id).is_some_and(|lacks| !lacks.is_empty())) {
            if timeout_at(deadline.into(), changes.changed()).await.is_err() {
                break;
            }
        }
        let (mut completed, mut failed) = (Vec::new(), Vec::new());
        for (id, name) in &asked {
            match self.lacks(*id).filter(|lacks| !lacks.is_empty()) {
                None => completed.push(json!({ "collection_name": name, "collection_id": id.to_string() })),
                Some(lacks) => failed.push(json!({
                    "collection_name": name,
                    "collection_id": id.to_string(),
                    "lacking_on": lacks,
                    "error": "not every instance has been given the collection yet",
                })),
            }
        }
        let message = match (asked.len(), failed.len()) {
            (0, _) => "Every collection is mapped on every instance",
            (_, 0) => "Each of them is mapped on every instance",
            _ => "Some are not mapped on every instance yet: an instance that is away is given them when it returns",
        };
        let body = json!({
            "success": failed.is_empty(),
            "message": message,
            "total_processed": asked.len(),
            "completed_count": completed.len(),
            "failed_count": failed.len(),
            "completed_mappings": completed,
            "failed_mappings": failed,
        });
        Reply::json(200, body.to_string())
    }

    /// Returns the instances that lack the collection; `None` if it was deleted.
    fn lacks(&self, collection: CollectionId) -> Option<Vec<String>> {
        let board = self.core.board();
        let known = board.catalog().get(collection)?;
        let registry = self.core.registry();
        let lacking = registry.ids().filter(|id| id_on(known, Some(*id)).is_none());
        Some(lacking.map(|id| registry.name(id).to_string()).collect())
    }
}

const FOUND: &str = "The instances have it, and the edge has taken it into its catalog";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_asked_for() {
        let create = |text: &str| word::<CreateBody>(text.as_bytes()).is_ok();
        assert!(create(r#"{"collection_name":"a","primary_id":"x","replica_id":null}"#));
        assert!(!create(r#"{"primary_id":"x"}"#) && !create(r#"{"collection_name":"a","secondary_id":"x"}"#));
        assert!(word::<CompleteBody>(b"{}").is_ok() && word::<CompleteBody>(b"[]").is_err());
    }
}
