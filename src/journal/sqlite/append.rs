//! Appends: each draft of a batch becomes a transaction with the next position.

use rusqlite::{Connection, OptionalExtension, named_params, params};
use uuid::Uuid;

use super::failure::refused;
use super::row::{count, number};
use crate::ids::{Seq, TransactionId};
use crate::journal::bodies::{self, Compression, Stored};
use crate::journal::names::{Named, lane_name, unusual};
use crate::journal::{ClientKey, CommitError, Draft, Status};

const INSERT: &str =
    "INSERT INTO transactions (seq, transaction_id, client_tenant, client_key, fingerprint, lane, kind,
        merge_docs, merge_encoding, bytes, status, created_at, method, path, content_type, client_session, client_ip,
        user_identifier, priority, vouching, conditions, trace_context)
    VALUES (:seq, :transaction_id, :client_tenant, :client_key, :fingerprint, :lane, :kind, :merge_docs,
        :merge_encoding, :bytes, :status, :created_at, :method, :path, :content_type, :client_session, :client_ip,
        :user_identifier, :priority, :vouching, :conditions, :trace_context)";

/// Inserts the drafts after the last position ever assigned, and stores the new last one.
pub(super) fn append(
    connection: &Connection,
    drafts: &[Draft],
    compression: Compression,
) -> Result<Vec<Seq>, CommitError> {
    if drafts.is_empty() {
        return Ok(Vec::new());
    }
    let mut last = last(connection).map_err(|error| refused(&error))?;
    let mut seqs = Vec::with_capacity(drafts.len());
    for draft in drafts {
        last = last.next();
        if let Err(error) = insert(connection, last, draft, compression) {
            let holder = draft.client_key.as_ref().map(|key| holder(connection, key));
            return Err(match holder {
                Some(Ok(Some(id))) if is_constraint(&error) => CommitError::Taken(id),
                _ => refused(&error),
            });
        }
        seqs.push(last);
    }
    remember(connection, last).map(|()| seqs).map_err(|error| refused(&error))
}

/// Stores the last position assigned.
pub(super) fn remember(connection: &Connection, last: Seq) -> rusqlite::Result<()> {
    connection.prepare_cached("UPDATE meta SET last_seq = ?1")?.execute([number(last)]).map(drop)
}

/// Returns the last position assigned.
pub(super) fn last(connection: &Connection) -> rusqlite::Result<Seq> {
    let mut statement = connection.prepare_cached("SELECT last_seq FROM meta")?;
    statement.query_row([], |row| super::row::seq(row, "last_seq"))
}

fn insert(connection: &Connection, seq: Seq, draft: &Draft, compression: Compression) -> rusqlite::Result<()> {
    let key = draft.client_key.as_ref();
    let merge = draft.profile.merge;
    let mut statement = connection.prepare_cached(INSERT)?;
    statement.execute(named_params! {
        ":seq": number(seq),
        ":transaction_id": draft.transaction_id.uuid().as_bytes(),
        ":client_tenant": key.map(|key| &key.tenant),
        ":client_key": key.map(|key| &key.key),
        ":fingerprint": key.map(|key| &key.fingerprint),
        ":lane": lane_name(draft.lane),
        ":kind": draft.profile.kind.name(),
        ":merge_docs": merge.map(|merge| merge.docs),
        ":merge_encoding": merge.map(|merge| merge.encoding.name()),
        ":bytes": count(draft.profile.bytes),
        ":status": Status::Attempting.name(),
        ":created_at": draft.created_at.millis(),
        ":method": draft.method,
        ":path": draft.path,
        ":content_type": draft.content_type,
        ":client_session": draft.client_session,
        ":client_ip": draft.client_ip,
        ":user_identifier": draft.user_identifier,
        ":priority": draft.profile.priority.name(),
        ":vouching": unusual(draft.profile.vouching),
        ":conditions": unusual(draft.profile.conditions),
        ":trace_context": draft.trace_context.map(|context| context.to_string()),
    })?;
    let sql = "INSERT INTO bodies (seq, body, encoding, utf8) VALUES (?1, ?2, ?3, ?4)";
    let packed = bodies::pack(&draft.body, compression);
    // The views show a body as text only if it is known to be text.
    let utf8 = packed.encoding == Stored::Plain && std::str::from_utf8(&draft.body).is_ok();
    let values = params![number(seq), packed.bytes.as_ref(), packed.encoding.name(), utf8];
    connection.prepare_cached(sql)?.execute(values).map(drop)
}

/// Returns the transaction that holds the client's key.
fn holder(connection: &Connection, key: &ClientKey) -> rusqlite::Result<Option<TransactionId>> {
    let mut statement = connection
        .prepare_cached("SELECT transaction_id FROM transactions WHERE client_tenant = ?1 AND client_key = ?2")?;
    let holder = statement.query_row([&key.tenant, &key.key], |row| row.get(0)).optional()?;
    Ok(holder.map(Uuid::from_bytes).map(TransactionId::new))
}

fn is_constraint(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation)
}
