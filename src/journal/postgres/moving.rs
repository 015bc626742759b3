//! Moves a journal from an SQLite file into an empty PostgreSQL database, unchanged: ids, positions, progress.
//!
//! The move is one transaction: the database gets all of it or nothing. The file is not changed, and no process may use
//! it meanwhile. The rows in the database are counted before the commit.

use futures::pin_mut;
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use tokio_postgres::Transaction;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::codec::row::time;
use super::codec::text::stored;
use super::commit::append::digest_of;
use super::connection::connect::explain;
use super::connection::url::DatabaseUrl;
use super::schema::{SchemaError, session_on};
use crate::clock::Timestamp;
use crate::journal::sqlite::Source;

/// Why a journal could not be moved. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error("the target is not an empty journal: {0}")]
    NotEmpty(String),
    #[error("cannot read the SQLite journal: {0}")]
    Read(#[from] rusqlite::Error),
    #[error("cannot write to the database: {0}")]
    Write(String),
    #[error("{table}: {copied} rows were written and {found} are there")]
    Counted { table: &'static str, copied: u64, found: u64 },
}

impl From<tokio_postgres::Error> for MoveError {
    fn from(error: tokio_postgres::Error) -> Self {
        MoveError::Write(explain(&error))
    }
}

/// The outcome of a move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The number of rows of each table.
    pub rows: Vec<(&'static str, u64)>,
    pub last: i64,
}

/// How a column's value is converted for PostgreSQL.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Text,
    Bytes,
    Uuid,
    Bigint,
    Integer,
    Boolean,
    Time,
    /// The digest of tenant and key; SQLite has no such column.
    Digest,
}

impl Kind {
    fn postgres(self) -> Type {
        match self {
            Kind::Text => Type::TEXT,
            Kind::Bytes | Kind::Digest => Type::BYTEA,
            Kind::Uuid => Type::UUID,
            Kind::Bigint => Type::INT8,
            Kind::Integer => Type::INT4,
            Kind::Boolean => Type::BOOL,
            Kind::Time => Type::TIMESTAMPTZ,
        }
    }
}

struct Table {
    name: &'static str,
    columns: &'static [(&'static str, Kind)],
}

use Kind::{Bigint, Boolean, Bytes, Digest, Integer, Text, Time, Uuid as Id};

/// Every table. Tables come after those they reference.
const TABLES: [Table; 13] = [
    Table { name: "instances", columns: &[("instance", Text), ("position", Integer)] },
    Table {
        name: "transactions",
        columns: &[
            ("seq", Bigint),
            ("transaction_id", Id),
            ("client_tenant", Text),
            ("client_key", Text),
            ("client_digest", Digest),
            ("fingerprint", Bytes),
            ("lane", Text),
            ("kind", Text),
            ("merge_docs", Bigint),
            ("merge_encoding", Text),
            ("bytes", Bigint),
            ("verdict", Text),
            ("executed_on", Text),
            ("status", Text),
            ("response_status", Integer),
            ("timing_gap", Boolean),
            ("retry_count", Integer),
            ("created_at", Time),
            ("completed_at", Time),
            ("method", Text),
            ("path", Text),
            ("content_type", Text),
            ("client_session", Text),
            ("client_ip", Text),
            ("client", Text),
            ("user_identifier", Text),
            ("failure_reason", Text),
            ("answer_status", Integer),
            ("answer_body", Bytes),
            ("synced_at", Time),
            ("next_retry_at", Time),
            ("priority", Text),
            ("vouching", Text),
            ("conditions", Text),
            ("suspect_on", Text),
            ("trace_context", Text),
        ],
    },
    Table { name: "bodies", columns: &[("seq", Bigint), ("body", Bytes), ("resolved", Bytes), ("encoding", Text)] },
    Table { name: "quarantines", columns: &[("seq", Bigint), ("lane", Text)] },
    Table {
        name: "events",
        columns: &[("event", Bigint), ("seq", Bigint), ("status", Text), ("client_session", Text)],
    },
    Table { name: "tenants", columns: &[("tenant", Text)] },
    Table { name: "databases", columns: &[("tenant", Text), ("database", Text), ("database_id", Id)] },
    Table {
        name: "collections",
        columns: &[
            ("collection", Text),
            ("tenant", Text),
            ("database", Text),
            ("name", Text),
            ("created", Bigint),
            ("origin", Text),
            ("dimensioned", Boolean),
            ("deleted", Bigint),
            ("created_at", Time),
            ("updated_at", Time),
        ],
    },
    Table {
        name: "collection_instances",
        columns: &[("collection", Text), ("instance", Text), ("instance_collection_id", Id)],
    },
    Table {
        name: "progress",
        columns: &[("lane", Text), ("instance", Text), ("through", Bigint), ("standing", Text), ("reason", Text)],
    },
    Table { name: "floors", columns: &[("lane", Text), ("floor", Bigint)] },
    Table { name: "markers", columns: &[("instance", Text), ("generation", Bigint)] },
    Table { name: "faults", columns: &[("lane", Text), ("times", Bigint), ("at", Time), ("reason", Text)] },
];

/// Moves the journal in `source` into the database, after bringing its schema up to this binary's.
///
/// # Errors
/// The database is not reachable, not empty or held by an edge, or the file cannot be read. Nothing has been moved.
pub async fn move_from(source: &Source, url: &DatabaseUrl) -> Result<Moved, MoveError> {
    super::bring_up_to_date(url).await?;
    let mut session = session_on(url).await?;
    let transaction = session.transaction().await?;
    make_sure_it_is_empty(&transaction).await?;
    let connection = source.connection();
    let mut rows = Vec::new();
    for table in &TABLES {
        rows.push((table.name, copy(connection, &transaction, table).await?));
    }
    let (journal_id, last): ([u8; 16], i64) =
        connection.query_row("SELECT journal_id, last_seq FROM meta", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let sql = "UPDATE chroma_edge.journal SET journal_id = $1, last_seq = $2, commits = commits + 1, epoch = epoch + 1";
    transaction.execute(sql, &[&Uuid::from_bytes(journal_id), &last]).await?;
    // Event listeners continue where they were.
    let of_events: (i64, i64, Option<i64>) =
        connection.query_row("SELECT last_event, forgotten_event, delivered_event FROM meta", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    let sql = "UPDATE chroma_edge.journal SET last_event = $1, forgotten_event = $2, delivered_event = $3";
    transaction.execute(sql, &[&of_events.0, &of_events.1, &of_events.2]).await?;
    verify(&transaction, &rows, last).await?;
    transaction.commit().await?;
    Ok(Moved { rows, last })
}

/// Checks that the database holds an empty journal, and locks its row, so that no edge appends meanwhile.
async fn make_sure_it_is_empty(transaction: &Transaction<'_>) -> Result<(), MoveError> {
    let sql = "SELECT j.last_seq, l.holder_name, (l.holder IS NOT NULL AND l.expires_at > clock_timestamp()) AS held
        FROM chroma_edge.journal AS j, chroma_edge.lease AS l FOR UPDATE";
    let row = transaction.query_one(sql, &[]).await?;
    if row.try_get::<_, Option<bool>>("held")?.unwrap_or(false) {
        let name: Option<String> = row.try_get("holder_name")?;
        return Err(MoveError::NotEmpty(format!("an edge ({}) works with it", name.unwrap_or_default())));
    }
    let last: i64 = row.try_get("last_seq")?;
    if last > 0 {
        return Err(MoveError::NotEmpty(format!("it has given out positions up to {last}")));
    }
    let rest = transaction
        .query_one(
            "SELECT EXISTS (SELECT FROM chroma_edge.collections) OR EXISTS (SELECT FROM chroma_edge.progress)
                OR EXISTS (SELECT FROM chroma_edge.suspects)",
            &[],
        )
        .await?;
    if rest.try_get(0)? {
        return Err(MoveError::NotEmpty("it has collections, progress or late writes".to_owned()));
    }
    // Every new journal has these rows, or an edge that did nothing else has written them.
    transaction
        .batch_execute(
            "DELETE FROM chroma_edge.instances; DELETE FROM chroma_edge.tenants; DELETE FROM chroma_edge.databases",
        )
        .await?;
    Ok(())
}

async fn copy(connection: &Connection, transaction: &Transaction<'_>, table: &Table) -> Result<u64, MoveError> {
    let names: Vec<&str> = table.columns.iter().map(|(name, _)| *name).collect();
    let types: Vec<Type> = table.columns.iter().map(|(_, kind)| kind.postgres()).collect();
    let into = format!("COPY chroma_edge.{} ({}) FROM STDIN (FORMAT binary)", table.name, names.join(", "));
    let sink = transaction.copy_in(&into).await?;
    let writer = BinaryCopyInWriter::new(sink, &types);
    pin_mut!(writer);
    let held: Vec<&str> = names.iter().copied().filter(|name| *name != "client_digest").collect();
    let mut statement = connection.prepare(&format!("SELECT {} FROM {}", held.join(", "), table.name))?;
    let mut found = statement.query([])?;
    let mut rows = 0;
    while let Some(row) = found.next()? {
        let values: Vec<Box<dyn ToSql + Sync + Send>> =
            table.columns.iter().map(|(name, kind)| value(row, name, *kind)).collect::<rusqlite::Result<_>>()?;
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value.as_ref() as _).collect();
        writer.as_mut().write(&values).await?;
        rows += 1;
    }
    writer.finish().await?;
    Ok(rows)
}

fn value(row: &rusqlite::Row<'_>, name: &str, kind: Kind) -> rusqlite::Result<Box<dyn ToSql + Sync + Send>> {
    fn boxed<T: ToSql + Sync + Send + 'static>(value: T) -> Box<dyn ToSql + Sync + Send> {
        Box::new(value)
    }
    let text = |name: &str| row.get::<_, Option<String>>(name);
    Ok(match kind {
        Text => boxed(text(name)?.map(|text| stored(&text).into_owned())),
        Bytes => boxed(match row.get_ref(name)? {
            ValueRef::Null => None,
            value => Some(value.as_blob().map_err(rusqlite::Error::from)?.to_vec()),
        }),
        Id => boxed(row.get::<_, Option<[u8; 16]>>(name)?.map(Uuid::from_bytes)),
        Bigint => boxed(row.get::<_, Option<i64>>(name)?),
        Integer => boxed(row.get::<_, Option<i32>>(name)?),
        Boolean => boxed(row.get::<_, Option<bool>>(name)?),
        Time => boxed(row.get::<_, Option<i64>>(name)?.map(|millis| time(Timestamp::from_millis(millis)))),
        Digest => boxed(text("client_tenant")?.zip(text("client_key")?).map(|(tenant, key)| digest_of(&tenant, &key))),
    })
}

async fn verify(transaction: &Transaction<'_>, rows: &[(&'static str, u64)], last: i64) -> Result<(), MoveError> {
    for (table, copied) in rows {
        let found = transaction.query_one(&format!("SELECT count(*) FROM chroma_edge.{table}"), &[]).await?;
        let found = u64::try_from(found.try_get::<_, i64>(0)?).unwrap_or(0);
        if found != *copied {
            return Err(MoveError::Counted { table, copied: *copied, found });
        }
    }
    let sql = "SELECT last_seq, (SELECT coalesce(max(seq), 0) FROM chroma_edge.transactions) FROM chroma_edge.journal";
    let row = transaction.query_one(sql, &[]).await?;
    let (found, highest): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    if found != last || highest > last {
        return Err(MoveError::Write(format!("the last position is {found}, of {last}; the highest is {highest}")));
    }
    Ok(())
}
