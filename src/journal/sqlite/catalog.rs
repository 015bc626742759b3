//! The catalog's tables, and what each change does to them.
//!
//! Applying a change again has no further effect. The lanes of deleted collections keep their progress rows until
//! retention finds that nothing needs them.

use rusqlite::{Connection, params};
use uuid::Uuid;

use super::row::number;
use crate::clock::Timestamp;
use crate::ids::{CollectionId, LaneId, Scope, Seq};
use crate::journal::names::{Named, lane_name};
use crate::order::{CatalogChange, DEFAULT_DATABASE, DEFAULT_TENANT};

pub(super) fn apply(connection: &Connection, change: &CatalogChange) -> rusqlite::Result<()> {
    match change {
        CatalogChange::TenantCreated { tenant } => {
            let sql = "INSERT INTO tenants (tenant) VALUES (?1) ON CONFLICT DO NOTHING";
            connection.prepare_cached(sql)?.execute([tenant]).map(drop)
        }
        CatalogChange::DatabaseCreated { scope, database_id } => database_created(connection, scope, *database_id),
        CatalogChange::DatabaseDeleted { scope } => {
            let of = [&scope.tenant, &scope.database];
            let sql = "DELETE FROM collections WHERE tenant = ?1 AND database = ?2";
            connection.prepare_cached(sql)?.execute(of)?;
            connection
                .prepare_cached("DELETE FROM databases WHERE tenant = ?1 AND database = ?2")?
                .execute(of)
                .map(drop)
        }
        CatalogChange::CollectionCreated { collection, scope, name, created, origin } => {
            let sql =
                "INSERT INTO collections (collection, tenant, database, name, created, origin, created_at, updated_at)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7) ON CONFLICT (collection) DO NOTHING";
            let mut statement = connection.prepare_cached(sql)?;
            let (collection, created) = (key(*collection), number(*created));
            let at = Timestamp::now().millis();
            let values = params![collection, scope.tenant, scope.database, name, created, origin.name(), at];
            statement.execute(values).map(drop)
        }
        CatalogChange::CollectionRenamed { collection, name } => {
            let sql = "UPDATE collections SET name = ?2, updated_at = ?3 WHERE collection = ?1 AND name <> ?2";
            let values = params![key(*collection), name, Timestamp::now().millis()];
            connection.prepare_cached(sql)?.execute(values).map(drop)
        }
        CatalogChange::CollectionDeleted { collection } => {
            let sql = "UPDATE collections SET deleted = (SELECT last_seq FROM meta)
                WHERE collection = ?1 AND deleted IS NULL";
            connection.prepare_cached(sql)?.execute([key(*collection)]).map(drop)
        }
        CatalogChange::Mapped { collection, instance, id } => {
            // If this was recorded late and the collection is gone, there is nothing to map.
            let sql = "INSERT INTO collection_instances (collection, instance, instance_collection_id)
                SELECT collection, ?2, ?3 FROM collections WHERE collection = ?1
                ON CONFLICT (collection, instance) DO UPDATE SET instance_collection_id = excluded.instance_collection_id";
            let mut statement = connection.prepare_cached(sql)?;
            statement.execute(params![key(*collection), instance.as_str(), id.uuid().as_bytes()])?;
            let sql = "UPDATE collections SET updated_at = ?2 WHERE collection = ?1";
            connection.prepare_cached(sql)?.execute(params![key(*collection), Timestamp::now().millis()]).map(drop)
        }
        CatalogChange::Dimensioned { collection } => {
            let sql = "UPDATE collections SET dimensioned = 1 WHERE collection = ?1";
            connection.prepare_cached(sql)?.execute([key(*collection)]).map(drop)
        }
        CatalogChange::Reset => reset(connection),
    }
}

/// Returns the collection's stored spelling. It is the same as its lane's, so that the two can be joined.
fn key(collection: CollectionId) -> String {
    lane_name(LaneId::Records(collection))
}

fn database_created(connection: &Connection, scope: &Scope, id: Uuid) -> rusqlite::Result<()> {
    let sql = "INSERT INTO databases (tenant, database, database_id) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
    connection.prepare_cached(sql)?.execute(params![scope.tenant, scope.database, id.as_bytes()]).map(drop)
}

/// Deletes the rows of deleted collections whose deletion lies at or below `through`, because every instance has
/// executed it. Returns their lanes.
pub(super) fn forget_deleted(connection: &Connection, through: Seq) -> rusqlite::Result<Vec<String>> {
    let sql = "DELETE FROM collections WHERE deleted <= ?1 RETURNING collection";
    connection.prepare_cached(sql)?.query_map([number(through)], |row| row.get(0))?.collect()
}

/// Returns whether [`forget_deleted`] would delete any row.
pub(super) fn has_deleted(connection: &Connection, through: Seq) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM collections WHERE deleted <= ?1")?.exists([number(through)])
}

fn reset(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM collections")?.execute([])?;
    connection.prepare_cached("DELETE FROM databases")?.execute([])?;
    connection.prepare_cached("DELETE FROM tenants")?.execute([])?;
    // A Chroma server creates these two again by itself, with a database id of all zeros.
    connection.prepare_cached("INSERT INTO tenants (tenant) VALUES (?1)")?.execute([DEFAULT_TENANT])?;
    database_created(connection, &Scope::new(DEFAULT_TENANT, DEFAULT_DATABASE), Uuid::nil())
}
