//! Events: read from the table `events`, which triggers fill, and how far they have been delivered.

use tokio_postgres::types::ToSql;

use super::read::failed;
use crate::journal::names::Named;
use crate::journal::postgres::codec::row::{self, count, get, unsigned};
use crate::journal::postgres::codec::text::stored;
use crate::journal::postgres::connection::connect::Exclusive;
use crate::journal::postgres::connection::pipeline::{Query, query};
use crate::journal::{EventId, EventPage, EventRow, EventScope, ReadError};

/// Returns up to `most` events of the scope after `after`, all from one snapshot.
pub(in crate::journal::postgres) async fn events(
    session: &Exclusive,
    scope: &EventScope,
    after: EventId,
    most: u32,
) -> Result<EventPage, ReadError> {
    let (after, most) = (count(after.get()), i64::from(most));
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![&after, &most];
    let (named, uuid);
    let condition = match scope {
        EventScope::All => "",
        EventScope::Session(session) => {
            named = stored(session);
            values.push(&named);
            "AND e.client_session = $3::text"
        }
        EventScope::Transaction(id) => {
            uuid = id.uuid();
            values.push(&uuid);
            "AND e.seq = (SELECT o.seq FROM chroma_edge.transactions AS o WHERE o.transaction_id = $3)"
        }
    };
    let sql = format!(
        "SELECT j.last_event, j.forgotten_event, j.delivered_event, e.event, e.came_to, t.*
        FROM chroma_edge.journal AS j
        LEFT JOIN LATERAL (
            SELECT e.event, e.seq, e.status AS came_to FROM chroma_edge.events AS e
            WHERE e.event > $1 {condition} ORDER BY e.event LIMIT $2
        ) AS e ON true
        LEFT JOIN LATERAL (
            SELECT {} FROM chroma_edge.transactions AS o WHERE o.seq = e.seq
        ) AS t ON true
        ORDER BY e.event",
        row::LISTED
    );
    let statement = session.prepare_cached(&sql).await.map_err(failed)?;
    let rows = session.query(&statement, &values).await.map_err(failed)?;
    let first = rows.first().ok_or_else(|| ReadError::new("the journal's own row is missing"))?;
    let delivered: Option<i64> = get(first, "delivered_event")?;
    let mut page = EventPage {
        events: Vec::new(),
        last: EventId::new(unsigned(first, "last_event")?),
        forgotten: EventId::new(unsigned(first, "forgotten_event")?),
        delivered: delivered.map(|_| unsigned(first, "delivered_event").map(EventId::new)).transpose()?,
    };
    for found in &rows {
        if get::<Option<i64>>(found, "event")?.is_none() {
            continue;
        }
        page.events.push(EventRow {
            event: EventId::new(unsigned(found, "event")?),
            status: row::parsed(found, "came_to", Named::named)?,
            transaction: row::transaction(found)?,
        });
    }
    Ok(page)
}

/// Records that a webhook has accepted every event up to this one.
pub(in crate::journal::postgres) fn delivered<'a>(through: EventId) -> Query<'a> {
    let sql = "UPDATE chroma_edge.journal SET delivered_event = greatest(delivered_event, $1)";
    query!(sql, count(through.get()))
}
