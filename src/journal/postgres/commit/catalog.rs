//! The catalog's tables, and how each change modifies them.
//!
//! Applying a change twice has no further effect. The lanes of deleted collections keep their progress rows until
//! retention finds that nothing needs them.

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::ids::{CollectionId, LaneId, Scope};
use crate::journal::names::{Named, lane_name};
use crate::journal::postgres::codec::row::{number, time};
use crate::journal::postgres::codec::text::stored;
use crate::journal::postgres::connection::pipeline::{Query, query};
use crate::order::{CatalogChange, DEFAULT_DATABASE, DEFAULT_TENANT};

const TENANT: &str = "INSERT INTO chroma_edge.tenants (tenant) VALUES ($1) ON CONFLICT DO NOTHING";
const DATABASE: &str = "
    INSERT INTO chroma_edge.databases (tenant, database, database_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
const WITHOUT_COLLECTIONS: &str = "DELETE FROM chroma_edge.collections WHERE tenant = $1 AND database = $2";
const WITHOUT_DATABASE: &str = "DELETE FROM chroma_edge.databases WHERE tenant = $1 AND database = $2";
const COLLECTION: &str = "
    INSERT INTO chroma_edge.collections (collection, tenant, database, name, created, origin, created_at, updated_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT (collection) DO NOTHING";
const RENAMED: &str =
    "UPDATE chroma_edge.collections SET name = $2, updated_at = $3 WHERE collection = $1 AND name <> $2";
/// The position at or after the deletion: the last one before those that this commit gives out.
const DELETED: &str = "
    UPDATE chroma_edge.collections SET deleted = (SELECT last_seq FROM chroma_edge.journal) - $2, updated_at = $3
    WHERE collection = $1 AND deleted IS NULL";
/// A mapping recorded late, about a collection that is gone, is dropped.
const MAPPED: &str = "
    INSERT INTO chroma_edge.collection_instances AS m (collection, instance, instance_collection_id)
    SELECT collection, $2, $3 FROM chroma_edge.collections WHERE collection = $1
    ON CONFLICT (collection, instance) DO UPDATE SET instance_collection_id = excluded.instance_collection_id
        WHERE m.instance_collection_id <> excluded.instance_collection_id";
const DIMENSIONED: &str =
    "UPDATE chroma_edge.collections SET dimensioned = true WHERE collection = $1 AND NOT dimensioned";

/// Adds the statements that apply the change. The same commit gives out `given` positions after it.
pub(in crate::journal::postgres) fn apply<'a>(
    change: &'a CatalogChange,
    given: i64,
    now: Timestamp,
    queries: &mut Vec<Query<'a>>,
) {
    match change {
        CatalogChange::TenantCreated { tenant } => queries.push(query!(TENANT, stored(tenant))),
        CatalogChange::DatabaseCreated { scope, database_id } => queries.push(database(scope, *database_id)),
        CatalogChange::DatabaseDeleted { scope } => {
            queries.push(query!(WITHOUT_COLLECTIONS, stored(&scope.tenant), stored(&scope.database)));
            queries.push(query!(WITHOUT_DATABASE, stored(&scope.tenant), stored(&scope.database)));
        }
        CatalogChange::CollectionCreated { collection, scope, name, created, origin } => queries.push(query!(
            COLLECTION,
            key(*collection),
            stored(&scope.tenant),
            stored(&scope.database),
            stored(name),
            number(*created),
            origin.name(),
            time(now),
        )),
        CatalogChange::CollectionRenamed { collection, name } => {
            queries.push(query!(RENAMED, key(*collection), stored(name), time(now)));
        }
        CatalogChange::CollectionDeleted { collection } => {
            queries.push(query!(DELETED, key(*collection), given, time(now)));
        }
        CatalogChange::Mapped { collection, instance, id } => {
            queries.push(query!(MAPPED, key(*collection), instance.as_str(), id.uuid()));
        }
        CatalogChange::Dimensioned { collection } => queries.push(query!(DIMENSIONED, key(*collection))),
        CatalogChange::Reset => reset(queries),
    }
}

/// A collection is stored under the same name as its lane, so that the two can be joined.
fn key(collection: CollectionId) -> String {
    lane_name(LaneId::Records(collection))
}

fn database(scope: &Scope, id: Uuid) -> Query<'_> {
    query!(DATABASE, stored(&scope.tenant), stored(&scope.database), id)
}

fn reset(queries: &mut Vec<Query<'_>>) {
    queries.push(query!("DELETE FROM chroma_edge.collections"));
    queries.push(query!("DELETE FROM chroma_edge.databases"));
    queries.push(query!("DELETE FROM chroma_edge.tenants"));
    // A Chroma server recreates these two by itself, the database under the nil id.
    queries.push(query!(TENANT, DEFAULT_TENANT));
    queries.push(query!(DATABASE, DEFAULT_TENANT, DEFAULT_DATABASE, Uuid::nil()));
}
