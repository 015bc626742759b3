//! The audit log: pages, newest first, with the counts of all transactions that match the filter.

use serde_json::{Map, Value, json};

use super::query::Query;
use super::{Refusal, Safety, view};
use crate::clock::Timestamp;
use crate::ids::Seq;
use crate::journal::{AuditCursor, AuditQuery, Filter, OperationType, Status};
use crate::web::{PageRequest, Reply, idempotency_key, rfc3339};

const LIMIT: u32 = 100;
const LONGEST: u32 = 1000;

impl Safety {
    /// Returns the page that the query requests.
    pub(super) async fn transactions(&self, request: &PageRequest) -> Result<Reply, Refusal> {
        let mut query = asked(&Query::of(&request.query))?;
        query.filter.principal = request.principal.sees_only().map(str::to_owned);
        let page = self.core.store().audit(&query).await?;
        let transactions: Vec<Value> = page.transactions.iter().map(|row| Value::Object(view::listed(row))).collect();
        let total: u64 = page.counts.iter().map(|(_, count)| count).sum();
        let counts: Map<String, Value> =
            page.counts.iter().map(|(status, count)| (status.as_str().to_owned(), json!(count))).collect();
        let body = json!({
            "transactions": transactions,
            "next_cursor": page.next.map(cursor),
            "total": total,
            "counts": counts,
        });
        Ok(Reply::json(200, body.to_string()))
    }
}

fn asked(query: &Query) -> Result<AuditQuery, Refusal> {
    const TIME: &str = "a time of RFC 3339 or in seconds since 1970";
    let filter = Filter {
        principal: None,
        session: query.read("session", "text", text)?.map(|text| idempotency_key::shortened(&text).to_owned()),
        statuses: query.read("status", "a status, or several with commas", statuses)?.unwrap_or_default(),
        operations: query.read("operation", "an operation type", operations)?.unwrap_or_default(),
        since: query.read("since", TIME, rfc3339::read)?,
        until: query.read("until", TIME, rfc3339::read)?,
    };
    let limit = query.read("limit", "a number from 1 to 1000", limit)?.unwrap_or(LIMIT);
    let after = query.read("cursor", "what an earlier page gave as next_cursor", place)?;
    Ok(AuditQuery { filter, after, limit })
}

/// Refuses NUL: headers cannot contain it, and no store accepts it.
pub(super) fn text(text: &str) -> Option<String> {
    (!text.contains('\0')).then(|| text.to_owned())
}

fn limit(text: &str) -> Option<u32> {
    text.parse().ok().filter(|limit| (1..=LONGEST).contains(limit))
}

fn statuses(text: &str) -> Option<Vec<Status>> {
    let named = |name: &str| Status::ALL.into_iter().find(|status| status.as_str() == name);
    let mut found: Vec<Status> = Vec::new();
    for name in text.split(',') {
        let status = named(name)?;
        if !found.contains(&status) {
            found.push(status);
        }
    }
    Some(found)
}

fn operations(text: &str) -> Option<Vec<OperationType>> {
    Some(OperationType::shown_as(text)).filter(|found| !found.is_empty())
}

/// Formats an opaque cursor: the position at which a page ended.
fn cursor(place: AuditCursor) -> String {
    format!("{:x}.{:x}", place.created_at.millis(), place.seq.get())
}

fn place(text: &str) -> Option<AuditCursor> {
    let (created_at, seq) = text.split_once('.')?;
    let created_at = Timestamp::from_millis(i64::from_str_radix(created_at, 16).ok()?);
    let seq = u64::from_str_radix(seq, 16).ok().filter(|seq| i64::try_from(*seq).is_ok())?;
    Some(AuditCursor { created_at, seq: Seq::new(seq) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_nonsense_does_not() {
        let end = AuditCursor { created_at: Timestamp::from_millis(1_795_313_025_123), seq: Seq::new(42) };
        assert_eq!(place(&cursor(end)), Some(end));
        for nonsense in ["", ".", "1", "x.y", "1.-1", "1.ffffffffffffffff", "1.2.3"] {
            assert_eq!(place(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        let bad = [
            "status=DONE",
            "status=",
            "status=FAILED,",
            "operation=nothing",
            "operation=",
            "since=yesterday",
            "until=",
            "limit=0",
            "limit=1001",
            "limit=many",
            "limit=-1",
            "cursor=",
            "cursor=abc",
        ];
        for text in bad {
            assert!(matches!(asked(&Query::of(text)), Err(Refusal::BadParameter { .. })), "{text}");
        }
        let good = asked(&Query::of("status=FAILED,ATTEMPTING,FAILED&operation=delete&since=5&limit=7&later=1"));
        let good = good.map_err(|refusal| format!("{refusal:?}")).unwrap();
        assert_eq!(good.filter.statuses, [Status::Failed, Status::Attempting]);
        assert_eq!((good.filter.operations.len(), good.limit), (2, 7));
        assert_eq!((good.filter.since, good.filter.until), (Some(Timestamp::from_millis(5_000)), None));
    }
}
