//! An application's own operations: rows among the transactions, in no lane, and never with a verdict.
//!
//! A fact appends them, not an append: nothing executes them, so their position is not reported. The operations of a
//! commit take its first positions, before its appends.

use std::sync::LazyLock;

use super::append::{Plain, digest};
use crate::clock::Timestamp;
use crate::ids::Seq;
use crate::journal::names::Named;
use crate::journal::postgres::codec::row::{count, number, time};
use crate::journal::postgres::codec::text::stored;
use crate::journal::postgres::connection::pipeline::{Query, query};
use crate::journal::with_statuses;
use crate::journal::{ApplicationDraft, ApplicationReport, Fact, TimingGap};

/// Inserts nothing if the transaction exists already, or if another one has its key.
static BEGIN: LazyLock<String> = LazyLock::new(|| {
    with_statuses("
    WITH given AS (
        SELECT (SELECT last_seq FROM chroma_edge.journal) - $1 + d.place AS seq, d.*
        FROM unnest($2::uuid[], $3::text[], $4::text[], $5::bytea[], $6::bytea[], $7::bigint[], $8::timestamptz[],
            $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::bytea[])
            WITH ORDINALITY AS d (id, tenant, key, digest, fingerprint, bytes, created_at, method, path, session, ip,
                client, user_identifier, body, place)
    ),
    inserted AS (
        INSERT INTO chroma_edge.transactions (seq, transaction_id, client_tenant, client_key, client_digest, fingerprint,
            lane, kind, bytes, status, created_at, method, path, client_session, client_ip, client, user_identifier)
        SELECT seq, id, tenant, key, digest, fingerprint, 'application', 'application', bytes, {attempting}, created_at,
            method, path, session, ip, client, user_identifier
        FROM given ORDER BY seq
        ON CONFLICT DO NOTHING RETURNING seq
    )
    INSERT INTO chroma_edge.bodies (seq, body) SELECT g.seq, g.body FROM given AS g JOIN inserted USING (seq)")
});

/// Follows the rule of `Status::after`: a final status stays.
static REPORT: LazyLock<String> = LazyLock::new(|| {
    with_statuses(
        "
    UPDATE chroma_edge.transactions SET
        status = CASE WHEN timing_gap THEN $3::text ELSE $2::text END,
        timing_gap = timing_gap OR $4,
        retry_count = retry_count + $5,
        failure_reason = coalesce($6, failure_reason),
        response_status = coalesce($7, response_status),
        answer_status = $7,
        answer_body = $8,
        completed_at = $9
    WHERE seq = $1 AND lane = 'application' AND status IN ({open})",
    )
});

/// Returns how many positions the facts take.
pub(in crate::journal::postgres) fn positions(facts: &[Fact]) -> i64 {
    count(facts.iter().filter(|fact| matches!(fact, Fact::ApplicationBegan(_))).count() as u64)
}

/// Adds the statements that record these beginnings, then these reports. The commit gives out `given` positions.
pub(in crate::journal::postgres) fn record<'a>(
    begun: &[&'a ApplicationDraft],
    reports: &[(Seq, &'a ApplicationReport, Timestamp)],
    given: i64,
    queries: &mut Vec<Query<'a>>,
) {
    if !begun.is_empty() {
        queries.push(begin(begun, given));
    }
    for (seq, report, at) in reports {
        let (plain, after_gap) = (report.status(TimingGap::No), report.status(TimingGap::Yes));
        let answer = report.answer();
        queries.push(query!(
            &REPORT,
            number(*seq),
            plain.name(),
            after_gap.name(),
            report.timing_gap() == TimingGap::Yes,
            i32::from(answer.is_none()),
            report.reason().map(stored),
            answer.map(|answer| i32::from(answer.status)),
            answer.map(|answer| Plain(answer.body.clone())),
            plain.is_final().then(|| time(*at)),
        ));
    }
}

fn begin<'a>(begun: &[&'a ApplicationDraft], given: i64) -> Query<'a> {
    fn all<'a, T>(begun: &[&'a ApplicationDraft], value: impl Fn(&'a ApplicationDraft) -> T) -> Vec<T> {
        begun.iter().map(|draft| value(draft)).collect()
    }
    query!(
        &BEGIN,
        given,
        all(begun, |draft| draft.transaction_id.uuid()),
        all(begun, |draft| stored(&draft.client_key.tenant)),
        all(begun, |draft| stored(&draft.client_key.key)),
        all(begun, |draft| digest(&draft.client_key)),
        all(begun, |draft| draft.client_key.fingerprint.as_slice()),
        all(begun, |draft| count(draft.body.len() as u64)),
        all(begun, |draft| time(draft.created_at)),
        all(begun, |draft| stored(&draft.method)),
        all(begun, |draft| stored(&draft.path)),
        all(begun, |draft| draft.client_session.as_deref().map(stored)),
        all(begun, |draft| draft.client_ip.as_deref().map(stored)),
        all(begun, |draft| stored(&draft.client)),
        all(begun, |draft| draft.user_identifier.as_deref().map(stored)),
        all(begun, |draft| Plain(draft.body.clone())),
    )
}

/// Removes at most `$2` operations that ended before `$1`, of clients whose operations take more than `$3` bytes, with
/// their bodies. They hold back nothing, and nothing holds them back.
pub(in crate::journal::postgres) const TRIM: &str = "
    WITH old AS (
        SELECT seq FROM chroma_edge.transactions
        WHERE lane = 'application' AND completed_at IS NOT NULL AND completed_at < $1
            AND client IN (SELECT u.client FROM chroma_edge.application_use AS u WHERE u.bytes > $3) LIMIT $2
    ),
    removed AS (DELETE FROM chroma_edge.transactions AS t USING old WHERE t.seq = old.seq RETURNING t.seq,
        t.bytes + coalesce(pg_column_size(t.answer_body), 0) + 600 AS bytes),
    bodies AS (DELETE FROM chroma_edge.bodies AS b USING removed AS r WHERE b.seq = r.seq)
    SELECT count(*) AS n, coalesce(sum(bytes), 0)::bigint AS bytes FROM removed";
