//! The stored configuration of instances, and how far they are in each lane.

use tokio_postgres::Row;

use crate::clock::Timestamp;
use crate::ids::InstanceName;
use crate::journal::names::Named;
use crate::journal::postgres::codec::row::{self, get, parsed};
use crate::journal::postgres::codec::text;
use crate::journal::postgres::connection::pipeline::{Query, query};
use crate::journal::progress::LaneProgress;
use crate::journal::{ProgressRow, ReadError};
use crate::order::LaneState;

/// Marks as synced the transactions that all remaining instances have, and that only a removed instance held back.
const LEFT_BEHIND: &str = "
    WITH places AS (
        SELECT l.lane, (SELECT min(coalesce(p.through, 0)) FROM unnest($1::text[]) AS i (instance)
            LEFT JOIN chroma_edge.progress AS p ON p.lane = l.lane AND p.instance = i.instance) AS lowest
        FROM (SELECT DISTINCT lane FROM chroma_edge.progress) AS l
        WHERE EXISTS (SELECT FROM chroma_edge.instances AS i
            WHERE i.position IS NOT NULL AND i.instance <> ALL ($1::text[]))
    )
    UPDATE chroma_edge.transactions AS t SET synced_at = $2 FROM places AS p
    WHERE t.lane = p.lane AND t.seq <= p.lowest AND t.synced_at IS NULL";

/// Records which instances are configured, in order. An instance that is no longer configured keeps its row, without a
/// position.
pub(in crate::journal::postgres) fn note_configured<'a>(
    configured: &'a [InstanceName],
    at: Timestamp,
    queries: &mut Vec<Query<'a>>,
) {
    let names: Vec<&str> = configured.iter().map(InstanceName::as_str).collect();
    queries.push(query!(LEFT_BEHIND, names.clone(), row::time(at)));
    queries.push(query!(
        "UPDATE chroma_edge.instances SET position = NULL WHERE instance <> ALL ($1::text[])",
        names.clone()
    ));
    queries.push(query!(
        "INSERT INTO chroma_edge.instances (instance, position)
        SELECT name, place - 1 FROM unnest($1::text[]) WITH ORDINALITY AS i (name, place)
        ON CONFLICT (instance) DO UPDATE SET position = excluded.position",
        names
    ));
}

/// The query for all rows that [`progress`] reads.
pub(in crate::journal::postgres) const PROGRESS: &str =
    "SELECT lane, instance, through, standing, reason FROM chroma_edge.progress";

/// Reads a row of [`PROGRESS`].
pub(in crate::journal::postgres) fn progress(row: &Row) -> Result<ProgressRow, ReadError> {
    Ok(ProgressRow {
        lane: row::lane(row)?,
        instance: row::instance(row, "instance")?,
        through: row::seq(row, "through")?,
        state: parsed(row, "standing", LaneState::named)?,
        reason: get::<Option<String>>(row, "reason")?.map(text::read),
    })
}

/// Reads stored progress rows.
pub(in crate::journal::postgres) fn places(rows: &[Row]) -> Result<LaneProgress, ReadError> {
    rows.iter().map(progress).collect()
}
