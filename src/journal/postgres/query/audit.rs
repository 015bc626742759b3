//! Queries about transactions: pages of the audit log, counts, and one transaction with its lane.
//!
//! Whole hours are counted from the table `statistics`, which triggers keep exact. The rest of a range, and everything
//! about a single session, is counted from the transactions themselves.

use deadpool_postgres::Transaction;
use tokio_postgres::types::ToSql;
use tokio_postgres::{IsolationLevel, Row};

use super::lanes;
use super::read;
use super::read::failed;
use crate::clock::Timestamp;
use crate::journal::audit::{Hours, status_names};
use crate::journal::names::{Named, lane_name};
use crate::journal::postgres::codec::row::{self, get, number, time};
use crate::journal::postgres::codec::text::stored;
use crate::journal::postgres::connection::connect::Exclusive;
use crate::journal::{
    AuditCursor, AuditPage, AuditQuery, Details, Filter, Lookup, ReadError, Recent, RecentStatus, Status,
    StatusSummary, Totals,
};

/// A WHERE clause under construction, with its values.
struct Where {
    sql: String,
    values: Vec<Box<dyn ToSql + Sync + Send>>,
}

impl Where {
    fn new() -> Where {
        Where { sql: "TRUE".to_owned(), values: Vec::new() }
    }

    /// Adds a condition on one value; `$` stands for the value.
    fn and(&mut self, condition: &str, value: impl ToSql + Sync + Send + 'static) {
        self.values.push(Box::new(value));
        self.sql.push_str(" AND ");
        self.sql.push_str(&condition.replace('$', &format!("${}", self.values.len())));
    }

    /// Restricts the column to these names, or not at all if there are none.
    fn and_in(&mut self, column: &str, names: &[&'static str]) {
        if !names.is_empty() {
            self.and(&format!("{column} = ANY ($::text[])"), names.to_vec());
        }
    }

    fn and_moments(&mut self, range: &std::ops::Range<i64>) {
        if range.start != i64::MIN {
            self.and("created_at >= $", time(Timestamp::from_millis(range.start)));
        }
        if range.end != i64::MAX {
            self.and("created_at < $", time(Timestamp::from_millis(range.end)));
        }
    }

    fn and_behind(&mut self, place: AuditCursor) {
        let first = self.values.len() + 1;
        self.values.push(Box::new(time(place.created_at)));
        self.values.push(Box::new(number(place.seq)));
        self.sql.push_str(&format!(" AND (created_at, seq) < (${first}, ${})", first + 1));
    }

    fn and_principal(&mut self, filter: &Filter) {
        if let Some(principal) = &filter.principal {
            // Must match the expression in the index of principals.
            let condition = "starts_with(client_tenant, E'\\x01') AND split_part(client_tenant, E'\\x01', 2) = $::text";
            self.and(condition, principal.clone());
        }
    }

    fn and_session(&mut self, session: &str) {
        self.and("left(client_session, 255) = $::text", stored(session).into_owned());
        self.sql.push_str(" AND client_session IS NOT NULL");
    }

    async fn query(&self, moment: &Transaction<'_>, sql: &str) -> Result<Vec<Row>, ReadError> {
        let values: Vec<&(dyn ToSql + Sync)> =
            self.values.iter().map(|value| -> &(dyn ToSql + Sync) { &**value }).collect();
        moment.query(&sql.replace("{where}", &self.sql), &values).await.map_err(failed)
    }
}

async fn moment(session: &mut Exclusive) -> Result<Transaction<'_>, ReadError> {
    let begun = session.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start();
    begun.await.map_err(failed)
}

/// Returns a page and the counts, from one snapshot.
pub(in crate::journal::postgres) async fn audit(
    session: &mut Exclusive,
    query: &AuditQuery,
) -> Result<AuditPage, ReadError> {
    let moment = moment(session).await?;
    let limit = usize::try_from(query.limit.max(1)).unwrap_or(usize::MAX);
    let mut places = places(&moment, query).await?;
    let more = places.len() > limit;
    places.truncate(limit);
    let seqs: Vec<i64> = places.iter().map(|place| number(place.seq)).collect();
    let sql = format!(
        "SELECT {} FROM unnest($1::bigint[]) WITH ORDINALITY AS w (wanted, place)
        JOIN chroma_edge.transactions ON seq = w.wanted ORDER BY w.place",
        row::LISTED
    );
    let rows = moment.query(&sql, &[&seqs]).await.map_err(failed)?;
    let transactions = rows.iter().map(row::transaction).collect::<Result<_, _>>()?;
    let next = places.last().copied().filter(|_| more);
    Ok(AuditPage { transactions, next, counts: counts(&moment, &query.filter).await? })
}

/// Returns the positions on the page, and one more if there is one.
async fn places(moment: &Transaction<'_>, query: &AuditQuery) -> Result<Vec<AuditCursor>, ReadError> {
    let filter = &query.filter;
    if filter.session.is_some() || filter.statuses.is_empty() {
        let mut condition = Where::new();
        if let Some(session) = &filter.session {
            condition.and_session(session);
            condition.and_in("status", &status_names(&filter.statuses));
        }
        return ordered(moment, condition, query).await;
    }
    let mut places = Vec::new();
    for status in &filter.statuses {
        let mut condition = Where::new();
        condition.and("status = $::text", status.name());
        places.extend(ordered(moment, condition, query).await?);
    }
    places.sort_unstable_by(|one, other| other.cmp(one));
    places.dedup();
    places.truncate(usize::try_from(query.limit.saturating_add(1)).unwrap_or(usize::MAX));
    Ok(places)
}

async fn ordered(
    moment: &Transaction<'_>,
    mut condition: Where,
    query: &AuditQuery,
) -> Result<Vec<AuditCursor>, ReadError> {
    condition.and_in("kind", &query.filter.kinds());
    condition.and_principal(&query.filter);
    condition.and_moments(&query.filter.range());
    if let Some(after) = query.after {
        condition.and_behind(after);
    }
    let sql = format!(
        "SELECT created_at, seq FROM chroma_edge.transactions WHERE {{where}}
        ORDER BY created_at DESC, seq DESC LIMIT {}",
        query.limit.max(1).saturating_add(1)
    );
    let place =
        |found: &Row| Ok(AuditCursor { created_at: row::moment(found, "created_at")?, seq: row::seq(found, "seq")? });
    condition.query(moment, &sql).await?.iter().map(place).collect()
}

/// Returns how many transactions of each status the filter matches.
async fn counts(moment: &Transaction<'_>, filter: &Filter) -> Result<Vec<(Status, u64)>, ReadError> {
    let mut found = Vec::new();
    let from_rows = "SELECT status, count(*) AS n FROM chroma_edge.transactions WHERE {where} GROUP BY status";
    let from_hours = "SELECT status, sum(transactions)::bigint AS n FROM chroma_edge.statistics WHERE {where}
        GROUP BY status";
    let restricted = || {
        let mut condition = Where::new();
        condition.and_in("status", &status_names(&filter.statuses));
        condition.and_in("kind", &filter.kinds());
        condition
    };
    if filter.session.is_some() || filter.principal.is_some() {
        let mut condition = restricted();
        if let Some(session) = &filter.session {
            condition.and_session(session);
        }
        condition.and_principal(filter);
        condition.and_moments(&filter.range());
        found.extend(condition.query(moment, from_rows).await?);
    } else {
        let hours = Hours::of(filter);
        let mut condition = restricted();
        condition.and("hour >= $", hours.whole.start);
        condition.and("hour < $", hours.whole.end);
        found.extend(condition.query(moment, from_hours).await?);
        for rest in &hours.rest {
            let mut condition = restricted();
            condition.and_moments(rest);
            found.extend(condition.query(moment, from_rows).await?);
        }
    }
    let mut counts = Status::ALL.map(|status| (status, 0_u64));
    for found in &found {
        let status: Status = row::parsed(found, "status", Named::named)?;
        let count = row::unsigned(found, "n")?;
        counts.iter_mut().filter(|(known, _)| *known == status).for_each(|(_, n)| *n += count);
    }
    Ok(counts.to_vec())
}

/// Returns how many transactions there are of each status.
pub(super) async fn all_counts(session: &mut Exclusive) -> Result<Vec<(Status, u64)>, ReadError> {
    counts(&moment(session).await?, &Filter::default()).await
}

/// Summarizes the transactions of each status.
pub(in crate::journal::postgres) async fn summary(session: &mut Exclusive) -> Result<Vec<StatusSummary>, ReadError> {
    let moment = moment(session).await?;
    let mut summary = Status::ALL.map(StatusSummary::none);
    let sql = "SELECT status, sum(transactions)::bigint AS transactions, sum(timing_gaps)::bigint AS timing_gaps,
            sum(retries)::bigint AS retries, sum(completed)::bigint AS completed,
            sum(completion_millis)::bigint AS completion_millis
        FROM chroma_edge.statistics GROUP BY status";
    for found in moment.query(sql, &[]).await.map_err(failed)? {
        let status: Status = row::parsed(&found, "status", Named::named)?;
        for one in summary.iter_mut().filter(|one| one.status == status) {
            one.count = row::unsigned(&found, "transactions")?;
            one.timing_gaps = row::unsigned(&found, "timing_gaps")?;
            one.retries = row::unsigned(&found, "retries")?;
            one.completed = row::unsigned(&found, "completed")?;
            one.completion_millis = row::unsigned(&found, "completion_millis")?;
        }
    }
    for one in summary.iter_mut().filter(|one| one.count > 0) {
        one.oldest = end(&moment, "min", one.status, None).await?;
        one.newest = end(&moment, "max", one.status, None).await?;
    }
    Ok(summary.to_vec())
}

/// Returns when the first or the last transaction of this status since `since` was created: one index step.
async fn end(
    moment: &Transaction<'_>,
    which: &str,
    status: Status,
    since: Option<Timestamp>,
) -> Result<Option<Timestamp>, ReadError> {
    let mut condition = Where::new();
    condition.and("status = $::text", status.name());
    if let Some(since) = since {
        condition.and("created_at >= $", time(since));
    }
    let sql = format!("SELECT {which}(created_at) AS at FROM chroma_edge.transactions WHERE {{where}}");
    let rows = condition.query(moment, &sql).await?;
    rows.first().map_or(Ok(None), |found| row::moment_if_any(found, "at"))
}

/// Counts what was created recently.
pub(in crate::journal::postgres) async fn recent(
    session: &mut Exclusive,
    since: Timestamp,
    gaps_since: Timestamp,
) -> Result<Recent, ReadError> {
    let moment = moment(session).await?;
    let filter = Filter { since: Some(since), ..Filter::default() };
    let mut by_status = Vec::new();
    for (status, count) in counts(&moment, &filter).await? {
        let latest = if count > 0 { end(&moment, "max", status, Some(since)).await? } else { None };
        by_status.push(RecentStatus { status, count, latest });
    }
    let sql = "SELECT count(*) AS n FROM chroma_edge.transactions WHERE timing_gap AND created_at >= $1";
    let gaps = moment.query_one(sql, &[&time(gaps_since)]).await.map_err(failed)?;
    Ok(Recent { by_status, timing_gaps: row::unsigned(&gaps, "n")? })
}

/// Returns one transaction with the progress of its lane. No snapshot is needed, because a transaction keeps its lane's
/// progress.
pub(in crate::journal::postgres) async fn details(
    session: &Exclusive,
    lookup: &Lookup,
) -> Result<Option<Details>, ReadError> {
    let Some(transaction) = read::transaction(session, lookup).await? else { return Ok(None) };
    let Some(lane) = transaction.lane else {
        let sql = "SELECT body FROM chroma_edge.bodies WHERE seq = $1";
        let found = session.query_opt(sql, &[&number(transaction.seq)]).await.map_err(failed)?;
        let body = found.map(|found| get::<Vec<u8>>(&found, "body")).transpose()?;
        let application_data = body.map(bytes::Bytes::from);
        return Ok(Some(Details { transaction, progress: Vec::new(), application_data }));
    };
    let sql = format!("{} WHERE lane = $1", lanes::PROGRESS);
    let rows = session.query(&sql, &[&lane_name(lane)]).await.map_err(failed)?;
    let progress = rows.iter().map(lanes::progress).collect::<Result<_, _>>()?;
    Ok(Some(Details { transaction, progress, application_data: None }))
}

/// Returns counts by status, zeros included, and the bytes of all tables with their indexes.
pub(in crate::journal::postgres) async fn totals(session: &mut Exclusive) -> Result<Totals, ReadError> {
    let by_status = all_counts(session).await?;
    let sql = "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint AS bytes FROM pg_class
        WHERE relkind = 'r' AND relnamespace = to_regnamespace('chroma_edge')";
    let bytes = session.query_one(sql, &[]).await.map_err(failed)?;
    let transactions = by_status.iter().map(|(_, count)| count).sum();
    Ok(Totals { by_status, transactions, bytes: row::unsigned(&bytes, "bytes")? })
}
