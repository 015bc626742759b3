//! Faults of the board. They are written on a connection of their own: the process is about to end, and the writer's
//! thread may be blocked, or may itself wait for the board.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, params};

use super::open;
use super::row::{parsed, unsigned};
use crate::clock::Timestamp;
use crate::ids::LaneId;
use crate::journal::Fault;
use crate::journal::fault::{IN_A_ROW, stored_reason};
use crate::journal::names::{lane_name, lane_named};

/// How long to wait for a lock that the writer holds.
const PATIENCE: Duration = Duration::from_secs(1);

const NOTE: &str = "
    INSERT INTO faults (lane, times, at, reason) VALUES (?1, 1, ?2, ?3)
    ON CONFLICT (lane) DO UPDATE SET
        times = CASE WHEN excluded.at - at > ?4 THEN 1 ELSE times + 1 END, at = excluded.at, reason = excluded.reason";

/// Counts one more fault of the lane.
pub(super) fn note(path: &Path, lane: LaneId, reason: &str, at: Timestamp) -> rusqlite::Result<()> {
    let row = i64::try_from(IN_A_ROW.as_millis()).unwrap_or(i64::MAX);
    let values = params![lane_name(lane), at.millis(), stored_reason(reason), row];
    open::writer_again(path, PATIENCE)?.execute(NOTE, values).map(drop)
}

/// Forgets the lane's faults.
pub(super) fn forget(path: &Path, lane: LaneId) -> rusqlite::Result<()> {
    open::writer_again(path, PATIENCE)?.execute("DELETE FROM faults WHERE lane = ?1", [lane_name(lane)]).map(drop)
}

/// Returns every lane that has faults.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<Fault>> {
    let mut statement = connection.prepare_cached("SELECT lane, times, at, reason FROM faults ORDER BY lane")?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Fault {
            lane: parsed(row, "lane", lane_named)?,
            times: unsigned(row, "times")?,
            at: Timestamp::from_millis(row.get("at")?),
            reason: row.get("reason")?,
        })
    };
    statement.query_map([], read)?.collect()
}
