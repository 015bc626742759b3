//! Entries that are quarantined and not lifted (rule R13): retention keeps these transactions.
//!
//! An entry is added in the same commit as its verdict, and removed when it is lifted or with its collection.

use rusqlite::{Connection, params};

use super::row::{self, number};
use crate::ids::{LaneId, Seq};
use crate::journal::QuarantineRow;
use crate::journal::names::lane_named;
use crate::order::RequestClass;

/// Adds an entry that has just become quarantined.
pub(super) fn add(connection: &Connection, seq: Seq) -> rusqlite::Result<()> {
    let sql = "INSERT INTO quarantines (seq, lane) SELECT seq, lane FROM transactions WHERE seq = ?1
        ON CONFLICT DO NOTHING";
    connection.prepare_cached(sql)?.execute([number(seq)]).map(drop)
}

pub(super) fn lift(connection: &Connection, seq: Seq) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM quarantines WHERE seq = ?1")?.execute([number(seq)]).map(drop)
}

/// Binds the entry to an instance, or to none.
pub(super) fn suspect(connection: &Connection, seq: Seq, on: Option<&str>) -> rusqlite::Result<()> {
    let sql = "UPDATE transactions SET suspect_on = ?2 WHERE seq = ?1";
    connection.prepare_cached(sql)?.execute(params![number(seq), on]).map(drop)
}

const GONE: &str = "FROM quarantines WHERE lane <> 'catalog'
    AND NOT EXISTS (SELECT 1 FROM collections WHERE collection = quarantines.lane AND deleted IS NULL)";

/// Deletes the rows of entries in lanes that are gone: nothing will be executed there.
pub(super) fn forget_gone(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare_cached(&format!("DELETE {GONE}"))?.execute([]).map(drop)
}

/// Returns whether [`forget_gone`] would delete any row.
pub(super) fn has_gone(connection: &Connection) -> rusqlite::Result<bool> {
    connection.prepare_cached(&format!("SELECT 1 {GONE}"))?.exists([])
}

/// Returns all quarantined entries with their lanes, in the order of the journal.
pub(super) fn load(connection: &Connection) -> rusqlite::Result<Vec<(LaneId, Seq, RequestClass)>> {
    let mut statement = connection.prepare(
        "SELECT seq, q.lane AS lane, kind, conditions FROM quarantines AS q JOIN transactions USING (seq) ORDER BY seq",
    )?;
    let read = |found: &rusqlite::Row<'_>| {
        Ok((row::parsed(found, "lane", lane_named)?, row::seq(found, "seq")?, row::class(found)?))
    };
    statement.query_map([], read)?.collect()
}

/// Returns the quarantined entries whose lane still exists, for operators, the oldest first.
pub(super) fn list(connection: &Connection) -> rusqlite::Result<Vec<QuarantineRow>> {
    let columns = row::LISTED;
    let sql = format!(
        "SELECT {columns}, conditions FROM transactions WHERE seq IN (SELECT seq FROM quarantines)
            AND (lane = 'catalog' OR EXISTS (SELECT 1 FROM collections WHERE collection = lane AND deleted IS NULL))
        ORDER BY seq"
    );
    let mut statement = connection.prepare(&sql)?;
    let read = |found: &rusqlite::Row<'_>| {
        Ok(QuarantineRow { transaction: row::transaction(found)?, conditions: row::conditions(found)? })
    };
    statement.query_map([], read)?.collect()
}
