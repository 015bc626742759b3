//! Retention's one commit: removes finished transactions from the beginning of their lanes (rule R11).
//!
//! A lane is only ever shortened from its beginning, up to the first transaction that must stay. One floor therefore
//! describes it: nothing is left at or below the floor, and nothing is missing above it. A read connection looks for
//! removable transactions, among the oldest first, which costs the same however many lanes there are. All lanes are
//! examined only if none of the oldest transactions can be removed. The commit holds up all other commits, so it only
//! removes, and checks once more how far the instances are in those lanes.

use tokio_postgres::Row;

use super::codec::row::{self, count, get, number, time};
use super::connection::connect::Exclusive;
use super::connection::pipeline::{Query, query};
use super::query::lanes;
use super::query::read::failed;
use crate::clock::Timestamp;
use crate::ids::{InstanceName, LaneId};
use crate::journal::names::CATALOG;
use crate::journal::progress::LaneProgress;
use crate::journal::removal::OLDEST_FIRST;
use crate::journal::{ReadError, Trimmed, Trimming};

/// The most lanes that one statement examines.
const LANES: usize = 64;

/// What one commit removes.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// For each lane, the last position to remove.
    ends: Vec<(String, i64)>,
    /// Lanes that may have nothing left but progress and floors.
    empty: Vec<String>,
    /// Collections that were deleted at or below this position are forgotten.
    forget: Option<i64>,
    /// Whether there are quarantines whose collection is gone.
    quarantines: bool,
    /// Which application operations are removed.
    application: Option<ApplicationPart>,
}

/// At most `most` operations that ended before `before`, of clients whose operations take more than `above` bytes.
#[derive(Debug)]
struct ApplicationPart {
    before: std::time::SystemTime,
    above: i64,
    most: i64,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
            && self.empty.is_empty()
            && self.forget.is_none()
            && self.application.is_none()
            && !self.quarantines
    }
}

/// Every lane that has transactions, and whether it is open. Takes one index step per lane, however many transactions
/// it has.
pub(super) const WITH_TRANSACTIONS: &str = "
    WITH RECURSIVE steps AS (
        (SELECT lane FROM chroma_edge.transactions ORDER BY lane LIMIT 1)
        UNION ALL
        SELECT (SELECT t.lane FROM chroma_edge.transactions AS t WHERE t.lane > s.lane ORDER BY t.lane LIMIT 1)
        FROM steps AS s WHERE s.lane IS NOT NULL
    )
    SELECT s.lane, s.lane = 'catalog' OR EXISTS (
        SELECT FROM chroma_edge.collections AS c WHERE c.collection = s.lane AND c.deleted IS NULL) AS open
    FROM steps AS s WHERE s.lane IS NOT NULL AND s.lane <> 'application' ORDER BY s.lane";

/// For each lane, the last of its leading transactions that may be removed and how many those are, looking at no more
/// than `$4`.
const ENDS: &str = "
    SELECT l.lane, e.seq, e.n
    FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS l (lane, bound, place)
    CROSS JOIN LATERAL (
        SELECT min(f.seq) AS seq FROM (
            SELECT s.seq FROM (
                SELECT t.seq, t.verdict IS NOT NULL AND coalesce(t.completed_at < $3, false) AS may_go
                FROM chroma_edge.transactions AS t WHERE t.lane = l.lane AND t.seq <= l.bound
                    AND NOT chroma_edge.is_kept(t.seq)
                ORDER BY t.seq LIMIT $4
            ) AS s WHERE NOT s.may_go LIMIT 1
        ) AS f
    ) AS stays
    CROSS JOIN LATERAL (
        SELECT max(s.seq) AS seq, count(*) AS n FROM (
            SELECT t.seq FROM chroma_edge.transactions AS t
            WHERE t.lane = l.lane AND t.seq <= l.bound AND t.seq < coalesce(stays.seq, 9223372036854775807)
                AND NOT chroma_edge.is_kept(t.seq)
            ORDER BY t.seq LIMIT $4
        ) AS s
    ) AS e
    WHERE e.n > 0 ORDER BY l.place";

/// The lanes of the oldest transactions created before `$1`, oldest first, and how many of those transactions each has.
const OLDEST: &str = "
    SELECT o.lane, o.lane = 'catalog' OR EXISTS (
        SELECT FROM chroma_edge.collections AS c WHERE c.collection = o.lane AND c.deleted IS NULL) AS open, o.n
    FROM (
        SELECT t.lane, count(*) AS n, min(t.place) AS place FROM (
            SELECT lane, row_number() OVER (ORDER BY created_at, seq) AS place FROM chroma_edge.transactions
            WHERE created_at < $1 AND kind <> 'application' ORDER BY created_at, seq LIMIT $2
        ) AS t GROUP BY t.lane
    ) AS o ORDER BY o.place";

/// Lanes that have progress or floors, but no collection and no transactions.
const EMPTY: &str = "
    SELECT DISTINCT p.lane FROM (
        SELECT lane FROM chroma_edge.progress UNION SELECT lane FROM chroma_edge.floors
    ) AS p
    WHERE p.lane <> 'catalog'
        AND NOT EXISTS (SELECT FROM chroma_edge.collections AS c WHERE c.collection = p.lane AND c.deleted IS NULL)
        AND NOT EXISTS (SELECT FROM chroma_edge.transactions AS t WHERE t.lane = p.lane)
    LIMIT $1";

/// Whether any application operations may be removed.
const APPLICATION: &str = "SELECT EXISTS (SELECT FROM chroma_edge.transactions
    WHERE lane = 'application' AND completed_at IS NOT NULL AND completed_at < $1
        AND client IN (SELECT u.client FROM chroma_edge.application_use AS u WHERE u.bytes > $2))";

/// Quarantines of collections that are gone: such a quarantine has no effect.
const GONE: &str = "SELECT EXISTS (SELECT FROM chroma_edge.quarantines AS q WHERE q.lane <> 'catalog'
    AND NOT EXISTS (SELECT FROM chroma_edge.collections AS c WHERE c.collection = q.lane AND c.deleted IS NULL))";

/// Deletions that every instance has executed.
const DELETED: &str = "SELECT EXISTS (SELECT FROM chroma_edge.collections WHERE deleted <= $1)";

/// Finds up to `most` transactions that may be removed.
pub(super) async fn plan(
    session: &Exclusive,
    before: Timestamp,
    configured: &[InstanceName],
    why: Trimming,
    most: u32,
) -> Result<Plan, ReadError> {
    let quarantines = session.query_one(GONE, &[]).await.map_err(failed)?.try_get(0).map_err(failed)?;
    let mut plan = Plan { quarantines, ..Plan::default() };
    let mut left = i64::from(most);
    if !why.is_of_applications() {
        let window = most.saturating_add(OLDEST_FIRST);
        let oldest = session.query(OLDEST, &[&time(before), &i64::from(window)]).await.map_err(failed)?;
        let known = places_of(session, &lanes_of(&oldest)?).await?;
        left = ends_of(session, &bounds(&oldest, &known, configured, why)?, before, left, &mut plan).await?;
        let counts = oldest.iter().map(|found| get::<i64>(found, "n")).collect::<Result<Vec<_>, _>>()?;
        if plan.ends.is_empty() && counts.iter().sum::<i64>() >= i64::from(window) {
            let known = lanes::places(&rows(session, lanes::PROGRESS).await?)?;
            let all = bounds(&rows(session, WITH_TRANSACTIONS).await?, &known, configured, why)?;
            left = ends_of(session, &all, before, left, &mut plan).await?;
        }
        // Only when retention by age finds nothing else to remove: rows recorded for a lane after its last transaction
        // was removed.
        if plan.ends.is_empty() && why == Trimming::Age {
            plan.empty = lanes_of(&session.query(EMPTY, &[&i64::from(most)]).await.map_err(failed)?)?;
        }
    }
    if left > 0 {
        let above = count(why.above());
        let found = session.query_one(APPLICATION, &[&time(before), &above]).await.map_err(failed)?;
        let some = found.try_get::<_, bool>(0).map_err(failed)?;
        plan.application = some.then_some(ApplicationPart { before: time(before), above, most: left });
    }
    let catalog = places_of(session, &[CATALOG.to_owned()]).await?;
    if let Some(through) = catalog.everywhere(LaneId::Catalog, configured).map(number) {
        let found = session.query_one(DELETED, &[&through]).await.map_err(failed)?;
        plan.forget = found.try_get::<_, bool>(0).map_err(failed)?.then_some(through);
    }
    Ok(plan)
}

async fn places_of(session: &Exclusive, lanes: &[String]) -> Result<LaneProgress, ReadError> {
    let sql = format!("{} WHERE lane = ANY ($1::text[])", lanes::PROGRESS);
    lanes::places(&session.query(&sql, &[&lanes]).await.map_err(failed)?)
}

/// Returns the position up to which each of these lanes may be trimmed.
fn bounds(
    found: &[Row],
    known: &LaneProgress,
    configured: &[InstanceName],
    why: Trimming,
) -> Result<Vec<(String, i64)>, ReadError> {
    let mut bounds = Vec::new();
    for found in found {
        let (lane, open) = (get::<String>(found, "lane")?, get(found, "open")?);
        bounds.extend(known.trimmable(&lane, open, configured, why).map(|bound| (lane, number(bound))));
    }
    Ok(bounds)
}

/// Adds the removable transactions of these lanes to the plan. Returns how many more may be removed.
async fn ends_of(
    session: &Exclusive,
    bounds: &[(String, i64)],
    before: Timestamp,
    most: i64,
    plan: &mut Plan,
) -> Result<i64, ReadError> {
    let mut left = most;
    for part in bounds.chunks(LANES) {
        if left == 0 {
            break;
        }
        left = ends(session, part, before, left, plan).await?;
    }
    Ok(left)
}

/// Like [`ends_of`], for at most [`LANES`] lanes.
async fn ends(
    session: &Exclusive,
    bounds: &[(String, i64)],
    before: Timestamp,
    most: i64,
    plan: &mut Plan,
) -> Result<i64, ReadError> {
    let (lanes, places): (Vec<&str>, Vec<i64>) = bounds.iter().map(|(lane, bound)| (lane.as_str(), *bound)).unzip();
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 4] = [&lanes, &places, &time(before), &most];
    let mut left = most;
    for found in session.query(ENDS, &values).await.map_err(failed)? {
        let (lane, end, count): (String, i64, i64) = (get(&found, "lane")?, get(&found, "seq")?, get(&found, "n")?);
        if count <= left {
            left -= count;
            plan.ends.push((lane, end));
        } else if left > 0 {
            // Only the beginning of this lane fits: examine it again with the remaining limit.
            let one: [&(dyn tokio_postgres::types::ToSql + Sync); 4] = [&vec![&lane], &vec![end], &time(before), &left];
            for part in session.query(ENDS, &one).await.map_err(failed)? {
                plan.ends.push((get(&part, "lane")?, get(&part, "seq")?));
            }
            left = 0;
        }
    }
    Ok(left)
}

/// Removes what was planned and raises the lanes' floors. No lane is trimmed beyond its instances' current progress.
const REMOVE: &str = "
    WITH planned AS (
        SELECT e.lane, e.seq, e.lane = 'catalog' OR EXISTS (
            SELECT FROM chroma_edge.collections AS c WHERE c.collection = e.lane AND c.deleted IS NULL) AS open,
            (SELECT min(coalesce(p.through, 0)) FROM unnest($3::text[]) AS i (instance)
                LEFT JOIN chroma_edge.progress AS p ON p.lane = e.lane AND p.instance = i.instance
                WHERE coalesce(p.standing, 'in_step') = 'in_step' HAVING count(*) >= $4) AS lowest
        FROM unnest($1::text[], $2::bigint[]) AS e (lane, seq)
    ),
    removed AS (
        DELETE FROM chroma_edge.transactions AS t USING planned AS e
        WHERE t.lane = e.lane AND t.seq <= e.seq AND (NOT e.open OR t.seq <= e.lowest)
            AND NOT chroma_edge.is_kept(t.seq)
        RETURNING t.lane, t.seq, t.bytes + coalesce(pg_column_size(t.answer_body), 0) + 600 AS bytes
    ),
    bodies AS (DELETE FROM chroma_edge.bodies AS b USING removed AS r WHERE b.seq = r.seq),
    floors AS (
        INSERT INTO chroma_edge.floors AS f (lane, floor) SELECT lane, max(seq) FROM removed GROUP BY lane
        ON CONFLICT (lane) DO UPDATE SET floor = greatest(f.floor, excluded.floor)
    )
    SELECT count(*) AS n, coalesce(sum(bytes), 0)::bigint AS bytes FROM removed";
const FORGET_QUARANTINES: &str = "
    DELETE FROM chroma_edge.quarantines AS q WHERE q.lane <> 'catalog'
        AND NOT EXISTS (SELECT FROM chroma_edge.collections AS c WHERE c.collection = q.lane AND c.deleted IS NULL)";
/// Forgets deleted collections. If such a collection's lane has no transactions, its progress and floor go as well.
const FORGET: &str = "
    WITH gone AS (DELETE FROM chroma_edge.collections WHERE deleted <= $1 RETURNING collection),
    empty AS (SELECT collection AS lane FROM gone
        WHERE NOT EXISTS (SELECT FROM chroma_edge.transactions AS t WHERE t.lane = collection)),
    progress AS (DELETE FROM chroma_edge.progress AS p USING empty AS e WHERE p.lane = e.lane)
    DELETE FROM chroma_edge.floors AS f USING empty AS e WHERE f.lane = e.lane";
const FORGET_PROGRESS: &str = "
    DELETE FROM chroma_edge.progress AS p WHERE p.lane = ANY ($1::text[]) AND p.lane <> 'catalog'
        AND NOT EXISTS (SELECT FROM chroma_edge.collections AS c WHERE c.collection = p.lane AND c.deleted IS NULL)
        AND NOT EXISTS (SELECT FROM chroma_edge.transactions AS t WHERE t.lane = p.lane)";
const FORGET_FLOORS: &str = "
    DELETE FROM chroma_edge.floors AS p WHERE p.lane = ANY ($1::text[]) AND p.lane <> 'catalog'
        AND NOT EXISTS (SELECT FROM chroma_edge.collections AS c WHERE c.collection = p.lane AND c.deleted IS NULL)
        AND NOT EXISTS (SELECT FROM chroma_edge.transactions AS t WHERE t.lane = p.lane)";

/// Returns the statements that carry out the plan. The first ones return what was removed.
pub(super) fn carry_out<'a>(plan: &'a Plan, configured: &'a [InstanceName], why: Trimming) -> Vec<Query<'a>> {
    let (lanes, ends): (Vec<&str>, Vec<i64>) = plan.ends.iter().map(|(lane, end)| (lane.as_str(), *end)).unzip();
    let names: Vec<&str> = configured.iter().map(InstanceName::as_str).collect();
    let least = i64::try_from(why.least_in_step(names.len())).unwrap_or(i64::MAX);
    let mut queries = vec![query!(REMOVE, lanes.clone(), ends, names, least)];
    if plan.quarantines {
        queries.push(query!(FORGET_QUARANTINES));
    }
    if let Some(ApplicationPart { before, above, most }) = plan.application {
        queries.push(query!(super::commit::application::TRIM, before, most, above));
    }
    if let Some(through) = plan.forget {
        queries.push(query!(FORGET, through));
    }
    let mut empty = lanes;
    empty.extend(plan.empty.iter().map(String::as_str));
    queries.push(query!(FORGET_PROGRESS, empty.clone()));
    queries.push(query!(FORGET_FLOORS, empty));
    queries
}

/// Returns what [`carry_out`] removed.
pub(super) fn removed(rows: &[Vec<Row>]) -> Trimmed {
    let mut trimmed = Trimmed::default();
    // Only the statements that remove transactions return rows.
    for row in rows.iter().filter_map(|rows| rows.first()) {
        trimmed.transactions += row::unsigned(row, "n").unwrap_or(0);
        trimmed.bytes += row::unsigned(row, "bytes").unwrap_or(0);
    }
    trimmed
}

pub(super) async fn rows(session: &Exclusive, sql: &str) -> Result<Vec<Row>, ReadError> {
    session.query(sql, &[]).await.map_err(failed)
}

fn lanes_of(rows: &[Row]) -> Result<Vec<String>, ReadError> {
    rows.iter().map(|row| get(row, "lane")).collect()
}
