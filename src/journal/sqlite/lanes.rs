//! How far the configured instances are in each lane: what `load` starts from and what retention asks.
//!
//! An instance that is not configured counts for nothing. A configured one without a row has not begun.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::row::{count, number, unsigned};
use crate::ids::{InstanceName, LaneId, Seq};
use crate::journal::names::{APPLICATION, lane_named};
use crate::journal::types::ROW_BYTES;
use crate::journal::{HeldLane, HeldPlace, ProgressRow, Standing};
use crate::order::Step;

/// Whether other instances are configured than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Configured {
    AsBefore,
    Changed,
}

/// Notes which instances are configured, in order. One that is no more keeps its row, without a place.
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

/// The lanes that take new entries and have transactions, with every configured instance's place.
pub(super) fn held(connection: &mut Connection, configured: &[InstanceName]) -> rusqlite::Result<Vec<HeldLane>> {
    let moment = connection.transaction()?;
    let progress = progress(&moment)?;
    let mut held = Vec::new();
    for name in with_transactions(&moment)? {
        let Ok(lane) = lane_named(&name) else { continue };
        if !is_open(&moment, &name)? {
            continue;
        }
        let rows = progress.get(&lane).map_or(&[][..], Vec::as_slice);
        let place = |instance: &InstanceName| {
            let row = rows.iter().find(|row| row.instance == *instance);
            let through = row.map_or(Seq::ZERO, |row| row.through);
            let in_step = row.is_none_or(|row| row.standing == Standing::InStep);
            Ok(HeldPlace {
                instance: instance.clone(),
                through,
                bytes_through: bytes_through(&moment, &name, through)?,
                step: if in_step { Step::In } else { Step::Diverged },
            })
        };
        held.push(HeldLane { lane, places: configured.iter().map(place).collect::<rusqlite::Result<_>>()? });
    }
    Ok(held)
}

/// About what the lane's transactions at or below `through` take.
pub(super) fn bytes_through(connection: &Connection, lane: &str, through: Seq) -> rusqlite::Result<u64> {
    let sql = "SELECT coalesce(sum(bytes + coalesce(length(answer_body), 0) + ?3), 0) AS bytes
        FROM transactions WHERE lane = ?1 AND seq <= ?2";
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_row(params![lane, number(through), count(ROW_BYTES)], |row| unsigned(row, "bytes"))
}
