//! Facts: what each one changes in the tables.
//!
//! Every fact may arrive twice (a commit in doubt is repeated), and about a transaction that retention has removed:
//! neither is an error, and neither changes more than the first arrival did.

use std::sync::LazyLock;

use rusqlite::{Connection, OptionalExtension, named_params, params};

use super::row::number;
use super::{application, catalog, events, quarantine};
use crate::clock::Timestamp;
use crate::ids::{InstanceName, LaneId, Seq};
use crate::journal::names::{Named, lane_name};
use crate::journal::{Fact, Status, StoredAnswer, TimingGap, with_reasons, with_statuses};
use crate::order::{Generation, LaneState, Verdict};

static FINISH: LazyLock<String> = LazyLock::new(|| {
    with_reasons(&with_statuses(
        "UPDATE transactions SET
            status = {finished},
            response_status = coalesce(answer_status, response_status), failure_reason = {reason},
            completed_at = :at, next_retry_at = NULL
        WHERE verdict IS NOT NULL AND status IN ({open})",
    ))
});

static RETRIED: LazyLock<String> = LazyLock::new(|| {
    with_statuses(
        "UPDATE transactions SET retry_count = retry_count + 1, timing_gap = 1, failure_reason = :reason,
            next_retry_at = CASE WHEN status IN ({open}) THEN :next_retry_at END
        WHERE seq = :seq",
    )
});

/// Finishes the statuses of transactions that have a verdict but were cut off before their client's answer was
/// recorded.
pub(super) fn finish_statuses(connection: &Connection, at: Timestamp) -> rusqlite::Result<()> {
    connection.prepare_cached(&FINISH)?.execute(named_params! { ":at": at.millis() }).map(drop)
}

pub(super) fn record(connection: &Connection, fact: &Fact) -> rusqlite::Result<()> {
    match fact {
        Fact::Progress { lane, instance, through } => progress(connection, *lane, instance, *through),
        Fact::InStep { lane, instance } => set_state(connection, *lane, instance, LaneState::InStep, None),
        Fact::Diverged { lane, instance, reason } => {
            set_state(connection, *lane, instance, LaneState::Diverged, Some(reason))
        }
        Fact::Quarantined { lane, instance, reason } => {
            set_state(connection, *lane, instance, LaneState::Quarantined, Some(reason))
        }
        Fact::Condemned { lane, instance, reason } => {
            set_state(connection, *lane, instance, LaneState::Condemned, Some(reason))
        }
        Fact::Contradicted { lane, instance, reason } => {
            set_state(connection, *lane, instance, LaneState::Contradicted, Some(reason))
        }
        Fact::Suspected { seq, on } => quarantine::suspect(connection, *seq, on.as_ref().map(InstanceName::as_str)),
        Fact::Lifted { seq } => quarantine::lift(connection, *seq),
        Fact::Verdict { seq, verdict, by, answer } => settle(connection, *seq, *verdict, by.as_ref(), answer.as_ref()),
        Fact::Resolved { seq, body } => {
            let sql = "UPDATE bodies SET resolved = ?2 WHERE seq = ?1 AND resolved IS NULL";
            connection.prepare_cached(sql)?.execute(params![number(*seq), body.as_ref()]).map(drop)
        }
        Fact::Catalog(change) => catalog::apply(connection, change),
        Fact::Status { seq, status, response_status, failure_reason, timing_gap, executed_on, at } => report(
            connection,
            &Report {
                seq: *seq,
                status: *status,
                response_status: *response_status,
                failure_reason: failure_reason.as_deref(),
                timing_gap: *timing_gap,
                executed_on: executed_on.as_ref(),
                at: *at,
            },
        ),
        Fact::Retried { seq, reason, next_retry_at } => retry(connection, *seq, reason, *next_retry_at),
        // No edge can take over the file from a living one, so there are no late writes here.
        Fact::LateWriteHandled(_) => Ok(()),
        Fact::ApplicationBegan(draft) => application::begin(connection, draft),
        Fact::ApplicationReported { seq, report, at } => application::report(connection, *seq, report, *at),
        Fact::Marked { instance, generation } => marked(connection, instance, *generation),
        Fact::Delivered(through) => events::delivered(connection, *through),
    }
}

/// Records a failed attempt on an instance that was believed healthy. It is recorded at once, so that a crash before
/// the answer does not hide it. A report after the transaction's end raises the count, but sets no time for another
/// attempt.
fn retry(connection: &Connection, seq: Seq, reason: &str, next_retry_at: Option<Timestamp>) -> rusqlite::Result<()> {
    let values = named_params! {
        ":seq": number(seq),
        ":reason": reason,
        ":next_retry_at": next_retry_at.map(Timestamp::millis),
    };
    connection.prepare_cached(&RETRIED)?.execute(values).map(drop)
}

/// Moves progress forward only, whatever the order of arrival.
fn progress(connection: &Connection, lane: LaneId, instance: &InstanceName, through: Seq) -> rusqlite::Result<()> {
    let sql = "INSERT INTO progress (lane, instance, through) VALUES (?1, ?2, ?3)
        ON CONFLICT (lane, instance) DO UPDATE SET through = max(through, excluded.through)";
    connection.prepare_cached(sql)?.execute(params![lane_name(lane), instance.as_str(), number(through)]).map(drop)
}

fn marked(connection: &Connection, instance: &InstanceName, generation: Generation) -> rusqlite::Result<()> {
    let sql = "INSERT INTO markers (instance, generation) VALUES (?1, ?2)
        ON CONFLICT (instance) DO UPDATE SET generation = max(generation, excluded.generation)";
    let generation = i64::try_from(generation.get()).unwrap_or(i64::MAX);
    connection.prepare_cached(sql)?.execute(params![instance.as_str(), generation]).map(drop)
}

fn set_state(
    connection: &Connection,
    lane: LaneId,
    instance: &InstanceName,
    state: LaneState,
    reason: Option<&str>,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO progress (lane, instance, standing, reason) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (lane, instance) DO UPDATE SET standing = excluded.standing, reason = excluded.reason";
    connection.prepare_cached(sql)?.execute(params![lane_name(lane), instance.as_str(), state.name(), reason]).map(drop)
}

/// Records an entry's verdict and answer, which never change (rule R3): the first ones stay.
fn settle(
    connection: &Connection,
    seq: Seq,
    verdict: Verdict,
    by: Option<&InstanceName>,
    answer: Option<&StoredAnswer>,
) -> rusqlite::Result<()> {
    let sql = "UPDATE transactions SET verdict = :verdict, executed_on = coalesce(:by, executed_on),
            answer_status = :answer_status, answer_body = :answer_body, answer_utf8 = :answer_utf8
        WHERE seq = :seq AND verdict IS NULL";
    let mut statement = connection.prepare_cached(sql)?;
    let changed = statement.execute(named_params! {
        ":seq": number(seq),
        ":verdict": verdict.name(),
        ":by": by.map(InstanceName::as_str),
        ":answer_status": answer.map(|answer| answer.status),
        ":answer_body": answer.map(|answer| answer.body.as_ref()),
        ":answer_utf8": answer.is_some_and(|answer| std::str::from_utf8(&answer.body).is_ok()),
    })?;
    if changed > 0 && verdict == Verdict::Quarantined { quarantine::add(connection, seq) } else { Ok(()) }
}

struct Report<'a> {
    seq: Seq,
    status: Status,
    response_status: Option<u16>,
    failure_reason: Option<&'a str>,
    timing_gap: TimingGap,
    executed_on: Option<&'a InstanceName>,
    at: Timestamp,
}

fn report(connection: &Connection, report: &Report<'_>) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("SELECT status FROM transactions WHERE seq = ?1")?;
    let read = |row: &rusqlite::Row<'_>| super::row::parsed(row, "status", Status::named);
    let Some(current) = statement.query_row([number(report.seq)], read).optional()? else { return Ok(()) };
    let timing_gap = matches!(report.timing_gap, TimingGap::Yes);
    if current.is_final() {
        // The report is late or repeated. Only the timing gap is kept, because a healthy instance did fail.
        let sql = "UPDATE transactions SET timing_gap = max(timing_gap, ?2) WHERE seq = ?1";
        return connection.prepare_cached(sql)?.execute(params![number(report.seq), timing_gap]).map(drop);
    }
    let status = current.after(report.status);
    let sql = "UPDATE transactions SET status = :status, timing_gap = max(timing_gap, :timing_gap),
            response_status = coalesce(:response_status, response_status),
            failure_reason = coalesce(:failure_reason, failure_reason),
            executed_on = coalesce(executed_on, :executed_on), completed_at = :completed_at,
            next_retry_at = CASE WHEN :completed_at IS NULL THEN next_retry_at END
        WHERE seq = :seq";
    let mut statement = connection.prepare_cached(sql)?;
    statement.execute(named_params! {
        ":seq": number(report.seq),
        ":status": status.name(),
        ":timing_gap": timing_gap,
        ":response_status": report.response_status,
        ":failure_reason": report.failure_reason,
        ":executed_on": report.executed_on.map(InstanceName::as_str),
        ":completed_at": status.is_final().then_some(report.at.millis()),
    })?;
    Ok(())
}
