//! Retention's one commit: removes finished transactions from the beginning of their lanes (rule R11).
//!
//! A lane is only ever shortened from its beginning, up to the first transaction that must stay, so that a floor says
//! it all: at or below it nothing is left, above it nothing is missing. Only what is quarantined stays, for operators.

use rusqlite::{Connection, params};

use super::row::{number, seq};
use super::{lanes, quarantine};
use crate::clock::Timestamp;
use crate::ids::{InstanceName, LaneId, Seq};
use crate::journal::{Trimmed, Trimming};

/// Removes up to `most` transactions.
pub(super) fn trim(
    connection: &Connection,
    before: Timestamp,
    configured: &[InstanceName],
    why: Trimming,
    most: u32,
) -> rusqlite::Result<Trimmed> {
    quarantine::forget_gone(connection)?;
    let places = lanes::places(connection)?;
    let mut trimmed = Trimmed::default();
    for lane in lanes::with_transactions(connection)? {
        let left = u64::from(most).saturating_sub(trimmed.transactions);
        if left == 0 {
            break;
        }
        let bound = places.trimmable(&lane, lanes::is_open(connection, &lane)?, configured, why);
        if let Some(end) = bound.map(|bound| end(connection, &lane, bound, before, left)).transpose()?.flatten() {
            trimmed.bytes += lanes::bytes_through(connection, &lane, end)?;
            let sql = "DELETE FROM transactions WHERE lane = ?1 AND seq <= ?2
                AND seq NOT IN (SELECT seq FROM quarantines)";
            let removed = connection.prepare_cached(sql)?.execute(params![lane, number(end)])?;
            trimmed.transactions += u64::try_from(removed).unwrap_or(u64::MAX);
            lanes::raise_floor(connection, &lane, end)?;
        }
    }
    let left = u64::from(most).saturating_sub(trimmed.transactions);
    let application = super::application::trim(connection, before, left)?;
    trimmed.transactions += application.transactions;
    trimmed.bytes += application.bytes;
    if let Some(through) = places.everywhere(LaneId::Catalog, configured) {
        super::catalog::forget_deleted(connection, through)?;
    }
    forget_lanes(connection)?;
    Ok(trimmed)
}

/// The last transaction of the lane's beginning that may go, looking at no more than `most` of them.
fn end(connection: &Connection, lane: &str, bound: Seq, before: Timestamp, most: u64) -> rusqlite::Result<Option<Seq>> {
    let sql = "SELECT seq, verdict IS NOT NULL AND coalesce(completed_at < ?3, 0) AS may_go
        FROM transactions WHERE lane = ?1 AND seq <= ?2 AND seq NOT IN (SELECT seq FROM quarantines)
        ORDER BY seq LIMIT ?4";
    let mut statement = connection.prepare_cached(sql)?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![lane, number(bound), before.millis(), most])?;
    let mut end = None;
    while let Some(row) = rows.next()? {
        if !row.get::<_, bool>("may_go")? {
            break;
        }
        end = Some(seq(row, "seq")?);
    }
    Ok(end)
}

/// Forgets the progress and the floors of lanes whose collection is gone and of which nothing is left.
fn forget_lanes(connection: &Connection) -> rusqlite::Result<()> {
    for table in ["progress", "floors"] {
        let sql = format!(
            "DELETE FROM {table} WHERE lane <> 'catalog'
                AND NOT EXISTS (SELECT 1 FROM collections WHERE collection = {table}.lane AND deleted IS NULL)
                AND NOT EXISTS (SELECT 1 FROM transactions WHERE transactions.lane = {table}.lane)"
        );
        connection.prepare_cached(&sql)?.execute([])?;
    }
    Ok(())
}
