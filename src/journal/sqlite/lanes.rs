//! How far the configured instances are in each lane: what `load` starts from and what retention asks.
//!
//! An instance that is not configured counts for nothing. A configured one without a row has not begun.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::row::number;
use crate::ids::{InstanceName, LaneId, Seq};
use crate::journal::names::{APPLICATION, lane_named};
use crate::journal::{ProgressRow, Standing};

/// Notes which instances are configured, in order. One that is no more keeps its row, without a place.
pub(super) fn note_configured(connection: &Connection, configured: &[InstanceName]) -> rusqlite::Result<()> {
    connection.execute("UPDATE instances SET position = NULL", [])?;
    let sql = "INSERT INTO instances (instance, position) VALUES (?1, ?2)
        ON CONFLICT (instance) DO UPDATE SET position = excluded.position";
    let mut statement = connection.prepare_cached(sql)?;
    for (position, instance) in (0_i64..).zip(configured) {
        statement.execute(params![instance.as_str(), position])?;
    }
    Ok(())
}

/// Every stored progress row, by lane.
pub(super) fn progress(connection: &Connection) -> rusqlite::Result<HashMap<LaneId, Vec<ProgressRow>>> {
    let mut statement = connection.prepare_cached("SELECT lane, instance, through, standing, reason FROM progress")?;
    let mut rows = statement.query([])?;
    let mut progress: HashMap<LaneId, Vec<ProgressRow>> = HashMap::new();
    while let Some(row) = rows.next()? {
        let row = super::row::progress(row)?;
        progress.entry(row.lane).or_default().push(row);
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

/// The lowest place of the configured instances in a lane with these rows.
pub(super) fn lowest(rows: &[ProgressRow], configured: &[InstanceName], holders: Holders) -> Option<Seq> {
    let place = |instance: &InstanceName| match rows.iter().find(|row| row.instance == *instance) {
        None => Some(Seq::ZERO),
        Some(row) if holders == Holders::InStep && row.standing != Standing::InStep => None,
        Some(row) => Some(row.through),
    };
    configured.iter().filter_map(place).min()
}

/// Whether the lane takes new entries: the catalog lane, and the lanes of existing collections.
pub(super) fn is_open(connection: &Connection, lane: &str) -> rusqlite::Result<bool> {
    if lane_named(lane) == Ok(LaneId::Catalog) {
        return Ok(true);
    }
    connection.prepare_cached("SELECT 1 FROM collections WHERE collection = ?1 AND deleted IS NULL")?.exists([lane])
}

/// Every lane that has transactions. An application's own are in none.
pub(super) fn with_transactions(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    // One step of the index per lane, however many transactions a lane has.
    let mut next = connection.prepare_cached("SELECT min(lane) FROM transactions WHERE lane > ?1")?;
    let mut lanes: Vec<String> = Vec::new();
    loop {
        let after = lanes.last().map_or("", String::as_str);
        match next.query_row([after], |row| row.get::<_, Option<String>>(0))? {
            Some(lane) => lanes.push(lane),
            None => {
                lanes.retain(|lane| lane != APPLICATION);
                return Ok(lanes);
            }
        }
    }
}

/// Raises the lane's floor.
pub(super) fn raise_floor(connection: &Connection, lane: &str, floor: Seq) -> rusqlite::Result<()> {
    let sql = "INSERT INTO floors (lane, floor) VALUES (?1, ?2)
        ON CONFLICT (lane) DO UPDATE SET floor = max(floor, excluded.floor)";
    connection.prepare_cached(sql)?.execute(params![lane, number(floor)]).map(drop)
}
