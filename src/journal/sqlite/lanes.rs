//! The lanes as they are stored: which lanes exist, how far instances are in them, and how many bytes they hold.

use rusqlite::{Connection, params};

use super::row::{count, number, unsigned};
use crate::ids::{InstanceName, LaneId, Seq};
use crate::journal::HeldLane;
use crate::journal::ROW_BYTES;
use crate::journal::names::{APPLICATION, lane_named};
use crate::journal::progress::LaneProgress;

/// The condition that the collection of the lane of `known` is gone, and the lane has no transactions left.
const IS_EMPTY: &str = "known.lane <> 'catalog'
    AND NOT EXISTS (SELECT 1 FROM collections WHERE collection = known.lane AND deleted IS NULL)
    AND NOT EXISTS (SELECT 1 FROM transactions WHERE transactions.lane = known.lane)";

/// Whether the configured instances are the same as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Configured {
    AsBefore,
    Changed,
}

/// Records which instances are configured, in order. An instance that is no longer configured keeps its row, without a
/// position.
pub(super) fn note_configured(connection: &Connection, configured: &[InstanceName]) -> rusqlite::Result<Configured> {
    let before: Vec<String> = connection
        .prepare("SELECT instance FROM instances WHERE position IS NOT NULL ORDER BY position")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    if before.iter().map(String::as_str).eq(configured.iter().map(InstanceName::as_str)) {
        return Ok(Configured::AsBefore);
    }
    connection.execute("UPDATE instances SET position = NULL", [])?;
    let sql = "INSERT INTO instances (instance, position) VALUES (?1, ?2)
        ON CONFLICT (instance) DO UPDATE SET position = excluded.position";
    let mut statement = connection.prepare_cached(sql)?;
    for (position, instance) in (0_i64..).zip(configured) {
        statement.execute(params![instance.as_str(), position])?;
    }
    Ok(Configured::Changed)
}

/// Returns all stored progress rows.
pub(super) fn places(connection: &Connection) -> rusqlite::Result<LaneProgress> {
    let mut statement = connection.prepare_cached("SELECT lane, instance, through, standing, reason FROM progress")?;
    statement.query_map([], super::row::progress)?.collect()
}

/// Returns the stored progress rows of these lanes.
pub(super) fn places_of(connection: &Connection, lanes: &[String]) -> rusqlite::Result<LaneProgress> {
    let sql = "SELECT lane, instance, through, standing, reason FROM progress WHERE lane = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = Vec::new();
    for lane in lanes {
        for row in statement.query_map([lane], super::row::progress)? {
            rows.push(row?);
        }
    }
    Ok(rows.into_iter().collect())
}

/// Returns up to `most` lanes that have progress or a floor, but neither a collection nor transactions.
pub(super) fn empty(connection: &Connection, most: u32) -> rusqlite::Result<Vec<String>> {
    let sql = format!(
        "SELECT lane FROM (SELECT lane FROM progress UNION SELECT lane FROM floors) AS known WHERE {IS_EMPTY} LIMIT ?1"
    );
    connection.prepare_cached(&sql)?.query_map([most], |row| row.get(0))?.collect()
}

/// Deletes the progress and the floors of those of these lanes whose collection is gone and that have no transactions.
pub(super) fn forget_empty(connection: &Connection, lanes: &[String]) -> rusqlite::Result<()> {
    for table in ["progress", "floors"] {
        let sql = format!("DELETE FROM {table} AS known WHERE lane = ?1 AND {IS_EMPTY}");
        let mut statement = connection.prepare_cached(&sql)?;
        for lane in lanes {
            statement.execute([lane])?;
        }
    }
    Ok(())
}

/// Returns whether the lane takes new entries, as the catalog lane and the lanes of existing collections do.
pub(super) fn is_open(connection: &Connection, lane: &str) -> rusqlite::Result<bool> {
    if lane_named(lane) == Ok(LaneId::Catalog) {
        return Ok(true);
    }
    connection.prepare_cached("SELECT 1 FROM collections WHERE collection = ?1 AND deleted IS NULL")?.exists([lane])
}

/// Returns every lane that has transactions. An application's own operations are in no lane.
pub(super) fn with_transactions(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    // One index lookup per lane, however many transactions a lane has.
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

pub(super) fn raise_floor(connection: &Connection, lane: &str, floor: Seq) -> rusqlite::Result<()> {
    let sql = "INSERT INTO floors (lane, floor) VALUES (?1, ?2)
        ON CONFLICT (lane) DO UPDATE SET floor = max(floor, excluded.floor)";
    connection.prepare_cached(sql)?.execute(params![lane, number(floor)]).map(drop)
}

/// Returns the lanes that take new entries and have transactions, with every configured instance's progress.
pub(super) fn held(connection: &mut Connection, configured: &[InstanceName]) -> rusqlite::Result<Vec<HeldLane>> {
    let moment = connection.transaction()?;
    let places = places(&moment)?;
    let mut held = Vec::new();
    for name in with_transactions(&moment)? {
        let Ok(lane) = lane_named(&name) else { continue };
        if !is_open(&moment, &name)? {
            continue;
        }
        let mut places = places.held(lane, configured);
        for place in &mut places {
            place.bytes_through = bytes_through(&moment, &name, place.through)?;
        }
        held.push(HeldLane { lane, places });
    }
    Ok(held)
}

/// Returns approximately how many bytes the lane's transactions at or below `through` take.
pub(super) fn bytes_through(connection: &Connection, lane: &str, through: Seq) -> rusqlite::Result<u64> {
    let sql = "SELECT coalesce(sum(bytes + coalesce(length(answer_body), 0) + ?3), 0) AS bytes
        FROM transactions WHERE lane = ?1 AND seq <= ?2";
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_row(params![lane, number(through), count(ROW_BYTES)], |row| unsigned(row, "bytes"))
}
