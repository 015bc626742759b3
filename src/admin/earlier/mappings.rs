//! `/admin/collection_mappings`, the additional fields of `/collection/mappings`, and
//! `DELETE /collection/mappings/{name}`.
//!
//! A mapping is part of its collection: it is deleted with it, and never alone.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::Earlier;
use crate::admin::collections::each_collection;
use crate::admin::safety::{Query, Refusal};
use crate::chroma::{ErrorBody, ErrorName};
use crate::clock::Timestamp;
use crate::ids::{CollectionId, InstanceId, shown};
use crate::journal::CollectionTimes;
use crate::order::{Board, Collection};
use crate::web::{PageRequest, Reply, rfc3339};

/// When each collection was created and changed; empty if the journal cannot be read.
pub(in crate::admin) type Times = HashMap<CollectionId, CollectionTimes>;

pub(super) fn id_on(collection: &Collection, instance: Option<InstanceId>) -> Option<String> {
    collection.mappings.get(instance?.0).copied().flatten().map(|id| id.to_string())
}

/// Returns the first digits of an id, as tables show it.
fn shortened(id: &str) -> String {
    format!("{}...", id.get(..8).unwrap_or(id))
}

fn count(text: &str) -> Option<usize> {
    text.parse().ok()
}

/// Builds a refusal in the earlier system's format, which includes the edge's own.
pub(super) fn not_done(status: u16, name: ErrorName, reason: &'static str, text: &str) -> Reply {
    let error = ErrorBody::new(name, text).with_reason(reason).to_json();
    let mut body: Value = serde_json::from_slice(&error).unwrap_or_default();
    super::performance::extend(&mut body, json!({ "success": false }));
    Reply::json(status, body.to_string())
}

impl Earlier {
    /// Returns the two instances of the earlier system: the first in the configuration, and the second if there is one.
    pub(super) fn pair(&self) -> [Option<InstanceId>; 2] {
        let mut ids = self.core.registry().ids();
        [ids.next(), ids.next()]
    }

    /// Reads when the collections were created and changed.
    pub(in crate::admin) async fn times(&self) -> Times {
        let times = self.core.store().collection_times().await.unwrap_or_default();
        times.into_iter().map(|one| (one.collection, one)).collect()
    }

    /// The additional fields of a collection in the list of mappings.
    pub(in crate::admin) fn mapping(&self, collection: &Collection, times: &Times) -> Value {
        let (mut fields, [primary, replica]) = (Map::new(), self.pair());
        fields.insert("primary_collection_id".to_owned(), id_on(collection, primary).into());
        fields.insert("replica_collection_id".to_owned(), id_on(collection, replica).into());
        let known = times.get(&collection.id);
        let mut set = |name: &str, at: Option<Timestamp>| {
            if let Some(at) = at {
                fields.insert(name.to_owned(), rfc3339::text(at).into());
            }
        };
        set("created_at", known.and_then(|known| known.created_at));
        set("updated_at", known.and_then(|known| known.updated_at));
        Value::Object(fields)
    }

    /// `GET /admin/collection_mappings`: all of them, unless the query limits the range.
    pub(in crate::admin) async fn collection_mappings(&self, request: &PageRequest) -> Result<Reply, Refusal> {
        let query = Query::of(&request.query);
        let limit = query.read("limit", "a number", count)?.unwrap_or(usize::MAX);
        let offset = query.read("offset", "a number", count)?.unwrap_or(0);
        let (times, [primary, replica]) = (self.times().await, self.pair());
        let configured: Vec<InstanceId> = self.core.registry().ids().collect();
        let mut total = 0_usize;
        let shown = |_: &Board, collection: &Collection| {
            total += 1;
            if total <= offset || total - offset > limit {
                return None;
            }
            let mut shown = self.mapping(collection, &times);
            let complete = configured.iter().all(|id| id_on(collection, Some(*id)).is_some());
            let more = json!({
                "collection_name": collection.name,
                "tenant": collection.scope.tenant,
                "database": collection.scope.database,
                "primary_uuid": id_on(collection, primary).map(|id| shortened(&id)),
                "replica_uuid": id_on(collection, replica).map(|id| shortened(&id)),
                "status": if complete { "complete" } else { "partial" },
            });
            super::performance::extend(&mut shown, more);
            Some(shown)
        };
        let shown_here = each_collection(&self.core, shown).await;
        let body = json!({ "collection_mappings": shown_here, "total_mappings": total });
        Ok(Reply::json(200, body.to_string()))
    }

    /// `DELETE /collection/mappings/{name}`: always refused, because a mapping is only deleted with its collection.
    pub(in crate::admin) fn delete_mapping(&self, name: &str) -> Reply {
        if self.options.get().earlier.protection.covers(name) {
            let text = format!(
                "Collection [{}] is protected. Delete it on purpose, as an admin with Chroma-Edge-Confirm, and its mapping goes \
                 with it",
                shown(name)
            );
            return not_done(403, ErrorName::ChromaError, "protected", &text);
        }
        let exists = self.core.board().catalog().collections().any(|collection| collection.name == name);
        if exists {
            let text = format!(
                "Collection [{}] exists: without its mapping no write could reach it. Delete the collection, and its mapping \
                 goes with it",
                shown(name)
            );
            return not_done(409, ErrorName::ChromaError, "collection_exists", &text);
        }
        let text = format!("There is no mapping of a collection [{}]: it goes with its collection", shown(name));
        not_done(404, ErrorName::NotFoundError, "unknown_collection", &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_in_a_table_is_eight_digits() {
        assert_eq!(shortened("0190a5d8-0000-7000-8000-000000000001"), "0190a5d8...");
    }
}
