//! How far the configured instances are in each lane: what `load` starts from and what retention asks.
//!
//! An instance that is not configured counts for nothing. A configured one without a row has not begun.

use std::collections::HashMap;

use tokio_postgres::Row;

use super::pipeline::{Query, query};
use super::row::{self, get, parsed};
use super::text;
use crate::clock::Timestamp;
use crate::ids::{InstanceName, LaneId, Seq};
use crate::journal::names::standing_named;
use crate::journal::{ProgressRow, ReadError, Standing};

/// What the instances that stay have had all along, while one that goes held it back.
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

/// Notes which instances are configured, in order. One that is no more keeps its row, without a place.
pub(super) fn note_configured<'a>(configured: &'a [InstanceName], at: Timestamp, queries: &mut Vec<Query<'a>>) {
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

/// The columns that [`progress`] reads, of every row.
pub(super) const PROGRESS: &str = "SELECT lane, instance, through, standing, reason FROM chroma_edge.progress";

/// Stored progress rows, by lane.
pub(super) fn progress(rows: &[Row]) -> Result<HashMap<LaneId, Vec<ProgressRow>>, ReadError> {
    let mut progress: HashMap<LaneId, Vec<ProgressRow>> = HashMap::new();
    for row in rows {
        let lane = row::lane(row)?;
        let reason: Option<String> = get::<Option<String>>(row, "reason")?.map(text::read);
        progress.entry(lane).or_default().push(ProgressRow {
            lane,
            instance: row::instance(row, "instance")?,
            through: row::seq(row, "through")?,
            standing: parsed(row, "standing", |text| standing_named(text, reason.clone()))?,
        });
    }
    Ok(progress)
}

/// Whom a lane's place is asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holders {
    /// In-step instances; `None` comes back when there is none.
    InStep,
    /// Every configured instance, diverged or not.
    All,
}

/// How many of the configured instances are in step in a lane with these rows.
pub(super) fn in_step(rows: &[ProgressRow], configured: &[InstanceName]) -> usize {
    let diverged = |instance: &&InstanceName| {
        rows.iter().any(|row| row.instance == **instance && row.standing != Standing::InStep)
    };
    configured.iter().filter(|instance| !diverged(instance)).count()
}

/// The lowest place of the configured instances in a lane with these rows.
pub(super) fn lowest(rows: &[ProgressRow], configured: &[InstanceName], holders: Holders) -> Option<Seq> {
    let place = |instance: &InstanceName| match rows.iter().find(|row| row.instance == *instance) {
        None => Some(Seq::ZERO),
        Some(row) if holders == Holders::InStep && row.standing != Standing::InStep => None,
        Some(row) => Some(row.through),
    };
    configured.iter().filter_map(place).min()
}
