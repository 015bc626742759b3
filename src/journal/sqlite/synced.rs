//! When a write was everywhere, recorded for operators as the last configured instance passes it.
//!
//! No rule uses this. Diverged instances count: what they lack is not everywhere. A lane's entries are visited once, by
//! index, from where its last instance was before to where the last one is now.

use rusqlite::{Connection, params};

use super::lanes;
use super::row::{number, seq};
use crate::clock::Timestamp;
use crate::ids::{LaneId, Seq};
use crate::journal::Fact;
use crate::journal::names::lane_name;

/// How far the last configured instance of each lane was.
pub(super) type LaneProgress = Vec<(String, Seq)>;

/// Returns the lanes that these facts concern, with how far the last configured instance is.
pub(super) fn places(connection: &Connection, facts: &[Fact]) -> rusqlite::Result<LaneProgress> {
    let mut moved: Vec<LaneId> = facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Progress { lane, .. } => Some(*lane),
            _ => None,
        })
        .collect();
    moved.sort_unstable();
    moved.dedup();
    let place = |lane| {
        let lane = lane_name(lane);
        lowest(connection, &lane).map(|place| (lane, place))
    };
    moved.into_iter().map(place).collect()
}

/// Records which entries every configured instance has now, but did not before.
pub(super) fn note(connection: &Connection, before: &LaneProgress, at: Timestamp) -> rusqlite::Result<()> {
    let sql = "UPDATE transactions SET synced_at = ?4 WHERE lane = ?1 AND seq > ?2 AND seq <= ?3 AND synced_at IS NULL";
    for (lane, before) in before {
        let now = lowest(connection, lane)?;
        if now > *before {
            connection.prepare_cached(sql)?.execute(params![lane, number(*before), number(now), at.millis()])?;
        }
    }
    Ok(())
}

/// Does the same for every lane, after the configured instances have changed.
pub(super) fn note_all(connection: &Connection, at: Timestamp) -> rusqlite::Result<()> {
    let lanes = lanes::with_transactions(connection)?;
    note(connection, &lanes.into_iter().map(|lane| (lane, Seq::ZERO)).collect(), at)
}

fn lowest(connection: &Connection, lane: &str) -> rusqlite::Result<Seq> {
    let sql = "SELECT coalesce(min(coalesce(through, 0)), 0) AS place FROM instances
        LEFT JOIN progress ON progress.instance = instances.instance AND lane = ?1
        WHERE position IS NOT NULL";
    connection.prepare_cached(sql)?.query_row([lane], |row| seq(row, "place"))
}
