//! How the rows of the SQLite tables are read, and how our types are stored in them.
//!
//! Positions are stored as signed 64-bit numbers, names as in [`crate::journal::names`]. Reading is fallible: a damaged
//! or newer row is an error that names its column, never a panic.

use rusqlite::Row;
use rusqlite::types::Type;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::ids::{InstanceName, LaneId, Seq, TraceContext, TransactionId};
use crate::journal::bodies::{self, Stored};
use crate::journal::names::{APPLICATION, Named, lane_named};
use crate::journal::stored_profile::StoredProfile;
use crate::journal::transaction::transaction_columns;
use crate::journal::{
    ClientKey, EntryRow, OperationType, ProgressRow, Request, Resolution, StoredAnswer, TimingGap, TransactionRow,
    ack_policy,
};
use crate::order::{Conditions, LaneState, Profile, RequestClass, Verdict};

/// Returns the stored form of a position. A journal holds fewer than 2^63 transactions.
pub(super) fn number(seq: Seq) -> i64 {
    i64::try_from(seq.get()).unwrap_or(i64::MAX)
}

/// Returns the stored form of a size or a count.
pub(super) fn count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Reads a position.
pub(super) fn seq(row: &Row<'_>, column: &str) -> rusqlite::Result<Seq> {
    unsigned(row, column).map(Seq::new)
}

/// Reads a size or a count.
pub(super) fn unsigned(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|error| damaged(row, column, error))
}

/// Reads a name and converts it.
pub(super) fn parsed<T, E>(row: &Row<'_>, column: &str, parse: impl Fn(&str) -> Result<T, E>) -> rusqlite::Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let text: String = row.get(column)?;
    parse(&text).map_err(|error| damaged(row, column, error))
}

/// Reads a name that may be absent, and converts it.
pub(super) fn named<T: Named>(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<T>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| T::named(&text)).transpose().map_err(|error| damaged(row, column, error))
}

/// Reads a UUID.
pub(super) fn uuid(row: &Row<'_>, column: &str) -> rusqlite::Result<Uuid> {
    row.get(column).map(Uuid::from_bytes)
}

/// Reads an instance name that may be absent.
fn instance(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<InstanceName>> {
    let name: Option<String> = row.get(column)?;
    Ok(name.as_deref().map(InstanceName::new))
}

fn damaged(row: &Row<'_>, column: &str, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    let index = row.as_ref().column_index(column).unwrap_or_default();
    rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error))
}

fn lane(row: &Row<'_>) -> rusqlite::Result<LaneId> {
    parsed(row, "lane", lane_named)
}

fn transaction_id(row: &Row<'_>) -> rusqlite::Result<TransactionId> {
    uuid(row, "transaction_id").map(TransactionId::new)
}

fn profile(row: &Row<'_>) -> rusqlite::Result<Profile> {
    let stored = StoredProfile {
        kind: parsed(row, "kind", Named::named)?,
        bytes: unsigned(row, "bytes")?,
        merge: (row.get("merge_docs")?, named(row, "merge_encoding")?),
        priority: named(row, "priority")?,
        vouching: named(row, "vouching")?,
        conditions: named(row, "conditions")?,
    };
    Ok(stored.read())
}

/// Reads how the write says which records it is about.
pub(super) fn conditions(row: &Row<'_>) -> rusqlite::Result<Conditions> {
    Ok(named(row, "conditions")?.unwrap_or_default())
}

/// Reads the class that is refused while the write is quarantined.
pub(super) fn class(row: &Row<'_>) -> rusqlite::Result<RequestClass> {
    Ok(RequestClass { kind: parsed(row, "kind", Named::named)?, conditions: conditions(row)? })
}

fn answer(row: &Row<'_>) -> rusqlite::Result<Option<StoredAnswer>> {
    let Some(status) = row.get::<_, Option<u16>>("answer_status")? else { return Ok(None) };
    let body: Option<Vec<u8>> = row.get("answer_body")?;
    Ok(Some(StoredAnswer { status, body: body.unwrap_or_default().into() }))
}

/// Reads a verdict that may be absent.
pub(super) fn verdict(row: &Row<'_>) -> rusqlite::Result<Option<Verdict>> {
    named(row, "verdict")
}

/// The columns that [`entry`] reads.
pub(super) const ENTRY: &str = "seq, transaction_id, lane, kind, merge_docs, merge_encoding, bytes, priority, vouching, conditions, verdict, status, \
     client_key, suspect_on";

/// Reads a row of [`ENTRY`].
pub(super) fn entry(row: &Row<'_>) -> rusqlite::Result<EntryRow> {
    let transaction_id = transaction_id(row)?;
    let client_key: Option<String> = row.get("client_key")?;
    let profile = profile(row)?;
    Ok(EntryRow {
        seq: seq(row, "seq")?,
        transaction_id,
        lane: lane(row)?,
        profile,
        verdict: verdict(row)?,
        status: parsed(row, "status", Named::named)?,
        ack_policy: ack_policy(client_key.as_deref(), transaction_id, profile.vouching),
        suspect_on: instance(row, "suspect_on")?,
    })
}

/// The columns that [`request`] reads.
pub(super) const REQUEST: &str = "seq, lane, kind, merge_docs, merge_encoding, bytes, priority, vouching, conditions, method, path, \
     content_type, answer_status, answer_body, trace_context, resolved IS NOT NULL AS resolved, coalesce(resolved, body) AS body, \
     CASE WHEN resolved IS NULL THEN encoding ELSE 'plain' END AS encoding";

/// Reads a row of [`REQUEST`].
pub(super) fn request(row: &Row<'_>) -> rusqlite::Result<Request> {
    let body: Vec<u8> = row.get("body")?;
    let encoding = parsed(row, "encoding", Stored::named)?;
    Ok(Request {
        seq: seq(row, "seq")?,
        lane: lane(row)?,
        profile: profile(row)?,
        method: row.get("method")?,
        path: row.get("path")?,
        content_type: row.get("content_type")?,
        body: bodies::unpack(body, encoding).map_err(|error| damaged(row, "body", error))?,
        resolved: if row.get("resolved")? { Resolution::Resolved } else { Resolution::AsReceived },
        answer: answer(row)?,
        // An unreadable context costs a link in a trace, never a write.
        trace_context: row.get::<_, Option<String>>("trace_context")?.as_deref().and_then(TraceContext::parse),
    })
}

/// The columns that [`transaction`] reads.
pub(super) const TRANSACTION: &str = transaction_columns!("answer_body");
/// The same columns for lists, where answers are shown without their bodies.
pub(super) const LISTED: &str = transaction_columns!("NULL AS answer_body");

/// Reads a row of [`TRANSACTION`].
pub(super) fn transaction(row: &Row<'_>) -> rusqlite::Result<TransactionRow> {
    let moment =
        |column: &str| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_millis));
    let lane = match row.get_ref("lane")?.as_str()? {
        APPLICATION => None,
        _ => Some(lane(row)?),
    };
    Ok(TransactionRow {
        seq: seq(row, "seq")?,
        transaction_id: transaction_id(row)?,
        client_key: client_key(row)?,
        operation: parsed(row, "kind", OperationType::from_stored)?,
        lane,
        method: row.get("method")?,
        path: row.get("path")?,
        status: parsed(row, "status", Named::named)?,
        verdict: verdict(row)?,
        answer: answer(row)?,
        response_status: row.get("response_status")?,
        failure_reason: row.get("failure_reason")?,
        timing_gap: if row.get("timing_gap")? { TimingGap::Yes } else { TimingGap::No },
        executed_on: instance(row, "executed_on")?,
        retry_count: row.get("retry_count")?,
        next_retry_at: moment("next_retry_at")?,
        created_at: Timestamp::from_millis(row.get("created_at")?),
        completed_at: moment("completed_at")?,
        client_session: row.get("client_session")?,
        client_ip: row.get("client_ip")?,
        client: row.get("client")?,
        user_identifier: row.get("user_identifier")?,
    })
}

fn client_key(row: &Row<'_>) -> rusqlite::Result<Option<ClientKey>> {
    let Some(key) = row.get::<_, Option<String>>("client_key")? else { return Ok(None) };
    Ok(Some(ClientKey { tenant: row.get("client_tenant")?, key, fingerprint: row.get("fingerprint")? }))
}

/// Reads a row of the table `progress`.
pub(super) fn progress(row: &Row<'_>) -> rusqlite::Result<ProgressRow> {
    Ok(ProgressRow {
        lane: lane(row)?,
        instance: InstanceName::new(&row.get::<_, String>("instance")?),
        through: seq(row, "through")?,
        state: parsed(row, "standing", LaneState::named)?,
        reason: row.get("reason")?,
    })
}
