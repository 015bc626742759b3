//! An application's own operations: rows among the transactions that are in no lane and never get a verdict.
//!
//! A fact adds them, not an append: nothing executes them, so their position is not reported.

use rusqlite::{Connection, OptionalExtension, named_params, params};

use super::append;
use super::row::{count, number, parsed, unsigned};
use crate::clock::Timestamp;
use crate::ids::Seq;
use crate::journal::names::{APPLICATION, Named};
use crate::journal::{
    ApplicationDraft, ApplicationReport, ApplicationUse, ClientUse, ROW_BYTES, Status, TimingGap, Trimmed,
};

const INSERT: &str = "INSERT INTO transactions (seq, transaction_id, client_tenant, client_key, fingerprint, lane, kind,
        bytes, status, created_at, method, path, client_session, client_ip, client, user_identifier)
    VALUES (:seq, :transaction_id, :client_tenant, :client_key, :fingerprint, :lane, :lane, :bytes, :status, :created_at,
        :method, :path, :client_session, :client_ip, :client, :user_identifier)
    ON CONFLICT DO NOTHING";

/// Journals the beginning of an operation. Has no effect if the transaction exists already, or if its key is taken.
pub(super) fn begin(connection: &Connection, draft: &ApplicationDraft) -> rusqlite::Result<()> {
    let seq = append::last(connection)?.next();
    let inserted = connection.prepare_cached(INSERT)?.execute(named_params! {
        ":seq": number(seq),
        ":transaction_id": draft.transaction_id.uuid().as_bytes(),
        ":client_tenant": draft.client_key.tenant,
        ":client_key": draft.client_key.key,
        ":fingerprint": draft.client_key.fingerprint,
        ":lane": APPLICATION,
        ":bytes": count(draft.body.len() as u64),
        ":status": Status::Attempting.name(),
        ":created_at": draft.created_at.millis(),
        ":method": draft.method,
        ":path": draft.path,
        ":client_session": draft.client_session,
        ":client_ip": draft.client_ip,
        ":client": draft.client,
        ":user_identifier": draft.user_identifier,
    })?;
    if inserted == 0 {
        return Ok(());
    }
    let body = "INSERT INTO bodies (seq, body) VALUES (?1, ?2)";
    connection.prepare_cached(body)?.execute(params![number(seq), draft.body.as_ref()])?;
    append::remember(connection, seq)
}

/// Journals how the operation went, by the rule of [`Status::after`].
pub(super) fn report(
    connection: &Connection,
    seq: Seq,
    report: &ApplicationReport,
    at: Timestamp,
) -> rusqlite::Result<()> {
    let sql = "SELECT status, timing_gap FROM transactions WHERE seq = ?1 AND lane = ?2";
    let read = |row: &rusqlite::Row<'_>| {
        Ok((parsed(row, "status", Status::named)?, if row.get("timing_gap")? { TimingGap::Yes } else { TimingGap::No }))
    };
    let found = connection.prepare_cached(sql)?.query_row(params![number(seq), APPLICATION], read).optional()?;
    let Some((current, gap)) = found else { return Ok(()) };
    if current.is_final() {
        return Ok(());
    }
    let status = current.after(report.status(gap));
    let answer = report.answer();
    let sql = "UPDATE transactions SET status = :status, timing_gap = max(timing_gap, :timing_gap),
            retry_count = retry_count + :failed, failure_reason = coalesce(:reason, failure_reason),
            response_status = coalesce(:answer_status, response_status), answer_status = :answer_status,
            answer_body = :answer_body, completed_at = :completed_at
        WHERE seq = :seq";
    let mut statement = connection.prepare_cached(sql)?;
    statement.execute(named_params! {
        ":seq": number(seq),
        ":status": status.name(),
        ":timing_gap": report.timing_gap() == TimingGap::Yes,
        ":failed": answer.is_none(),
        ":reason": report.reason(),
        ":answer_status": answer.map(|answer| answer.status),
        ":answer_body": answer.map(|answer| answer.body.as_ref()),
        ":completed_at": status.is_final().then_some(at.millis()),
    })?;
    Ok(())
}

/// See [`crate::journal::Store::application_use`].
pub(super) fn usage(connection: &Connection) -> rusqlite::Result<ApplicationUse> {
    let sql = "SELECT client, bytes, (SELECT sum(bytes) FROM application_use) AS sum FROM application_use
        ORDER BY bytes DESC LIMIT 1";
    let read = |row: &rusqlite::Row<'_>| {
        let largest = ClientUse { client: row.get("client")?, bytes: unsigned(row, "bytes")? };
        Ok(ApplicationUse { bytes: unsigned(row, "sum")?, largest: Some(largest) })
    };
    Ok(connection.prepare_cached(sql)?.query_row([], read).optional()?.unwrap_or_default())
}

/// See [`crate::journal::Store::application_bytes_of`].
pub(super) fn bytes_of(connection: &Connection, client: &str) -> rusqlite::Result<u64> {
    let sql = "SELECT bytes FROM application_use WHERE client = ?1";
    let found = connection.prepare_cached(sql)?.query_row([client], |row| unsigned(row, "bytes")).optional()?;
    Ok(found.unwrap_or(0))
}

/// Returns whether some operations ended before `before`, of clients whose operations take more than `above`.
pub(super) fn may_go(connection: &Connection, before: Timestamp, above: u64) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM transactions INDEXED BY transactions_application
        WHERE lane = 'application' AND completed_at IS NOT NULL AND completed_at < ?1
            AND client IN (SELECT client FROM application_use WHERE bytes > ?2)";
    connection.prepare_cached(sql)?.exists(params![before.millis(), count(above)])
}

/// Removes up to `most` operations that ended before `before`, of clients whose operations take more than `above`.
/// Nothing in a lane depends on them.
pub(super) fn trim(connection: &Connection, before: Timestamp, above: u64, most: u64) -> rusqlite::Result<Trimmed> {
    let sql = "DELETE FROM transactions WHERE seq IN (
            SELECT seq FROM transactions INDEXED BY transactions_application
            WHERE lane = 'application' AND completed_at IS NOT NULL AND completed_at < ?1
                AND client IN (SELECT client FROM application_use WHERE bytes > ?4) LIMIT ?2)
        RETURNING bytes + coalesce(length(answer_body), 0) + ?3 AS bytes";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![before.millis(), count(most), count(ROW_BYTES), count(above)])?;
    let mut trimmed = Trimmed::default();
    while let Some(row) = rows.next()? {
        trimmed.transactions += 1;
        trimmed.bytes += unsigned(row, "bytes")?;
    }
    Ok(trimmed)
}
