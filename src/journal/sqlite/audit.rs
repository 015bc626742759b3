//! Queries about transactions: pages of the audit log, counts, one transaction with its lane.
//!
//! Whole hours are counted from the table `statistics`, which triggers keep exact. The rest of a range, and the
//! transactions of one session or one principal, are counted from a covering index. Queries name their index instead of
//! leaving the choice to SQLite.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::row::{self, number};
use crate::clock::Timestamp;
use crate::journal::audit::{Hours, status_names};
use crate::journal::names::{Named, lane_name};
use crate::journal::{
    AuditCursor, AuditPage, AuditQuery, ClientKey, Details, Filter, Lookup, Recent, RecentStatus, Status,
    StatusSummary, Totals,
};

/// A growing list of conditions, with their values.
struct Where {
    sql: String,
    values: Vec<Value>,
}

impl Where {
    fn new(condition: &str, values: Vec<Value>) -> Where {
        Where { sql: condition.to_owned(), values }
    }

    fn and(&mut self, condition: &str, values: impl IntoIterator<Item = Value>) {
        self.sql.push_str(" AND ");
        self.sql.push_str(condition);
        self.values.extend(values);
    }

    /// Matches the transactions of this principal, in the form that the index of principals needs.
    fn of_principal(principal: &str) -> Where {
        let condition = "substr(client_tenant, 1, instr(substr(client_tenant, 2), char(1)) + 1) = ?
            AND client_tenant >= char(1) AND client_tenant < char(2)";
        Where::new(condition, vec![text(&ClientKey::scopes_of(principal))])
    }

    /// Restricts the column to these names, or does nothing if there are none.
    fn and_in(&mut self, column: &str, names: &[&str]) {
        if !names.is_empty() {
            let places = vec!["?"; names.len()].join(", ");
            self.and(&format!("{column} IN ({places})"), names.iter().map(|name| text(name)));
        }
    }

    fn and_principal(&mut self, filter: &Filter) {
        if let Some(principal) = &filter.principal {
            let scopes = ClientKey::scopes_of(principal);
            self.and("substr(client_tenant, 1, length(?)) = ?", [text(&scopes), text(&scopes)]);
        }
    }

    fn and_range(&mut self, column: &str, range: &std::ops::Range<i64>) {
        if range.start != i64::MIN {
            self.and(&format!("{column} >= ?"), [Value::Integer(range.start)]);
        }
        if range.end != i64::MAX {
            self.and(&format!("{column} < ?"), [Value::Integer(range.end)]);
        }
    }
}

fn text(name: &str) -> Value {
    Value::Text(name.to_owned())
}

/// Returns a page and the counts, both read at the same moment.
pub(super) fn audit(connection: &mut Connection, query: &AuditQuery) -> rusqlite::Result<AuditPage> {
    let moment = connection.transaction()?;
    let limit = usize::try_from(query.limit.max(1)).unwrap_or(usize::MAX);
    let mut places = places(&moment, query)?;
    let more = places.len() > limit;
    places.truncate(limit);
    let mut listed = moment.prepare_cached(&format!("SELECT {} FROM transactions WHERE seq = ?1", row::LISTED))?;
    let mut transactions = Vec::with_capacity(places.len());
    for place in &places {
        transactions.push(listed.query_row([number(place.seq)], row::transaction)?);
    }
    let next = places.last().copied().filter(|_| more);
    let counts = counts(&moment, &query.filter)?;
    Ok(AuditPage { transactions, next, counts })
}

/// Returns the positions on the page, and one more if there is one.
fn places(connection: &Connection, query: &AuditQuery) -> rusqlite::Result<Vec<AuditCursor>> {
    let filter = &query.filter;
    if let Some(session) = &filter.session {
        let mut condition = Where::new("client_session = ?", vec![text(session)]);
        condition.and_in("status", &status_names(&filter.statuses));
        return ordered(connection, "transactions_by_session", condition, query);
    }
    if let Some(principal) = &filter.principal {
        let mut condition = Where::of_principal(principal);
        condition.and_in("status", &status_names(&filter.statuses));
        return ordered(connection, "transactions_by_principal", condition, query);
    }
    if filter.statuses.is_empty() {
        return ordered(connection, "transactions_by_time", Where::new("TRUE", Vec::new()), query);
    }
    let mut places = Vec::new();
    for status in &filter.statuses {
        let condition = Where::new("status = ?", vec![text(status.name())]);
        places.extend(ordered(connection, "transactions_by_status", condition, query)?);
    }
    places.sort_unstable_by(|one, other| other.cmp(one));
    places.dedup();
    places.truncate(usize::try_from(query.limit.saturating_add(1)).unwrap_or(usize::MAX));
    Ok(places)
}

fn ordered(
    connection: &Connection,
    index: &str,
    mut condition: Where,
    query: &AuditQuery,
) -> rusqlite::Result<Vec<AuditCursor>> {
    condition.and_in("kind", &query.filter.kinds());
    condition.and_principal(&query.filter);
    condition.and_range("created_at", &query.filter.range());
    if let Some(after) = query.after {
        let place = [after.created_at.millis(), number(after.seq)];
        condition.and("(created_at, seq) < (?, ?)", place.map(Value::Integer));
    }
    let sql = format!(
        "SELECT created_at, seq FROM transactions INDEXED BY {index} WHERE {}
            ORDER BY created_at DESC, seq DESC LIMIT {}",
        condition.sql,
        query.limit.max(1).saturating_add(1),
    );
    let read = |row: &rusqlite::Row<'_>| {
        Ok(AuditCursor { created_at: Timestamp::from_millis(row.get("created_at")?), seq: row::seq(row, "seq")? })
    };
    connection.prepare_cached(&sql)?.query_map(params_from_iter(condition.values), read)?.collect()
}

/// Returns how many transactions of each status the filter matches.
pub(super) fn counts(connection: &Connection, filter: &Filter) -> rusqlite::Result<Vec<(Status, u64)>> {
    let mut counts = Status::ALL.map(|status| (status, 0_u64));
    let mut add = |status: Status, count: u64| {
        counts.iter_mut().filter(|(known, _)| *known == status).for_each(|(_, n)| *n += count);
    };
    if filter.session.is_some() || filter.principal.is_some() {
        let (index, mut condition) = match (&filter.session, &filter.principal) {
            (Some(session), _) => ("transactions_by_session", Where::new("client_session = ?", vec![text(session)])),
            (None, Some(principal)) => ("transactions_by_principal", Where::of_principal(principal)),
            (None, None) => ("transactions_by_time", Where::new("TRUE", Vec::new())),
        };
        condition.and_in("status", &status_names(&filter.statuses));
        condition.and_principal(filter);
        condition.and_range("created_at", &filter.range());
        by_status(connection, "count(*)", &format!("transactions INDEXED BY {index}"), condition, filter, &mut add)?;
        return Ok(counts.to_vec());
    }
    let wanted = if filter.statuses.is_empty() { &Status::ALL[..] } else { &filter.statuses };
    let hours = Hours::of(filter);
    let mut condition = Where::new("TRUE", Vec::new());
    condition.and_in("status", &status_names(wanted));
    condition.and_range("hour", &hours.whole);
    by_status(connection, "sum(transactions)", "statistics", condition, filter, &mut add)?;
    for rest in &hours.rest {
        let mut condition = Where::new("TRUE", Vec::new());
        condition.and_in("status", &status_names(wanted));
        condition.and_range("created_at", rest);
        by_status(
            connection,
            "count(*)",
            "transactions INDEXED BY transactions_by_status",
            condition,
            filter,
            &mut add,
        )?;
    }
    Ok(counts.to_vec())
}

fn by_status(
    connection: &Connection,
    count: &str,
    from: &str,
    mut condition: Where,
    filter: &Filter,
    add: &mut impl FnMut(Status, u64),
) -> rusqlite::Result<()> {
    condition.and_in("kind", &filter.kinds());
    let sql = format!("SELECT status, {count} AS n FROM {from} WHERE {} GROUP BY status", condition.sql);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(condition.values))?;
    while let Some(found) = rows.next()? {
        add(row::parsed(found, "status", Status::named)?, row::unsigned(found, "n")?);
    }
    Ok(())
}

/// Returns a summary of each status.
pub(super) fn summary(connection: &mut Connection) -> rusqlite::Result<Vec<StatusSummary>> {
    let moment = connection.transaction()?;
    let mut summary = Status::ALL.map(StatusSummary::none);
    let sql = "SELECT status, sum(transactions) AS transactions, sum(timing_gaps) AS timing_gaps,
            sum(retries) AS retries, sum(completed) AS completed, sum(completion_millis) AS completion_millis
        FROM statistics GROUP BY status";
    let mut statement = moment.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    while let Some(found) = rows.next()? {
        let status = row::parsed(found, "status", Status::named)?;
        for one in summary.iter_mut().filter(|one| one.status == status) {
            one.count = row::unsigned(found, "transactions")?;
            one.timing_gaps = row::unsigned(found, "timing_gaps")?;
            one.retries = row::unsigned(found, "retries")?;
            one.completed = row::unsigned(found, "completed")?;
            one.completion_millis = row::unsigned(found, "completion_millis")?;
        }
    }
    for one in &mut summary {
        one.oldest = end(&moment, "min", one.status, i64::MIN)?;
        one.newest = end(&moment, "max", one.status, i64::MIN)?;
    }
    Ok(summary.to_vec())
}

/// Returns when the first or the last transaction of this status since `since` was created. Takes one index lookup.
fn end(connection: &Connection, which: &str, status: Status, since: i64) -> rusqlite::Result<Option<Timestamp>> {
    let sql = format!(
        "SELECT {which}(created_at) FROM transactions INDEXED BY transactions_by_status
            WHERE status = ?1 AND created_at >= ?2"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let found: Option<i64> = statement.query_row(params![status.name(), since], |row| row.get(0))?;
    Ok(found.map(Timestamp::from_millis))
}

/// Returns counts of recent transactions.
pub(super) fn recent(connection: &mut Connection, since: Timestamp, gaps_since: Timestamp) -> rusqlite::Result<Recent> {
    let moment = connection.transaction()?;
    let filter = Filter { since: Some(since), ..Filter::default() };
    let mut by_status = Vec::new();
    for (status, count) in counts(&moment, &filter)? {
        let latest = end(&moment, "max", status, since.millis())?;
        by_status.push(RecentStatus { status, count, latest });
    }
    let sql = "SELECT count(*) AS n FROM transactions INDEXED BY transactions_timing_gaps
        WHERE timing_gap = 1 AND created_at >= ?1";
    let mut statement = moment.prepare_cached(sql)?;
    let timing_gaps = statement.query_row([gaps_since.millis()], |found| row::unsigned(found, "n"))?;
    Ok(Recent { by_status, timing_gaps })
}

/// Returns one transaction with the progress of its lane.
pub(super) fn details(connection: &mut Connection, lookup: &Lookup) -> rusqlite::Result<Option<Details>> {
    let moment = connection.transaction()?;
    let Some(transaction) = super::read::transaction(&moment, lookup)? else { return Ok(None) };
    let mut progress = Vec::new();
    let mut application_data = None;
    match transaction.lane {
        Some(lane) => {
            let sql = "SELECT lane, instance, through, standing, reason FROM progress WHERE lane = ?1";
            let mut statement = moment.prepare_cached(sql)?;
            progress = statement.query_map([lane_name(lane)], row::progress)?.collect::<rusqlite::Result<_>>()?;
        }
        None => {
            let sql = "SELECT body FROM bodies WHERE seq = ?1";
            let mut statement = moment.prepare_cached(sql)?;
            let body = statement.query_row([number(transaction.seq)], |row| row.get::<_, Vec<u8>>(0)).optional()?;
            application_data = body.map(bytes::Bytes::from);
        }
    }
    Ok(Some(Details { transaction, progress, application_data }))
}

/// Returns the counts of all statuses, and the size of the file in bytes.
pub(super) fn totals(connection: &mut Connection) -> rusqlite::Result<Totals> {
    let moment = connection.transaction()?;
    let by_status = counts(&moment, &Filter::default())?;
    let bytes = moment.query_row(
        "SELECT page_count * page_size AS bytes FROM pragma_page_count(), pragma_page_size()",
        [],
        |found| row::unsigned(found, "bytes"),
    )?;
    let transactions = by_status.iter().map(|(_, count)| count).sum();
    Ok(Totals { by_status, transactions, bytes })
}
