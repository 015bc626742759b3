//! Appends: each draft of a batch becomes a transaction with the next position, all in one statement per table.
//!
//! The guard gives out the positions in the same transaction, so an append can be sent without knowing the last
//! position.

use std::borrow::Cow;
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::journal::names::{Named, lane_name, unusual};
use crate::journal::postgres::codec::body;
use crate::journal::postgres::codec::row::{count, time};
use crate::journal::postgres::codec::text::stored;
use crate::journal::postgres::connection::pipeline::{Query, query};
use crate::journal::{ClientKey, Compression, Draft, Status};

const TRANSACTIONS: &str = "
    INSERT INTO chroma_edge.transactions (seq, transaction_id, client_tenant, client_key, client_digest, fingerprint, lane,
        kind, merge_docs, merge_encoding, bytes, status, created_at, method, path, content_type, client_session, client_ip,
        user_identifier, priority, vouching, conditions, trace_context)
    SELECT (SELECT last_seq FROM chroma_edge.journal) - $1 + d.place, d.id, d.tenant, d.key, d.digest, d.fingerprint,
        d.lane, d.kind, d.docs, d.encoding, d.bytes, $2, d.created_at, d.method, d.path, d.content_type, d.session, d.ip,
        d.user_identifier, d.priority, d.vouching, d.conditions, d.trace_context
    FROM unnest($3::uuid[], $4::text[], $5::text[], $6::bytea[], $7::bytea[], $8::text[], $9::text[], $10::bigint[],
        $11::text[], $12::bigint[], $13::timestamptz[], $14::text[], $15::text[], $16::text[], $17::text[], $18::text[],
        $19::text[], $20::text[], $21::text[], $22::text[], $23::text[])
        WITH ORDINALITY AS d (id, tenant, key, digest, fingerprint, lane, kind, docs, encoding, bytes, created_at, method,
            path, content_type, session, ip, user_identifier, priority, vouching, conditions, trace_context, place)";

const BODIES: &str = "
    INSERT INTO chroma_edge.bodies (seq, body, encoding)
    SELECT (SELECT last_seq FROM chroma_edge.journal) - $1 + d.place, d.body, d.encoding
    FROM unnest($2::bytea[], $3::text[]) WITH ORDINALITY AS d (body, encoding, place)";

/// Adds the statements that insert the drafts.
pub(in crate::journal::postgres) fn append<'a>(
    drafts: &'a [Draft],
    compression: Compression,
    queries: &mut Vec<Query<'a>>,
) {
    if drafts.is_empty() {
        return;
    }
    let given = i64::try_from(drafts.len()).unwrap_or(i64::MAX);
    queries.push(transactions(drafts, given));
    let (bodies, encodings): (Vec<_>, Vec<_>) =
        drafts.iter().map(|draft| body::packed(&draft.body, compression)).unzip();
    let bodies: Vec<Plain> = bodies.into_iter().map(Plain).collect();
    queries.push(query!(BODIES, given, bodies, encodings));
}

fn transactions(drafts: &[Draft], given: i64) -> Query<'_> {
    fn all<'a, T>(drafts: &'a [Draft], value: impl Fn(&'a Draft) -> T) -> Vec<T> {
        drafts.iter().map(value).collect()
    }
    let key = |draft: &Draft| draft.client_key.as_ref().map(digest);
    let optional = |text: &'_ Option<String>| text.as_deref().map(|text| stored(text).into_owned());
    query!(
        TRANSACTIONS,
        given,
        Status::Attempting.name(),
        all(drafts, |draft| draft.transaction_id.uuid()),
        all(drafts, |draft| draft.client_key.as_ref().map(|key| stored(&key.tenant))),
        all(drafts, |draft| draft.client_key.as_ref().map(|key| stored(&key.key))),
        all(drafts, key),
        all(drafts, |draft| draft.client_key.as_ref().map(|key| key.fingerprint.as_slice())),
        all(drafts, |draft| lane_name(draft.lane)),
        all(drafts, |draft| draft.profile.kind.name()),
        all(drafts, |draft| draft.profile.merge.map(|merge| i64::from(merge.docs))),
        all(drafts, |draft| draft.profile.merge.map(|merge| merge.encoding.name())),
        all(drafts, |draft| count(draft.profile.bytes)),
        all(drafts, |draft| -> SystemTime { time(draft.created_at) }),
        all(drafts, |draft| -> Cow<'_, str> { stored(&draft.method) }),
        all(drafts, |draft| -> Cow<'_, str> { stored(&draft.path) }),
        all(drafts, |draft| optional(&draft.content_type)),
        all(drafts, |draft| optional(&draft.client_session)),
        all(drafts, |draft| optional(&draft.client_ip)),
        all(drafts, |draft| optional(&draft.user_identifier)),
        all(drafts, |draft| draft.profile.priority.name()),
        all(drafts, |draft| unusual(draft.profile.vouching)),
        all(drafts, |draft| unusual(draft.profile.conditions)),
        all(drafts, |draft| draft.trace_context.map(|context| context.to_string())),
    )
}

/// Returns the digest that represents a client's key in the index.
pub(in crate::journal::postgres) fn digest(key: &ClientKey) -> Vec<u8> {
    digest_of(&key.tenant, &key.key)
}

/// See [`digest`].
pub(in crate::journal::postgres) fn digest_of(tenant: &str, key: &str) -> Vec<u8> {
    let mut digest = Sha256::new();
    digest.update(count(tenant.len() as u64).to_le_bytes());
    digest.update(tenant);
    digest.update(key);
    digest.finalize().to_vec()
}

/// Returns the digests of the drafts' client keys.
pub(super) fn holders(drafts: &[Draft]) -> Vec<Vec<u8>> {
    drafts.iter().filter_map(|draft| draft.client_key.as_ref()).map(digest).collect()
}

/// The earliest transaction that holds one of these keys, given by their digests.
pub(super) const HOLDER: &str =
    "SELECT transaction_id FROM chroma_edge.transactions WHERE client_digest = ANY ($1::bytea[]) ORDER BY seq LIMIT 1";

/// Returns the transaction id in a row of [`HOLDER`].
pub(in crate::journal::postgres) fn holder(row: &tokio_postgres::Row) -> Option<Uuid> {
    row.try_get(0).ok()
}

/// Bytes as `bytea`, copied only once, into the message.
#[derive(Debug)]
pub(super) struct Plain(pub(in crate::journal::postgres) bytes::Bytes);

impl tokio_postgres::types::ToSql for Plain {
    fn to_sql(
        &self,
        kind: &tokio_postgres::types::Type,
        out: &mut bytes::BytesMut,
    ) -> Result<tokio_postgres::types::IsNull, Box<dyn std::error::Error + Sync + Send>> {
        self.0.as_ref().to_sql(kind, out)
    }

    fn accepts(kind: &tokio_postgres::types::Type) -> bool {
        <&[u8] as tokio_postgres::types::ToSql>::accepts(kind)
    }

    tokio_postgres::types::to_sql_checked!();
}
