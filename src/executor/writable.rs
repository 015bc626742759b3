//! Checks whether an instance that failed an entry executes other writes in the same lane (rule R12), with a write of
//! the edge's own that changes nothing.
//!
//! It decides nothing: the board decides what the result means for the entry.

use std::time::Duration;

use http::Method;
use serde_json::json;

use super::collection_reader::reader;
use crate::coordinator::Core;
use crate::ids::{InstanceId, LaneId};
use crate::instance::{Client, Outgoing};
use crate::order::{DEFAULT_TENANT, Writable};

const DEADLINE: Duration = Duration::from_secs(5);

/// In a collection, deletes an id that no record has: the delete passes through the log, the compactor and the index,
/// and makes everything committed visible. In the catalog, creates a tenant that exists: the server reads its tables
/// and acquires the right to write, which does not show that it can write a page.
pub(super) async fn check(core: &Core, client: &Client, lane: LaneId, instance: InstanceId) -> Writable {
    let executes = match lane {
        LaneId::Records(collection) => match reader(core, client, collection, instance, DEADLINE) {
            Some(reader) => reader.flush().await.is_ok(),
            None => false,
        },
        LaneId::Catalog => creates_tenant(client, instance).await,
    };
    if executes { Writable::Yes } else { Writable::No }
}

async fn creates_tenant(client: &Client, instance: InstanceId) -> bool {
    let body = json!({ "name": DEFAULT_TENANT }).to_string();
    let outgoing = Outgoing::json(Method::POST, "/api/v2/tenants".to_owned(), body);
    let sent = client.send_idempotent(instance, &outgoing, DEADLINE).await;
    sent.is_ok_and(|answer| matches!(answer.status, 200..=299 | 409))
}
