//! Retention's commit: removes finished transactions from the beginning of their lanes (rule R11).
//!
//! A lane is only shortened from its beginning, up to the first transaction that must stay. So its floor says
//! everything: at or below it nothing is left, above it nothing is missing. Only quarantined entries stay, for
//! operators.
//!
//! A reading connection looks for what may be removed, first among the oldest transactions, which costs the same
//! however many lanes there are. It looks at all lanes only if the oldest transactions must stay. The commit, which
//! blocks all other commits, only removes, after checking again how far the instances are in those lanes.

use rusqlite::{Connection, params};

use super::row::{count, number, seq};
use super::{application, catalog, lanes, quarantine};
use crate::clock::Timestamp;
use crate::ids::{InstanceName, LaneId, Seq};
use crate::journal::names::CATALOG;
use crate::journal::progress::LaneProgress;
use crate::journal::removal::OLDEST_FIRST;
use crate::journal::{Trimmed, Trimming};

/// What retention asks for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub before: Timestamp,
    pub configured: Vec<InstanceName>,
    pub why: Trimming,
    pub most: u32,
}

/// What one commit removes.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// By lane: the position up to which everything is removed, and how many transactions that is.
    ends: Vec<(String, Seq, u64)>,
    /// Lanes of which perhaps only progress and floors are left.
    empty: Vec<String>,
    /// Deleted collections are forgotten if their deletion lies at or below this.
    forget: Option<Seq>,
    /// Whether an entry is quarantined whose collection is gone.
    quarantines: bool,
    /// Whether some of the applications' own operations may be removed.
    application: bool,
}

impl Plan {
    /// Returns whether there is nothing to commit.
    pub(super) fn is_empty(&self) -> bool {
        let Plan { ends, empty, forget, quarantines, application } = self;
        ends.is_empty() && empty.is_empty() && forget.is_none() && !quarantines && !application
    }

    fn count(&self) -> u64 {
        self.ends.iter().map(|(_, _, count)| count).sum()
    }
}

/// Finds what may be removed.
pub(super) fn plan(connection: &mut Connection, asked: &Asked) -> rusqlite::Result<Plan> {
    let moment = connection.transaction()?;
    let mut plan = Plan::default();
    if !asked.why.is_of_applications() {
        let (oldest, are_all) = oldest(&moment, asked.before, u64::from(asked.most) + u64::from(OLDEST_FIRST))?;
        find_ends(&moment, asked, &oldest, &lanes::places_of(&moment, &oldest)?, &mut plan)?;
        if plan.ends.is_empty() && !are_all {
            find_ends(&moment, asked, &lanes::with_transactions(&moment)?, &lanes::places(&moment)?, &mut plan)?;
        }
        // From time to time, find lanes about which something was recorded after their last transaction was removed.
        if plan.ends.is_empty() && asked.why == Trimming::Age {
            plan.empty = lanes::empty(&moment, asked.most)?;
        }
    }
    plan.application =
        plan.count() < u64::from(asked.most) && application::may_go(&moment, asked.before, asked.why.above())?;
    let everywhere = lanes::places_of(&moment, &[CATALOG.to_owned()])?.everywhere(LaneId::Catalog, &asked.configured);
    if let Some(through) = everywhere
        && catalog::has_deleted(&moment, through)?
    {
        plan.forget = Some(through);
    }
    plan.quarantines = quarantine::has_gone(&moment)?;
    Ok(plan)
}

/// Adds what may be removed from these lanes, up to the number of transactions asked for.
fn find_ends(
    connection: &Connection,
    asked: &Asked,
    lanes: &[String],
    places: &LaneProgress,
    plan: &mut Plan,
) -> rusqlite::Result<()> {
    let mut left = u64::from(asked.most);
    for lane in lanes {
        if left == 0 {
            break;
        }
        let bound = places.trimmable(lane, lanes::is_open(connection, lane)?, &asked.configured, asked.why);
        let found = bound.map(|bound| end(connection, lane, bound, asked.before, left)).transpose()?.flatten();
        if let Some((end, count)) = found {
            left -= count;
            plan.ends.push((lane.clone(), end, count));
        }
    }
    Ok(())
}

/// Removes what was planned, but in no lane beyond the progress that its instances have now.
pub(super) fn carry_out(connection: &Connection, asked: &Asked, plan: &Plan) -> rusqlite::Result<Trimmed> {
    quarantine::forget_gone(connection)?;
    let mut trimmed = Trimmed::default();
    let mut empty = plan.empty.clone();
    for (lane, end, _) in &plan.ends {
        let places = lanes::places_of(connection, std::slice::from_ref(lane))?;
        let bound = places.trimmable(lane, lanes::is_open(connection, lane)?, &asked.configured, asked.why);
        let Some(end) = bound.map(|bound| bound.min(*end)) else { continue };
        trimmed.bytes += lanes::bytes_through(connection, lane, end)?;
        let sql = "DELETE FROM transactions WHERE lane = ?1 AND seq <= ?2
            AND seq NOT IN (SELECT seq FROM quarantines)";
        let removed = connection.prepare_cached(sql)?.execute(params![lane, number(end)])?;
        trimmed.transactions += u64::try_from(removed).unwrap_or(u64::MAX);
        lanes::raise_floor(connection, lane, end)?;
        empty.push(lane.clone());
    }
    let left = u64::from(asked.most).saturating_sub(trimmed.transactions);
    let application = application::trim(connection, asked.before, asked.why.above(), left)?;
    trimmed.transactions += application.transactions;
    trimmed.bytes += application.bytes;
    if let Some(through) = plan.forget {
        empty.extend(catalog::forget_deleted(connection, through)?);
    }
    lanes::forget_empty(connection, &empty)?;
    Ok(trimmed)
}

/// Returns the lanes of the oldest transactions created before `before`, the oldest first, and whether there are no
/// others.
fn oldest(connection: &Connection, before: Timestamp, most: u64) -> rusqlite::Result<(Vec<String>, bool)> {
    let sql = "SELECT lane FROM transactions INDEXED BY transactions_by_time
        WHERE created_at < ?1 AND kind <> 'application' ORDER BY created_at, seq LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![before.millis(), count(most)])?;
    let (mut lanes, mut known, mut found) = (Vec::new(), std::collections::HashSet::new(), 0);
    while let Some(row) = rows.next()? {
        found += 1;
        let lane: String = row.get("lane")?;
        if known.insert(lane.clone()) {
            lanes.push(lane);
        }
    }
    Ok((lanes, found < most))
}

/// Returns the last transaction at the lane's beginning that may be removed, and how many may be. Looks at no more than
/// `most`.
fn end(
    connection: &Connection,
    lane: &str,
    bound: Seq,
    before: Timestamp,
    most: u64,
) -> rusqlite::Result<Option<(Seq, u64)>> {
    // A quarantined entry whose collection is gone is forgotten in the same commit.
    let sql = "SELECT seq, verdict IS NOT NULL AND coalesce(completed_at < ?3, 0) AS may_go
        FROM transactions WHERE lane = ?1 AND seq <= ?2 AND seq NOT IN (
            SELECT q.seq FROM quarantines AS q WHERE q.lane = 'catalog'
                OR EXISTS (SELECT 1 FROM collections AS c WHERE c.collection = q.lane AND c.deleted IS NULL))
        ORDER BY seq LIMIT ?4";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![lane, number(bound), before.millis(), count(most)])?;
    let mut end = None;
    let mut found = 0;
    while let Some(row) = rows.next()? {
        if !row.get::<_, bool>("may_go")? {
            break;
        }
        found += 1;
        end = Some((seq(row, "seq")?, found));
    }
    Ok(end)
}
