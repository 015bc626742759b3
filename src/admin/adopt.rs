//! `/admin/adopt`: an operator decides which copy to keep of a collection that existed before the edge and differs
//! between instances (rule R18).
//!
//! The board decides whether that copy can be kept. This page asks it, and answers once the decision is durable.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;
use super::refused::{refused, word};
use crate::audit::Finding;
use crate::chroma::ErrorName;
use crate::coordinator::Difference;
use crate::ids::{CollectionId, InstanceId, shown};
use crate::order::{Evidence, Input, Keeping, LaneState, Obstacle};
use crate::web::{PageRequest, Reply};

#[derive(Debug, Deserialize)]
struct Body {
    /// The collection's id or name.
    collection: String,
    /// The instance whose copy to keep.
    from: String,
    tenant: Option<String>,
    database: Option<String>,
}

/// Returns a 409 refusal for the operator.
fn conflict(reason: &'static str, text: &str) -> Reply {
    refused(409, ErrorName::ChromaError, reason, text)
}

fn why_not(obstacle: Obstacle) -> Reply {
    let text = obstacle.to_string();
    match obstacle {
        Obstacle::NoCollection => refused(404, ErrorName::NotFoundError, "unknown_collection", &text),
        Obstacle::NoCopy => conflict("no_copy", &text),
        Obstacle::NothingDiffers => conflict("nothing_differs", &text),
        Obstacle::Lacks { .. } => conflict("lacks_writes", &text),
        Obstacle::Away | Obstacle::Unfit | Obstacle::Busy => conflict("not_now", &text),
    }
}

impl Admin {
    /// Describes how a copy differs from the served one, and how to decide; `null` if an operator has nothing to
    /// decide.
    pub(super) fn difference(&self, collection: CollectionId, instance: InstanceId) -> Value {
        let Some(difference) = self.core.discovery().differences().get(collection, instance) else {
            return Value::Null;
        };
        let Difference { served_by, served, records, apart, .. } = difference;
        json!({
            "served_by": self.core.registry().name(served_by).as_str(),
            "served_records": served,
            "records": records,
            "only_served": apart.map(|apart| apart.only_served),
            "only_here": apart.map(|apart| apart.only_here),
            "different": apart.map(|apart| apart.different),
            "told": difference.told(),
            "decide": "POST /admin/adopt, or chroma-edge adopt --from INSTANCE --collection NAME",
        })
    }

    /// Handles an operator's decision.
    pub(super) async fn on_adopt(&self, request: &PageRequest) -> Reply {
        if request.method != Method::POST {
            return Reply::wrong_method("POST");
        }
        let body = match word::<Body>(&request.body) {
            Ok(body) => body,
            Err(error) => {
                let text = format!("Expected {{\"collection\": ID OR NAME, \"from\": INSTANCE}}: {error}");
                return refused(400, ErrorName::InvalidArgumentError, "bad_body", &text);
            }
        };
        let Some(from) = self.core.registry().id_of(&body.from) else {
            let text = format!("No instance is called {:?}", shown(&body.from));
            return refused(404, ErrorName::NotFoundError, "unknown_instance", &text);
        };
        let Some(collection) =
            self.collection_named(&body.collection, body.tenant.as_deref(), body.database.as_deref())
        else {
            return why_not(Obstacle::NoCollection);
        };
        self.keep(collection, from).await
    }

    async fn keep(&self, collection: CollectionId, from: InstanceId) -> Reply {
        let possible = self.core.board().can_keep(collection, from);
        let undecided = self.is_undecided(collection);
        match possible {
            Ok(Keeping::Serves) => {}
            // Every copy is served, and an audit found that they differ.
            Err(Obstacle::NothingDiffers) if undecided => return self.keep_of_those_that_serve(collection, from).await,
            // This copy must have been compared, because the other copies are about to be replaced.
            Ok(Keeping::TakesOver) => match self.core.discovery().differences().get(collection, from) {
                Some(Difference { records: 0, .. }) => return conflict("empty", "That copy is empty"),
                Some(_) => {}
                None => return conflict("not_now", "That copy has not been compared yet: try again in a moment"),
            },
            Err(obstacle) => return why_not(obstacle),
        }
        self.core.step(Input::Keep { collection, instance: from, evidence: Evidence::OperatorsWord });
        self.kept(collection, from).await
    }

    /// Returns whether the last audit found that copies in step differ without evidence of which one is wrong.
    fn is_undecided(&self, collection: CollectionId) -> bool {
        self.audits.of(collection).is_some_and(|audit| matches!(audit.finding, Finding::Undecided { .. }))
    }

    async fn keep_of_those_that_serve(&self, collection: CollectionId, from: InstanceId) -> Reply {
        let others: Vec<InstanceId> = {
            let board = self.core.board();
            if board.state_of(collection, from) != LaneState::InStep {
                return why_not(Obstacle::Unfit);
            }
            let serves = |id: &InstanceId| *id != from && board.state_of(collection, *id) == LaneState::InStep;
            self.core.registry().ids().filter(serves).collect()
        };
        for instance in others {
            self.core.step(Input::Condemn { collection, instance, evidence: Evidence::OperatorsWord });
        }
        self.kept(collection, from).await
    }

    /// Answers the operator once the decision is durable.
    async fn kept(&self, collection: CollectionId, from: InstanceId) -> Reply {
        let registry = self.core.registry();
        let (kept, condemned) = {
            let board = self.core.board();
            let is_condemned = |id: &InstanceId| board.state_of(collection, *id) == LaneState::Condemned;
            let condemned: Vec<_> = registry.ids().filter(is_condemned).map(|id| registry.name(id).as_str()).collect();
            (board.state_of(collection, from) == LaneState::InStep, condemned)
        };
        if !kept || condemned.is_empty() {
            return conflict("not_now", "It has changed this very moment: look at /status, and try again");
        }
        if let Err(error) = self.core.persisted().await {
            let text = format!("The journal did not say in time whether it has the decision: {error}");
            return refused(503, ErrorName::InternalError, "journal_unavailable", &text);
        }
        let from = registry.name(from).as_str();
        tracing::warn!(%collection, from, ?condemned, "an operator has decided which copy is kept: the others are made like it");
        let body = json!({
            "success": true, "collection_id": collection.to_string(), "from": from, "condemned": condemned,
            "see": "/status: healing",
        });
        Reply::json(200, body.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_names_a_collection_and_an_instance() {
        let read = |body: &str| word::<Body>(body.as_bytes()).ok().map(|body| (body.collection, body.from));
        assert_eq!(read(r#"{"collection":"docs","from":"b"}"#), Some(("docs".to_owned(), "b".to_owned())));
        for bad in [r#"{"collection":"docs"}"#, r#"{"from":"b"}"#, r#"{"collection":1,"from":"b"}"#, "null"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_lacks_writes_is_refused_with_how_many() {
        let obstacle = Obstacle::Lacks { through: crate::ids::Seq::new(12), in_memory: 3 };
        let reply = why_not(obstacle);
        let body = String::from_utf8_lossy(&reply.body).into_owned();
        assert!(reply.status == 409 && body.contains("lacks_writes") && body.contains("position 12"), "{body}");
    }
}
