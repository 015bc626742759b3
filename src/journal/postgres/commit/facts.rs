//! Facts: the statements that write the effects of a commit's facts.
//!
//! Every fact may arrive twice (a commit in doubt is repeated), or concern a transaction that retention has removed.
//! Neither is an error, and neither changes more than the first arrival did.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use crate::clock::Timestamp;
use crate::ids::{InstanceName, LaneId, Seq};
use crate::journal::names::{Named, lane_name};
use crate::journal::{Fact, with_reasons, with_statuses};

use super::append::Plain;
use super::application;
use super::catalog;
use super::fold::{Change, Folded, NextRetry, fold};
use crate::journal::postgres::codec::row::{number, time};
use crate::journal::postgres::codec::text::stored;
use crate::journal::postgres::connection::pipeline::{Query, query};
use crate::journal::postgres::query::events;

/// Marks the transactions that every configured instance will have once this progress is recorded. Runs before the
/// progress itself is updated.
const SYNCED: &str = "
    WITH marks AS (SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[]) AS m (lane, instance, through)),
    places AS (
        SELECT l.lane, min(coalesce(p.through, 0)) AS was,
            min(greatest(coalesce(p.through, 0), coalesce(m.through, 0))) AS becomes
        FROM (SELECT DISTINCT lane FROM marks) AS l
        CROSS JOIN chroma_edge.instances AS i
        LEFT JOIN chroma_edge.progress AS p ON p.lane = l.lane AND p.instance = i.instance
        LEFT JOIN marks AS m ON m.lane = l.lane AND m.instance = i.instance
        WHERE i.position IS NOT NULL
        GROUP BY l.lane
    )
    UPDATE chroma_edge.transactions AS t SET synced_at = $4 FROM places AS p
    WHERE p.becomes > p.was AND t.lane = p.lane AND t.seq > p.was AND t.seq <= p.becomes AND t.synced_at IS NULL";

/// Progress only moves forward, in whatever order it arrives.
const PROGRESS: &str = "
    INSERT INTO chroma_edge.progress AS p (lane, instance, through)
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[])
    ON CONFLICT (lane, instance) DO UPDATE SET through = greatest(p.through, excluded.through)
        WHERE p.through < excluded.through";

const STATES: &str = "
    INSERT INTO chroma_edge.progress (lane, instance, standing, reason)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
    ON CONFLICT (lane, instance) DO UPDATE SET standing = excluded.standing, reason = excluded.reason";

const MARKED: &str = "
    INSERT INTO chroma_edge.markers AS m (instance, generation) SELECT * FROM unnest($1::text[], $2::bigint[])
    ON CONFLICT (instance) DO UPDATE SET generation = greatest(m.generation, excluded.generation)";

/// A settled entry's verdict and answer never change (rule R3), and neither does a final status. Whatever the commit's
/// facts are, each transaction's row is written once.
static TRANSACTIONS: LazyLock<String> = LazyLock::new(|| {
    with_statuses(
        "
    UPDATE chroma_edge.transactions AS t SET
        verdict = coalesce(t.verdict, c.verdict),
        answer_status = CASE WHEN t.verdict IS NULL AND c.verdict IS NOT NULL THEN c.answer_status
            ELSE t.answer_status END,
        answer_body = CASE WHEN t.verdict IS NULL AND c.verdict IS NOT NULL THEN c.answer_body ELSE t.answer_body END,
        executed_on = coalesce(CASE WHEN t.verdict IS NULL THEN c.by END, t.executed_on,
            CASE WHEN t.status IN ({open}) THEN c.executed_on END),
        status = CASE WHEN t.status IN ({open}) THEN coalesce(c.status, t.status) ELSE t.status END,
        response_status = CASE WHEN t.status IN ({open})
            THEN coalesce(c.response_status, t.response_status) ELSE t.response_status END,
        failure_reason = coalesce(CASE WHEN t.status IN ({open}) THEN c.failure_reason
            ELSE c.late_reason END, t.failure_reason),
        completed_at = CASE WHEN t.status IN ({open}) THEN coalesce(c.completed_at, t.completed_at)
            ELSE t.completed_at END,
        timing_gap = t.timing_gap OR c.timing_gap,
        retry_count = t.retry_count + c.retries,
        next_retry_at = CASE WHEN t.status IN ({open}) AND c.retry_set THEN c.next_retry_at
            ELSE t.next_retry_at END,
        suspect_on = CASE WHEN c.suspect_set THEN c.suspect_on ELSE t.suspect_on END
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::integer[], $5::bytea[], $6::text[], $7::integer[], $8::text[],
        $9::text[], $10::timestamptz[], $11::text[], $12::boolean[], $13::integer[],
        $14::boolean[], $15::timestamptz[], $16::boolean[], $17::text[])
        AS c (seq, verdict, by, answer_status, answer_body, status, response_status, failure_reason, executed_on,
            completed_at, late_reason, timing_gap, retries, retry_set, next_retry_at, suspect_set, suspect_on)
    WHERE t.seq = c.seq",
    )
});

const RESOLVED: &str = "
    UPDATE chroma_edge.bodies AS b SET resolved = r.body FROM unnest($1::bigint[], $2::bytea[]) AS r (seq, body)
    WHERE b.seq = r.seq AND b.resolved IS NULL";

/// Runs before the verdict is written, so that only a transaction's first verdict quarantines it.
const QUARANTINED: &str = "
    INSERT INTO chroma_edge.quarantines (seq, lane)
    SELECT t.seq, t.lane FROM chroma_edge.transactions AS t WHERE t.seq = ANY ($1::bigint[]) AND t.verdict IS NULL
    ON CONFLICT DO NOTHING";

const LIFTED: &str = "DELETE FROM chroma_edge.quarantines WHERE seq = ANY ($1::bigint[])";

const HANDLED: &str = "DELETE FROM chroma_edge.suspects WHERE id = ANY ($1::bigint[])";

/// Finishes transactions that have a verdict but were cut off before their client's side was recorded.
static FINISH: LazyLock<String> = LazyLock::new(|| {
    with_reasons(&with_statuses(
        "
    UPDATE chroma_edge.transactions SET
        status = {finished},
        response_status = coalesce(answer_status, response_status), failure_reason = {reason},
        completed_at = $1, next_retry_at = NULL
    WHERE verdict IS NOT NULL AND status IN ({open})",
    ))
});

/// Returns the statement that finishes the statuses of transactions that were cut off.
pub(in crate::journal::postgres) fn finish_statuses<'a>(at: Timestamp) -> Query<'a> {
    query!(&FINISH, time(at))
}

/// Adds the statements that record the facts. The same commit gives out `given` positions after them.
pub(in crate::journal::postgres) fn record<'a>(
    facts: &'a [Fact],
    given: i64,
    now: Timestamp,
    queries: &mut Vec<Query<'a>>,
) {
    let Folded {
        progress,
        states,
        transactions,
        resolved,
        catalog,
        handled,
        begun,
        reports,
        delivered,
        marked,
        lifted,
    } = fold(facts);
    let [lifted_before, lifted_after] = lifted;
    if !progress.is_empty() {
        let (lanes, names) = keys(&progress);
        let marks: Vec<i64> = progress.values().map(|through| number(*through)).collect();
        queries.push(query!(SYNCED, lanes.clone(), names.clone(), marks.clone(), time(now)));
        queries.push(query!(PROGRESS, lanes, names, marks));
    }
    if !states.is_empty() {
        let (lanes, names) = keys(&states);
        let spelled = states.values().map(|(state, reason)| (state.name(), reason.map(stored)));
        let (states, reasons): (Vec<_>, Vec<_>) = spelled.unzip();
        queries.push(query!(STATES, lanes, names, states, reasons));
    }
    lift(lifted_before, queries);
    if !transactions.is_empty() {
        let quarantined = transactions.iter().filter(|(_, change)| change.is_quarantined());
        let quarantined: Vec<i64> = quarantined.map(|(seq, _)| number(*seq)).collect();
        if !quarantined.is_empty() {
            queries.push(query!(QUARANTINED, quarantined));
        }
        queries.push(changes(transactions.into_iter().map(|(seq, change)| (number(seq), change)).collect()));
    }
    lift(lifted_after, queries);
    if !resolved.is_empty() {
        let seqs: Vec<i64> = resolved.keys().map(|seq| number(*seq)).collect();
        let bodies: Vec<Plain> = resolved.values().map(|body| Plain((*body).clone())).collect();
        queries.push(query!(RESOLVED, seqs, bodies));
    }
    for change in catalog {
        catalog::apply(change, given, now, queries);
    }
    application::record(&begun, &reports, given, queries);
    if let Some(through) = delivered {
        queries.push(events::delivered(through));
    }
    if !marked.is_empty() {
        let (names, generations): (Vec<&str>, Vec<i64>) = marked
            .into_iter()
            .map(|(instance, generation)| (instance.as_str(), i64::try_from(generation.get()).unwrap_or(i64::MAX)))
            .unzip();
        queries.push(query!(MARKED, names, generations));
    }
    if !handled.is_empty() {
        queries.push(query!(HANDLED, handled.iter().map(|id| id.0).collect::<Vec<i64>>()));
    }
}

fn lift(seqs: BTreeSet<Seq>, queries: &mut Vec<Query<'_>>) {
    if !seqs.is_empty() {
        queries.push(query!(LIFTED, seqs.into_iter().map(number).collect::<Vec<i64>>()));
    }
}

fn keys<'a, T>(facts: &BTreeMap<(LaneId, &'a InstanceName), T>) -> (Vec<String>, Vec<&'a str>) {
    facts.keys().map(|(lane, instance)| (lane_name(*lane), instance.as_str())).unzip()
}

fn changes(changes: Vec<(i64, Change<'_>)>) -> Query<'_> {
    fn all<'c, 'a, T>(changes: &'c [(i64, Change<'a>)], value: impl Fn(&'c Change<'a>) -> T) -> Vec<T> {
        changes.iter().map(|(_, change)| value(change)).collect()
    }
    let seqs: Vec<i64> = changes.iter().map(|(seq, _)| *seq).collect();
    let answer = |change: &Change<'_>| change.verdict.as_ref().and_then(|settled| settled.answer.cloned());
    query!(
        &TRANSACTIONS,
        seqs,
        all(&changes, |change| change.verdict.as_ref().map(|settled| settled.verdict.name())),
        all(&changes, |change| change.verdict.as_ref().and_then(|settled| settled.by).map(InstanceName::as_str)),
        all(&changes, |change| answer(change).map(|answer| i32::from(answer.status))),
        all(&changes, |change| answer(change).map(|answer| Plain(answer.body))),
        all(&changes, |change| change.open.status.map(Named::name)),
        all(&changes, |change| change.open.response_status.map(i32::from)),
        all(&changes, |change| change.open.failure_reason.map(stored)),
        all(&changes, |change| change.open.executed_on.map(InstanceName::as_str)),
        all(&changes, |change| change.open.completed_at.map(time)),
        all(&changes, |change| change.late_reason.map(stored)),
        all(&changes, |change| change.timing_gap),
        all(&changes, |change| change.retries),
        all(&changes, |change| change.open.next_retry != NextRetry::Kept),
        all(&changes, |change| match change.open.next_retry {
            NextRetry::Kept => None,
            NextRetry::Set(at) => at.map(time),
        }),
        all(&changes, |change| change.suspect_on.is_some()),
        all(&changes, |change| change.suspect_on.flatten().map(InstanceName::as_str)),
    )
}
