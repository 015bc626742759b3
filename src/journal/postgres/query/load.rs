//! The snapshot from which an edge continues after a restart, read in one transaction.

use std::collections::{HashMap, HashSet};

use deadpool_postgres::Transaction;
use tokio_postgres::{IsolationLevel, Row};
use uuid::Uuid;

use super::read::failed;
use super::{lanes, quarantine};
use crate::ids::{InstanceCollectionId, InstanceName, LaneId, Scope};
use crate::journal::names::{Named, collection_named, lane_name, lane_named};
use crate::journal::postgres::codec::row::{self, get, parsed};
use crate::journal::postgres::codec::text;
use crate::journal::postgres::commit::fence::FOUND;
use crate::journal::postgres::connection::connect::Exclusive;
use crate::journal::progress::LaneProgress;
use crate::journal::{CollectionRow, EntryRow, ReadError, Snapshot};
use crate::order::Generation;

/// Returns the query for a lane's entries above its lowest progress, and its entries without a verdict at any position.
/// Each part uses its own index.
fn entries_sql() -> String {
    let columns = row::ENTRY;
    format!(
        "SELECT {columns} FROM unnest($1::text[], $2::bigint[]) AS l (lane, above)
        CROSS JOIN LATERAL (SELECT * FROM chroma_edge.transactions AS t WHERE t.lane = l.lane AND t.seq > l.above) AS t
        UNION ALL
        SELECT {columns} FROM chroma_edge.transactions AS t
        JOIN unnest($1::text[], $2::bigint[]) AS l (lane, above) ON t.lane = l.lane
        WHERE t.verdict IS NULL AND t.seq <= l.above
        ORDER BY seq"
    )
}

/// Reads everything needed to continue, except bodies.
pub(in crate::journal::postgres) async fn load(
    session: &mut Exclusive,
    configured: &[InstanceName],
) -> Result<Snapshot, ReadError> {
    let begun = session.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start();
    let moment = begun.await.map_err(failed)?;
    let found = rows(&moment, FOUND).await?;
    let found = found.first().ok_or_else(|| ReadError::new("the journal's row is missing"))?;
    let mut mappings = mappings(&rows(&moment, MAPPINGS).await?)?;
    let mut collections = Vec::new();
    let mut departed = Vec::new();
    for row in rows(&moment, COLLECTIONS).await? {
        let row = collection(&row, &mut mappings)?;
        if row.deleted.is_none() { collections.push(row) } else { departed.push(row) }
    }
    let open = rows(
        &moment,
        "SELECT DISTINCT lane FROM chroma_edge.transactions WHERE verdict IS NULL AND lane <> 'application'",
    )
    .await?;
    let lanes = living_lanes(&open, &collections)?;
    let mut places = lanes::places(&rows(&moment, lanes::PROGRESS).await?)?;
    places.retain(&lanes);
    let floors = rows(&moment, "SELECT lane, floor FROM chroma_edge.floors").await?;
    let floors = floors.iter().map(|row| Ok((row::lane(row)?, row::seq(row, "floor")?)));
    let mut floors = floors.collect::<Result<Vec<_>, ReadError>>()?;
    floors.retain(|(lane, _)| lanes.contains(lane));
    let mut quarantined = quarantine::loaded(&rows(&moment, quarantine::LOAD).await?)?;
    quarantined.retain(|(lane, ..)| lanes.contains(lane));
    let tenants = rows(&moment, "SELECT tenant FROM chroma_edge.tenants ORDER BY tenant").await?;
    let databases =
        rows(&moment, "SELECT tenant, database, database_id FROM chroma_edge.databases ORDER BY tenant, database")
            .await?;
    let marked = rows(&moment, "SELECT instance, generation FROM chroma_edge.markers ORDER BY instance").await?;
    Ok(Snapshot {
        journal_id: get(found, "journal_id")?,
        last: row::seq(found, "last_seq")?,
        floors,
        entries: entries(&moment, &lanes, &places, configured).await?,
        progress: places.into_rows(),
        quarantined,
        marked: marked.iter().map(marker).collect::<Result<_, _>>()?,
        tenants: tenants.iter().map(|row| row::text(row, "tenant")).collect::<Result<_, _>>()?,
        databases: databases
            .iter()
            .map(|row| Ok((scope(row)?, get(row, "database_id")?)))
            .collect::<Result<_, ReadError>>()?,
        collections,
        departed,
    })
}

fn marker(row: &Row) -> Result<(InstanceName, Generation), ReadError> {
    let generation = Generation::new(row::unsigned(row, "generation")?);
    Ok((InstanceName::new(&row::text(row, "instance")?), generation))
}

async fn rows(moment: &Transaction<'_>, sql: &str) -> Result<Vec<Row>, ReadError> {
    moment.query(sql, &[]).await.map_err(failed)
}

/// Returns the catalog lane, the lanes of existing collections, and those of deleted ones that have something to
/// settle.
fn living_lanes(open: &[Row], collections: &[CollectionRow]) -> Result<HashSet<LaneId>, ReadError> {
    let existing = collections.iter().map(|row| LaneId::Records(row.collection));
    let mut lanes: HashSet<LaneId> = existing.chain([LaneId::Catalog]).collect();
    for row in open {
        lanes.insert(parsed(row, "lane", lane_named)?);
    }
    Ok(lanes)
}

async fn entries(
    moment: &Transaction<'_>,
    lanes: &HashSet<LaneId>,
    places: &LaneProgress,
    configured: &[InstanceName],
) -> Result<Vec<EntryRow>, ReadError> {
    let names: Vec<String> = lanes.iter().map(|lane| lane_name(*lane)).collect();
    let above: Vec<i64> = lanes.iter().map(|lane| row::number(places.needed_above(*lane, configured))).collect();
    let rows = moment.query(&entries_sql(), &[&names, &above]).await;
    rows.map_err(failed)?.iter().map(row::entry).collect()
}

fn scope(row: &Row) -> Result<Scope, ReadError> {
    Ok(Scope { tenant: row::text(row, "tenant")?, database: row::text(row, "database")? })
}

type Mappings = HashMap<String, Vec<(InstanceName, InstanceCollectionId)>>;

const MAPPINGS: &str = "
    SELECT collection, instance, instance_collection_id FROM chroma_edge.collection_instances
    ORDER BY collection, instance";

fn mappings(rows: &[Row]) -> Result<Mappings, ReadError> {
    let mut mappings = Mappings::new();
    for row in rows {
        let id = get::<Uuid>(row, "instance_collection_id").map(InstanceCollectionId::new)?;
        mappings.entry(get(row, "collection")?).or_default().push((row::instance(row, "instance")?, id));
    }
    Ok(mappings)
}

const COLLECTIONS: &str = "
    SELECT collection, tenant, database, name, created, origin, dimensioned, deleted FROM chroma_edge.collections
    ORDER BY created, collection";

fn collection(row: &Row, mappings: &mut Mappings) -> Result<CollectionRow, ReadError> {
    let deleted: Option<i64> = get(row, "deleted")?;
    Ok(CollectionRow {
        collection: parsed(row, "collection", collection_named)?,
        scope: scope(row)?,
        name: text::read(get(row, "name")?),
        created: row::seq(row, "created")?,
        origin: parsed(row, "origin", Named::named)?,
        dimensioned: get(row, "dimensioned")?,
        deleted: deleted.map(|_| row::seq(row, "deleted")).transpose()?,
        mappings: mappings.remove(get::<&str>(row, "collection")?).unwrap_or_default(),
    })
}
