//! `/admin/audit`: the results of comparisons of contents, and how to request one.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Admin;
use super::refused::{refused, word};
use crate::audit::{CollectionAudit, Differing, Finding, More, Repair};
use crate::chroma::ErrorName;
use crate::ids::{CollectionId, Scope, shown};
use crate::order::{DEFAULT_DATABASE, DEFAULT_TENANT};
use crate::web::{PageRequest, Reply};

/// A request for an audit.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// By id or name. None: all collections.
    #[serde(default)]
    collection: Option<String>,
    #[serde(default)]
    tenant: Option<String>,
    #[serde(default)]
    database: Option<String>,
    /// Whether to heal a copy that is shown to be wrong.
    #[serde(default)]
    repair: bool,
}

impl Admin {
    pub(super) fn on_audit(&self, request: &PageRequest) -> Reply {
        match request.method {
            Method::GET | Method::HEAD => Reply::json(200, self.audits_shown().to_string()),
            Method::POST => self.ask_for_audit(&request.body),
            _ => Reply::wrong_method("GET,HEAD,POST"),
        }
    }

    fn ask_for_audit(&self, body: &[u8]) -> Reply {
        let body = if body.is_empty() { b"{}" } else { body };
        let Ok(asked) = word::<Asked>(body) else {
            let text = "Expected {\"collection\": id or name, \"tenant\", \"database\", \"repair\": true or false}, each of them optional";
            return refused(400, ErrorName::InvalidArgumentError, "bad_body", text);
        };
        let collection = match &asked.collection {
            None => None,
            Some(text) => match self.collection_named(text, asked.tenant.as_deref(), asked.database.as_deref()) {
                Some(found) => Some(found),
                None => {
                    let text = "There is no such collection";
                    return refused(404, ErrorName::NotFoundError, "unknown_collection", text);
                }
            },
        };
        let repair = if asked.repair { Repair::Yes } else { Repair::No };
        let Some(request) = self.audits.ask(collection, repair) else {
            let text = "Too many audits wait already";
            return refused(503, ErrorName::InternalError, "audits_waiting", text);
        };
        Reply::json(
            202,
            json!({ "request": request, "collection_id": collection.map(|id| id.to_string()) }).to_string(),
        )
    }

    /// Finds the collection that an operator named: by its id, or by its name in a database.
    pub(super) fn collection_named(
        &self,
        text: &str,
        tenant: Option<&str>,
        database: Option<&str>,
    ) -> Option<CollectionId> {
        let board = self.core.board();
        let catalog = board.catalog();
        let scope = Scope::new(tenant.unwrap_or(DEFAULT_TENANT), database.unwrap_or(DEFAULT_DATABASE));
        let by_id = Uuid::try_parse(text).ok().and_then(|id| catalog.by_id(id));
        by_id.or_else(|| catalog.by_name(&scope, text)).map(|known| known.id)
    }

    fn audits_shown(&self) -> Value {
        let running = self.audits.running().map(|running| {
            json!({
                "collection_id": running.collection.to_string(),
                "collection_name": self.name_of(running.collection),
                "records": running.records,
                "records_per_second": running.records_per_second,
            })
        });
        // Read before the results: a reader who sees that a request has ended also sees what it found.
        let finished = self.audits.last_ended();
        let collections: Vec<Value> =
            self.audits.all().iter().map(|(collection, audit)| self.audit_shown(*collection, audit)).collect();
        let [records, condemned, differing] = self.audits.totals();
        json!({
            "running": running,
            "last_request": self.audits.last_asked(),
            "last_finished_request": finished,
            "compared_records": records,
            "condemned_copies": condemned,
            "differing_collections": differing,
            "collections": collections,
        })
    }

    fn name_of(&self, collection: CollectionId) -> Option<String> {
        self.core.board().catalog().get(collection).map(|known| shown(&known.name).into_owned())
    }

    fn audit_shown(&self, collection: CollectionId, audit: &CollectionAudit) -> Value {
        let name = |instance| self.core.registry().name(instance).to_string();
        let (state, wrong, differing, why) = match &audit.finding {
            Finding::Equal => ("equal", None, None, None),
            Finding::Wrong { instance, repair, differing } => {
                let state = if *repair == Repair::Yes { "repaired" } else { "wrong" };
                (state, Some(name(*instance)), Some(differing), None)
            }
            Finding::Undecided { differing } => ("undecided", None, Some(differing), None),
            Finding::NothingToCompare => ("one_copy", None, None, None),
            Finding::Unclear { why } => ("not_compared", None, None, Some(why)),
        };
        let differing = differing.map(|of: &Differing| {
            let instances: Vec<String> = of.instances.iter().map(|instance| name(*instance)).collect();
            json!({ "records": of.records, "first": of.first, "instances": instances, "order_alone": of.records == 0 && of.more == More::No, "more": of.more == More::Yes })
        });
        json!({
            "collection_id": collection.to_string(),
            "collection_name": self.name_of(collection),
            "state": state,
            "at": audit.at.millis(),
            "records": audit.records,
            "left_out": audit.left_out.iter().map(|instance| name(*instance)).collect::<Vec<_>>(),
            "equal_as_of": audit.equal_as_of.map(|at| at.millis()),
            "wrong_on": wrong,
            "differing": differing,
            "why": why,
        })
    }
}
