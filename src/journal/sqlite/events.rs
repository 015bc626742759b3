//! Events: reads them from the table `events`, which triggers fill, and records how far they were delivered.

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::row::{self, count, unsigned};
use crate::journal::names::Named;
use crate::journal::{EventId, EventPage, EventRow, EventScope};

/// Returns up to `most` events of the scope after `after`.
pub(super) fn events(
    connection: &mut Connection,
    scope: &EventScope,
    after: EventId,
    most: u32,
) -> rusqlite::Result<EventPage> {
    let moment = connection.transaction()?;
    let page = |row: &rusqlite::Row<'_>| {
        let delivered: Option<i64> = row.get("delivered_event")?;
        Ok(EventPage {
            events: Vec::new(),
            last: EventId::new(unsigned(row, "last_event")?),
            forgotten: EventId::new(unsigned(row, "forgotten_event")?),
            delivered: delivered.map(|_| unsigned(row, "delivered_event").map(EventId::new)).transpose()?,
        })
    };
    let mut found =
        moment.prepare_cached("SELECT last_event, forgotten_event, delivered_event FROM meta")?.query_row([], page)?;
    if after < found.last {
        found.events = rows(&moment, scope, after, most)?;
    }
    Ok(found)
}

fn rows(connection: &Connection, scope: &EventScope, after: EventId, most: u32) -> rusqlite::Result<Vec<EventRow>> {
    let mut values = vec![Value::Integer(count(after.get())), Value::Integer(i64::from(most))];
    // Name the index instead of leaving the choice to SQLite.
    let (index, condition) = match scope {
        EventScope::All => ("NOT INDEXED", ""),
        EventScope::Session(session) => {
            values.push(Value::Text(session.clone()));
            ("INDEXED BY events_by_session", "AND e.client_session = ?3")
        }
        EventScope::Transaction(id) => {
            values.push(Value::Blob(id.uuid().as_bytes().to_vec()));
            let of = "AND e.seq = (SELECT seq FROM transactions WHERE transaction_id = ?3)";
            ("INDEXED BY events_by_transaction", of)
        }
    };
    let sql = format!(
        "SELECT e.event AS event, e.status AS came_to, t.* FROM (
            SELECT e.event, e.seq, e.status FROM events AS e {index}
            WHERE e.event > ?1 {condition} ORDER BY e.event LIMIT ?2) AS e
        CROSS JOIN (SELECT {} FROM transactions) AS t USING (seq) ORDER BY e.event",
        row::LISTED
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(EventRow {
            event: EventId::new(unsigned(row, "event")?),
            status: row::parsed(row, "came_to", Named::named)?,
            transaction: row::transaction(row)?,
        })
    };
    statement.query_map(params_from_iter(values), read)?.collect()
}

/// Records that the webhook has accepted every event up to `through`.
pub(super) fn delivered(connection: &Connection, through: EventId) -> rusqlite::Result<()> {
    let sql = "UPDATE meta SET delivered_event = max(coalesce(delivered_event, 0), ?1)";
    connection.prepare_cached(sql)?.execute([count(through.get())]).map(drop)
}
