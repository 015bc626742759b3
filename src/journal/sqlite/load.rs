//! The snapshot from which an edge goes on after a restart. It is read in one transaction, so it shows one moment of
//! the journal.

use std::collections::HashSet;

use rusqlite::{Connection, params};
use uuid::Uuid;

use super::{lanes, quarantine, row};
use crate::ids::{InstanceCollectionId, InstanceName, LaneId, Scope, Seq};
use crate::journal::names::{Named, collection_named, lane_name, lane_named};
use crate::journal::progress::LaneProgress;
use crate::journal::{CollectionRow, EntryRow, Snapshot};
use crate::order::Generation;

/// Reads everything needed to go on, except bodies.
pub(super) fn load(connection: &mut Connection, configured: &[InstanceName]) -> rusqlite::Result<Snapshot> {
    let moment = connection.transaction()?;
    let journal_id = moment.query_row("SELECT journal_id FROM meta", [], |row| row.get(0).map(Uuid::from_bytes))?;
    let collections = collections(&moment, "deleted IS NULL")?;
    let departed = self::collections(&moment, "deleted IS NOT NULL")?;
    let lanes = living_lanes(&moment, &collections)?;
    let mut places = lanes::places(&moment)?;
    places.retain(&lanes);
    let mut floors = floors(&moment)?;
    floors.retain(|(lane, _)| lanes.contains(lane));
    let mut quarantined = quarantine::load(&moment)?;
    quarantined.retain(|(lane, ..)| lanes.contains(lane));
    Ok(Snapshot {
        journal_id,
        last: super::append::last(&moment)?,
        floors,
        entries: entries(&moment, &lanes, &places, configured)?,
        progress: places.into_rows(),
        quarantined,
        marked: marked(&moment)?,
        tenants: tenants(&moment)?,
        databases: databases(&moment)?,
        collections,
        departed,
    })
}

/// Returns the catalog lane, the lanes of existing collections, and lanes of deleted ones that have unsettled entries.
fn living_lanes(connection: &Connection, collections: &[CollectionRow]) -> rusqlite::Result<HashSet<LaneId>> {
    let existing = collections.iter().map(|row| LaneId::Records(row.collection));
    let mut lanes: HashSet<LaneId> = existing.chain([LaneId::Catalog]).collect();
    let mut statement = connection
        .prepare_cached("SELECT DISTINCT lane FROM transactions WHERE verdict IS NULL AND lane <> 'application'")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        lanes.insert(row::parsed(row, "lane", lane_named)?);
    }
    Ok(lanes)
}

fn entries(
    connection: &Connection,
    lanes: &HashSet<LaneId>,
    places: &LaneProgress,
    configured: &[InstanceName],
) -> rusqlite::Result<Vec<EntryRow>> {
    // Each part uses its index, so that nothing is read of a lane that every instance has.
    let columns = row::ENTRY;
    let sql = format!(
        "SELECT {columns} FROM transactions INDEXED BY transactions_by_lane WHERE lane = ?1 AND seq > ?2
        UNION ALL
        SELECT {columns} FROM transactions INDEXED BY transactions_unsettled
            WHERE lane = ?1 AND seq <= ?2 AND verdict IS NULL"
    );
    let mut statement = connection.prepare(&sql)?;
    let mut entries = Vec::new();
    for lane in lanes {
        let above = places.needed_above(*lane, configured);
        for entry in statement.query_map(params![lane_name(*lane), row::number(above)], row::entry)? {
            entries.push(entry?);
        }
    }
    entries.sort_unstable_by_key(|entry| entry.seq);
    Ok(entries)
}

fn floors(connection: &Connection) -> rusqlite::Result<Vec<(LaneId, Seq)>> {
    let mut statement = connection.prepare("SELECT lane, floor FROM floors")?;
    let read = |row: &rusqlite::Row<'_>| Ok((row::parsed(row, "lane", lane_named)?, row::seq(row, "floor")?));
    statement.query_map([], read)?.collect()
}

fn marked(connection: &Connection) -> rusqlite::Result<Vec<(InstanceName, Generation)>> {
    let mut statement = connection.prepare("SELECT instance, generation FROM markers ORDER BY instance")?;
    let read = |row: &rusqlite::Row<'_>| {
        let instance: String = row.get("instance")?;
        Ok((InstanceName::new(&instance), Generation::new(row::unsigned(row, "generation")?)))
    };
    statement.query_map([], read)?.collect()
}

fn tenants(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection.prepare("SELECT tenant FROM tenants ORDER BY tenant")?.query_map([], |row| row.get(0))?.collect()
}

fn scope(row: &rusqlite::Row<'_>) -> rusqlite::Result<Scope> {
    Ok(Scope { tenant: row.get("tenant")?, database: row.get("database")? })
}

fn databases(connection: &Connection) -> rusqlite::Result<Vec<(Scope, Uuid)>> {
    let sql = "SELECT tenant, database, database_id FROM databases ORDER BY tenant, database";
    let read = |row: &rusqlite::Row<'_>| Ok((scope(row)?, row::uuid(row, "database_id")?));
    connection.prepare(sql)?.query_map([], read)?.collect()
}

fn collections(connection: &Connection, which: &str) -> rusqlite::Result<Vec<CollectionRow>> {
    let mut mapped = connection
        .prepare("SELECT instance, instance_collection_id FROM collection_instances WHERE collection = ?1")?;
    let mapping = |row: &rusqlite::Row<'_>| {
        let instance: String = row.get("instance")?;
        let id = row::uuid(row, "instance_collection_id")?;
        Ok((InstanceName::new(&instance), InstanceCollectionId::new(id)))
    };
    let mut statement =
        connection.prepare(&format!("SELECT * FROM collections WHERE {which} ORDER BY created, collection"))?;
    let mut rows = statement.query([])?;
    let mut collections = Vec::new();
    while let Some(row) = rows.next()? {
        let key: String = row.get("collection")?;
        collections.push(CollectionRow {
            collection: row::parsed(row, "collection", collection_named)?,
            scope: scope(row)?,
            name: row.get("name")?,
            created: row::seq(row, "created")?,
            origin: row::parsed(row, "origin", Named::named)?,
            dimensioned: row.get("dimensioned")?,
            deleted: row.get::<_, Option<i64>>("deleted")?.map(|_| row::seq(row, "deleted")).transpose()?,
            mappings: mapped.query_map([&key], mapping)?.collect::<rusqlite::Result<_>>()?,
        });
    }
    Ok(collections)
}
