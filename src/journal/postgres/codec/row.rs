//! How the edge's types are converted to and from the rows of the PostgreSQL tables.
//!
//! Positions are stored as signed 64-bit numbers, timestamps as `timestamptz`, names as in [`crate::journal::names`],
//! other text as in [`super::text`]. Reading is fallible: a damaged or newer row gives an error that names the column,
//! never a panic.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use uuid::Uuid;

use super::text;
use crate::clock::Timestamp;
use crate::ids::{InstanceName, LaneId, Seq, TraceContext, TransactionId};
use crate::journal::names::{APPLICATION, Named, lane_named};
use crate::journal::postgres::connection::connect::explain;
use crate::journal::stored_profile::StoredProfile;
use crate::journal::transaction::transaction_columns;
use crate::journal::{
    ClientKey, EntryRow, OperationType, ReadError, Request, Resolution, StoredAnswer, TimingGap, TransactionRow,
    ack_policy,
};
use crate::order::{Conditions, Profile, RequestClass, Verdict};

/// The last timestamp that is stored unchanged, in milliseconds: the end of the year 9999.
const LAST_MILLIS: i64 = 253_402_300_799_999;
/// The first one: the beginning of the year 1.
const FIRST_MILLIS: i64 = -62_135_596_800_000;

/// Converts a position for storage. A journal holds fewer than 2^63 transactions.
pub(in crate::journal::postgres) fn number(seq: Seq) -> i64 {
    count(seq.get())
}

/// Converts a size or a count for storage.
pub(in crate::journal::postgres) fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Converts a timestamp for storage.
pub(in crate::journal::postgres) fn time(at: Timestamp) -> SystemTime {
    let millis = at.millis().clamp(FIRST_MILLIS, LAST_MILLIS);
    let span = Duration::from_millis(millis.unsigned_abs());
    if millis < 0 { UNIX_EPOCH - span } else { UNIX_EPOCH + span }
}

/// Converts a stored timestamp.
fn timestamp(time: SystemTime) -> Timestamp {
    let millis = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Timestamp::from_millis(millis(after)),
        Err(before) => Timestamp::from_millis(-millis(before.duration())),
    }
}

/// Reads a timestamp.
pub(in crate::journal::postgres) fn moment(row: &Row, column: &str) -> Result<Timestamp, ReadError> {
    get(row, column).map(timestamp)
}

/// Reads a timestamp that may be absent.
pub(in crate::journal::postgres) fn moment_if_any(row: &Row, column: &str) -> Result<Option<Timestamp>, ReadError> {
    Ok(get::<Option<SystemTime>>(row, column)?.map(timestamp))
}

/// Reads a value.
pub(in crate::journal::postgres) fn get<'r, T: FromSql<'r>>(row: &'r Row, column: &str) -> Result<T, ReadError> {
    row.try_get(column).map_err(|error| ReadError::caused_by(format!("column {column}: {}", explain(&error)), error))
}

/// Reads a position.
pub(in crate::journal::postgres) fn seq(row: &Row, column: &str) -> Result<Seq, ReadError> {
    unsigned(row, column).map(Seq::new)
}

/// Reads a size or count.
pub(in crate::journal::postgres) fn unsigned(row: &Row, column: &str) -> Result<u64, ReadError> {
    let value: i64 = get(row, column)?;
    u64::try_from(value).map_err(|error| damaged(column, error))
}

/// Reads a name and converts it.
pub(in crate::journal::postgres) fn parsed<T, E>(
    row: &Row,
    column: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<T, ReadError>
where
    E: std::error::Error + Send + Sync + 'static,
{
    parse(get(row, column)?).map_err(|error| damaged(column, error))
}

/// Reads a name that may be absent, and converts it.
pub(in crate::journal::postgres) fn named<T: Named>(row: &Row, column: &str) -> Result<Option<T>, ReadError> {
    let text: Option<&str> = get(row, column)?;
    text.map(|text| T::named(text)).transpose().map_err(|error| damaged(column, error))
}

/// Reads a text.
pub(in crate::journal::postgres) fn text(row: &Row, column: &str) -> Result<String, ReadError> {
    get(row, column).map(text::read)
}

/// Reads a text that may be absent.
fn optional(row: &Row, column: &str) -> Result<Option<String>, ReadError> {
    Ok(get::<Option<String>>(row, column)?.map(text::read))
}

/// Reads an instance name.
pub(in crate::journal::postgres) fn instance(row: &Row, column: &str) -> Result<InstanceName, ReadError> {
    get(row, column).map(InstanceName::new)
}

fn damaged(column: &str, error: impl std::error::Error + Send + Sync + 'static) -> ReadError {
    ReadError::caused_by(format!("column {column}: {error}"), error)
}

pub(in crate::journal::postgres) fn lane(row: &Row) -> Result<LaneId, ReadError> {
    parsed(row, "lane", lane_named)
}

fn transaction_id(row: &Row) -> Result<TransactionId, ReadError> {
    get::<Uuid>(row, "transaction_id").map(TransactionId::new)
}

/// Converts a stored number to a smaller type.
fn small<T: TryFrom<i64>>(column: &str, value: impl Into<i64>) -> Result<T, ReadError> {
    T::try_from(value.into()).map_err(|_| ReadError::new(format!("column {column}: out of range")))
}

fn profile(row: &Row) -> Result<Profile, ReadError> {
    let docs: Option<i64> = get(row, "merge_docs")?;
    let docs: Option<u32> = docs.map(|docs| small("merge_docs", docs)).transpose()?;
    let stored = StoredProfile {
        kind: parsed(row, "kind", Named::named)?,
        bytes: unsigned(row, "bytes")?,
        merge: (docs, named(row, "merge_encoding")?),
        priority: named(row, "priority")?,
        vouching: named(row, "vouching")?,
        conditions: named(row, "conditions")?,
    };
    Ok(stored.read())
}

/// Reads how the write says which records it is about.
pub(in crate::journal::postgres) fn conditions(row: &Row) -> Result<Conditions, ReadError> {
    Ok(named(row, "conditions")?.unwrap_or_default())
}

/// Reads the class of requests that are refused if the write is quarantined.
pub(in crate::journal::postgres) fn class(row: &Row) -> Result<RequestClass, ReadError> {
    Ok(RequestClass { kind: parsed(row, "kind", Named::named)?, conditions: conditions(row)? })
}

fn status_code(row: &Row, column: &str) -> Result<Option<u16>, ReadError> {
    get::<Option<i32>>(row, column)?.map(|code| small(column, code)).transpose()
}

fn answer(row: &Row) -> Result<Option<StoredAnswer>, ReadError> {
    let Some(status) = status_code(row, "answer_status")? else { return Ok(None) };
    let body: Option<&[u8]> = get(row, "answer_body")?;
    Ok(Some(StoredAnswer { status, body: Bytes::copy_from_slice(body.unwrap_or_default()) }))
}

/// Reads a verdict that may be absent.
pub(in crate::journal::postgres) fn verdict(row: &Row) -> Result<Option<Verdict>, ReadError> {
    named(row, "verdict")
}

/// The columns that [`entry`] reads.
pub(in crate::journal::postgres) const ENTRY: &str =
    "t.seq, t.transaction_id, t.lane, t.kind, t.merge_docs, t.merge_encoding, t.bytes, t.priority, t.vouching,
    t.conditions, t.verdict, t.status, t.client_key, t.suspect_on";

/// Reads a row of [`ENTRY`].
pub(in crate::journal::postgres) fn entry(row: &Row) -> Result<EntryRow, ReadError> {
    let transaction_id = transaction_id(row)?;
    let client_key = optional(row, "client_key")?;
    let profile = profile(row)?;
    let suspect_on: Option<&str> = get(row, "suspect_on")?;
    Ok(EntryRow {
        seq: seq(row, "seq")?,
        transaction_id,
        lane: lane(row)?,
        profile,
        verdict: verdict(row)?,
        status: parsed(row, "status", Named::named)?,
        ack_policy: ack_policy(client_key.as_deref(), transaction_id, profile.vouching),
        suspect_on: suspect_on.map(InstanceName::new),
    })
}

/// The columns that [`request`] reads. It also unpacks the stored body.
pub(in crate::journal::postgres) const REQUEST: &str =
    "t.seq, t.lane, t.kind, t.merge_docs, t.merge_encoding, t.bytes, t.priority, t.vouching, t.conditions, t.method, t.path,
    t.content_type, t.answer_status, t.answer_body, t.trace_context, b.resolved IS NOT NULL AS resolved,
    coalesce(b.resolved, b.body) AS body, CASE WHEN b.resolved IS NULL THEN b.encoding ELSE 'plain' END AS encoding";

/// Reads a row of [`REQUEST`].
pub(in crate::journal::postgres) fn request(row: &Row) -> Result<Request, ReadError> {
    Ok(Request {
        seq: seq(row, "seq")?,
        lane: lane(row)?,
        profile: profile(row)?,
        method: text(row, "method")?,
        path: text(row, "path")?,
        content_type: optional(row, "content_type")?,
        body: super::body::unpacked(get(row, "encoding")?, get(row, "body")?)?,
        resolved: if get(row, "resolved")? { Resolution::Resolved } else { Resolution::AsReceived },
        answer: answer(row)?,
        // An unreadable trace context costs a link in a trace, never a write.
        trace_context: get::<Option<&str>>(row, "trace_context")?.and_then(TraceContext::parse),
    })
}

/// The columns that [`transaction`] reads.
pub(in crate::journal::postgres) const TRANSACTION: &str = transaction_columns!("answer_body");
/// The same for lists, which show answers without their bodies.
pub(in crate::journal::postgres) const LISTED: &str = transaction_columns!("NULL::bytea AS answer_body");

/// Reads a row of [`TRANSACTION`].
pub(in crate::journal::postgres) fn transaction(row: &Row) -> Result<TransactionRow, ReadError> {
    let executed_on: Option<&str> = get(row, "executed_on")?;
    let lane = match get::<&str>(row, "lane")? {
        APPLICATION => None,
        _ => Some(lane(row)?),
    };
    Ok(TransactionRow {
        seq: seq(row, "seq")?,
        transaction_id: transaction_id(row)?,
        client_key: client_key(row)?,
        operation: parsed(row, "kind", OperationType::from_stored)?,
        lane,
        method: text(row, "method")?,
        path: text(row, "path")?,
        status: parsed(row, "status", Named::named)?,
        verdict: verdict(row)?,
        answer: answer(row)?,
        response_status: status_code(row, "response_status")?,
        failure_reason: optional(row, "failure_reason")?,
        timing_gap: if get(row, "timing_gap")? { TimingGap::Yes } else { TimingGap::No },
        executed_on: executed_on.map(InstanceName::new),
        retry_count: small("retry_count", get::<i32>(row, "retry_count")?)?,
        next_retry_at: moment_if_any(row, "next_retry_at")?,
        created_at: moment(row, "created_at")?,
        completed_at: moment_if_any(row, "completed_at")?,
        client_session: optional(row, "client_session")?,
        client_ip: optional(row, "client_ip")?,
        client: optional(row, "client")?,
        user_identifier: optional(row, "user_identifier")?,
    })
}

fn client_key(row: &Row) -> Result<Option<ClientKey>, ReadError> {
    let Some(key) = optional(row, "client_key")? else { return Ok(None) };
    let fingerprint: &[u8] = get(row, "fingerprint")?;
    let fingerprint = fingerprint.try_into().map_err(|_| ReadError::new("column fingerprint: it has not 32 bytes"))?;
    Ok(Some(ClientKey { tenant: text(row, "client_tenant")?, key, fingerprint }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_come_back_to_the_millisecond() {
        for millis in [0, 1, -1, 999, 1_763_000_000_123, FIRST_MILLIS, LAST_MILLIS] {
            assert_eq!(timestamp(time(Timestamp::from_millis(millis))).millis(), millis);
        }
        assert_eq!(timestamp(time(Timestamp::from_millis(i64::MAX))).millis(), LAST_MILLIS);
        assert_eq!(timestamp(time(Timestamp::from_millis(i64::MIN))).millis(), FIRST_MILLIS);
    }
}
